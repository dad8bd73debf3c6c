//! What the caches of an engine and its actors share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use parking_lot::Mutex;

use super::{Busy, Config, OutageLoads, Outbox, admission::Admission, busy::Work};
use crate::{
    Backend,
    flight::{SeatId, WaitGraph},
    observer::Observer,
};

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
            config,
            observer,
            waits: Mutex::default(),
            outbox: Outbox::default(),
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
