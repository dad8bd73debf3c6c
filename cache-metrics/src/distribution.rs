//! How often something took how long, up to a moment.

use std::time::Duration;

use crate::counters::BUCKETS;

/// How often something took how long, up to a moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Distribution {
    bounds: &'static [Duration; BUCKETS - 1],
    counts: [u64; BUCKETS],
    sum_nanos: u64,
}

impl Distribution {
    pub(crate) fn new(
        bounds: &'static [Duration; BUCKETS - 1],
        counts: [u64; BUCKETS],
        sum_nanos: u64,
    ) -> Self {
        Self {
            bounds,
            counts,
            sum_nanos,
        }
    }

    /// How often it happened: the sum of all buckets.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts
            .iter()
            .fold(0, |sum, count| sum.wrapping_add(*count))
    }

    /// How long all of it took together. Read beside the counts and not with them, so that while
    /// it is counted the sum may be ahead of the count, or behind.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_nanos)
    }

    /// The buckets: each one's upper bound, which is included in it, and how often it happened that
    /// it was in this one and in none before. The last has no bound.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> + '_ {
        let bounds = self.bounds.iter().copied().map(Some).chain([None]);
        bounds.zip(self.counts)
    }

    /// Estimates the duration that a fraction `q` of all was not above, in a bucket by a straight
    /// line, as `histogram_quantile` of Prometheus does. In the last bucket it is the highest
    /// bound.
    ///
    /// `None` if there was none, or if `q` is not between 0 and 1.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "an estimate is no worse for the 2^53rd of something"
    )]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let all = self.count();
        if all == 0 || !(0.0..=1.0).contains(&q) {
            return None;
        }
        let rank = q * all as f64;
        let mut below = 0.0;
        let mut from = Duration::ZERO;
        for (bound, count) in self.buckets() {
            let Some(to) = bound else { break };
            let count = count as f64;
            if count > 0.0 && below + count >= rank {
                return Some(from + (to - from).mul_f64((rank - below) / count));
            }
            below += count;
            from = to;
        }
        Some(from)
    }

    /// What came since `earlier`, which was read of the same thing; all of it, if it was not.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since = self.clone();
        let is_later = self.bounds == earlier.bounds
            && self
                .counts
                .iter()
                .zip(earlier.counts)
                .all(|(now, before)| *now >= before);
        if is_later {
            for (now, before) in since.counts.iter_mut().zip(earlier.counts) {
                *now -= before;
            }
            since.sum_nanos = self.sum_nanos.saturating_sub(earlier.sum_nanos);
        }
        since
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Histogram;

    const MS: Duration = Duration::from_millis(1);

    fn of(durations: &[Duration]) -> Distribution {
        let histogram = Histogram::of_loads();
        for took in durations {
            histogram.record(*took);
        }
        histogram.read()
    }

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        // Four in the bucket from 5 to 10 ms.
        let read = of(&[6 * MS, 7 * MS, 8 * MS, 9 * MS]);
        assert_eq!(read.quantile(0.0), Some(5 * MS));
        assert_eq!(read.quantile(0.5), Some(Duration::from_micros(7_500)));
        assert_eq!(read.quantile(1.0), Some(10 * MS));
    }

    #[test]
    fn a_quantile_of_two_buckets_is_in_the_one_that_holds_its_rank() {
        let read = of(&[MS / 2, MS / 2, MS / 2, 400 * MS]);
        assert_eq!(read.quantile(0.75), Some(MS));
        assert!(read.quantile(0.76).unwrap() > 250 * MS);
    }

    #[test]
    fn a_quantile_beyond_all_bounds_is_the_highest() {
        let read = of(&[Duration::from_secs(100)]);
        assert_eq!(read.quantile(0.5), Some(Duration::from_secs(30)));
    }

    #[test]
    fn there_is_no_quantile_of_nothing() {
        assert_eq!(of(&[]).quantile(0.5), None);
        for q in [-0.1, 1.1, f64::NAN] {
            assert_eq!(of(&[MS]).quantile(q), None);
        }
    }

    #[test]
    fn what_came_since_is_the_difference() {
        let histogram = Histogram::of_loads();
        histogram.record(MS);
        let earlier = histogram.read();
        histogram.record(20 * MS);
        let since = histogram.read().since(&earlier);
        assert_eq!((since.count(), since.sum()), (1, 20 * MS));
        assert_eq!(
            earlier.since(&histogram.read()),
            earlier,
            "of something that began anew: all of it"
        );
    }
}
