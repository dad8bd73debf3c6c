//! What the page is told: the history as columns, and the totals.

use cache_metrics::{CacheSnapshot, EngineSnapshot, Snapshot};
use serde::Serialize;

use crate::{
    history::{self, CachePoint, EVERY, History, KEPT, Point, WINDOW},
    scene::Scene,
    shop,
};

/// One answer to `/numbers`.
#[derive(Debug, Serialize)]
pub(crate) struct Numbers<'a> {
    /// How many samples were taken since the service was started.
    samples: u64,
    every_ms: u128,
    kept: usize,
    /// Over how many samples hit rates and quantiles are.
    window: usize,
    scenes: Vec<SceneText>,
    /// What is going on, sample by sample, the oldest first, as all columns are.
    scene: Vec<Scene>,
    engine: Engine,
    caches: Vec<Cache<'a>>,
}

#[derive(Debug, Serialize)]
struct SceneText {
    scene: Scene,
    letter: &'static str,
    title: &'static str,
    text: &'static str,
}

#[derive(Debug, Serialize)]
struct Engine {
    queued: usize,
    bypasses_all: bool,
    /// Null if the backend has not said so, as the next.
    breaker: Option<&'static str>,
    guarantee: Option<&'static str>,
    calls: u64,
    errors: u64,
    plots: EnginePlots,
}

#[derive(Debug, Serialize)]
struct EnginePlots {
    queued: Vec<usize>,
    calls: Vec<Rounded>,
    errors: Vec<Rounded>,
    p50: Vec<Rounded>,
    p99: Vec<Rounded>,
}

#[derive(Debug, Serialize)]
struct Cache<'a> {
    name: &'a str,
    about: &'static str,
    total: u64,
    hit: u64,
    negative: u64,
    coalesced: u64,
    miss: u64,
    db_fails: u64,
    outage_loads: u64,
    plots: CachePlots,
}

#[derive(Debug, Serialize)]
struct CachePlots {
    hit_rate: Vec<Rounded>,
    calls: Vec<Rounded>,
    loads: Vec<Rounded>,
    failed: Vec<Rounded>,
    p50: Vec<Rounded>,
    p99: Vec<Rounded>,
}

/// To four places, as more of them would only make the answer longer; null if there is none.
type Rounded = Option<f64>;

fn rounded(number: impl Into<Option<f64>>) -> Rounded {
    number.into().map(|it| (it * 10_000.0).round() / 10_000.0)
}

impl<'a> Numbers<'a> {
    /// Of all that a history knows, which is something from its beginning on.
    pub(crate) fn of(history: &'a History) -> Option<Self> {
        let now = history.now()?;
        Some(Self {
            samples: history.taken(),
            every_ms: EVERY.as_millis(),
            kept: KEPT,
            window: WINDOW,
            scenes: Scene::ALL.map(SceneText::of).into(),
            scene: history.points().map(|point| point.scene).collect(),
            engine: Engine::of(now, history),
            caches: now
                .caches
                .iter()
                .map(|cache| Cache::of(cache, history))
                .collect(),
        })
    }
}

impl SceneText {
    fn of(scene: Scene) -> Self {
        Self {
            scene,
            letter: scene.letter(),
            title: scene.title(),
            text: scene.text(),
        }
    }
}

impl Engine {
    fn of(now: &Snapshot, history: &History) -> Self {
        let engine: &EngineSnapshot = &now.engine;
        let column = |number: fn(&Point) -> Option<f64>| {
            let numbers = history.points().map(number);
            numbers.map(rounded).collect()
        };
        Self {
            queued: engine.queued_invalidations(),
            bypasses_all: engine.bypasses_all(),
            breaker: engine.breaker().map(|state| state.as_str()),
            guarantee: engine.guarantee().map(|level| level.as_str()),
            calls: history::backend_calls(now),
            errors: history::backend_errors(now),
            plots: EnginePlots {
                queued: history.points().map(|point| point.queued).collect(),
                calls: column(|point| Some(point.backend.per_second)),
                errors: column(|point| Some(point.backend.failed_per_second)),
                p50: column(|point| point.backend_reads.p50),
                p99: column(|point| point.backend_reads.p99),
            },
        }
    }
}

impl<'a> Cache<'a> {
    fn of(now: &'a CacheSnapshot, history: &History) -> Self {
        let about = shop::ABOUT.iter().find(|(name, _)| *name == now.name());
        // A point from before there was this cache says nothing of it.
        let column = |number: fn(&CachePoint) -> Option<f64>| {
            let points = history.points().map(|point| {
                let cache = point.caches.iter().find(|cache| cache.name == now.name());
                cache.and_then(number)
            });
            points.map(rounded).collect()
        };
        Self {
            name: now.name(),
            about: about.map_or("", |(_, text)| text),
            total: now.total(),
            hit: now.hit(),
            negative: now.negative_hits(),
            coalesced: now.coalesced(),
            miss: now.miss(),
            db_fails: now.db_fails(),
            outage_loads: now.outage_loads(),
            plots: CachePlots {
                hit_rate: column(|point| point.hit_rate),
                calls: column(|point| Some(point.calls_per_second)),
                loads: column(|point| Some(point.loads.per_second)),
                failed: column(|point| Some(point.loads.failed_per_second)),
                p50: column(|point| point.load_time.p50),
                p99: column(|point| point.load_time.p99),
            },
        }
    }
}
