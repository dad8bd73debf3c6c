//! What the caches of an engine and its actors share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use parking_lot::Mutex;

use super::{
    Busy, Config, OutageLoads, Outbox,
    admission::Admission,
    busy::Work,
    pulse::Pulse,
    trouble::{Trouble, is_trouble},
};
use crate::{
    Backend, BackendCall, Error,
    flight::{SeatId, WaitGraph},
    observer::Observer,
};

#[cfg(feature = "testing")]
use crate::testing::Mutant;

/// Sets engines of one process apart, so that a load knows whose it is.
static NEXT_ENGINE: AtomicU64 = AtomicU64::new(0);

/// What the caches of an engine and its actors share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) id: u64,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) config: Config,
    pub(crate) observer: Observer,
    pub(crate) admission: Arc<Admission>,
    pub(crate) outage_loads: Arc<OutageLoads>,
    /// Which load waits for which; touched only by calls that are made inside a load.
    pub(crate) waits: Mutex<WaitGraph>,
    pub(crate) outbox: Outbox,
    pulse: Pulse,
    trouble: Trouble,
    work: Arc<Work>,
    shut_down: AtomicBool,
    ids: AtomicU64,
    #[cfg(feature = "testing")]
    pub(super) messages: AtomicU64,
}

impl Core {
    pub(super) fn new(backend: Arc<dyn Backend>, config: Config, observer: Observer) -> Self {
        Self {
            id: NEXT_ENGINE.fetch_add(1, Ordering::Relaxed),
            backend,
            admission: Arc::new(Admission::new(config.max_waiting)),
            outage_loads: Arc::new(OutageLoads::new(config.outage)),
            outbox: Outbox::new(config.max_queued_invalidations, observer.clone()),
            config,
            observer,
            waits: Mutex::default(),
            pulse: Pulse::default(),
            trouble: Trouble::default(),
            work: Arc::default(),
            shut_down: AtomicBool::new(false),
            ids: AtomicU64::new(0),
            #[cfg(feature = "testing")]
            messages: AtomicU64::new(0),
        }
    }

    /// A number that was not drawn before.
    pub(crate) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// A name for a call that is made inside a load.
    pub(crate) fn next_seat(&self) -> SeatId {
        SeatId(self.next_id())
    }

    /// Why the key with this text is not to be read, if it is not.
    #[inline]
    pub(crate) fn bypass(&self, text: &[u8]) -> Option<Error> {
        let bypass = self.outbox.bypass(text);
        #[cfg(feature = "testing")]
        let bypass = bypass.filter(|_| self.config.rules.mutant != Some(Mutant::ReadQueued));
        bypass
    }

    /// Takes note of the answer to a read: the first after one that was not answered means that
    /// the backend is back, and that what is owed to it can be delivered.
    pub(crate) fn hear<T>(&self, answer: &Result<T, Error>) {
        if self.pulse.hear(answer.as_ref().map(drop)) && self.outbox.is_owing() {
            self.outbox.wake();
        }
    }

    /// Says in the log why a `call` to the backend failed, unless that was said lately, or is the
    /// caller's own doing.
    pub(crate) fn say_why(&self, call: BackendCall, error: &Error) {
        if is_trouble(error.kind()) {
            self.trouble.hear(self.backend.name(), call, error);
        }
    }

    /// Counts what a caller sends to the threads of the shards.
    #[cfg(feature = "testing")]
    pub(crate) fn count_message(&self) {
        self.messages.fetch_add(1, Ordering::Relaxed);
    }

    /// Says that some background work runs, until the answer is dropped.
    pub(crate) fn busy(&self) -> Busy {
        Busy::new(Arc::clone(&self.work))
    }

    /// Waits until no background work runs.
    pub(super) async fn idle(&self) {
        self.work.idle().await;
    }

    /// How much background work runs.
    pub(super) fn running(&self) -> usize {
        self.work.count()
    }

    /// Whether the engine was shut down. Asked by who is [`busy`](Self::busy) already, so that a
    /// shutdown that is not seen here waits for them: both orders are sequentially consistent.
    pub(crate) fn is_shut_down(&self) -> bool {
        self.shut_down.load(Ordering::SeqCst)
    }

    pub(super) fn shut_down(&self) {
        self.shut_down.store(true, Ordering::SeqCst);
        self.outbox.close();
    }
}
