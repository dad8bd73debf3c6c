//! The recorder that counts.

use std::{
    collections::BTreeMap,
    fmt,
    ops::ControlFlow,
    sync::{Arc, Weak},
    time::Duration,
};

use cache_core::{CacheRecorder, Event, Recorder};
use parking_lot::Mutex;

use crate::{
    EngineSnapshot, SetupError, Snapshot,
    counters::{CacheCounters, EngineCounters},
    log_line::Told,
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
/// load has ended: a cache that is built again under its name begins at zero, unless the old counts
/// were being read at that very moment, then it goes on with them. Two caches of one name at the
/// same time, which only two engines can have, are counted together; so give each engine stats of
/// its own, with a [name](Self::named).
#[derive(Clone, Debug)]
pub struct Stats {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    engine_name: Option<String>,
    engine: Arc<EngineCounters>,
    registry: Arc<Registry>,
    told: Mutex<Option<Told>>,
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

    /// Stats of one of several engines. The name is the label `engine` of all its series. An empty
    /// one is none, as it is to Prometheus.
    #[must_use]
    pub fn named(engine: impl Into<String>) -> Self {
        Self::of(Some(engine.into()).filter(|name| !name.is_empty()))
    }

    fn of(engine_name: Option<String>) -> Self {
        Self {
            inner: Arc::new(Inner {
                engine_name,
                engine: Arc::default(),
                registry: Arc::default(),
                told: Mutex::default(),
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
            engine: self.engine_snapshot(),
        }
    }

    pub(crate) fn engine_snapshot(&self) -> EngineSnapshot {
        self.inner.engine.read()
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
    /// The first line tells what came since this was called. Called again, it goes on with the new
    /// interval. It ends when the last handle of these stats is dropped, of which the engine has
    /// one, and with the runtime it is called in; what came since the last line then gets none. So
    /// does what a cache counted since the last line when it is dropped.
    ///
    /// # Errors
    ///
    /// [`SetupError::ZeroInterval`] if `interval` is zero, [`SetupError::NoRuntime`] outside any
    /// tokio runtime with timers.
    pub fn log_every(&self, interval: Duration) -> Result<(), SetupError> {
        let stats = Arc::downgrade(&self.inner);
        let log = move || {
            let Some(inner) = stats.upgrade() else {
                return ControlFlow::Break(());
            };
            let stats = Self { inner };
            // The snapshot under the lock, so that an older one is never told after a newer; the
            // log without it, which is other people's code.
            let lines = {
                let mut told = stats.inner.told.lock();
                let snapshot = stats.snapshot();
                told.as_mut().map(|told| told.lines(&snapshot))
            };
            for line in lines.into_iter().flatten() {
                line.log(stats.engine_name());
            }
            ControlFlow::Continue(())
        };
        let logging = Ticker::start(interval, "log_every", log)?;
        let snapshot = self.snapshot();
        let mut told = self.inner.told.lock();
        told.get_or_insert_with(|| Told::begin(&snapshot));
        drop(told);
        *self.inner.logging.lock() = Some(logging);
        Ok(())
    }
}

impl Default for Stats {
    fn default() -> Self {
        Self::new()
    }
}

impl Stats {
    /// The counters of the cache with this name.
    pub(crate) fn counters(&self, name: &str) -> Arc<CacheCounters> {
        self.inner.registry.counters(name, &self.inner.engine)
    }
}

impl Recorder for Stats {
    fn cache(&self, name: &str) -> Arc<dyn CacheRecorder> {
        self.counters(name)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_of_a_cache_that_is_dropped() {
        let stats = Stats::new();
        let known = || stats.inner.registry.caches.lock().len();
        let (one, two) = (stats.cache("user"), stats.cache("user"));
        drop(one);
        assert_eq!(known(), 1, "as long as one of them is there");
        drop(two);
        assert_eq!(known(), 0);
    }

    #[test]
    fn who_is_forgotten_late_does_not_take_a_successor_along() {
        let stats = Stats::new();
        let registry = &stats.inner.registry;
        let successor = stats.cache("user");
        registry.forget("user");
        assert_eq!(registry.alive().len(), 1);
        drop(successor);
    }
}
