//! Counts by a recorder: `Total`, `Hit`, `Miss` and `DbFails`.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use cache_core::{CacheRecorder, Event, Recorder};

use crate::scenes::{Measured, Retelling};

/// Counts the events of all caches of an engine together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stats(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    db_fails: AtomicU64,
    refused_fills: AtomicU64,
}

impl Recorder for Stats {
    fn cache(&self, _name: &str) -> Arc<dyn CacheRecorder> {
        Arc::clone(&self.0) as _
    }

    fn record(&self, _event: Event) {}
}

impl CacheRecorder for Counters {
    fn record(&self, event: Event) {
        count(&self.hits, event.hit());
        count(&self.misses, event.miss());
        count(&self.db_fails, event.db_fails());
        count(
            &self.refused_fills,
            u64::from(event == Event::FillSuperseded),
        );
    }
}

/// Most events add nothing to most counters, and a shared counter is not touched for nothing.
fn count(counter: &AtomicU64, by: u64) {
    if by > 0 {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}

/// What was counted up to a moment.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) db_fails: u64,
    refused_fills: u64,
}

impl Stats {
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            hits: self.0.hits.load(Ordering::Relaxed),
            misses: self.0.misses.load(Ordering::Relaxed),
            db_fails: self.0.db_fails.load(Ordering::Relaxed),
            refused_fills: self.0.refused_fills.load(Ordering::Relaxed),
        }
    }
}

impl Counts {
    pub(crate) fn total(&self) -> u64 {
        self.hits + self.misses
    }

    /// Asserts that the counts are those of the scenes.
    pub(crate) fn check(&self, measured: &[Measured], retelling: &Retelling) {
        let scenes = measured.iter().filter(|scene| scene.uses_cache);
        let (calls, queries) = scenes.fold(
            (retelling.calls, retelling.queries),
            |(calls, queries), scene| (calls + scene.calls, queries + scene.queries),
        );
        assert_eq!(self.total(), calls, "each call counts once");
        assert_eq!(self.misses, queries, "each miss ran one query here");
        assert_eq!(self.db_fails, 3, "each failed query counts once");
        assert_eq!(self.refused_fills, 1, "the old row, which came too late");
    }
}
