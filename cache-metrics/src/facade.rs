//! The series through the `metrics` facade.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Weak},
    time::Duration,
};

use cache_core::{BackendCall, CacheRecorder, Event, Recorder};
use metrics::{Key, Label, Level, Metadata, Unit, with_recorder};
use parking_lot::Mutex;

use crate::{
    SetupError, Snapshot, Stats,
    catalogue::{FAMILIES, Family, Kind, Value},
    counters::{CacheCounters, CacheId},
    ticker::Ticker,
};

const METADATA: Metadata<'static> =
    Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

/// Hands what is counted to the exporter that a service has installed for the `metrics` facade.
///
/// It is a [`Recorder`] over [`Stats`], to be given to the engine in their place:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// use cache_core::Engine;
/// use cache_memory::Memory;
/// use cache_metrics::{Facade, Stats};
///
/// // First install the exporter of your choice, then:
/// let stats = Stats::new();
/// let facade = Facade::new(&stats);
/// facade.publish_every(Duration::from_secs(5))?;
///
/// let memory = Memory::builder().max_entries(1_000).build()?;
/// let engine = Engine::builder(memory).recorder(facade).build()?;
/// # drop(engine);
/// # Ok(())
/// # }
/// ```
///
/// Counters and gauges are handed on when they are [published](Self::publish), and those of a cache
/// once more when it is dropped; so a hit costs what it costs with [`Stats`] alone. Durations are
/// recorded one by one as they come, since the facade takes them in no other way, and its exporter
/// decides what it makes of them. An engine that was given the [`Stats`] themselves hands no
/// durations on. Names and labels are those of the [catalogue](crate::catalogue).
///
/// What is handed on before an exporter is installed is lost. The series of a cache that is dropped
/// stay in the exporter as they were, unless it drops what is idle: the facade has no word for
/// their end.
///
/// Cheap to clone: clones share everything.
#[derive(Clone, Debug)]
pub struct Facade {
    inner: Arc<Inner>,
}

struct Inner {
    stats: Stats,
    /// Of the histogram of each [`BackendCall`].
    calls: [Key; BackendCall::ALL.len()],
    published: Mutex<Published>,
    publishing: Mutex<Option<Ticker>>,
}

/// What was handed on of each counter.
#[derive(Debug, Default)]
struct Published(HashMap<Series, u64>);

