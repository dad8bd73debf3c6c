//! Which removals are owed to the backend, as plain data.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, HashMap},
    mem,
};

use tokio::time::Instant;

use crate::Key;

/// The keys whose removal is owed, each once, up to a limit; and whether there were more.
#[derive(Debug)]
pub(super) struct Queue {
    limit: usize,
    owed: HashMap<Key, Owed, ahash::RandomState>,
    /// The owed keys in the order in which they were queued last, and so of their ends.
    order: BTreeMap<u64, Key>,
    /// When keys were last lost track of.
    lost: Option<Owed>,
    next: u64,
}

/// One debt.
#[derive(Clone, Copy, Debug)]
struct Owed {
    number: u64,
    /// From then on nothing older can exist.
    until: Instant,
}

/// A moment: a command that is sent after it settles what was queued before it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Ticket(u64);

/// Keys to be removed together.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Chunk {
    pub(crate) keys: Vec<Key>,
    /// Taken with the keys: who queues one of them again from now on is not settled by this.
    pub(crate) ticket: Ticket,
    /// Where the next chunk begins.
    pub(crate) next: Ticket,
}

/// Why a key is not to be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Bypass {
    /// Its removal is owed.
    Key,
    /// Its removal may have been lost track of.
    All,
}

impl Queue {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            owed: HashMap::default(),
            order: BTreeMap::new(),
            lost: None,
            next: 0,
        }
    }

    /// Notes that the removal of `keys` is owed, until nothing older than `until` can exist.
    pub(super) fn owe(&mut self, keys: impl IntoIterator<Item = Key>, until: Instant) {
        for key in keys {
            let number = self.next;
            self.next += 1;
            let debt = Owed { number, until };
            if let Some(owed) = self.owed.get_mut(&key) {
                // The key as it was queued first: both maps are to share one copy of its text.
                let queued = self.order.remove(&mem::replace(owed, debt).number);
                self.order.insert(number, queued.unwrap_or(key));
            } else if self.owed.len() < self.limit {
                self.owed.insert(key.clone(), debt);
                self.order.insert(number, key);
            } else {
                let latest = self.lost.map_or(until, |lost| lost.until.max(until));
                self.lost = Some(Owed {
                    number,
                    until: latest,
                });
            }
        }
    }

    /// Now.
    pub(super) fn ticket(&self) -> Ticket {
        Ticket(self.next)
    }

    /// Settles the debt of each of `keys`, unless it was queued again after `ticket`.
    pub(super) fn settle(
        &mut self,
        keys: impl IntoIterator<Item = impl Borrow<Key>>,
        ticket: Ticket,
    ) {
        for key in keys {
            let key = key.borrow();
            if let Some(owed) = self.owed.get(key)
                && owed.number < ticket.0
            {
                self.order.remove(&owed.number);
                self.owed.remove(key);
            }
        }
        self.shrink();
    }

    /// Settles every debt of before `ticket`, also of what was lost track of, if none is of later:
    /// then what was owed, which is to be dropped where that holds up nobody.
    pub(super) fn settle_all(&mut self, ticket: Ticket) -> Option<impl Sized + use<>> {
        let is_later = |number: u64| number >= ticket.0;
        let last = self.order.last_key_value().map(|(number, _)| *number);
        if last.is_some_and(is_later) {
            return None;
        }
        self.lost = self.lost.filter(|lost| is_later(lost.number));
        Some((mem::take(&mut self.owed), mem::take(&mut self.order)))
    }

    /// Settles up to `most` debts of before `ticket`, and when none is left that of what was lost
    /// track of; whether there are more.
    pub(super) fn settle_some(&mut self, ticket: Ticket, most: usize) -> bool {
        let is_settled = |number: u64, _: Option<&Owed>| number < ticket.0;
        if self.forget(most, is_settled) {
            return true;
        }
        self.lost = self.lost.filter(|lost| lost.number >= ticket.0);
        false
    }

    /// Forgets up to `most` debts that are over at `now`; whether there are more.
    pub(super) fn expire(&mut self, now: Instant, most: usize) -> bool {
        self.lost = self.lost.filter(|lost| lost.until > now);
        self.forget(most, |_, owed| owed.is_none_or(|owed| owed.until <= now))
    }

    /// Forgets the first debts, up to `most` of them, as long as they are `over`; whether the next
    /// is, too.
    fn forget(&mut self, most: usize, over: impl Fn(u64, Option<&Owed>) -> bool) -> bool {
        let mut left = most;
        while let Some(first) = self.order.first_entry()
            && over(*first.key(), self.owed.get(first.get()))
        {
            if left == 0 {
                return true;
            }
            left -= 1;
            self.owed.remove(&first.remove());
        }
        self.shrink();
        false
    }

    /// The first keys, `most` of them, that were queued from `from` on and before `end`.
    pub(super) fn chunk(&self, from: Ticket, end: Ticket, most: usize) -> Option<Chunk> {
        let due = self.order.range(from.0..end.0.max(from.0)).take(most);
        let (numbers, keys): (Vec<u64>, Vec<Key>) =
            due.map(|(number, key)| (*number, key.clone())).unzip();
        let last = numbers.last()?;
        Some(Chunk {
            keys,
            ticket: self.ticket(),
            next: Ticket(last + 1),
        })
    }

    /// Whether the key with this text is not to be read at `now`.
    pub(super) fn bypass(&self, text: &[u8], now: Instant) -> Option<Bypass> {
        if self.lost_until(now).is_some() {
            return Some(Bypass::All);
        }
        let owed = self.owed.get(text)?;
        (owed.until > now).then_some(Bypass::Key)
    }

    /// Until when keys may exist that were lost track of, if there are any at `now`.
    pub(super) fn lost_until(&self, now: Instant) -> Option<Instant> {
        let until = self.lost?.until;
        (until > now).then_some(until)
    }

    pub(super) fn len(&self) -> usize {
        self.owed.len()
    }

    /// Whether no key is to be bypassed.
    pub(super) fn is_empty(&self) -> bool {
        self.owed.is_empty() && self.lost.is_none()
    }

    /// Gives the memory of a long outage back.
    fn shrink(&mut self) {
        if self.owed.is_empty() {
            self.owed.shrink_to_fit();
        }
    }
}

