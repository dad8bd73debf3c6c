//! For how long each entry of a cache lives: one decision, without a clock or a dice in it.

use std::time::Duration;

use super::{Jitter, Ttl};

/// How long the entries of a cache live; asked of [`Cache::policy`](crate::Cache::policy).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    pub(crate) ttl: Ttl,
    pub(crate) negative_ttl: Option<Ttl>,
    pub(crate) jitter: Jitter,
    pub(crate) longest_ttl: Duration,
    /// Whether a lifetime is a whole number of seconds in the end.
    pub(crate) whole_seconds: bool,
}

/// What an entry is, as far as its lifetime depends on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Value,
    Negative,
}

/// For how long an entry is to be kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Lifetime {
    pub(crate) ttl: Ttl,
    /// Whether another was asked for, which was out of range.
    pub(crate) is_clamped: bool,
}

impl Policy {
    /// How long values live, before jitter.
    #[must_use]
    pub const fn ttl(&self) -> Ttl {
        self.ttl
    }

    /// For how long "there is no such thing" is remembered, before jitter; `None` if it is not.
    #[must_use]
    pub const fn negative_ttl(&self) -> Option<Ttl> {
        self.negative_ttl
    }

    /// The fraction by which each lifetime is spread.
    #[must_use]
    pub const fn jitter(&self) -> Jitter {
        self.jitter
    }

    /// The lifetime of a loaded entry that asks for `wish`, if for any; `unit`, from 0 to 1, is
    /// the draw for the jitter. `None`: it is not to be stored.
    pub(crate) fn of_load(
        &self,
        kind: Kind,
        wish: Option<Duration>,
        unit: f64,
    ) -> Option<Lifetime> {
        let own = match kind {
            Kind::Value => self.ttl,
            Kind::Negative => self.negative_ttl?,
        };
        let ttl = wish.map_or(own, |wish| Ttl::clamp(wish, self.longest_ttl));
        Some(Lifetime {
            ttl: self.spread(ttl, unit),
            is_clamped: wish.is_some_and(|wish| wish != ttl.get()),
        })
    }

    /// `ttl` with jitter: what a backend is given. Every lifetime passes here last, so here it
    /// becomes a whole number of seconds, if it is to be one.
    pub(crate) fn spread(&self, ttl: Ttl, unit: f64) -> Ttl {
        let spread = self.jitter.apply(ttl, unit, self.longest_ttl);
        if self.whole_seconds {
            spread.to_whole_seconds(self.longest_ttl)
        } else {
            spread
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn policy(negative: Option<u64>) -> Policy {
        Policy {
            ttl: Ttl::clamp(HOUR, 2 * HOUR),
            negative_ttl: negative.map(|seconds| Ttl::clamp(Duration::from_secs(seconds), HOUR)),
            jitter: Jitter::new(0.1).unwrap(),
            longest_ttl: 2 * HOUR,
            whole_seconds: false,
        }
    }

    #[test]
    fn each_kind_has_a_lifetime_of_its_own_unless_the_load_brings_one() {
        let seconds = Duration::from_secs;
        let millisecond = Duration::from_millis(1);
        for (kind, wish, ttl, is_clamped) in [
            (Kind::Value, None, HOUR, false),
            (Kind::Negative, None, seconds(60), false),
            (Kind::Value, Some(seconds(5)), seconds(5), false),
            (Kind::Negative, Some(seconds(5)), seconds(5), false),
            (Kind::Value, Some(2 * HOUR), 2 * HOUR, false),
            (Kind::Value, Some(2 * HOUR + millisecond), 2 * HOUR, true),
            (Kind::Value, Some(millisecond), millisecond, false),
            (Kind::Value, Some(millisecond / 2), millisecond, true),
        ] {
            let lifetime = policy(Some(60)).of_load(kind, wish, 0.5).unwrap();
            assert_eq!(
                (lifetime.ttl.get(), lifetime.is_clamped),
                (ttl, is_clamped),
                "{kind:?} {wish:?}"
            );
        }
    }

    #[test]
    fn without_a_negative_ttl_no_absence_is_stored() {
        assert_eq!(policy(None).of_load(Kind::Negative, None, 0.5), None);
        assert_eq!(policy(None).of_load(Kind::Negative, Some(HOUR), 0.5), None);
        assert!(policy(None).of_load(Kind::Value, None, 0.5).is_some());
    }

    #[test]
    fn whole_seconds_are_rounded_up_after_jitter_and_are_no_clamping() {
        let millis = Duration::from_millis;
        let whole = Policy {
            whole_seconds: true,
            ..policy(Some(60))
        };
        for (kind, wish, unit, seconds) in [
            // 3 s from 2.7 to 3.3.
            (Kind::Value, Some(millis(3_000)), 0.0, 3),
            (Kind::Value, Some(millis(3_000)), 0.5, 3),
            (Kind::Value, Some(millis(3_000)), 1.0, 4),
            (Kind::Negative, Some(millis(1)), 0.5, 1),
            (Kind::Negative, None, 0.0, 54),
            (Kind::Negative, None, 0.001, 55),
            (Kind::Value, None, 0.5, 3_600),
            (Kind::Value, Some(2 * HOUR), 1.0, 7_200),
        ] {
            let lifetime = whole.of_load(kind, wish, unit).unwrap();
            assert_eq!(
                (lifetime.ttl.get(), lifetime.is_clamped),
                (Duration::from_secs(seconds), false),
                "{kind:?} {wish:?} {unit}"
            );
        }
        let put = whole.spread(Ttl::clamp(millis(1_001), HOUR), 0.5).get();
        assert_eq!(put, Duration::from_secs(2));
        let exact = policy(None).spread(Ttl::clamp(millis(1_001), HOUR), 0.5);
        assert_eq!(exact.get(), millis(1_001), "not unless it is asked for");
    }

    #[test]
    fn jitter_is_not_clamping() {
        let shortest = policy(None).of_load(Kind::Value, None, 0.0).unwrap();
        assert_eq!(shortest.ttl.get(), HOUR.mul_f64(0.9));
        assert!(!shortest.is_clamped);
    }
}
