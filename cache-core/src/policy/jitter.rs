//! Random spread of TTLs.

use std::time::Duration;

use super::Ttl;

/// A fraction by which each TTL is lengthened or shortened at random, uniformly, so that
/// entries written together do not expire together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Jitter(f64);

impl Jitter {
    /// Accepts a fraction between 0 and 0.5, both included.
    ///
    /// # Errors
    ///
    /// [`InvalidJitter`] otherwise.
    pub fn new(fraction: f64) -> Result<Self, InvalidJitter> {
        if (0.0..=0.5).contains(&fraction) {
            Ok(Self(fraction))
        } else {
            Err(InvalidJitter { fraction })
        }
    }

    /// Spreads `ttl`: `unit` from 0 to 1 takes it from the shortest to the longest. The result
    /// leaves neither [`Ttl::MIN`] nor `longest`.
    #[must_use]
    pub fn apply(self, ttl: Ttl, unit: f64, longest: Duration) -> Ttl {
        let factor = self.0.mul_add(2.0 * unit.clamp(0.0, 1.0) - 1.0, 1.0);
        let seconds = ttl.get().as_secs_f64() * factor;
        let spread = Duration::try_from_secs_f64(seconds).unwrap_or(longest);
        Ttl::clamp(spread, longest)
    }
}

/// The fraction is no jitter.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("jitter {fraction} is out of range: give a fraction from 0.0 to 0.5")]
#[non_exhaustive]
pub struct InvalidJitter {
    /// The rejected fraction.
    pub fraction: f64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

    fn hour() -> Ttl {
        Ttl::new(Duration::from_secs(3600), WEEK).unwrap()
    }

    #[test]
    fn an_hour_stays_within_54_to_66_minutes_and_reaches_both() {
        let jitter = Jitter::new(0.10).unwrap();
        let minutes = |unit| jitter.apply(hour(), unit, WEEK).get().as_secs_f64() / 60.0;
        assert!((minutes(0.0) - 54.0).abs() < 1e-6);
        assert!((minutes(0.5) - 60.0).abs() < 1e-6);
        assert!((minutes(1.0) - 66.0).abs() < 1e-6);
    }

    #[test]
    fn both_boundaries_are_accepted_and_nothing_beyond() {
        for (fraction, accepted) in [
            (-f64::EPSILON, false),
            (0.0, true),
            (0.5, true),
            (0.5 + f64::EPSILON, false),
            (f64::NAN, false),
        ] {
            assert_eq!(Jitter::new(fraction).is_ok(), accepted, "{fraction}");
        }
    }

    proptest! {
        #[test]
        fn jitter_stays_in_range(
            fraction in 0.0..=0.5_f64,
            unit in 0.0..1.0_f64,
            millis in 1_u64..=604_800_000,
        ) {
            let ttl = Ttl::new(Duration::from_millis(millis), WEEK).unwrap();
            let spread = Jitter::new(fraction).unwrap().apply(ttl, unit, WEEK).get();
            let slack = Duration::from_micros(1);
            prop_assert!(spread + slack >= ttl.get().mul_f64(1.0 - fraction).max(Ttl::MIN.get()));
            prop_assert!(spread <= ttl.get().mul_f64(1.0 + fraction).min(WEEK) + slack);
            prop_assert!(spread >= Ttl::MIN.get() && spread <= WEEK);
        }

        #[test]
        fn jitter_is_uniform_over_its_range(fraction in 0.0..=0.5_f64, unit in 0.0..1.0_f64) {
            let spread = Jitter::new(fraction).unwrap().apply(hour(), unit, WEEK).get();
            let expected = 3600.0 * (1.0 - fraction + 2.0 * fraction * unit);
            prop_assert!((spread.as_secs_f64() - expected).abs() < 1e-6, "linear in `unit`");
        }
    }
}
