//! Who may fill which key: the leases of one stripe of the key space.

use std::time::{Duration, Instant};

use ahash::AHashMap;
use cache_core::{Extend, Key, Lease};

use crate::clock::after;

/// The leases on the keys of one stripe. Plain data: the lock around it is the store's, and
/// `now` is an argument.
#[derive(Debug)]
pub(crate) struct Leases {
    held: AHashMap<Key, Held>,
    next_token: u128,
    sweep_at: usize,
}

#[derive(Debug)]
struct Held {
    lease: Lease,
    ends: Instant,
}

impl Held {
    /// What is left of it; `None` once it is over, and the boundary itself is over.
    fn left(&self, now: Instant) -> Option<Duration> {
        self.ends
            .checked_duration_since(now)
            .filter(|left| !left.is_zero())
    }
}

impl Leases {
    /// No leases. `stripe` is part of every token, so that no two stripes grant the same.
    pub(crate) fn new(stripe: u64) -> Self {
        Self {
            held: AHashMap::new(),
            next_token: u128::from(stripe) << 64,
            sweep_at: SWEEP_FLOOR,
        }
    }

    /// How long the lease on `key` lasts yet, whoever has it.
    pub(crate) fn held_for(&self, key: &Key, now: Instant) -> Option<Duration> {
        self.held.get(key)?.left(now)
    }

    /// Whether `lease` is the one on `key`, and not over.
    pub(crate) fn is_held(&self, key: &Key, lease: Lease, now: Instant) -> bool {
        self.held
            .get(key)
            .is_some_and(|held| held.lease == lease && held.left(now).is_some())
    }

    /// Grants the lease on `key` for `hold`, ending any other.
    pub(crate) fn grant(&mut self, key: &Key, now: Instant, hold: Duration) -> Lease {
        self.sweep_if_due(now);
        // Counted up for ever, by a `clear` too: a token must never be granted twice.
        self.next_token += 1;
        let lease = Lease::from_token(self.next_token);
        let ends = after(now, hold);
        self.held.insert(key.clone(), Held { lease, ends });
        lease
    }

    /// Lets `lease` last for `hold` from `now`, if it is not over.
    pub(crate) fn extend(
        &mut self,
        key: &Key,
        lease: Lease,
        now: Instant,
        hold: Duration,
    ) -> Extend {
        match self.held.get_mut(key) {
            Some(held) if held.lease == lease && held.left(now).is_some() => {
                held.ends = after(now, hold);
                Extend::Extended
            }
            Some(_) | None => Extend::Lost,
        }
    }

    /// Ends `lease`, if it is the one on `key`.
    pub(crate) fn release(&mut self, key: &Key, lease: Lease) {
        if self.held.get(key).is_some_and(|held| held.lease == lease) {
            self.end(key);
        }
    }

    /// Ends the lease on `key`, whoever has it.
    pub(crate) fn end(&mut self, key: &Key) {
        self.held.remove(key);
    }

    /// Ends all leases.
    pub(crate) fn clear(&mut self) {
        self.held = AHashMap::new();
        self.sweep_at = SWEEP_FLOOR;
    }

    /// Forgets leases that ran out: nobody releases those of an engine that vanished.
    ///
    /// A sweep that leaves `n` leases is followed by the next when there are `2n`, so it costs
    /// each grant a constant on average, and what ran out is never more than what was held at
    /// once, or [`SWEEP_FLOOR`].
    fn sweep_if_due(&mut self, now: Instant) {
        if self.held.len() >= self.sweep_at {
            self.held.retain(|_, held| held.left(now).is_some());
            self.sweep_at = (2 * self.held.len()).max(SWEEP_FLOOR);
            self.held.shrink_to(self.sweep_at);
        }
    }
}

