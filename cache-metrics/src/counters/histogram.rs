//! How often something took how long.

use std::{sync::atomic::Ordering, time::Duration};

use super::Stripes;
use crate::Distribution;

/// How many buckets there are, the one without an upper bound included. With the sum that makes
/// one row of stripes, of 128 bytes.
pub(crate) const BUCKETS: usize = 15;

const COLUMNS: usize = BUCKETS + 1;
/// The column of the sum, in nanoseconds, which overflows after 584 years.
const SUM: usize = BUCKETS;

/// Upper bounds, each included in its bucket.
type Bounds = [Duration; BUCKETS - 1];

/// Counts durations by buckets.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static Bounds,
    columns: Stripes<COLUMNS>,
}

impl Histogram {
    /// For loads: 1 ms to 30 s, which is the default of the load timeout.
    pub(crate) fn of_loads() -> Self {
        static BOUNDS: Bounds = micros([
            1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
            2_500_000, 5_000_000, 10_000_000, 30_000_000,
        ]);
        Self {
            bounds: &BOUNDS,
            columns: Stripes::single(),
        }
    }

    /// For calls to a backend: 50 µs to 1 s, which is the default of the backend deadline.
    pub(crate) fn of_calls() -> Self {
        static BOUNDS: Bounds = micros([
            50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000,
            500_000, 1_000_000,
        ]);
        Self {
            bounds: &BOUNDS,
            columns: Stripes::new(),
        }
    }

    pub(crate) fn record(&self, took: Duration) {
        let bucket = self.bounds.partition_point(|bound| *bound < took);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let mine = self.columns.mine();
        mine[bucket].fetch_add(1, Ordering::Relaxed);
        mine[SUM].fetch_add(nanos, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Distribution {
        let sums = self.columns.sums();
        let mut counts = [0; BUCKETS];
        counts.copy_from_slice(&sums[..BUCKETS]);
        Distribution::new(self.bounds, counts, sums[SUM])
    }
}

const fn micros(bounds: [u64; BUCKETS - 1]) -> Bounds {
    let mut durations = [Duration::ZERO; BUCKETS - 1];
    let mut place = 0;
    while place < bounds.len() {
        durations[place] = Duration::from_micros(bounds[place]);
        place += 1;
    }
    durations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        let histogram = Histogram::of_loads();
        let bound = Duration::from_millis(1);
        histogram.record(bound - Duration::from_nanos(1));
        histogram.record(bound);
        histogram.record(bound + Duration::from_nanos(1));
        let counts: Vec<_> = histogram.read().buckets().collect();
        assert_eq!(counts[0], (Some(bound), 2));
        assert_eq!(counts[1], (Some(Duration::from_micros(2_500)), 1));
    }

    #[test]
    fn what_is_beyond_all_bounds_is_counted_as_well() {
        for histogram in [Histogram::of_loads(), Histogram::of_calls()] {
            histogram.record(Duration::from_secs(3600));
            let read = histogram.read();
            assert_eq!(read.buckets().last(), Some((None, 1)));
            assert_eq!((read.count(), read.sum()), (1, Duration::from_secs(3600)));
        }
    }

    #[test]
    fn bounds_are_those_of_the_dashboards() {
        let seconds = |histogram: Histogram| histogram.bounds.map(|it| it.as_secs_f64());
        assert_eq!(
            seconds(Histogram::of_loads()),
            [
                0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0
            ]
        );
        assert_eq!(
            seconds(Histogram::of_calls()),
            [
                0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                0.25, 0.5, 1.0
            ]
        );
    }
}
