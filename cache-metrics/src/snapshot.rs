//! What was counted up to a moment.

use std::sync::Arc;

use cache_core::{BackendCall, BreakerState, ErrorKind, Guarantee, LoadOutcome};

use crate::{
    Distribution,
    counters::{Answer, CacheId},
};

/// What was counted of all caches of an engine, up to a moment.
///
/// Each number is read once. Those of one cache add up: `total = hit + miss`, and failed loads are
/// among the loads. What happens while it is read may be in one number already and not yet in
/// another.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// The caches there are, by name.
    pub caches: Vec<CacheSnapshot>,
    /// What concerns no single cache.
    pub engine: EngineSnapshot,
}

impl Snapshot {
    /// The cache with this name, if there is one.
    #[must_use]
    pub fn cache(&self, name: &str) -> Option<&CacheSnapshot> {
        self.caches.iter().find(|cache| cache.name() == name)
    }
}

/// What was counted of one cache, up to a moment. All of it only ever grows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CacheSnapshot {
    pub(crate) id: CacheId,
    pub(crate) name: Arc<str>,
    pub(crate) answers: [u64; Answer::ALL.len()],
    pub(crate) failed: [u64; ErrorKind::ALL.len()],
    pub(crate) loads: [u64; LoadOutcome::ALL.len()],
    pub(crate) load_duration: Distribution,
    pub(crate) fills_stored: u64,
    pub(crate) fills_superseded: u64,
    pub(crate) fills_failed: u64,
    pub(crate) unencodable: u64,
    pub(crate) undecodable: u64,
    pub(crate) clamped_ttls: u64,
    pub(crate) leases_held: u64,
    pub(crate) leases_lost: u64,
    pub(crate) lease_waits_exceeded: u64,
    pub(crate) outage_loads: u64,
}

impl CacheSnapshot {
    /// The cache's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Total: calls that were answered. [`hit`](Self::hit) and [`miss`](Self::miss) together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.hit().wrapping_add(self.miss())
    }

    /// Hit: calls that were answered from the cache, with a value or a negative entry, or by
    /// another caller's successful load.
    #[must_use]
    pub fn hit(&self) -> u64 {
        sum([
            self.answered(Answer::Value),
            self.negative_hits(),
            self.coalesced(),
        ])
    }

    /// Miss: all other calls that were answered.
    #[must_use]
    pub fn miss(&self) -> u64 {
        sum([self.led(), self.not_found(), self.answered(Answer::Failed)])
    }

    /// DbFails: loads whose loader answered an error, panicked or timed out.
    #[must_use]
    pub fn db_fails(&self) -> u64 {
        let fails = LoadOutcome::ALL.into_iter().filter(|end| end.is_db_fail());
        sum(fails.map(|outcome| self.loads(outcome)))
    }

    /// Which part of the calls were hits, from 0 to 1; `None` if there was no call.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a ratio is no worse for the 2^53rd of something"
    )]
    pub fn hit_rate(&self) -> Option<f64> {
        let total = self.total();
        (total > 0).then(|| self.hit() as f64 / total as f64)
    }

    /// Calls that were answered with a negative entry; they are hits.
    #[must_use]
    pub fn negative_hits(&self) -> u64 {
        self.answered(Answer::Negative)
    }

    /// Calls that were answered by another caller's successful load; they are hits.
    #[must_use]
    pub fn coalesced(&self) -> u64 {
        self.answered(Answer::Coalesced)
    }

    /// Calls that led the load that answered them, successfully or not; they are misses.
    #[must_use]
    pub fn led(&self) -> u64 {
        self.answered(Answer::Led)
    }

    /// Calls of `get` and keys of `get_many` that found nothing; they are misses.
    #[must_use]
    pub fn not_found(&self) -> u64 {
        self.answered(Answer::NotFound)
    }

    /// Calls that were answered with an error of this kind that was not their own load's; they are
    /// misses.
    #[must_use]
    pub fn failed(&self, kind: ErrorKind) -> u64 {
        of(&self.failed, &ErrorKind::ALL, kind)
    }

    pub(crate) fn answered(&self, answer: Answer) -> u64 {
        of(&self.answers, &Answer::ALL, answer)
    }

    /// Loads that ended like this.
    #[must_use]
    pub fn loads(&self, outcome: LoadOutcome) -> u64 {
        of(&self.loads, &LoadOutcome::ALL, outcome)
    }

    /// How long loads ran, however they ended.
    #[must_use]
    pub fn load_duration(&self) -> &Distribution {
        &self.load_duration
    }

    /// Answers of loads, and puts, that were stored.
    #[must_use]
    pub fn fills_stored(&self) -> u64 {
        self.fills_stored
    }

    /// Answers of loads, and puts, that were refused: the key was invalidated or written meanwhile.
    #[must_use]
    pub fn fills_superseded(&self) -> u64 {
        self.fills_superseded
    }

    /// Answers of loads, and puts, that could not be stored, or of which it is not known.
    #[must_use]
    pub fn fills_failed(&self) -> u64 {
        self.fills_failed
    }

    /// Answers of loads that could not be encoded or weighed, and were not stored.
    #[must_use]
    pub fn unencodable(&self) -> u64 {
        self.unencodable
    }

    /// Entries that could not be decoded, or held another type.
    #[must_use]
    pub fn undecodable(&self) -> u64 {
        self.undecodable
    }

    /// Times to live that came with a load, were out of range, and were clamped.
    #[must_use]
    pub fn clamped_ttls(&self) -> u64 {
        self.clamped_ttls
    }

    /// Attempts to take a lease that another process, or another load, held.
    #[must_use]
    pub fn leases_held(&self) -> u64 {
        self.leases_held
    }

    /// Loads that lost their lease while they ran.
    #[must_use]
    pub fn leases_lost(&self) -> u64 {
        self.leases_lost
    }

    /// Loads that ran without a lease, because another's outlived the lease wait.
    #[must_use]
    pub fn lease_waits_exceeded(&self) -> u64 {
        self.lease_waits_exceeded
    }

    /// Loads that were let through although the key was not read.
    #[must_use]
    pub fn outage_loads(&self) -> u64 {
        self.outage_loads
    }
}

