//! The counters and gauges of one engine and its backend.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use cache_core::{BackendCall, BreakerState, ErrorKind, Event, Guarantee};
use parking_lot::Mutex;

use super::{
    Histogram,
    cache::{count_one, read_all},
};
use crate::{CallSnapshot, EngineSnapshot};

/// Counts what concerns no single cache.
#[derive(Debug, Default)]
pub(crate) struct EngineCounters {
    /// By [`BackendCall`]; made when it is first called.
    calls: [OnceLock<CallCounters>; BackendCall::ALL.len()],
    queued_invalidations: AtomicUsize,
    bypasses_all: AtomicBool,
    breaker: Mutex<Option<BreakerState>>,
    guarantee: Mutex<Option<Guarantee>>,
}

/// One method of the backend. Every hit in Redis is such a call, so they are striped, but for
/// errors.
#[derive(Debug)]
struct CallCounters {
    duration: Histogram,
    errors: [AtomicU64; ErrorKind::ALL.len()],
}

impl EngineCounters {
    pub(crate) fn record(&self, event: Event) {
        match event {
            Event::Backend { call, took, error } => {
                let Some(counters) = self.of(call) else {
                    return;
                };
                counters.duration.record(took);
                if let Some(kind) = error {
                    count_one(&counters.errors, &ErrorKind::ALL, kind);
                }
            }
            Event::QueuedInvalidations(queued) => {
                self.queued_invalidations.store(queued, Ordering::Relaxed);
            }
            Event::BypassesAll(bypasses_all) => {
                self.bypasses_all.store(bypasses_all, Ordering::Relaxed);
            }
            Event::Breaker(state) => *self.breaker.lock() = Some(state),
            Event::Guarantee(guarantee) => *self.guarantee.lock() = Some(guarantee),
            // Those of caches, which are told to their own recorders.
            Event::Hit
            | Event::NegativeHit
            | Event::Coalesced
            | Event::Led
            | Event::NotFound
            | Event::Failed(_)
            | Event::Load { .. }
            | Event::FillStored
            | Event::FillSuperseded
            | Event::FillFailed(_)
            | Event::Unencodable
            | Event::Undecodable
            | Event::TtlClamped
            | Event::LeaseHeld
            | Event::LeaseLost
            | Event::LeaseWaitExceeded
            | Event::OutageLoad
            | _ => {}
        }
    }

    fn of(&self, call: BackendCall) -> Option<&CallCounters> {
        let place = BackendCall::ALL.iter().position(|other| *other == call)?;
        Some(self.calls[place].get_or_init(|| CallCounters {
            duration: Histogram::of_calls(),
            errors: [const { AtomicU64::new(0) }; ErrorKind::ALL.len()],
        }))
    }

    pub(crate) fn read(&self) -> EngineSnapshot {
        EngineSnapshot {
            calls: self.calls.each_ref().map(|counters| {
                counters.get().map(|counters| CallSnapshot {
                    errors: read_all(&counters.errors),
                    duration: counters.duration.read(),
                })
            }),
            queued_invalidations: self.queued_invalidations.load(Ordering::Relaxed),
            bypasses_all: self.bypasses_all.load(Ordering::Relaxed),
            breaker: *self.breaker.lock(),
            guarantee: *self.guarantee.lock(),
        }
    }
}
