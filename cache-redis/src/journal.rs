//! The keys that were removed lately, to remove them again.
//!
//! A failover, or a server that comes back with old data, can bring a removed value back. After a
//! lane was replaced, what this process removed in the last 30 seconds is removed once more: a
//! removal too many costs a load, one too few an old value for the rest of its TTL. The 30 seconds are
//! those before the lane was lost: while there is none, nothing is forgotten.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

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
    /// Nodes without a lane, and since when: as long as there are any, what was removed lately when
    /// they lost it is not forgotten.
    holders: HashMap<u64, Instant>,
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

    /// Keeps for a node that has no lane what is in reach now, and all that follows.
    pub(crate) fn hold(&mut self, node: u64, now: Instant) {
        self.holders.entry(node).or_insert(now);
    }

    /// The node has a lane again, and what it was kept for was removed over that.
    pub(crate) fn let_go(&mut self, node: u64) {
        self.holders.remove(&node);
    }

    fn forget(&mut self, now: Instant) {
        let held = self.holders.values().min();
        let now = held.copied().map_or(now, |held| held.min(now));
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
    fn it_forgets_nothing_while_a_node_has_no_lane() {
        let now = Instant::now();
        let mut journal = Journal::default();
        journal.note(&keys(&["long ago"]), now);
        let lost = now + REACH + Duration::from_millis(1);
        journal.note(&keys(&["before"]), lost - REACH);
        journal.hold(1, lost);
        journal.hold(1, lost + REACH);
        journal.hold(2, lost + REACH);
        journal.note(&keys(&["during"]), lost + REACH);
        let hour = lost + Duration::from_secs(3600);
        assert_eq!(distinct(journal.recent(hour)), keys(&["before", "during"]));
        journal.let_go(1);
        assert_eq!(distinct(journal.recent(hour)), keys(&["during"]));
        journal.let_go(2);
        assert_eq!(distinct(journal.recent(hour)), keys(&[]));
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
