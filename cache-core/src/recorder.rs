//! Observing: every event of a cache, told to a recorder of the service's choice.

use std::{fmt, sync::Arc, time::Duration};

use crate::ErrorKind;

/// Hands out one [`CacheRecorder`] per cache, and is told what concerns no single cache.
///
/// Given to the engine's builder. The default records nothing.
pub trait Recorder: fmt::Debug + Send + Sync + 'static {
    /// The recorder of the cache with this name.
    fn cache(&self, name: &str) -> Arc<dyn CacheRecorder>;

    /// Takes note of `event`, which concerns the engine as a whole.
    fn record(&self, event: Event);
}

/// Is told every event of one cache.
///
/// Called on the hit path: let it be an increment. A panic is swallowed.
pub trait CacheRecorder: fmt::Debug + Send + Sync + 'static {
    /// Takes note of `event`.
    fn record(&self, event: Event);
}

/// The catalogue of events.
///
/// A call counts once in the total, by its answer, when it is answered; a call that is dropped
/// before does not. `total = hit + miss`, always: see [`Event::total`], [`Event::hit`],
/// [`Event::miss`] and [`Event::db_fails`] for what each event adds.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// A call was answered with a value from the cache.
    Hit,
    /// A call was answered with a negative entry from the cache.
    NegativeHit,
    /// A call was answered by another caller's successful load.
    Coalesced,
    /// A call led the load that answered it, successfully or not.
    Led,
    /// A `get` found nothing.
    NotFound,
    /// A call was answered with an error that was not its own load's.
    Failed(ErrorKind),
    /// A load ended.
    Load {
        /// How.
        outcome: LoadOutcome,
        /// How long it ran.
        took: Duration,
    },
    /// A loaded answer, or a put, was stored.
    FillStored,
    /// A loaded answer, or a put, was refused: the key was invalidated or written meanwhile.
    FillSuperseded,
    /// A loaded answer, or a put, could not be stored, or it is unknown whether it was.
    FillFailed(ErrorKind),
    /// A loaded answer could not be encoded or weighed, and was not stored.
    Unencodable,
    /// A stored entry could not be decoded, or held another type.
    Undecodable,
    /// The TTL that came with a load was out of range and was clamped.
    TtlClamped,
    /// Another holds the lease of a key that a load wants; one per attempt.
    LeaseHeld,
    /// A load lost its lease while it ran: its answer will not be stored.
    LeaseLost,
    /// The lease of another outlived the lease wait: the load ran without one.
    LeaseWaitExceeded,
    /// An awaited call to the backend was answered.
    Backend {
        /// Which.
        call: BackendCall,
        /// How long it took.
        took: Duration,
        /// What it failed with, if it failed.
        error: Option<ErrorKind>,
    },
    /// A load was let through although the key was not read, because its removal is queued, or
    /// the backend did not answer.
    OutageLoad,
    /// How many keys the engine owes the backend the removal of, and bypasses it for; told
    /// whenever that changes.
    QueuedInvalidations(usize),
    /// The engine lost track of removals and bypasses the whole backend from now on, or no longer.
    BypassesAll(bool),
    /// The breaker of a backend, or of one of its nodes, changed to this state. Told by the
    /// backend, to a recorder that it was given itself.
    Breaker(BreakerState),
    /// What the guarantee rests on was checked, and this much of it holds. Told by the backend, to
    /// a recorder that it was given itself.
    Guarantee(Guarantee),
}

/// How a load ended.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum LoadOutcome {
    /// With a value.
    Value,
    /// With "there is no such thing".
    Absent,
    /// With the loader's error.
    Failed,
    /// With a panic.
    Panicked,
    /// At the load timeout.
    TimedOut,
    /// Its runtime was dropped.
    Vanished,
}

impl LoadOutcome {
    /// Every outcome, in the order of their declaration.
    pub const ALL: [Self; 6] = [
        Self::Value,
        Self::Absent,
        Self::Failed,
        Self::Panicked,
        Self::TimedOut,
        Self::Vanished,
    ];

    /// A stable name, for metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Absent => "absent",
            Self::Failed => "failed",
            Self::Panicked => "panicked",
            Self::TimedOut => "timed_out",
            Self::Vanished => "vanished",
        }
    }

    /// Whether the loader failed, panicked or timed out.
    #[must_use]
    pub const fn is_db_fail(self) -> bool {
        match self {
            Self::Failed | Self::Panicked | Self::TimedOut => true,
            Self::Value | Self::Absent | Self::Vanished => false,
        }
    }
}

/// An awaited method of [`Backend`](crate::Backend).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(missing_docs, reason = "each is the method of its name")]
pub enum BackendCall {
    Get,
    GetMany,
    Acquire,
    Seize,
    Fill,
    Extend,
    Release,
    Remove,
    Clear,
    Ping,
}

