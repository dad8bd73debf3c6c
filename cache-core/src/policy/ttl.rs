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

    #[test]
    fn clamping_leaves_neither_boundary() {
        let longest = Duration::from_secs(10);
        assert_eq!(Ttl::clamp(Duration::ZERO, longest), Ttl::MIN);
        assert_eq!(Ttl::clamp(Duration::MAX, longest).get(), longest);
    }
}