/// What was counted of an engine and its backend, up to a moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EngineSnapshot {
    pub(crate) calls: [Option<CallSnapshot>; BackendCall::ALL.len()],
    pub(crate) queued_invalidations: usize,
    pub(crate) bypasses_all: bool,
    pub(crate) breaker: Option<BreakerState>,
    pub(crate) guarantee: Option<Guarantee>,
}

impl EngineSnapshot {
    /// What was counted of this method of the backend; `None` if it was never called.
    #[must_use]
    pub fn calls(&self, call: BackendCall) -> Option<&CallSnapshot> {
        let place = BackendCall::ALL.iter().position(|other| *other == call)?;
        self.calls[place].as_ref()
    }

    /// How many keys the engine owes the backend the removal of, now.
    #[must_use]
    pub fn queued_invalidations(&self) -> usize {
        self.queued_invalidations
    }

    /// Whether the engine lost track of removals, and reads nothing from the backend, now.
    #[must_use]
    pub fn bypasses_all(&self) -> bool {
        self.bypasses_all
    }

    /// What the backend's breaker does now; `None` if the backend has not said so. It does if it
    /// was given the same stats.
    #[must_use]
    pub fn breaker(&self) -> Option<BreakerState> {
        self.breaker
    }

    /// How much of what the guarantee rests on holds, as far as the backend can tell now; `None` if
    /// it has not said so. It does if it was given the same stats.
    #[must_use]
    pub fn guarantee(&self) -> Option<Guarantee> {
        self.guarantee
    }
}

/// What was counted of one method of a backend, up to a moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CallSnapshot {
    pub(crate) duration: Distribution,
    pub(crate) errors: [u64; ErrorKind::ALL.len()],
}

impl CallSnapshot {
    /// How long its calls took, however they ended.
    #[must_use]
    pub fn duration(&self) -> &Distribution {
        &self.duration
    }

    /// Calls that failed with this kind of error.
    #[must_use]
    pub fn errors(&self, kind: ErrorKind) -> u64 {
        of(&self.errors, &ErrorKind::ALL, kind)
    }
}

/// The one of `numbers` that belongs to `one` of `all`.
fn of<T: Copy + PartialEq>(numbers: &[u64], all: &[T], one: T) -> u64 {
    let place = all.iter().position(|other| *other == one);
    place.map_or(0, |place| numbers[place])
}

/// Counters wrap, and so do their sums.
fn sum(numbers: impl IntoIterator<Item = u64>) -> u64 {
    numbers.into_iter().fold(0, u64::wrapping_add)
}
