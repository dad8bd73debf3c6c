//! The series through the `metrics` facade.

use std::{
    collections::HashMap,
    fmt, mem,
    ops::ControlFlow,
    sync::{Arc, Weak},
    time::Duration,
};

use cache_core::{BackendCall, CacheRecorder, Event, Recorder};
use metrics::{Histogram, Key, Label, Level, Metadata, Unit, with_recorder};
use parking_lot::Mutex;

use crate::{
    SetupError, Stats,
    catalogue::{FAMILIES, Family, Kind, Value},
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
/// Counters and gauges are handed on when they are [published](Self::publish), so a hit costs what
/// it costs with [`Stats`] alone. Durations are recorded one by one as they come, since the facade
/// takes them in no other way, and its exporter decides what it makes of them. Names and labels are
/// those of the [catalogue](crate::catalogue).
///
/// The series of a cache that is dropped stay in the exporter as they were, unless it drops what is
/// idle: the facade has no word for their end.
///
/// Cheap to clone: clones share everything.
#[derive(Clone, Debug)]
pub struct Facade {
    inner: Arc<Inner>,
}

struct Inner {
    stats: Stats,
    /// By [`BackendCall`].
    calls: Arc<[Histogram; BackendCall::ALL.len()]>,
    published: Mutex<Published>,
    publishing: Mutex<Option<Ticker>>,
}

/// What was handed on of each counter: its name, its label values, and its count.
type Published = HashMap<(&'static str, Vec<String>), u64>;

/// Counts the events of one cache, and hands on durations.
struct CacheFacade {
    counters: Arc<dyn CacheRecorder>,
    loads: Histogram,
    calls: Arc<[Histogram; BackendCall::ALL.len()]>,
}

impl Facade {
    /// A facade over `stats`. Install the exporter before: what the facade hands out earlier leads
    /// nowhere, for durations for ever.
    #[must_use]
    pub fn new(stats: &Stats) -> Self {
        let calls = BackendCall::ALL.map(|call| {
            let label = Label::from_static_parts("call", call.as_str());
            histogram(stats, "cache_backend_duration_seconds", label)
        });
        Self {
            inner: Arc::new(Inner {
                stats: stats.clone(),
                calls: Arc::new(calls),
                published: Mutex::default(),
                publishing: Mutex::default(),
            }),
        }
    }

    /// Adds to the exporter's counters what came since this was called last, and sets its gauges.
    pub fn publish(&self) {
        let snapshot = self.inner.stats.snapshot();
        let mut published = self.inner.published.lock();
        // A cache that is gone is forgotten with its counts: if it comes back it begins at zero.
        let before = mem::take(&mut *published);
        for family in &FAMILIES {
            describe(family);
            family.read(&snapshot, &mut |values, value| {
                let key = self.key(family, values);
                match value {
                    Value::Count(count) => {
                        let values = values.iter().map(|value| (*value).to_owned()).collect();
                        let series = (family.name(), values);
                        let new = since(count, before.get(&series).copied());
                        // Not `absolute`, which some exporters take for another counter, and which
                        // stands still when a cache begins anew.
                        with_recorder(|it| it.register_counter(&key, &METADATA).increment(new));
                        published.insert(series, count);
                    }
                    Value::Level(level) => {
                        with_recorder(|it| it.register_gauge(&key, &METADATA).set(float(level)));
                    }
                    // Recorded as they came.
                    Value::Distribution(_) => {}
                }
            });
        }
    }

    fn key(&self, family: &Family, values: &[&str]) -> Key {
        let names = family.labels().iter();
        let labels = names
            .zip(values)
            .map(|(name, value)| Label::new(*name, (*value).to_owned()));
        key(&self.inner.stats, family.name(), labels)
    }

    /// [Publishes](Self::publish) every `interval`, until the last handle of this facade is
    /// dropped, of which the engine has one. Called again, it goes on with the new interval.
    ///
    /// # Errors
    ///
    /// [`SetupError::ZeroInterval`] if `interval` is zero, [`SetupError::NoRuntime`] outside any
    /// tokio runtime with timers.
    pub fn publish_every(&self, interval: Duration) -> Result<(), SetupError> {
        let facade = Arc::downgrade(&self.inner);
        let publish = move |_| match Weak::upgrade(&facade) {
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

impl Recorder for Facade {
    fn cache(&self, name: &str) -> Arc<dyn CacheRecorder> {
        let Inner { stats, calls, .. } = &*self.inner;
        let label = Label::new("cache", name.to_owned());
        Arc::new(CacheFacade {
            counters: stats.cache(name),
            loads: histogram(stats, "cache_load_duration_seconds", label),
            calls: Arc::clone(calls),
        })
    }

    fn record(&self, event: Event) {
        record_call(&self.inner.calls, event);
        self.inner.stats.record(event);
    }
}

impl CacheRecorder for CacheFacade {
    fn record(&self, event: Event) {
        if let Event::Load { took, .. } = event {
            self.loads.record(took);
        }
        record_call(&self.calls, event);
        self.counters.record(event);
    }
}

fn record_call(calls: &[Histogram; BackendCall::ALL.len()], event: Event) {
    if let Event::Backend { call, took, .. } = event {
        let place = BackendCall::ALL.iter().position(|other| *other == call);
        if let Some(calls) = place.and_then(|place| calls.get(place)) {
            calls.record(took);
        }
    }
}

/// What a counter has grown by; all of it, if it began anew.
fn since(count: u64, before: Option<u64>) -> u64 {
    count.checked_sub(before.unwrap_or(0)).unwrap_or(count)
}

fn describe(family: &Family) {
    let (name, help) = (family.name().into(), family.help().into());
    with_recorder(|recorder| match family.kind() {
        Kind::Counter => recorder.describe_counter(name, Some(Unit::Count), help),
        Kind::Gauge => recorder.describe_gauge(name, Some(Unit::Count), help),
        Kind::Histogram => recorder.describe_histogram(name, Some(Unit::Seconds), help),
    });
}

fn histogram(stats: &Stats, name: &'static str, label: Label) -> Histogram {
    let key = key(stats, name, [label]);
    with_recorder(|recorder| recorder.register_histogram(&key, &METADATA))
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
