//! What is fast enough: ratios to the raw driver, in the same run.

use crate::{Ratio, Row};

/// A latency of one caller of at most so many times the base's.
const ALONE: f64 = 1.15;
/// A throughput of 16 callers of at least so many times the base's.
const FEW: f64 = 0.95;
/// The same for 256 and 1,024 callers and small values, at a lower 99th percentile.
const MANY_SMALL: f64 = 1.7;
/// The same for 4 KiB and 256 callers.
const MANY_LARGE: f64 = 1.1;
/// The same for 4 KiB and 1,024 callers.
const MOST_LARGE: f64 = 1.4;
/// The same for 256 callers of a cluster and small values, at a lower 99th percentile: of three
/// primaries each sees a third of the callers.
const MANY_OF_CLUSTER: f64 = 1.2;
/// The same for many keys at once, to pipelines that the caller makes.
const MANY_AT_ONCE: f64 = 0.9;
/// A latency of a whole miss, beyond the loader, of at most so many raw `GET`s.
const MISS: f64 = 5.0;

/// What is wanted of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Aim {
    /// A median latency of at most so many times the base's.
    Latency(f64),
    /// A throughput of at least so many times the base's.
    Throughput(f64),
    /// The same, at a 99th percentile below the base's.
    ThroughputAtLowerP99(f64),
}

impl Aim {
    /// What is wanted of `row` with so many callers and values of so many bytes, if anything.
    #[must_use]
    pub fn of(row: Row, callers: usize, size: usize) -> Option<Self> {
        match (row, callers, size) {
            (Row::Raw | Row::Driver | Row::Aside, ..) => None,
            (Row::RawMany | Row::DriverMany | Row::BackendMany | Row::GetMany, ..) => None,
            (Row::Miss, 1, _) => Some(Self::Latency(MISS)),
            (Row::Miss, ..) => None,
            (_, 1, _) => Some(Self::Latency(ALONE)),
            (_, 16, _) => Some(Self::Throughput(FEW)),
            (_, 256 | 1024, 100) => Some(Self::ThroughputAtLowerP99(MANY_SMALL)),
            (_, 256, 4096) => Some(Self::Throughput(MANY_LARGE)),
            (_, 1024, 4096) => Some(Self::Throughput(MOST_LARGE)),
            _ => None,
        }
    }

    /// The same in a cluster of three primaries.
    #[must_use]
    pub fn in_cluster(row: Row, callers: usize, size: usize) -> Option<Self> {
        match (row, callers, size) {
            (Row::Backend | Row::GetOrLoad | Row::Bytes, 256, 100) => {
                Some(Self::ThroughputAtLowerP99(MANY_OF_CLUSTER))
            }
            (Row::Backend | Row::GetOrLoad | Row::Bytes, 256, _) => Some(Self::Throughput(FEW)),
            (Row::BackendMany | Row::GetMany, ..) => Some(Self::Throughput(MANY_AT_ONCE)),
            _ => Self::of(row, callers, size),
        }
    }

    /// Whether it is met.
    #[must_use]
    pub fn is_met(self, ratio: &Ratio) -> bool {
        match self {
            Self::Latency(most) => ratio.p50 <= most,
            Self::Throughput(least) => ratio.throughput >= least,
            Self::ThroughputAtLowerP99(least) => ratio.throughput >= least && ratio.p99 < 1.0,
        }
    }

    /// Says what is wanted, what there is, and whether that will do.
    #[must_use]
    pub fn verdict(self, ratio: &Ratio) -> String {
        let (wanted, found) = match self {
            Self::Latency(most) => (
                format!("latency <= {most:.2} x raw"),
                format!("{:.2}", ratio.p50),
            ),
            Self::Throughput(least) => (
                format!("throughput >= {least:.2} x raw"),
                format!("{:.2}", ratio.throughput),
            ),
            Self::ThroughputAtLowerP99(least) => (
                format!("throughput >= {least:.2} x raw, p99 < 1 x"),
                format!("{:.2}, {:.2}", ratio.throughput, ratio.p99),
            ),
        };
        let met = if self.is_met(ratio) { "met" } else { "MISSED" };
        format!("{wanted}: {found}: {met}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(throughput: f64, p50: f64, p99: f64) -> Ratio {
        Ratio {
            throughput,
            p50,
            p99,
        }
    }

    #[test]
    fn an_aim_includes_its_limit() {
        for (aim, ratio, is_met) in [
            (Aim::Latency(1.15), ratio(0.0, 1.15, 9.0), true),
            (Aim::Latency(1.15), ratio(9.0, 1.16, 0.0), false),
            (Aim::Throughput(0.95), ratio(0.95, 9.0, 9.0), true),
            (Aim::Throughput(0.95), ratio(0.94, 0.0, 0.0), false),
            (Aim::ThroughputAtLowerP99(1.7), ratio(1.7, 9.0, 0.999), true),
            (Aim::ThroughputAtLowerP99(1.7), ratio(1.7, 0.0, 1.0), false),
            (Aim::ThroughputAtLowerP99(1.7), ratio(1.69, 0.0, 0.5), false),
        ] {
            assert_eq!(aim.is_met(&ratio), is_met, "{aim:?} {ratio:?}");
            let verdict = aim.verdict(&ratio);
            assert_eq!(verdict.ends_with(": met"), is_met, "{verdict}");
        }
    }

    #[test]
    fn the_base_has_no_aim_and_a_miss_has_one_alone() {
        assert_eq!(Aim::of(Row::Raw, 1, 100), None);
        assert_eq!(Aim::of(Row::Aside, 1, 100), None);
        assert_eq!(Aim::of(Row::Miss, 16, 100), None);
        assert_eq!(Aim::of(Row::Miss, 1, 100), Some(Aim::Latency(MISS)));
        assert_eq!(Aim::of(Row::Bytes, 64, 100), None);
        assert_eq!(Aim::of(Row::GetMany, 1, 100), None);
        for (callers, aim) in [
            (256, Aim::Throughput(MANY_LARGE)),
            (1024, Aim::Throughput(MOST_LARGE)),
        ] {
            assert_eq!(Aim::of(Row::Bytes, callers, 4096), Some(aim));
        }
    }
}
