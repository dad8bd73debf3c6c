//! The keys that were removed lately, to remove them again.
//!
//! A failover, or a server that comes back with old data, can bring a removed value back. After a
//! lane was replaced, what this process removed in the last 30 seconds is removed once more: a
//! removal too many costs a load, one too few an old value for the rest of its TTL.

use std::{collections::VecDeque, time::Duration};

use cache_core::Key;
use tokio::time::Instant;

/// How far it reaches back.
pub(crate) const REACH: Duration = Duration::from_secs(30);

/// How many keys it holds at most, about 100 MB of them. The oldest go first.
const LIMIT: usize = 1_000_000;

/// The keys that were removed lately, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    removed: VecDeque<(Instant, Key)>,
}

impl Journal {
    /// Notes that `keys` are being removed. To be called before the command is sent, so that one
    /// whose answer is lost is in it too.
    pub(crate) fn note(&mut self, keys: &[Key], now: Instant) {
        self.forget(now);
        for key in keys {
            if self.removed.len() == LIMIT {
                self.removed.pop_front();
            }
            self.removed.push_back((now, key.clone()));
        }
    }

    /// The keys that were removed within the reach of `now`.
    pub(crate) fn recent(&mut self, now: Instant) -> Vec<Key> {
        self.forget(now);
        self.removed.iter().map(|(_, key)| key.clone()).collect()
    }

    fn forget(&mut self, now: Instant) {
        while let Some((at, _)) = self.removed.front()
            && now.saturating_duration_since(*at) > REACH
        {
            self.removed.pop_front();
        }
    }
}

/// Each of `keys` once.
pub(crate) fn distinct(mut keys: Vec<Key>) -> Vec<Key> {
    keys.sort_unstable();
    keys.dedup();
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[&str]) -> Vec<Key> {
        names.iter().map(|name| Key::new(name.as_bytes())).collect()
    }

    #[test]
    fn it_reaches_back_thirty_seconds_and_no_further() {
        let now = Instant::now();
        let mut journal = Journal::default();
        journal.note(&keys(&["a"]), now);
        assert_eq!(distinct(journal.recent(now + REACH)), keys(&["a"]));
        let later = now + REACH + Duration::from_millis(1);
        assert_eq!(distinct(journal.recent(later)), keys(&[]));
    }

    #[test]
    fn a_key_that_was_removed_again_is_in_it_once_and_for_longer() {
        let now = Instant::now();
        let mut journal = Journal::default();
        journal.note(&keys(&["a", "b"]), now);
        journal.note(&keys(&["a"]), now + REACH);
        assert_eq!(distinct(journal.recent(now + REACH)), keys(&["a", "b"]));
        assert_eq!(distinct(journal.recent(now + REACH * 2)), keys(&["a"]));
    }

    #[test]
    fn it_holds_a_million_keys_and_forgets_the_oldest() {
        let now = Instant::now();
        let mut journal = Journal::default();
        journal.note(&keys(&["oldest"]), now);
        let key = Key::new(b"new");
        for _ in 0..LIMIT {
            journal.note(std::slice::from_ref(&key), now);
        }
        assert_eq!(journal.removed.len(), LIMIT);
        assert_eq!(distinct(journal.recent(now)), [key]);
    }
}
