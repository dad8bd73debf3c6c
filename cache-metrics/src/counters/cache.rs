//! The counters of one cache.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicU64, Ordering},
};

use cache_core::{CacheRecorder, ErrorKind, Event, LoadOutcome};

use super::{EngineCounters, Histogram, Stripes};
use crate::{CacheSnapshot, stats::Registry};

/// Tells the counters of caches apart, those of one name that come one after the other too.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct CacheId(u64);

impl CacheId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// How a call was answered, but for the kind of its error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    Value,
    Negative,
    Coalesced,
    Led,
    NotFound,
    Failed,
}

impl Answer {
    pub(crate) const ALL: [Self; 6] = [
        Self::Value,
        Self::Negative,
        Self::Coalesced,
        Self::Led,
        Self::NotFound,
        Self::Failed,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Negative => "negative",
            Self::Coalesced => "coalesced",
            Self::Led => "led",
            Self::NotFound => "not_found",
            Self::Failed => "failed",
        }
    }
}

/// Counts the events of one cache. When the cache drops this, its series end.
#[derive(Debug)]
pub(crate) struct CacheCounters {
    id: CacheId,
    name: Arc<str>,
    registry: Weak<Registry>,
    engine: Arc<EngineCounters>,
    /// By [`Answer`]: what a hit adds to.
    answers: Stripes<{ Answer::ALL.len() }>,
    failed: [AtomicU64; ErrorKind::ALL.len()],
    loads: [AtomicU64; LoadOutcome::ALL.len()],
    load_duration: Histogram,
    fills_stored: AtomicU64,
    fills_superseded: AtomicU64,
    fills_failed: AtomicU64,
    unencodable: AtomicU64,
    undecodable: AtomicU64,
    clamped_ttls: AtomicU64,
    leases_held: AtomicU64,
    leases_lost: AtomicU64,
    lease_waits_exceeded: AtomicU64,
    outage_loads: AtomicU64,
}

impl CacheCounters {
    pub(crate) fn new(
        name: Arc<str>,
        registry: Weak<Registry>,
        engine: Arc<EngineCounters>,
    ) -> Self {
        Self {
            id: CacheId::next(),
            name,
            registry,
            engine,
            answers: Stripes::new(),
            failed: [const { AtomicU64::new(0) }; ErrorKind::ALL.len()],
            loads: [const { AtomicU64::new(0) }; LoadOutcome::ALL.len()],
            load_duration: Histogram::of_loads(),
            fills_stored: AtomicU64::default(),
            fills_superseded: AtomicU64::default(),
            fills_failed: AtomicU64::default(),
            unencodable: AtomicU64::default(),
            undecodable: AtomicU64::default(),
            clamped_ttls: AtomicU64::default(),
            leases_held: AtomicU64::default(),
            leases_lost: AtomicU64::default(),
            lease_waits_exceeded: AtomicU64::default(),
            outage_loads: AtomicU64::default(),
        }
    }

    pub(crate) fn read(&self) -> CacheSnapshot {
        CacheSnapshot {
            id: self.id,
            name: Arc::clone(&self.name),
            answers: self.answers.sums(),
            failed: read_all(&self.failed),
            loads: read_all(&self.loads),
            load_duration: self.load_duration.read(),
            fills_stored: read(&self.fills_stored),
            fills_superseded: read(&self.fills_superseded),
            fills_failed: read(&self.fills_failed),
            unencodable: read(&self.unencodable),
            undecodable: read(&self.undecodable),
            clamped_ttls: read(&self.clamped_ttls),
            leases_held: read(&self.leases_held),
            leases_lost: read(&self.leases_lost),
            lease_waits_exceeded: read(&self.lease_waits_exceeded),
            outage_loads: read(&self.outage_loads),
        }
    }

    fn answer(&self, answer: Answer) {
        self.answers.increment(answer as usize);
    }
}

impl CacheRecorder for CacheCounters {
    fn record(&self, event: Event) {
        match event {
            Event::Hit => self.answer(Answer::Value),
            Event::NegativeHit => self.answer(Answer::Negative),
            Event::Coalesced => self.answer(Answer::Coalesced),
            Event::Led => self.answer(Answer::Led),
            Event::NotFound => self.answer(Answer::NotFound),
            Event::Failed(kind) => {
                self.answer(Answer::Failed);
                count_one(&self.failed, &ErrorKind::ALL, kind);
            }
            Event::Load { outcome, took } => {
                count_one(&self.loads, &LoadOutcome::ALL, outcome);
                self.load_duration.record(took);
            }
            Event::FillStored => count(&self.fills_stored),
            Event::FillSuperseded => count(&self.fills_superseded),
            Event::FillFailed(_) => count(&self.fills_failed),
            Event::Unencodable => count(&self.unencodable),
            Event::Undecodable => count(&self.undecodable),
            Event::TtlClamped => count(&self.clamped_ttls),
            Event::LeaseHeld => count(&self.leases_held),
            Event::LeaseLost => count(&self.leases_lost),
            Event::LeaseWaitExceeded => count(&self.lease_waits_exceeded),
            Event::OutageLoad => count(&self.outage_loads),
            // The backend is the engine's.
            Event::Backend { .. }
            | Event::QueuedInvalidations(_)
            | Event::BypassesAll(_)
            | Event::Breaker(_)
            | Event::Guarantee(_)
            | _ => self.engine.record(event),
        }
    }
}

impl Drop for CacheCounters {
    fn drop(&mut self) {
        if let Some(registry) = self.registry.upgrade() {
            registry.forget(&self.name);
        }
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Counts `one` of `all`.
pub(super) fn count_one<T: Copy + PartialEq>(counters: &[AtomicU64], all: &[T], one: T) {
    // One that is in no list, since a newer core has made it, is not counted by kind.
    let place = all.iter().position(|other| *other == one);
    if let Some(counter) = place.and_then(|place| counters.get(place)) {
        count(counter);
    }
}

pub(super) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

pub(super) fn read_all<const N: usize>(counters: &[AtomicU64; N]) -> [u64; N] {
    counters.each_ref().map(read)
}