/// A counter: its family, the cache it is of, if it is, and its label values.
type Series = (&'static str, Option<CacheId>, Vec<String>);

/// Counts the events of one cache, and hands on durations.
struct CacheFacade {
    facade: Arc<Inner>,
    counters: Arc<CacheCounters>,
    loads: Key,
}

impl Facade {
    /// A facade over `stats`.
    #[must_use]
    pub fn new(stats: &Stats) -> Self {
        let calls = BackendCall::ALL.map(|call| {
            let label = Label::from_static_parts("call", call.as_str());
            key(stats, "cache_backend_duration_seconds", [label])
        });
        Self {
            inner: Arc::new(Inner {
                stats: stats.clone(),
                calls,
                published: Mutex::default(),
                publishing: Mutex::default(),
            }),
        }
    }

    /// Adds to the exporter's counters what came since they were published last, and sets its
    /// gauges.
    ///
    /// It takes some ten microseconds per cache, of the thread that calls it.
    pub fn publish(&self) {
        let mut published = self.inner.published.lock();
        let snapshot = self.inner.stats.snapshot();
        FAMILIES.iter().for_each(describe);
        self.inner.hand_on(&mut published, &snapshot);
        let alive: HashSet<_> = snapshot.caches.iter().map(|cache| cache.id).collect();
        let is_alive = |(_, id, _): &Series| id.is_none_or(|id| alive.contains(&id));
        published.0.retain(|series, _| is_alive(series));
    }

    /// [Publishes](Self::publish) every `interval`, until the last handle of this facade is
    /// dropped, of which the engine and each cache have one, or until the runtime it is called in
    /// ends. Called again, it goes on with the new interval.
    ///
    /// What was counted by no cache since the last time, such as errors of the backend, is not
    /// handed on at the end: [`publish`](Self::publish) once more for that.
    ///
    /// # Errors
    ///
    /// [`SetupError::ZeroInterval`] if `interval` is zero, [`SetupError::NoRuntime`] outside any
    /// tokio runtime with timers.
    pub fn publish_every(&self, interval: Duration) -> Result<(), SetupError> {
        let facade = Arc::downgrade(&self.inner);
        let publish = move || match Weak::upgrade(&facade) {
            Some(inner) => {
                Self { inner }.publish();
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(()),
        };
        let publishing = Ticker::start(interval, "publish_every", publish)?;
        *self.inner.publishing.lock() = Some(publishing);
        Ok(())
    }
}

impl Inner {
    /// Hands on the counters and gauges of `snapshot`.
    fn hand_on(&self, published: &mut Published, snapshot: &Snapshot) {
        let ids: HashMap<_, _> = snapshot
            .caches
            .iter()
            .map(|cache| (cache.name(), cache.id))
            .collect();
        for family in FAMILIES {
            family.read(snapshot, &mut |values, value| {
                let names = family.labels().iter();
                let labels = names
                    .zip(values)
                    .map(|(name, value)| Label::new(*name, (*value).to_owned()));
                let key = || key(&self.stats, family.name(), labels);
                match value {
                    Value::Count(count) => {
                        let is_of_cache = family.labels().first() == Some(&"cache");
                        let id = values.first().filter(|_| is_of_cache);
                        let id = id.and_then(|name| ids.get(name)).copied();
                        let values = values.iter().map(|value| (*value).to_owned()).collect();
                        published.add((family.name(), id, values), count, key);
                    }
                    Value::Level(level) => with_recorder(|recorder| {
                        recorder.register_gauge(&key(), &METADATA).set(float(level));
                    }),
                    // Recorded as they came.
                    Value::Distribution(_) => {}
                }
            });
        }
    }

    fn record_call(&self, event: Event) {
        if let Event::Backend { call, took, .. } = event {
            let place = BackendCall::ALL.iter().position(|other| *other == call);
            if let Some(key) = place.and_then(|place| self.calls.get(place)) {
                record(key, took);
            }
        }
    }
}

impl Published {
    /// Hands on what a counter has grown by.
    fn add(&mut self, series: Series, count: u64, key: impl FnOnce() -> Key) {
        let before = self.0.get(&series).copied();
        // Nothing, if a newer count was handed on already.
        let new = count.saturating_sub(before.unwrap_or(0));
        if before.is_some() && new == 0 {
            return;
        }
        // Not `absolute`: some exporters take a counter that is registered again for another one.
        with_recorder(|recorder| {
            recorder.register_counter(&key(), &METADATA).increment(new);
        });
        self.0.insert(series, count);
    }
}

impl Recorder for Facade {
    fn cache(&self, name: &str) -> Arc<dyn CacheRecorder> {
        let label = Label::new("cache", name.to_owned());
        Arc::new(CacheFacade {
            facade: Arc::clone(&self.inner),
            counters: self.inner.stats.counters(name),
            loads: key(&self.inner.stats, "cache_load_duration_seconds", [label]),
        })
    }

    fn record(&self, event: Event) {
        self.inner.record_call(event);
        self.inner.stats.record(event);
    }
}

impl CacheRecorder for CacheFacade {
    fn record(&self, event: Event) {
        if let Event::Load { took, .. } = event {
            record(&self.loads, took);
        }
        self.facade.record_call(event);
        self.counters.record(event);
    }
}

impl Drop for CacheFacade {
    fn drop(&mut self) {
        // The exporter is other people's code, and its panic is none of who drops a cache.
        let handed_on = catch_unwind(AssertUnwindSafe(|| {
            let mut published = self.facade.published.lock();
            let snapshot = Snapshot {
                caches: vec![self.counters.read()],
                engine: self.facade.stats.engine_snapshot(),
            };
            self.facade.hand_on(&mut published, &snapshot);
        }));
        drop(handed_on);
    }
}

/// Registered each time: an exporter that forgets what is idle has another histogram afterwards.
fn record(key: &Key, took: Duration) {
    with_recorder(|recorder| recorder.register_histogram(key, &METADATA).record(took));
}

fn describe(family: &Family) {
    let (name, help) = (family.name().into(), family.help().into());
    with_recorder(|recorder| match family.kind() {
        Kind::Counter => recorder.describe_counter(name, Some(Unit::Count), help),
        Kind::Gauge => recorder.describe_gauge(name, Some(Unit::Count), help),
        Kind::Histogram => recorder.describe_histogram(name, Some(Unit::Seconds), help),
    });
}

fn key(stats: &Stats, name: &'static str, labels: impl IntoIterator<Item = Label>) -> Key {
    let engine = stats.engine_name();
    let engine = engine.map(|name| Label::new("engine", name.to_owned()));
    let labels: Vec<_> = engine.into_iter().chain(labels).collect();
    Key::from_parts(name, labels)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "gauges here are counts of keys, or 0 and 1"
)]
fn float(level: u64) -> f64 {
    level as f64
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CacheFacade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheFacade")
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_of_a_cache_that_is_gone() {
        let facade = Facade::new(&Stats::new());
        let known = || facade.inner.published.lock().0.len();
        facade.publish();
        let of_engine = known();
        for _ in 0..3 {
            let user = facade.cache("user");
            facade.publish();
            assert!(known() > of_engine);
            drop(user);
            facade.publish();
            assert_eq!(known(), of_engine);
        }
    }
}
