//! Removals that could not be delivered yet.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

use crate::Key;

/// The keys whose removal is still owed to the backend, each with the moment from which on no
/// older entry can exist.
///
/// One task at a time delivers them; see [`crate::actor`].
#[derive(Debug)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    closed: watch::Sender<bool>,
}

/// A removal that is owed. A key that is queued again is another one: an attempt that was sent
/// before does not settle it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Owed {
    until: Instant,
    number: u64,
}

#[derive(Debug, Default)]
struct State {
    owed: HashMap<Key, Owed>,
    next_number: u64,
    /// Whether a task delivers.
    delivering: bool,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            closed: watch::Sender::new(false),
        }
    }
}

impl Outbox {
    /// Notes that the removal of `keys` is owed.
    pub(crate) fn owe(&self, keys: Vec<Key>, until: Instant) {
        let mut state = self.state.lock();
        let number = state.next_number;
        state.next_number += 1;
        let owed = Owed { until, number };
        state.owed.extend(keys.into_iter().map(|key| (key, owed)));
    }

    /// Whether a task that delivers is to be started: if there is none, and it is not too late.
    pub(crate) fn start(&self) -> bool {
        !*self.closed.borrow() && !std::mem::replace(&mut self.state.lock().delivering, true)
    }

    /// What is owed at `now`; `None` if nothing is left, and the task that asked ends.
    pub(crate) fn owed(&self, now: Instant) -> Option<Vec<(Key, Owed)>> {
        let mut state = self.state.lock();
        state.owed.retain(|_, owed| owed.until > now);
        if state.owed.is_empty() {
            state.delivering = false;
            return None;
        }
        let owed = state.owed.iter();
        Some(owed.map(|(key, owed)| (key.clone(), *owed)).collect())
    }

    /// Settles a removal, unless the key has been queued again since.
    pub(crate) fn settle(&self, key: &Key, owed: Owed) {
        let mut state = self.state.lock();
        if state.owed.get(key) == Some(&owed) {
            state.owed.remove(key);
        }
    }

    /// How many keys are owed.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().owed.len()
    }

    /// Tells the task that delivers to try once more and end.
    pub(crate) fn close(&self) {
        self.closed.send_replace(true);
    }

    /// A view of whether the outbox is closed.
    pub(crate) fn closed(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_older_attempt_does_not_settle_a_key_that_was_queued_again() {
        let outbox = Outbox::default();
        let now = Instant::now();
        let until = now + Duration::from_secs(1);
        let key = Key::new(b"k");
        outbox.owe(vec![key.clone()], until);
        assert!(outbox.start(), "the first starts the task");
        let first = outbox.owed(now).unwrap();
        outbox.owe(vec![key.clone()], until);
        assert!(!outbox.start(), "one task is enough");

        outbox.settle(&key, first[0].1);
        let second = outbox.owed(now).unwrap();
        outbox.settle(&key, second[0].1);
        assert_eq!(outbox.owed(now), None);
        outbox.owe(vec![key], until);
        assert!(outbox.start(), "the task that found nothing has ended");
    }

    #[test]
    fn nothing_is_owed_once_nothing_older_can_exist() {
        let outbox = Outbox::default();
        let now = Instant::now();
        outbox.owe(vec![Key::new(b"k")], now + Duration::from_secs(1));
        assert!(outbox.owed(now + Duration::from_millis(999)).is_some());
        assert_eq!(outbox.owed(now + Duration::from_secs(1)), None);
    }

    #[test]
    fn a_closed_outbox_starts_nothing_and_still_counts() {
        let outbox = Outbox::default();
        outbox.close();
        outbox.owe(vec![Key::new(b"k")], Instant::now());
        assert!(!outbox.start());
        assert_eq!(outbox.len(), 1);
    }
}
