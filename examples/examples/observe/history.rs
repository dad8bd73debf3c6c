//! What there was to see, second by second: counts that only grow become rates and quantiles.

use std::{collections::VecDeque, time::Duration};

use cache_core::{BackendCall, ErrorKind};
use cache_metrics::{CacheSnapshot, Distribution, Snapshot};

use crate::scene::Scene;

/// The time between two samples.
pub(crate) const EVERY: Duration = Duration::from_secs(1);
/// How many samples are kept: two minutes.
pub(crate) const KEPT: usize = 121;
/// Over how many samples hit rates and quantiles are taken: of one second there would be too few.
pub(crate) const WINDOW: usize = 5;

/// Two minutes of samples. It has no clock: when a snapshot was taken is an argument.
#[derive(Debug)]
pub(crate) struct History {
    /// The last snapshots, as many as it takes to say what came within the window.
    window: VecDeque<Snapshot>,
    /// When the last of them was taken.
    last: Duration,
    points: VecDeque<Point>,
    taken: u64,
}

/// What came between a snapshot and those before it.
#[derive(Debug)]
pub(crate) struct Point {
    pub(crate) scene: Scene,
    pub(crate) queued: usize,
    pub(crate) backend: Calls,
    pub(crate) backend_reads: Quantiles,
    pub(crate) caches: Vec<CachePoint>,
}

/// How much there was of something, per second, and of that how much failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calls {
    pub(crate) per_second: f64,
    pub(crate) failed_per_second: f64,
}

/// How long something took, in milliseconds; nothing if there was none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quantiles {
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
}

#[derive(Debug)]
pub(crate) struct CachePoint {
    pub(crate) name: String,
    pub(crate) hit_rate: Option<f64>,
    pub(crate) calls_per_second: f64,
    pub(crate) loads: Calls,
    pub(crate) load_time: Quantiles,
}

impl History {
    /// Begins with what was counted so far, which is a point of no plot yet.
    pub(crate) fn new(at: Duration, snapshot: Snapshot) -> Self {
        Self {
            window: [snapshot].into(),
            last: at,
            points: VecDeque::new(),
            taken: 0,
        }
    }

    /// Takes the next snapshot.
    pub(crate) fn take(&mut self, at: Duration, scene: Scene, snapshot: Snapshot) {
        if let (Some(first), Some(last)) = (self.window.front(), self.window.back()) {
            let span = Span {
                // Two that come at once, after a pause of the machine, make no rate.
                seconds: at.saturating_sub(self.last).max(EVERY / 2).as_secs_f64(),
                last,
                first,
            };
            self.points.push_back(span.point(scene, &snapshot));
        }
        self.window.push_back(snapshot);
        self.last = at;
        self.taken += 1;
        while self.window.len() > WINDOW {
            self.window.pop_front();
        }
        while self.points.len() > KEPT {
            self.points.pop_front();
        }
    }

    /// How many were taken, kept or not.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    pub(crate) fn points(&self) -> impl Iterator<Item = &Point> {
        self.points.iter()
    }

    /// The last snapshot.
    pub(crate) fn now(&self) -> Option<&Snapshot> {
        self.window.back()
    }
}

/// What a new snapshot is compared with.
struct Span<'a> {
    /// How long it is since the last one.
    seconds: f64,
    last: &'a Snapshot,
    first: &'a Snapshot,
}

impl Span<'_> {
    fn point(&self, scene: Scene, now: &Snapshot) -> Point {
        Point {
            scene,
            queued: now.engine.queued_invalidations(),
            backend: Calls {
                per_second: self.rate(backend_calls(now), backend_calls(self.last)),
                failed_per_second: self.rate(backend_errors(now), backend_errors(self.last)),
            },
            backend_reads: quantiles(reads(now), reads(self.first)),
            caches: now.caches.iter().map(|cache| self.cache(cache)).collect(),
        }
    }

    fn cache(&self, now: &CacheSnapshot) -> CachePoint {
        let last = self.last.cache(now.name());
        let first = self.first.cache(now.name());
        let per_second =
            |count: fn(&CacheSnapshot) -> u64| self.rate(count(now), last.map_or(0, count));
        let came = |count: fn(&CacheSnapshot) -> u64| since(count(now), first.map_or(0, count));
        let total = came(CacheSnapshot::total);
        CachePoint {
            name: now.name().to_owned(),
            hit_rate: (total > 0.0).then(|| came(CacheSnapshot::hit) / total),
            calls_per_second: per_second(CacheSnapshot::total),
            loads: Calls {
                per_second: per_second(|cache| cache.load_duration().count()),
                failed_per_second: per_second(CacheSnapshot::db_fails),
            },
            load_time: quantiles(
                Some(now.load_duration()),
                first.map(CacheSnapshot::load_duration),
            ),
        }
    }

    fn rate(&self, now: u64, before: u64) -> f64 {
        since(now, before) / self.seconds
    }
}

/// What was counted since. A cache that was built again begins at zero.
#[expect(
    clippy::cast_precision_loss,
    reason = "what comes in a few seconds is far below 2^53"
)]
fn since(now: u64, before: u64) -> f64 {
    now.checked_sub(before).unwrap_or(now) as f64
}

fn reads(snapshot: &Snapshot) -> Option<&Distribution> {
    Some(snapshot.engine.calls(BackendCall::Get)?.duration())
}

/// How often the backend was called.
pub(crate) fn backend_calls(snapshot: &Snapshot) -> u64 {
    let calls = BackendCall::ALL.into_iter();
    let counts = calls.filter_map(|call| Some(snapshot.engine.calls(call)?.duration().count()));
    counts.sum()
}

/// How many of these calls failed.
pub(crate) fn backend_errors(snapshot: &Snapshot) -> u64 {
    let calls = BackendCall::ALL.into_iter();
    let calls = calls.filter_map(|call| snapshot.engine.calls(call));
    calls
        .flat_map(|calls| ErrorKind::ALL.map(|kind| calls.errors(kind)))
        .sum()
}

fn quantiles(now: Option<&Distribution>, before: Option<&Distribution>) -> Quantiles {
    let came = now.map(|now| before.map_or_else(|| now.clone(), |before| now.since(before)));
    let quantile = |q| Some(came.as_ref()?.quantile(q)?.as_secs_f64() * 1_000.0);
    Quantiles {
        p50: quantile(0.50),
        p99: quantile(0.99),
    }
}
