//! Tokens: the names of leases, none of which is ever used twice.

use std::sync::atomic::{AtomicU64, Ordering};

use cache_core::Lease;

use crate::mutant::Rules;

/// Draws tokens: a number that the operating system drew at random for this process's connection
/// to the store, and a count.
///
/// The fence rests on it that no two grants carry the same token, whoever asks, so a token is
/// drawn for every attempt that is sent.
#[derive(Debug)]
pub(crate) struct Tokens {
    origin: u64,
    next: AtomicU64,
    #[cfg_attr(not(feature = "testing"), expect(dead_code, reason = "all rules hold"))]
    rules: Rules,
}

impl Tokens {
    /// # Errors
    ///
    /// If the operating system has no randomness to give.
    pub(crate) fn new(rules: Rules) -> Result<Self, getrandom::Error> {
        Ok(Self {
            origin: getrandom::u64()?,
            next: AtomicU64::new(0),
            rules,
        })
    }

    pub(crate) fn draw(&self) -> Lease {
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "testing")]
        let count = if self.rules.without(crate::Mutant::ReusedToken) {
            0
        } else {
            count
        };
        Lease::from_token(u128::from(self.origin) << 64 | u128::from(count))
    }
}

/// What is stored under a lease's key: no codec's payload, JSON included, begins like this.
pub(crate) fn text(lease: Lease) -> String {
    format!("L{:032x}", lease.token())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_is_drawn_twice_by_one_or_by_two() {
        let tokens = || Tokens::new(Rules::default()).unwrap();
        let (one, two) = (tokens(), tokens());
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1_000 {
            assert!(seen.insert(one.draw()));
            assert!(seen.insert(two.draw()));
        }
    }

    #[test]
    fn a_token_is_no_json() {
        let text = text(Lease::from_token(12));
        assert_eq!(text, "L0000000000000000000000000000000c");
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_err());
    }
}
