//! All series: their names, what they mean, and how each is read from a [`Snapshot`].
//!
//! The exporters of this crate read them here, and so can another: for each of the [`FAMILIES`],
//! [`Family::read`] gives the series of a snapshot one by one. No label is ever a key, and each
//! has few values: names of caches, and words that this list and the events of `cache-core` fix.
//!
//! ```
//! use cache_core::{Event, Recorder};
//! use cache_metrics::{Stats, catalogue::{FAMILIES, Value}};
//!
//! let stats = Stats::new();
//! let user = stats.cache("user");
//! user.record(Event::Hit);
//!
//! let mut lines = Vec::new();
//! let snapshot = stats.snapshot();
//! for family in FAMILIES {
//!     family.read(&snapshot, &mut |labels, value| {
//!         if let Value::Count(count) = value {
//!             lines.push(format!("{} {labels:?} {count}", family.name()));
//!         }
//!     });
//! }
//! assert!(lines.contains(&r#"cache_requests_total ["user", "hit"] 1"#.to_owned()));
//! ```

use cache_core::{BackendCall, BreakerState, ErrorKind, Guarantee, LoadOutcome};

use crate::{CacheSnapshot, Distribution, Snapshot, counters::Answer};

/// All series of one name.
#[derive(Debug)]
pub struct Family {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    labels: &'static [&'static str],
    read: fn(&Snapshot, Each<'_>),
}

/// What the values of a family are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// A number that only grows, but for a cache or a service that begins anew.
    Counter,
    /// A number of this moment.
    Gauge,
    /// Durations, in seconds.
    Histogram,
}

impl Kind {
    /// Its name in Prometheus.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// The value of one series.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Value<'a> {
    /// Of a counter.
    Count(u64),
    /// Of a gauge.
    Level(u64),
    /// Of a histogram.
    Distribution(&'a Distribution),
}

/// Is given the label values of a series, in the order of the family's labels, and its value.
pub type Each<'a> = &'a mut dyn FnMut(&[&str], Value<'_>);

impl Family {
    /// The name, which ends in `_total` for a counter and in `_seconds` for a histogram.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What its values are.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// What it means, in a sentence without its full stop.
    #[must_use]
    pub const fn help(&self) -> &'static str {
        self.help
    }

    /// The names of its labels. An exporter adds `engine` where that has a name.
    #[must_use]
    pub const fn labels(&self) -> &'static [&'static str] {
        self.labels
    }

    /// Gives each series of `snapshot` to `each`.
    pub fn read(&self, snapshot: &Snapshot, each: Each<'_>) {
        (self.read)(snapshot, each);
    }
}

/// All families, in the order in which they are exported.
pub static FAMILIES: &[Family] = &[
    Family {
        name: "cache_calls_total",
        kind: Kind::Counter,
        help: "Total: calls that were answered",
        labels: &["cache"],
        read: |snapshot, each| of_caches(snapshot, each, CacheSnapshot::total),
    },
    Family {
        name: "cache_requests_total",
        kind: Kind::Counter,
        help: "Hit and Miss: calls that were answered from the cache or by another's load, and all others",
        labels: &["cache", "result"],
        read: requests,
    },
    Family {
        name: "cache_answers_total",
        kind: Kind::Counter,
        help: "Calls by what they were answered with: value, negative and coalesced are hits, led, not_found and failed are misses",
        labels: &["cache", "answer"],
        read: answers,
    },
    Family {
        name: "cache_failed_calls_total",
        kind: Kind::Counter,
        help: "Calls that were answered with an error that was not their own load's, by its kind; from its first one on",
        labels: &["cache", "error"],
        read: failed_calls,
    },
    Family {
        name: "cache_db_fails_total",
        kind: Kind::Counter,
        help: "DbFails: loads whose loader answered an error, panicked or timed out",
        labels: &["cache"],
        read: |snapshot, each| of_caches(snapshot, each, CacheSnapshot::db_fails),
    },
    Family {
        name: "cache_loads_total",
        kind: Kind::Counter,
        help: "Loads by how they ended",
        labels: &["cache", "outcome"],
        read: loads,
    },
    Family {
        name: "cache_load_duration_seconds",
        kind: Kind::Histogram,
        help: "How long loads ran, however they ended",
        labels: &["cache"],
        read: load_durations,
    },
    Family {
        name: "cache_fills_total",
        kind: Kind::Counter,
        help: "What became of loaded answers and of puts that were to be stored",
        labels: &["cache", "outcome"],
        read: fills,
    },
    Family {
        name: "cache_undecodable_entries_total",
        kind: Kind::Counter,
        help: "Stored entries that could not be decoded, or held another type",
        labels: &["cache"],
        read: |snapshot, each| of_caches(snapshot, each, CacheSnapshot::undecodable),
    },
    Family {
        name: "cache_clamped_ttls_total",
        kind: Kind::Counter,
        help: "Times to live that came with a load and were out of range",
        labels: &["cache"],
        read: |snapshot, each| of_caches(snapshot, each, CacheSnapshot::clamped_ttls),
    },
    Family {
        name: "cache_lease_events_total",
        kind: Kind::Counter,
        help: "Leases that another held, one per attempt; that were lost during a load; that were waited for in vain",
        labels: &["cache", "event"],
        read: lease_events,
    },
    Family {
        name: "cache_outage_loads_total",
        kind: Kind::Counter,
        help: "Loads that were let through although the backend did not answer, or the key was not to be read",
        labels: &["cache"],
        read: |snapshot, each| of_caches(snapshot, each, CacheSnapshot::outage_loads),
    },
    Family {
        name: "cache_backend_duration_seconds",
        kind: Kind::Histogram,
        help: "How long awaited calls to the backend took, however they ended; from the first one on",
        labels: &["call"],
        read: backend_durations,
    },
    Family {
        name: "cache_backend_errors_total",
        kind: Kind::Counter,
        help: "Awaited calls to the backend that failed, by the kind of error; kinds besides unavailable and rejected from their first one on",
        labels: &["call", "error"],
        read: backend_errors,
    },
    Family {
        name: "cache_queued_invalidations",
        kind: Kind::Gauge,
        help: "Keys whose removal the backend has not confirmed yet",
        labels: &[],
        read: |snapshot, each| {
            let queued = snapshot.engine.queued_invalidations();
            each(&[], Value::Level(u64::try_from(queued).unwrap_or(u64::MAX)));
        },
    },
    Family {
        name: "cache_bypasses_all",
        kind: Kind::Gauge,
        help: "1 while nothing is read from the backend, because too many removals were not confirmed",
        labels: &[],
        read: |snapshot, each| each(&[], Value::Level(snapshot.engine.bypasses_all().into())),
    },
    Family {
        name: "cache_breaker_state",
        kind: Kind::Gauge,
        help: "1 for the state that the worst breaker of the backend is in; once the backend has said so",
        labels: &["state"],
        read: |snapshot, each| {
            let words = BreakerState::ALL.map(BreakerState::as_str);
            one_of(
                &words,
                snapshot.engine.breaker().map(BreakerState::as_str),
                each,
            );
        },
    },
    Family {
        name: "cache_guarantee",
        kind: Kind::Gauge,
        help: "1 for the level that the guarantee against stale fills has; once the backend has said so",
        labels: &["level"],
        read: |snapshot, each| {
            let words = Guarantee::ALL.map(Guarantee::as_str);
            one_of(
                &words,
                snapshot.engine.guarantee().map(Guarantee::as_str),
                each,
            );
        },
    },
];

