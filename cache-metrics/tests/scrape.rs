//! Scrapes while caches are used, and of many caches.
#![cfg(feature = "prometheus")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use cache_core::{Event, LoadOutcome, Recorder};
use cache_metrics::{Exporter, Stats};

/// The series of a text, each with its value.
fn series(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

const LOAD: Event = Event::Load {
    outcome: LoadOutcome::Failed,
    took: Duration::from_millis(3),
};

/// What is true of every scrape, whatever happens meanwhile.
fn assert_consistent(now: &BTreeMap<String, f64>, before: &BTreeMap<String, f64>) {
    let hit = now["cache_requests_total{cache=\"user\",result=\"hit\"}"];
    let miss = now["cache_requests_total{cache=\"user\",result=\"miss\"}"];
    assert_eq!(now["cache_calls_total{cache=\"user\"}"], hit + miss);
    let answers = now
        .iter()
        .filter(|(name, _)| name.starts_with("cache_answers_total"));
    assert_eq!(answers.map(|(_, count)| count).sum::<f64>(), hit + miss);
    let failed = now["cache_loads_total{cache=\"user\",outcome=\"failed\"}"];
    assert_eq!(now["cache_db_fails_total{cache=\"user\"}"], failed);
    assert_eq!(
        now["cache_load_duration_seconds_bucket{cache=\"user\",le=\"+Inf\"}"],
        now["cache_load_duration_seconds_count{cache=\"user\"}"]
    );
    for (name, value) in before {
        assert!(now[name] >= *value, "{name} went down from {value}");
    }
}

#[test]
fn scrapes_under_load_are_consistent_and_nothing_is_lost() {
    const THREADS: usize = 4;
    const EACH: usize = 100_000;
    let stats = Stats::new();
    let exporter = Exporter::new(&stats);
    let user = stats.cache("user");
    let ended = Arc::new(AtomicBool::new(false));
    let scrapes = thread::spawn({
        let (exporter, ended) = (exporter.clone(), Arc::clone(&ended));
        move || {
            let mut before = BTreeMap::new();
            loop {
                let now = series(&exporter.text());
                assert_consistent(&now, &before);
                before = now;
                if ended.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
    });
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..EACH {
                    for event in [Event::Hit, Event::Coalesced, Event::Led, LOAD] {
                        user.record(event);
                    }
                }
            });
        }
    });
    ended.store(true, Ordering::Relaxed);
    scrapes.join().unwrap();

    let last = series(&exporter.text());
    let all = u32::try_from(THREADS * EACH).unwrap();
    assert_eq!(
        last["cache_calls_total{cache=\"user\"}"],
        f64::from(3 * all)
    );
    assert_eq!(last["cache_db_fails_total{cache=\"user\"}"], f64::from(all));
    assert_eq!(
        last["cache_load_duration_seconds_count{cache=\"user\"}"],
        f64::from(all)
    );
}

#[test]
fn a_thousand_caches_are_all_there_until_they_are_dropped() {
    // The series of an engine that called nothing, and of a cache without failed calls.
    const ENGINE: usize = 2;
    const EACH: usize = 43;
    let stats = Stats::new();
    let exporter = Exporter::new(&stats);
    let mut caches: Vec<_> = (0..1_000)
        .map(|n| stats.cache(&format!("cache_{n}")))
        .collect();
    for (count, cache) in caches.iter().enumerate() {
        for _ in 0..count % 7 {
            cache.record(Event::Hit);
        }
    }
    let text = exporter.text();
    assert_eq!(series(&text).len(), ENGINE + 1_000 * EACH);
    let all = series(&text);
    for count in 0..1_000 {
        let name = format!("cache_calls_total{{cache=\"cache_{count}\"}}");
        assert_eq!(all[&name], (count % 7) as f64);
    }

    caches.truncate(1);
    let text = exporter.text();
    assert!(text.contains("cache=\"cache_0\""));
    assert!(!text.contains("cache=\"cache_1\""));
    assert_eq!(series(&text).len(), ENGINE + EACH);
}

#[test]
fn what_caches_there_are_may_change_during_a_scrape() {
    let stats = Stats::new();
    let exporter = Exporter::new(&stats);
    thread::scope(|scope| {
        for thread in 0..4 {
            let stats = &stats;
            scope.spawn(move || {
                for round in 0..500 {
                    let own = stats.cache(&format!("own_{thread}_{}", round % 3));
                    let shared = stats.cache("shared");
                    own.record(Event::Hit);
                    shared.record(Event::Hit);
                }
            });
        }
        for _ in 0..200 {
            series(&exporter.text());
        }
    });
    let left = stats.snapshot().caches;
    assert!(left.is_empty(), "{left:?}");
}
