//! A time-to-live that no backend can misread.

use std::time::Duration;

/// A time-to-live of at least one millisecond.
///
/// A millisecond is the finest deadline every backend can store, so a `Ttl` never becomes "no
/// expiry" or "expired already" on its way.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Ttl(Duration);

impl Ttl {
    /// The shortest: one millisecond.
    pub const MIN: Self = Self(Duration::from_millis(1));

    /// Accepts `ttl` if it lies between [`Ttl::MIN`] and `longest`, both included.
    ///
    /// # Errors
    ///
    /// [`InvalidTtl`] otherwise.
    pub fn new(ttl: Duration, longest: Duration) -> Result<Self, InvalidTtl> {
        if ttl < Self::MIN.0 {
            Err(InvalidTtl::TooShort { ttl })
        } else if ttl > longest {
            Err(InvalidTtl::TooLong { ttl, longest })
        } else {
            Ok(Self(ttl))
        }
    }

    /// The nearest TTL between [`Ttl::MIN`] and `longest`.
    #[must_use]
    pub fn clamp(ttl: Duration, longest: Duration) -> Self {
        Self(ttl.min(longest).max(Self::MIN.0))
    }

    /// The next whole number of seconds, or the last one that is not longer than `longest`. No
    /// second fits into a `longest` that is shorter than one: then this stays as it is.
    #[cfg(feature = "actor")]
    pub(crate) fn to_whole_seconds(self, longest: Duration) -> Self {
        let begun = u64::from(self.0.subsec_nanos() > 0);
        let seconds = self
            .0
            .as_secs()
            .saturating_add(begun)
            .min(longest.as_secs());
        if seconds == 0 {
            return self;
        }
        Self(Duration::from_secs(seconds))
    }

    /// The duration.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

/// Why a duration is no TTL.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidTtl {
    /// It is zero or shorter than a millisecond.
    #[error("{ttl:?} is too short: a time-to-live is at least 1 ms")]
    TooShort {
        /// The rejected duration.
        ttl: Duration,
    },
    /// It is longer than the engine allows.
    #[error("{ttl:?} is too long: raise the engine's `longest_ttl`, now {longest:?}")]
    TooLong {
        /// The rejected duration.
        ttl: Duration,
        /// The engine's limit.
        longest: Duration,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_boundaries_are_accepted_and_nothing_beyond() {
        let longest = Duration::from_secs(10);
        for (ttl, accepted) in [
            (Duration::ZERO, false),
            (Duration::from_nanos(999_999), false),
            (Duration::from_millis(1), true),
            (longest, true),
            (longest + Duration::from_nanos(1), false),
        ] {
            assert_eq!(Ttl::new(ttl, longest).is_ok(), accepted, "{ttl:?}");
        }
    }

    #[cfg(feature = "actor")]
    #[test]
    fn seconds_are_rounded_up_unless_that_is_too_long() {
        let nano = Duration::from_nanos(1);
        let seconds = Duration::from_secs;
        for (ttl, longest, whole) in [
            (Ttl::MIN.0, seconds(10), seconds(1)),
            (seconds(1) - nano, seconds(10), seconds(1)),
            (seconds(1), seconds(10), seconds(1)),
            (seconds(1) + nano, seconds(10), seconds(2)),
            (seconds(10) - nano, seconds(10), seconds(10)),
            (seconds(10), seconds(10), seconds(10)),
            (seconds(10) + nano, seconds(11) - nano, seconds(10)),
            (Ttl::MIN.0, seconds(1), seconds(1)),
            (Ttl::MIN.0, seconds(1) - nano, Ttl::MIN.0),
        ] {
            let rounded = Ttl::new(ttl, longest).unwrap().to_whole_seconds(longest);
            assert_eq!(rounded.get(), whole, "{ttl:?} of {longest:?}");
        }
    }

    #[test]
    fn clamping_leaves_neither_boundary() {
        let longest = Duration::from_secs(10);
        assert_eq!(Ttl::clamp(Duration::ZERO, longest), Ttl::MIN);
        assert_eq!(Ttl::clamp(Duration::MAX, longest).get(), longest);
    }
}
