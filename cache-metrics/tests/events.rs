//! Which series each event adds to, and to no others.

use std::{collections::BTreeMap, time::Duration};

use cache_core::{BackendCall, BreakerState, ErrorKind, Event, Guarantee, LoadOutcome, Recorder};
use cache_metrics::{
    Stats,
    catalogue::{FAMILIES, Value},
};

/// All series, each with its value; of durations, how many there are.
fn series(stats: &Stats) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    let snapshot = stats.snapshot();
    for family in FAMILIES {
        family.read(&snapshot, &mut |labels, value| {
            let name = family.name().trim_start_matches("cache_");
            let series = format!("{name} {}", labels.join(" "));
            let value = match value {
                Value::Count(count) | Value::Level(count) => count,
                Value::Distribution(durations) => durations.count(),
                _ => unreachable!("there is no other value"),
            };
            assert!(all.insert(series, value).is_none(), "each once");
        });
    }
    all
}

/// What a new cache and a new engine count of `event`, told to the cache: what is not zero.
fn counted(event: Event) -> Vec<String> {
    let stats = Stats::new();
    let user = stats.cache("user");
    user.record(event);
    let counted = series(&stats).into_iter().filter(|(_, value)| *value > 0);
    counted
        .map(|(name, value)| match value {
            1 => name.replace(" user", "").trim_end().to_owned(),
            more => format!("{} = {more}", name.trim_end()),
        })
        .collect()
}

#[test]
fn each_answer_adds_to_the_series_of_its_kind() {
    for (event, result, answer) in [
        (Event::Hit, "hit", "value"),
        (Event::NegativeHit, "hit", "negative"),
        (Event::Coalesced, "hit", "coalesced"),
        (Event::Led, "miss", "led"),
        (Event::NotFound, "miss", "not_found"),
    ] {
        let expected = [
            format!("answers_total {answer}"),
            "calls_total".to_owned(),
            format!("requests_total {result}"),
        ];
        assert_eq!(counted(event), expected, "{event:?}");
    }
}

#[test]
fn each_error_of_a_call_adds_to_the_series_of_its_kind() {
    for kind in ErrorKind::ALL {
        let expected = [
            "answers_total failed".to_owned(),
            "calls_total".to_owned(),
            format!("failed_calls_total {}", kind.as_str()),
            "requests_total miss".to_owned(),
        ];
        assert_eq!(counted(Event::Failed(kind)), expected, "{kind:?}");
    }
}

#[test]
fn each_load_adds_to_the_series_of_its_outcome() {
    for outcome in LoadOutcome::ALL {
        let took = Duration::from_secs(1);
        let mut expected = vec![
            "load_duration_seconds".to_owned(),
            format!("loads_total {}", outcome.as_str()),
        ];
        if outcome.is_db_fail() {
            expected.insert(0, "db_fails_total".to_owned());
        }
        assert_eq!(counted(Event::Load { outcome, took }), expected);
    }
}

#[test]
fn each_call_to_the_backend_adds_to_the_series_of_its_method() {
    for call in BackendCall::ALL {
        let took = Duration::from_secs(1);
        let duration = format!("backend_duration_seconds {}", call.as_str());
        let error = None;
        assert_eq!(
            counted(Event::Backend { call, took, error }),
            [duration.as_str()]
        );
        for kind in ErrorKind::ALL {
            let failed = format!("backend_errors_total {} {}", call.as_str(), kind.as_str());
            let error = Some(kind);
            assert_eq!(
                counted(Event::Backend { call, took, error }),
                [duration.as_str(), failed.as_str()]
            );
        }
    }
}

#[test]
fn each_other_event_adds_to_one_series() {
    for (event, expected) in [
        (Event::FillStored, "fills_total stored"),
        (Event::FillSuperseded, "fills_total superseded"),
        (
            Event::FillFailed(ErrorKind::Unavailable),
            "fills_total failed",
        ),
        (Event::Unencodable, "fills_total unencodable"),
        (Event::Undecodable, "undecodable_entries_total"),
        (Event::TtlClamped, "clamped_ttls_total"),
        (Event::LeaseHeld, "lease_events_total held"),
        (Event::LeaseLost, "lease_events_total lost"),
        (Event::LeaseWaitExceeded, "lease_events_total wait_exceeded"),
        (Event::OutageLoad, "outage_loads_total"),
        (
            Event::QueuedInvalidations(3),
            "cache_queued_invalidations = 3",
        ),
        (Event::BypassesAll(true), "bypasses_all"),
        (Event::Breaker(BreakerState::Closed), "breaker_state closed"),
        (Event::Breaker(BreakerState::Open), "breaker_state open"),
        (
            Event::Breaker(BreakerState::HalfOpen),
            "breaker_state half_open",
        ),
        (Event::Guarantee(Guarantee::Strict), "guarantee strict"),
        (
            Event::Guarantee(Guarantee::StrictUntilFailover),
            "guarantee strict_until_failover",
        ),
        (Event::Guarantee(Guarantee::Unfenced), "guarantee unfenced"),
    ] {
        let expected = expected.trim_start_matches("cache_");
        assert_eq!(counted(event), [expected], "{event:?}");
    }
}

#[test]
fn a_gauge_follows_what_it_is_told() {
    let stats = Stats::new();
    for (event, name, value) in [
        (Event::QueuedInvalidations(3), "queued_invalidations ", 3),
        (Event::QueuedInvalidations(1), "queued_invalidations ", 1),
        (Event::QueuedInvalidations(0), "queued_invalidations ", 0),
        (Event::BypassesAll(true), "bypasses_all ", 1),
        (Event::BypassesAll(false), "bypasses_all ", 0),
        (Event::Breaker(BreakerState::Open), "breaker_state open", 1),
        (
            Event::Breaker(BreakerState::Closed),
            "breaker_state open",
            0,
        ),
    ] {
        stats.record(event);
        assert_eq!(series(&stats)[name], value, "{event:?}");
    }
}
