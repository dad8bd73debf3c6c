//! Removals that could not be delivered yet, and the keys that are bypassed for them.

use std::{
    borrow::Borrow,
    sync::atomic::{AtomicBool, Ordering},
};

use parking_lot::{Mutex, RwLock};
use tokio::{sync::watch, time::Instant};
use tracing::{error, info};

use super::queue::{Bypass, Chunk, Queue, Ticket};
use crate::{Error, ErrorKind, Event, Key, observer::Observer};

/// How many debts are forgotten before others get the lock: every read waits for it.
const SLICE: usize = 4_096;

/// The removals that are owed to the backend.
///
/// Until they are delivered the old entries may still be there, so this engine does not read
/// them. One task at a time delivers; see [`crate::actor`].
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: RwLock<Queue>,
    /// Whether anything is in the queue: what each read looks at.
    bypasses: AtomicBool,
    /// Whether a task delivers; changed under the lock of the queue, so that it ends only if it
    /// leaves nothing behind.
    delivering: AtomicBool,
    /// Wakes the task that delivers.
    wakes: watch::Sender<()>,
    closed: watch::Sender<bool>,
    told: Mutex<Told>,
    observer: Observer,
}

/// What the recorder was told last.
#[derive(Debug, Default)]
struct Told {
    queued: usize,
    bypasses_all: bool,
}

impl Outbox {
    pub(super) fn new(limit: usize, observer: Observer) -> Self {
        Self {
            queue: RwLock::new(Queue::new(limit)),
            bypasses: AtomicBool::new(false),
            delivering: AtomicBool::new(false),
            wakes: watch::Sender::new(()),
            closed: watch::Sender::new(false),
            told: Mutex::default(),
            observer,
        }
    }

    /// Why the key with this text is not to be read, if it is not: its entry may be one that was
    /// invalidated.
    #[inline]
    pub(crate) fn bypass(&self, text: &[u8]) -> Option<Error> {
        if self.bypasses.load(Ordering::Acquire) {
            self.look_up(text)
        } else {
            None
        }
    }

    #[cold]
    fn look_up(&self, text: &[u8]) -> Option<Error> {
        let bypass = self.queue.read().bypass(text, Instant::now())?;
        Some(Error::new(
            ErrorKind::Unavailable,
            match bypass {
                Bypass::Key => {
                    "the removal of the key is not confirmed yet, so it is not read: it will be \
                     once the backend has confirmed"
                }
                Bypass::All => {
                    "more removals than `max_queued_invalidations` were not confirmed, so nothing \
                     is read until none of them can exist: clear the engine to end that"
                }
            },
        ))
    }

    /// Notes that the removal of `keys` is owed, until nothing older than `until` can exist.
    pub(crate) fn owe(&self, keys: Vec<Key>, until: Instant) {
        self.change(|queue| queue.owe(keys, until));
    }

    /// A moment: a command that is sent after it settles what was queued before it.
    pub(crate) fn ticket(&self) -> Ticket {
        self.queue.read().ticket()
    }

    /// Settles the removals of `keys`, except those queued again after `ticket`.
    pub(crate) fn settle(&self, keys: impl IntoIterator<Item = impl Borrow<Key>>, ticket: Ticket) {
        if self.bypasses.load(Ordering::Acquire) {
            self.change(|queue| queue.settle(keys, ticket));
        }
    }

    /// Settles all that was queued before `ticket`.
    pub(crate) fn settle_all(&self, ticket: Ticket) {
        let settled = self.apply(|queue| queue.settle_all(ticket));
        if settled.is_none() {
            while self.apply(|queue| queue.settle_some(ticket, SLICE)) {}
        }
        self.tell();
    }

    /// The next keys, `most` of them, that were queued from `from` on and before `end`.
    pub(crate) fn chunk(&self, from: Ticket, end: Ticket, most: usize) -> Option<Chunk> {
        self.queue.read().chunk(from, end, most)
    }

    /// Changes the queue, and tells of what that changes.
    fn change(&self, change: impl FnOnce(&mut Queue)) {
        self.apply(change);
        self.tell();
    }

    /// Changes the queue.
    fn apply<T>(&self, change: impl FnOnce(&mut Queue) -> T) -> T {
        let (answer, is_empty) = {
            let mut queue = self.queue.write();
            let answer = change(&mut queue);
            let is_empty = queue.is_empty();
            // Under the lock, so that the last change is what stays.
            self.bypasses.store(!is_empty, Ordering::Release);
            (answer, is_empty)
        };
        if is_empty {
            self.wake();
        }
        answer
    }

