//! What one round measured, and what is made of several.

/// What a row did in one round, or the medians of several.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    /// Operations per second, all callers together.
    pub throughput: f64,
    /// The median of the latencies, in microseconds.
    pub p50: f64,
    /// Their 99th percentile, in microseconds.
    pub p99: f64,
    /// Processor time of this process per operation, in microseconds.
    pub cpu: f64,
}

/// How a row stands to the base: each the median over the rounds of what stood side by side.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Ratio {
    /// Throughput, where more is better.
    pub throughput: f64,
    /// The median latency, where less is better.
    pub p50: f64,
    /// The 99th percentile, where less is better.
    pub p99: f64,
}

impl Sample {
    /// The median of each number.
    #[must_use]
    pub fn median(rounds: &[Self]) -> Self {
        let of = |number: fn(&Self) -> f64| median(rounds.iter().map(number));
        Self {
            throughput: of(|sample| sample.throughput),
            p50: of(|sample| sample.p50),
            p99: of(|sample| sample.p99),
            cpu: of(|sample| sample.cpu),
        }
    }
}

impl Ratio {
    /// Compares each round of a row with the same round of the base.
    #[must_use]
    pub fn of(row: &[Sample], base: &[Sample]) -> Self {
        let of = |number: fn(&Sample) -> f64| {
            let pairs = row.iter().zip(base);
            median(pairs.map(|(row, base)| number(row) / number(base)))
        };
        Self {
            throughput: of(|sample| sample.throughput),
            p50: of(|sample| sample.p50),
            p99: of(|sample| sample.p99),
        }
    }
}

/// The middle one, or the upper of two; not a number if there is none.
#[must_use]
pub fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(throughput: f64) -> Sample {
        Sample {
            throughput,
            p50: 1.0,
            p99: 2.0 * throughput,
            cpu: 3.0,
        }
    }

    #[test]
    fn the_median_is_the_middle_one_of_each_number() {
        let rounds = [9.0, 1.0, 5.0].map(sample);
        assert_eq!(Sample::median(&rounds), sample(5.0));
        assert!(Sample::median(&[]).p50.is_nan());
    }

    #[test]
    fn a_ratio_compares_rounds_that_ran_side_by_side() {
        // A machine that slows down over the run changes both sides alike.
        let base = [8.0, 4.0, 2.0].map(sample);
        let row = [16.0, 8.0, 4.0].map(sample);
        let ratio = Ratio::of(&row, &base);
        assert_eq!(
            (ratio.throughput, ratio.p50, ratio.p99),
            (2.0, 1.0, 2.0),
            "{ratio:?}"
        );
    }
}