impl Ticket {
    /// Before everything.
    pub(crate) const FIRST: Self = Self(0);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn keys<const N: usize>(names: [&str; N]) -> Vec<Key> {
        names.map(|name| Key::new(name.as_bytes())).into()
    }

    fn due(queue: &Queue) -> Vec<Key> {
        let chunk = queue.chunk(Ticket::FIRST, queue.ticket(), usize::MAX);
        chunk.map(|chunk| chunk.keys).unwrap_or_default()
    }

    #[test]
    fn a_key_is_owed_once_and_goes_to_the_end_when_it_is_queued_again() {
        let mut queue = Queue::new(10);
        let now = Instant::now();
        queue.owe(keys(["a", "b", "a", "c", "b"]), now + SECOND);
        assert_eq!(due(&queue), keys(["a", "c", "b"]));
        assert_eq!(queue.len(), 3);
    }

    #[test]
    fn an_attempt_of_before_does_not_settle_a_key_that_was_queued_again() {
        let mut queue = Queue::new(10);
        let until = Instant::now() + SECOND;
        queue.owe(keys(["a", "b"]), until);
        let ticket = queue.ticket();
        queue.owe(keys(["a"]), until);

        queue.settle(keys(["a", "b", "c"]), ticket);
        assert_eq!(due(&queue), keys(["a"]));
        queue.settle(keys(["a"]), queue.ticket());
        assert!(queue.is_empty());
    }

    #[test]
    fn nothing_is_owed_once_nothing_older_can_exist() {
        let mut queue = Queue::new(1);
        let now = Instant::now();
        queue.owe(keys(["a"]), now + SECOND);
        queue.owe(keys(["b"]), now + 2 * SECOND);
        let (almost, over) = (now + SECOND - Duration::from_nanos(1), now + SECOND);
        assert_eq!(queue.bypass(b"a", almost), Some(Bypass::All));

        queue.lost = None;
        assert_eq!(queue.bypass(b"a", almost), Some(Bypass::Key));
        assert_eq!(queue.bypass(b"b", almost), None);
        assert_eq!(queue.bypass(b"a", over), None, "the boundary is over");
        assert!(!queue.expire(almost, 9));
        assert_eq!(queue.len(), 1);
        assert!(!queue.expire(over, 9));
        assert!(queue.is_empty());
    }

    #[test]
    fn beyond_the_limit_keys_are_lost_track_of_until_the_last_of_them_is_over() {
        let mut queue = Queue::new(2);
        let now = Instant::now();
        queue.owe(keys(["a", "b", "a"]), now + SECOND);
        assert_eq!(queue.lost_until(now), None, "two keys fit");
        queue.owe(keys(["c"]), now + 2 * SECOND);
        queue.owe(keys(["d"]), now + 3 * SECOND);
        assert_eq!(queue.lost_until(now), Some(now + 3 * SECOND));
        assert_eq!(queue.bypass(b"e", now + 2 * SECOND), Some(Bypass::All));
        assert_eq!(queue.bypass(b"e", now + 3 * SECOND), None);

        queue.expire(now + 2 * SECOND, 9);
        assert_eq!(queue.len(), 0);
        assert!(!queue.is_empty(), "the lost are still about");
        queue.expire(now + 3 * SECOND, 9);
        assert!(queue.is_empty());
    }