    /// Tells the recorder, and the log, how things are now.
    fn tell(&self) {
        // The recorder is the user's code and must not hold up reads; and what it is told last
        // must be how things are.
        let mut told = self.told.lock();
        let (queued, bypasses_all) = {
            let queue = self.queue.read();
            (queue.len(), queue.lost_until(Instant::now()).is_some())
        };
        if bypasses_all != told.bypasses_all {
            told.bypasses_all = bypasses_all;
            if bypasses_all {
                error!(
                    "more removals than `max_queued_invalidations` are not confirmed: this engine \
                     reads nothing from the cache until none of what they remove can exist; clear the \
                     engine to end that"
                );
            } else {
                info!("the cache is read again");
            }
            self.observer.record(Event::BypassesAll(bypasses_all));
        }
        if queued != told.queued {
            told.queued = queued;
            self.observer.record(Event::QueuedInvalidations(queued));
        }
    }

    /// Whether a task that delivers is to be started, because there is none: then what wakes it.
    ///
    /// Also when the outbox is closed: what is queued then is tried once more as well.
    pub(crate) fn start(&self) -> Option<watch::Receiver<()>> {
        let wakes = self.wakes.subscribe();
        let _queue = self.queue.write();
        let is_needed = !self.delivering.swap(true, Ordering::Relaxed);
        is_needed.then_some(wakes)
    }

    /// Forgets what is over by now. `false` if nothing is left, and the task that delivers ends.
    pub(crate) fn goes_on(&self) -> bool {
        let now = Instant::now();
        while self.apply(|queue| queue.expire(now, SLICE)) {}
        self.tell();
        let queue = self.queue.write();
        let goes_on = !queue.is_empty();
        if !goes_on {
            self.delivering.store(false, Ordering::Relaxed);
        }
        goes_on
    }

    /// Whether the task that delivers ends after its last round, which is so unless something was
    /// queued after `ticket`.
    pub(crate) fn ends(&self, ticket: Ticket) -> bool {
        let queue = self.queue.write();
        let ends = queue.ticket() == ticket;
        if ends {
            self.delivering.store(false, Ordering::Relaxed);
        }
        ends
    }

    /// Wakes the task that delivers.
    pub(super) fn wake(&self) {
        self.wakes.send_replace(());
    }

    /// Whether a task that delivers has something to wait for.
    pub(crate) fn is_owing(&self) -> bool {
        self.bypasses.load(Ordering::Acquire)
    }

    /// How many keys are owed.
    pub(crate) fn len(&self) -> usize {
        self.queue.read().len()
    }

    /// Until when all keys are bypassed, if they are.
    pub(crate) fn bypasses_all_until(&self) -> Option<Instant> {
        self.queue.read().lost_until(Instant::now())
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

    fn outbox() -> Outbox {
        Outbox::new(10, Observer::Nobody)
    }

    fn owe(outbox: &Outbox) {
        let until = Instant::now() + Duration::from_secs(1);
        outbox.owe(vec![Key::new(b"k")], until);
    }

    #[test]
    fn one_task_delivers_and_ends_when_nothing_is_left() {
        let outbox = outbox();
        owe(&outbox);
        assert!(outbox.start().is_some());
        owe(&outbox);
        assert!(outbox.start().is_none(), "one task is enough");
        assert!(outbox.goes_on());

        outbox.settle(&[Key::new(b"k")], outbox.ticket());
        assert!(!outbox.goes_on());
        owe(&outbox);
        assert!(outbox.start().is_some(), "the one before has ended");
    }

    #[test]
    fn a_key_is_bypassed_from_when_it_is_owed_until_that_is_settled() {
        let outbox = outbox();
        assert!(outbox.bypass(b"k").is_none());
        owe(&outbox);
        assert_eq!(outbox.bypass(b"k").unwrap().kind(), ErrorKind::Unavailable);
        assert!(outbox.bypass(b"other").is_none());
        outbox.settle_all(outbox.ticket());
        assert!(outbox.bypass(b"k").is_none());
    }

    #[test]
    fn a_closed_outbox_starts_one_task_for_what_is_queued_then() {
        let outbox = outbox();
        outbox.close();
        owe(&outbox);
        assert!(outbox.start().is_some());
        let end = outbox.ticket();
        owe(&outbox);
        assert!(outbox.start().is_none(), "the one that runs sees to it");
        assert!(!outbox.ends(end), "there is more");
        assert!(outbox.ends(outbox.ticket()));
        assert_eq!(outbox.len(), 1, "and still counts");
        owe(&outbox);
        assert!(outbox.start().is_some(), "the one before has ended");
    }
}
