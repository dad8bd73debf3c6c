//! All series there are, with all values that their labels have.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use cache_core::{
    BackendCall, BreakerState, CacheRecorder, ErrorKind, Event, Guarantee, LoadOutcome, Recorder,
};
use cache_metrics::{
    Stats,
    catalogue::{FAMILIES, Kind},
};

/// Labels whose values are names, which services choose.
const NAMES: [&str; 4] = ["cache", "engine", "instance", "job"];

/// Records every event, of one cache, which lives as long as the answer does.
pub(crate) fn record_everything(stats: &Stats) -> Arc<dyn CacheRecorder> {
    let took = Duration::from_millis(3);
    let cache = stats.cache("user");
    for event in [
        Event::Hit,
        Event::NegativeHit,
        Event::Coalesced,
        Event::Led,
        Event::NotFound,
        Event::FillStored,
        Event::FillSuperseded,
        Event::FillFailed(ErrorKind::Unavailable),
        Event::Unencodable,
        Event::Undecodable,
        Event::TtlClamped,
        Event::LeaseHeld,
        Event::LeaseLost,
        Event::LeaseWaitExceeded,
        Event::OutageLoad,
    ] {
        cache.record(event);
    }
    for kind in ErrorKind::ALL {
        cache.record(Event::Failed(kind));
    }
    for outcome in LoadOutcome::ALL {
        cache.record(Event::Load { outcome, took });
    }
    for call in BackendCall::ALL {
        for error in [None].into_iter().chain(ErrorKind::ALL.map(Some)) {
            stats.record(Event::Backend { call, took, error });
        }
    }
    stats.record(Event::QueuedInvalidations(1));
    stats.record(Event::BypassesAll(true));
    for state in BreakerState::ALL {
        stats.record(Event::Breaker(state));
    }
    for guarantee in Guarantee::ALL {
        stats.record(Event::Guarantee(guarantee));
    }
    cache
}

/// What a query may ask for.
#[derive(Debug)]
pub(crate) struct Catalogue {
    families: BTreeMap<&'static str, Labels>,
}

/// The values of each label; none for one whose values are names or numbers.
pub(crate) type Labels = BTreeMap<&'static str, Option<BTreeSet<String>>>;

impl Catalogue {
    pub(crate) fn new() -> Self {
        let stats = Stats::named("main");
        let _alive = record_everything(&stats);
        let snapshot = stats.snapshot();
        let families = FAMILIES.iter().map(|family| {
            let mut labels: Labels = NAMES[1..].iter().map(|&name| (name, None)).collect();
            family.read(&snapshot, &mut |values, _| {
                for (&name, &value) in family.labels().iter().zip(values) {
                    let seen = labels.entry(name).or_default();
                    if !NAMES.contains(&name) {
                        seen.get_or_insert_default().insert(value.to_owned());
                    }
                }
            });
            (family.name(), labels)
        });
        Self {
            families: families.collect(),
        }
    }

    /// The family of a series, and the labels of the series; none if there is no such series.
    pub(crate) fn find(&self, series: &str) -> Option<(&'static str, Labels)> {
        FAMILIES.iter().find_map(|family| {
            let name = family.name();
            let ending = series.strip_prefix(name)?;
            let mut labels = self.families[name].clone();
            match (family.kind(), ending) {
                (Kind::Histogram, "_bucket") => {
                    labels.insert("le", None);
                }
                (Kind::Histogram, "_sum" | "_count") | (Kind::Counter | Kind::Gauge, "") => {}
                _ => return None,
            }
            Some((name, labels))
        })
    }
}