/// The fewest leases worth a sweep.
const SWEEP_FLOOR: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Clock, SystemClock};

    const HOLD: Duration = Duration::from_secs(3);
    const NANO: Duration = Duration::from_nanos(1);

    fn key() -> Key {
        Key::new(b"k")
    }

    #[test]
    fn a_lease_lasts_until_its_hold_has_elapsed_and_the_boundary_is_over() {
        let start = SystemClock.now();
        let mut leases = Leases::new(0);
        let lease = leases.grant(&key(), start, HOLD);

        let before = start + HOLD - NANO;
        assert_eq!(leases.held_for(&key(), before), Some(NANO));
        assert!(leases.is_held(&key(), lease, before));

        let boundary = start + HOLD;
        assert_eq!(leases.held_for(&key(), boundary), None);
        assert!(!leases.is_held(&key(), lease, boundary));
        assert_eq!(leases.extend(&key(), lease, boundary, HOLD), Extend::Lost);
    }

    #[test]
    fn an_extension_counts_from_now() {
        let start = SystemClock.now();
        let mut leases = Leases::new(0);
        let lease = leases.grant(&key(), start, HOLD);

        let later = start + HOLD - NANO;
        assert_eq!(leases.extend(&key(), lease, later, HOLD), Extend::Extended);
        assert_eq!(leases.held_for(&key(), later), Some(HOLD));
        assert_eq!(leases.held_for(&key(), later + HOLD), None);
    }

    #[test]
    fn only_its_own_lease_is_kept_or_ended() {
        let now = SystemClock.now();
        let mut leases = Leases::new(0);
        let old = leases.grant(&key(), now, HOLD);
        let new = leases.grant(&key(), now, HOLD);

        assert_eq!(leases.extend(&key(), old, now, HOLD), Extend::Lost);
        leases.release(&key(), old);
        assert!(!leases.is_held(&key(), old, now));
        assert!(leases.is_held(&key(), new, now));

        leases.release(&key(), new);
        assert!(!leases.is_held(&key(), new, now));
    }

    #[test]
    fn no_token_is_granted_twice_even_after_a_clear() {
        let now = SystemClock.now();
        let mut granted = Vec::new();
        for stripe in 0..2 {
            let mut leases = Leases::new(stripe);
            for _ in 0..3 {
                granted.push(leases.grant(&key(), now, HOLD));
                leases.clear();
            }
        }
        let distinct: std::collections::HashSet<_> = granted.iter().collect();
        assert_eq!(distinct.len(), granted.len());
    }

    #[test]
    fn leases_of_engines_that_vanished_do_not_pile_up() {
        let start = SystemClock.now();
        let mut leases = Leases::new(0);
        for n in 0..100_000_u32 {
            // One after the other, each is over before the next is granted.
            leases.grant(&Key::new(&n.to_le_bytes()), start + HOLD * n, HOLD);
            assert!(leases.held.len() <= SWEEP_FLOOR, "after {n} grants");
        }
    }

    #[test]
    fn a_burst_of_leases_is_forgotten_when_as_many_were_granted_again() {
        let start = SystemClock.now();
        let mut leases = Leases::new(0);
        for n in 0..1_000_u32 {
            leases.grant(&Key::new(&n.to_le_bytes()), start, HOLD);
        }
        assert_eq!(leases.held.len(), 1_000, "none of them is over");

        let later = start + HOLD;
        for n in 1_000..2_100_u32 {
            leases.grant(&Key::new(&n.to_le_bytes()), later + HOLD * n, HOLD);
        }
        assert!(leases.held.len() <= SWEEP_FLOOR, "{}", leases.held.len());
        assert!(leases.held.capacity() < 1_000, "the room is given back");
    }

    #[test]
    fn a_hold_beyond_all_time_is_no_panic() {
        let now = SystemClock.now();
        let mut leases = Leases::new(0);
        let lease = leases.grant(&key(), now, Duration::MAX);
        assert!(leases.is_held(&key(), lease, now + Duration::from_secs(1 << 30)));
    }
}
