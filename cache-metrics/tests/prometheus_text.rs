//! The text that Prometheus scrapes.
#![cfg(feature = "prometheus")]

use std::time::Duration;

use cache_core::{BackendCall, BreakerState, ErrorKind, Event, Guarantee, LoadOutcome, Recorder};
use cache_metrics::{Exporter, SetupError, Stats};

fn has(text: &str, line: &str) {
    assert!(
        text.lines().any(|it| it == line),
        "no line {line:?} in:\n{text}"
    );
}

#[test]
fn nothing_but_the_gauges_is_exported_of_an_engine_without_caches() {
    let text = Exporter::new(&Stats::new()).text();
    let names: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .collect();
    assert_eq!(
        names,
        [
            "cache_queued_invalidations gauge",
            "cache_bypasses_all gauge"
        ]
    );
}

#[test]
fn total_hit_miss_and_db_fails_are_a_series_each() {
    let stats = Stats::new();
    let user = stats.cache("user");
    for event in [
        Event::Hit,
        Event::NegativeHit,
        Event::Coalesced,
        Event::Led,
        Event::Load {
            outcome: LoadOutcome::TimedOut,
            took: Duration::from_secs(30),
        },
    ] {
        user.record(event);
    }
    let text = Exporter::new(&stats).text();
    has(&text, "cache_calls_total{cache=\"user\"} 4");
    has(
        &text,
        "cache_requests_total{cache=\"user\",result=\"hit\"} 3",
    );
    has(
        &text,
        "cache_requests_total{cache=\"user\",result=\"miss\"} 1",
    );
    has(&text, "cache_db_fails_total{cache=\"user\"} 1");
    has(&text, "# TYPE cache_calls_total counter");
    has(
        &text,
        "# HELP cache_calls_total Total: calls that were answered.",
    );
}

#[test]
fn durations_are_cumulative_buckets_in_seconds() {
    let stats = Stats::new();
    let user = stats.cache("user");
    for millis in [1, 2, 3, 60_000] {
        user.record(Event::Load {
            outcome: LoadOutcome::Value,
            took: Duration::from_millis(millis),
        });
    }
    let text = Exporter::new(&stats).text();
    for line in [
        "# TYPE cache_load_duration_seconds histogram",
        "cache_load_duration_seconds_bucket{cache=\"user\",le=\"0.001\"} 1",
        "cache_load_duration_seconds_bucket{cache=\"user\",le=\"0.0025\"} 2",
        "cache_load_duration_seconds_bucket{cache=\"user\",le=\"0.005\"} 3",
        "cache_load_duration_seconds_bucket{cache=\"user\",le=\"30\"} 3",
        "cache_load_duration_seconds_bucket{cache=\"user\",le=\"+Inf\"} 4",
        "cache_load_duration_seconds_count{cache=\"user\"} 4",
        "cache_load_duration_seconds_sum{cache=\"user\"} 60.006",
    ] {
        has(&text, line);
    }
}

#[test]
fn what_the_backend_said_is_exported_once_it_has_said_it() {
    let stats = Stats::new();
    let exporter = Exporter::new(&stats);
    stats.record(Event::QueuedInvalidations(7));
    stats.record(Event::BypassesAll(true));
    stats.record(Event::Breaker(BreakerState::HalfOpen));
    stats.record(Event::Guarantee(Guarantee::StrictUntilFailover));
    stats.record(Event::Backend {
        call: BackendCall::Ping,
        took: Duration::from_micros(70),
        error: Some(ErrorKind::Unavailable),
    });
    let text = exporter.text();
    for line in [
        "cache_queued_invalidations 7",
        "cache_bypasses_all 1",
        "cache_breaker_state{state=\"closed\"} 0",
        "cache_breaker_state{state=\"open\"} 0",
        "cache_breaker_state{state=\"half_open\"} 1",
        "cache_guarantee{level=\"strict_until_failover\"} 1",
        "cache_guarantee{level=\"strict\"} 0",
        "cache_backend_errors_total{call=\"ping\",error=\"unavailable\"} 1",
        "cache_backend_duration_seconds_bucket{call=\"ping\",le=\"5e-05\"} 0",
        "cache_backend_duration_seconds_bucket{call=\"ping\",le=\"0.0001\"} 1",
    ] {
        has(&text, line);
    }
    assert!(!text.contains("call=\"get\""), "which was never called");
}

#[test]
fn engines_are_told_apart_by_their_names() {
    let (orders, sessions) = (Stats::named("orders"), Stats::named("sessions"));
    let recorders = [orders.cache("user"), sessions.cache("user")];
    recorders[0].record(Event::Hit);
    let exporter = Exporter::of_engines([orders.clone(), sessions]).unwrap();
    let text = exporter.text();
    has(
        &text,
        "cache_calls_total{engine=\"orders\",cache=\"user\"} 1",
    );
    has(
        &text,
        "cache_calls_total{engine=\"sessions\",cache=\"user\"} 0",
    );
    assert_eq!(
        text.matches("# TYPE cache_calls_total ").count(),
        1,
        "each family is described once"
    );

    let same = Exporter::of_engines([orders.clone(), orders]).unwrap_err();
    assert!(matches!(&same, SetupError::SameEngine { name, .. } if name == "orders"));
    // An empty name is none.
    let unnamed = Exporter::of_engines([Stats::new(), Stats::named("")]).unwrap_err();
    assert!(unnamed.to_string().contains("Stats::named"), "{unnamed}");
}

#[test]
fn names_of_caches_are_escaped() {
    let stats = Stats::new();
    let odd = stats.cache("a \"b\" \\ c\nd");
    odd.record(Event::Hit);
    has(
        &Exporter::new(&stats).text(),
        "cache_calls_total{cache=\"a \\\"b\\\" \\\\ c\\nd\"} 1",
    );
}