    #[test]
    fn what_is_lost_later_and_over_earlier_does_not_shorten_the_bypass() {
        let mut queue = Queue::new(1);
        let now = Instant::now();
        queue.owe(keys(["a", "b"]), now + 2 * SECOND);
        let ticket = queue.ticket();
        queue.owe(keys(["c"]), now + SECOND);
        assert_eq!(queue.lost_until(now), Some(now + 2 * SECOND));
        queue.settle_some(ticket, 9);
        assert!(queue.lost_until(now).is_some(), "lost after it");
    }

    #[test]
    fn a_key_that_is_queued_again_keeps_one_copy_of_its_text() {
        let mut queue = Queue::new(1);
        let until = Instant::now() + SECOND;
        queue.owe(keys(["a"]), until);
        queue.owe(keys(["a"]), until);
        let ordered = queue.order.values().next().unwrap().as_bytes().as_ptr();
        let owed = queue.owed.keys().next().unwrap().as_bytes().as_ptr();
        assert_eq!(ordered, owed);
    }

    #[test]
    fn a_clear_settles_what_was_queued_or_lost_before_it() {
        let mut queue = Queue::new(2);
        let now = Instant::now();
        queue.owe(keys(["a", "b", "c"]), now + SECOND);
        let ticket = queue.ticket();
        queue.owe(keys(["b"]), now + SECOND);
        assert!(queue.settle_all(ticket).is_none(), "one is of later");
        assert_eq!(queue.len(), 2);
        assert!(!queue.settle_some(ticket, 9));
        assert_eq!(due(&queue), keys(["b"]));
        assert_eq!(queue.bypass(b"c", now), None);

        queue.owe(keys(["d", "e"]), now + SECOND);
        assert!(!queue.settle_some(ticket, 9));
        assert_eq!(queue.bypass(b"c", now), Some(Bypass::All), "lost after it");

        let ticket = queue.ticket();
        assert!(queue.settle_all(ticket).is_some());
        assert!(queue.is_empty(), "also of what was lost");
        queue.owe(keys(["a"]), now + SECOND);
        assert!(queue.settle_all(ticket).is_none());
        assert_eq!(due(&queue), keys(["a"]));
    }

    #[test]
    fn a_clear_does_not_settle_what_was_lost_after_it() {
        let mut queue = Queue::new(1);
        let now = Instant::now();
        queue.owe(keys(["a"]), now + SECOND);
        let ticket = queue.ticket();
        queue.owe(keys(["b"]), now + SECOND);
        assert!(queue.settle_all(ticket).is_some());
        assert_eq!(queue.len(), 0);
        assert_eq!(queue.bypass(b"b", now), Some(Bypass::All));
    }

    #[test]
    fn many_debts_are_forgotten_a_few_at_a_time() {
        let now = Instant::now();
        let five = || {
            let mut queue = Queue::new(5);
            queue.owe(keys(["a", "b", "c", "d", "e", "f"]), now + SECOND);
            queue
        };
        let mut queue = five();
        let over = now + SECOND;
        for (left, more) in [(3, true), (1, true), (0, false)] {
            assert_eq!(queue.expire(over, 2), more);
            assert_eq!(queue.len(), left);
        }
        assert!(queue.is_empty());

        let mut queue = five();
        let ticket = queue.ticket();
        for (left, more) in [(3, true), (1, true), (0, false)] {
            assert_eq!(queue.bypass(b"e", now), Some(Bypass::All));
            assert_eq!(queue.settle_some(ticket, 2), more);
            assert_eq!(queue.len(), left);
        }
        assert!(queue.is_empty());

        let mut queue = Queue::new(9);
        queue.owe(keys(["a", "b"]), now + SECOND);
        assert!(!queue.expire(over, 2), "as many as may be");
        assert!(queue.is_empty());
    }

    #[test]
    fn chunks_follow_one_another_and_end_where_the_round_began() {
        let mut queue = Queue::new(10);
        let until = Instant::now() + SECOND;
        queue.owe(keys(["a", "b", "c"]), until);
        let end = queue.ticket();
        let first = queue.chunk(Ticket::FIRST, end, 2).unwrap();
        assert_eq!(first.keys, keys(["a", "b"]));
        queue.owe(keys(["a", "d"]), until);
        let second = queue.chunk(first.next, end, 2).unwrap();
        assert_eq!(second.keys, keys(["c"]));
        assert_eq!(queue.chunk(second.next, end, 2), None);
    }
}
