//! The recorder that counts.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use cache_core::{CacheRecorder, Event, Recorder};
use parking_lot::Mutex;

use crate::{
    SetupError, Snapshot,
    counters::{CacheCounters, EngineCounters},
    log_line::logger,
    ticker::Ticker,
};

/// Counts every event of the caches of one engine.
///
/// Give it to the engine, and to a backend that takes a recorder as well, which then tells it the
/// state of its breaker and the level of the guarantee:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use cache_core::Engine;
/// use cache_memory::Memory;
/// use cache_metrics::Stats;
///
/// let stats = Stats::new();
/// let memory = Memory::builder().max_entries(1_000).build()?;
/// let engine = Engine::builder(memory).recorder(stats.clone()).build()?;
/// # drop(engine);
/// # Ok(())
/// # }
/// ```
///
/// Cheap to clone: clones share everything. A hit costs one increment of a counter that the
/// threads of other cores do not write to.
///
/// The counts of a cache begin with the cache, and end when its last handle is dropped and its last
/// load has ended: a cache that is built again under its name begins at zero. Two caches of one
/// name at the same time, which only two engines can have, are counted together; so give each
/// engine stats of its own, with a [name](Self::named).
#[derive(Clone, Debug)]
pub struct Stats {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    engine_name: Option<String>,
    engine: Arc<EngineCounters>,
    registry: Arc<Registry>,
    logging: Mutex<Option<Ticker>>,
}

/// The caches that are counted. They are held by those who count.
#[derive(Default)]
pub(crate) struct Registry {
    caches: Mutex<BTreeMap<Arc<str>, Weak<CacheCounters>>>,
}

impl Stats {
    /// Stats of the only engine of a service, or of the only one that is watched.
    #[must_use]
    pub fn new() -> Self {
        Self::of(None)
    }

    /// Stats of one of several engines. The name is the label `engine` of all its series.
    #[must_use]
    pub fn named(engine: impl Into<String>) -> Self {
        Self::of(Some(engine.into()))
    }

    fn of(engine_name: Option<String>) -> Self {
        Self {
            inner: Arc::new(Inner {
                engine_name,
                engine: Arc::default(),
                registry: Arc::default(),
                logging: Mutex::default(),
            }),
        }
    }

    /// The name of the engine, if it was given one.
    #[must_use]
    pub fn engine_name(&self) -> Option<&str> {
        self.inner.engine_name.as_deref()
    }

    /// What was counted up to now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let caches = self.inner.registry.alive();
        Snapshot {
            caches: caches.iter().map(|cache| cache.read()).collect(),
            engine: self.inner.engine.read(),
        }
    }

    /// Logs a line about each cache, every `interval`, as go-zero does every minute:
    ///
    /// `dbcache(user) - qpm: 5057, hit_ratio: 98.8%, hit: 4996, miss: 61, db_fails: 0`
    ///
    /// The line is an event of [`tracing`] at level INFO, with the same numbers as fields, and with
    /// `engine` if that has a name. `qpm` is calls per minute, whatever the interval is; `hit`,
    /// `miss` and `db_fails` are counts of the interval. A cache that was not called in an interval
    /// has no line, and its failed loads, if there were any, are in the next one.
    ///
    /// It ends when the last handle of these stats is dropped, of which the engine has one; what
    /// came since the last line then gets none. Called again, it goes on with the new interval.
    ///
    /// # Errors
    ///
    /// [`SetupError::ZeroInterval`] if `interval` is zero, [`SetupError::NoRuntime`] outside any
    /// tokio runtime with timers.
    pub fn log_every(&self, interval: Duration) -> Result<(), SetupError> {
        let stats = Arc::downgrade(&self.inner);
        let snapshot = move || {
            let inner = stats.upgrade()?;
            Some(Self { inner }.snapshot())
        };
        let logger = logger(self.engine_name(), snapshot);
        let logging = Ticker::start(interval, "log_every", logger)?;
        *self.inner.logging.lock() = Some(logging);
        Ok(())
    }
}

impl Default for Stats {
    fn default() -> Self {
        Self::new()
    }
}

impl Recorder for Stats {
    fn cache(&self, name: &str) -> Arc<dyn CacheRecorder> {
        self.inner.registry.counters(name, &self.inner.engine)
    }

    fn record(&self, event: Event) {
        self.inner.engine.record(event);
    }
}

impl Registry {
    /// The counters of the cache with this name.
    fn counters(self: &Arc<Self>, name: &str, engine: &Arc<EngineCounters>) -> Arc<CacheCounters> {
        let mut caches = self.caches.lock();
        if let Some(counters) = caches.get(name).and_then(Weak::upgrade) {
            return counters;
        }
        let name: Arc<str> = name.into();
        let counters = Arc::new(CacheCounters::new(
            Arc::clone(&name),
            Arc::downgrade(self),
            Arc::clone(engine),
        ));
        caches.insert(name, Arc::downgrade(&counters));
        counters
    }

    /// Those that are there now. Collected, since the last of them to be dropped comes back here
    /// for the lock.
    fn alive(&self) -> Vec<Arc<CacheCounters>> {
        let caches = self.caches.lock();
        caches.values().filter_map(Weak::upgrade).collect()
    }

    /// Forgets the counters of this name, unless there are new ones already.
    pub(crate) fn forget(&self, name: &str) {
        let mut caches = self.caches.lock();
        if caches.get(name).is_some_and(|it| it.strong_count() == 0) {
            caches.remove(name);
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.caches.lock().keys()).finish()
    }
}