fn of_caches(snapshot: &Snapshot, each: Each<'_>, count: fn(&CacheSnapshot) -> u64) {
    for cache in &snapshot.caches {
        each(&[cache.name()], Value::Count(count(cache)));
    }
}

/// Gives a series for each cache and word.
fn by_word<const N: usize>(
    snapshot: &Snapshot,
    each: Each<'_>,
    words: fn(&CacheSnapshot) -> [(&'static str, u64); N],
) {
    for cache in &snapshot.caches {
        for (word, count) in words(cache) {
            each(&[cache.name(), word], Value::Count(count));
        }
    }
}

fn requests(snapshot: &Snapshot, each: Each<'_>) {
    by_word(snapshot, each, |cache| {
        [("hit", cache.hit()), ("miss", cache.miss())]
    });
}

fn answers(snapshot: &Snapshot, each: Each<'_>) {
    by_word(snapshot, each, |cache| {
        Answer::ALL.map(|answer| (answer.as_str(), cache.answered(answer)))
    });
}

fn failed_calls(snapshot: &Snapshot, each: Each<'_>) {
    let mut seen = |labels: &[&str], value: Value<'_>| {
        if !matches!(value, Value::Count(0)) {
            each(labels, value);
        }
    };
    by_word(snapshot, &mut seen, |cache| {
        ErrorKind::ALL.map(|kind| (kind.as_str(), cache.failed(kind)))
    });
}

fn loads(snapshot: &Snapshot, each: Each<'_>) {
    by_word(snapshot, each, |cache| {
        LoadOutcome::ALL.map(|outcome| (outcome.as_str(), cache.loads(outcome)))
    });
}

fn load_durations(snapshot: &Snapshot, each: Each<'_>) {
    for cache in &snapshot.caches {
        each(&[cache.name()], Value::Distribution(cache.load_duration()));
    }
}

fn fills(snapshot: &Snapshot, each: Each<'_>) {
    by_word(snapshot, each, |cache| {
        [
            ("stored", cache.fills_stored()),
            ("superseded", cache.fills_superseded()),
            ("failed", cache.fills_failed()),
            ("unencodable", cache.unencodable()),
        ]
    });
}

fn lease_events(snapshot: &Snapshot, each: Each<'_>) {
    by_word(snapshot, each, |cache| {
        [
            ("held", cache.leases_held()),
            ("lost", cache.leases_lost()),
            ("wait_exceeded", cache.lease_waits_exceeded()),
        ]
    });
}

fn backend_durations(snapshot: &Snapshot, each: Each<'_>) {
    for call in BackendCall::ALL {
        if let Some(calls) = snapshot.engine.calls(call) {
            each(&[call.as_str()], Value::Distribution(calls.duration()));
        }
    }
}

fn backend_errors(snapshot: &Snapshot, each: Each<'_>) {
    for call in BackendCall::ALL {
        let Some(calls) = snapshot.engine.calls(call) else {
            continue;
        };
        for kind in ErrorKind::ALL {
            // Those that are common are there from the beginning, so that a rate sees the first.
            let is_common = matches!(kind, ErrorKind::Unavailable | ErrorKind::Rejected);
            let count = calls.errors(kind);
            if is_common || count > 0 {
                each(&[call.as_str(), kind.as_str()], Value::Count(count));
            }
        }
    }
}

/// Gives a series for each word: 1 for the one that `is`, 0 for the others; none if there is none.
fn one_of(words: &[&str], is: Option<&str>, each: Each<'_>) {
    let Some(is) = is else { return };
    for word in words {
        each(&[word], Value::Level((*word == is).into()));
    }
}