impl BackendCall {
    /// Every method, in the order of their declaration.
    pub const ALL: [Self; 10] = [
        Self::Get,
        Self::GetMany,
        Self::Acquire,
        Self::Seize,
        Self::Fill,
        Self::Extend,
        Self::Release,
        Self::Remove,
        Self::Clear,
        Self::Ping,
    ];

    /// A stable name, for metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::GetMany => "get_many",
            Self::Acquire => "acquire",
            Self::Seize => "seize",
            Self::Fill => "fill",
            Self::Extend => "extend",
            Self::Release => "release",
            Self::Remove => "remove",
            Self::Clear => "clear",
            Self::Ping => "ping",
        }
    }
}

/// What a breaker does with the calls to a node that may be out.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum BreakerState {
    /// It lets all through: the node answers.
    Closed,
    /// It lets none through, and each fails at once: the node did not answer lately.
    Open,
    /// It lets one through, to see whether the node answers again.
    HalfOpen,
}

impl BreakerState {
    /// Every state, in the order of their declaration.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// A stable name, for metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// Whether what the guarantee against stale fills rests on holds for a backend, as far as that can
/// be checked.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Guarantee {
    /// All of it holds.
    Strict,
    /// All of it holds until the store fails over, or is restarted, with older data than it has
    /// confirmed.
    StrictUntilFailover,
    /// The store runs without the fence: a load may store what was invalidated while it ran.
    Unfenced,
}

impl Guarantee {
    /// Every level, the strongest first.
    pub const ALL: [Self; 3] = [Self::Strict, Self::StrictUntilFailover, Self::Unfenced];

    /// A stable name, for logs and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::StrictUntilFailover => "strict_until_failover",
            Self::Unfenced => "unfenced",
        }
    }
}

impl Event {
    /// What this event adds to the total of calls: 1 for an answer, else 0.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.hit() + self.miss()
    }

    /// 1 if this event is an answer out of the cache or by another caller's load.
    #[must_use]
    pub const fn hit(self) -> u64 {
        matches!(self, Self::Hit | Self::NegativeHit | Self::Coalesced) as u64
    }

    /// 1 if this event is any other answer.
    #[must_use]
    pub const fn miss(self) -> u64 {
        matches!(self, Self::Led | Self::NotFound | Self::Failed(_)) as u64
    }

    /// 1 if this event is a load whose loader failed, panicked or timed out.
    #[must_use]
    pub const fn db_fails(self) -> u64 {
        matches!(self, Self::Load { outcome, .. } if outcome.is_db_fail()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(outcome: LoadOutcome) -> Event {
        Event::Load {
            outcome,
            took: Duration::ZERO,
        }
    }

    #[test]
    fn names_are_stable() {
        assert_eq!(
            BreakerState::ALL.map(BreakerState::as_str),
            ["closed", "open", "half_open"]
        );
        assert_eq!(
            Guarantee::ALL.map(Guarantee::as_str),
            ["strict", "strict_until_failover", "unfenced"]
        );
        assert_eq!(
            LoadOutcome::ALL.map(LoadOutcome::as_str),
            [
                "value",
                "absent",
                "failed",
                "panicked",
                "timed_out",
                "vanished"
            ]
        );
        assert_eq!(
            BackendCall::ALL.map(BackendCall::as_str),
            [
                "get", "get_many", "acquire", "seize", "fill", "extend", "release", "remove",
                "clear", "ping"
            ]
        );
    }

    #[test]
    fn each_event_adds_what_the_table_of_the_docs_says() {
        // (event, total, hit, miss, db_fails)
        for (event, total, hit, miss, db_fails) in [
            (Event::Hit, 1, 1, 0, 0),
            (Event::NegativeHit, 1, 1, 0, 0),
            (Event::Coalesced, 1, 1, 0, 0),
            (Event::Led, 1, 0, 1, 0),
            (Event::NotFound, 1, 0, 1, 0),
            (Event::Failed(ErrorKind::Overloaded), 1, 0, 1, 0),
            (load(LoadOutcome::Value), 0, 0, 0, 0),
            (load(LoadOutcome::Absent), 0, 0, 0, 0),
            (load(LoadOutcome::Failed), 0, 0, 0, 1),
            (load(LoadOutcome::Panicked), 0, 0, 0, 1),
            (load(LoadOutcome::TimedOut), 0, 0, 0, 1),
            (load(LoadOutcome::Vanished), 0, 0, 0, 0),
            (Event::FillStored, 0, 0, 0, 0),
            (Event::Undecodable, 0, 0, 0, 0),
            (Event::OutageLoad, 0, 0, 0, 0),
            (Event::QueuedInvalidations(1), 0, 0, 0, 0),
            (Event::BypassesAll(true), 0, 0, 0, 0),
            (Event::Breaker(BreakerState::Open), 0, 0, 0, 0),
            (Event::Guarantee(Guarantee::Unfenced), 0, 0, 0, 0),
        ] {
            assert_eq!(
                (event.total(), event.hit(), event.miss(), event.db_fails()),
                (total, hit, miss, db_fails),
                "{event:?}"
            );
        }
    }
}
