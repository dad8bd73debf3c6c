//! The `metrics` facade, with an exporter that many services use.
#![cfg(feature = "metrics")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use cache_core::{BackendCall, Event, LoadOutcome, Recorder, testing::Act};
use cache_metrics::{Facade, SetupError, Stats, catalogue::FAMILIES};
use metrics::{KeyName, SharedString, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use tokio::time::sleep;

use self::support::{SECOND, fails, loads, on_scene, settle};

fn exporter() -> PrometheusRecorder {
    let builder = PrometheusBuilder::new();
    let builder = builder.set_buckets(&[0.1, 1.0, 10.0]).unwrap();
    builder.build_recorder()
}

fn text(exporter: &PrometheusRecorder) -> String {
    let handle = exporter.handle();
    handle.run_upkeep();
    handle.render()
}

fn has(text: &str, line: &str) {
    assert!(
        text.lines().any(|it| it == line),
        "no line {line:?} in:\n{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn all_that_is_counted_comes_out_of_the_services_own_exporter() {
    let exporter = exporter();
    let _installed = metrics::set_default_local_recorder(&exporter);
    let published = Mutex::new(None);
    let facade = |stats: &Stats| {
        let facade = Facade::new(stats);
        *published.lock().unwrap() = Some(facade.clone());
        facade
    };
    on_scene(facade, async |scene| {
        scene.users.get_or_load(&1, loads).await.unwrap();
        scene.users.get_or_load(&1, loads).await.unwrap();
        scene.users.get_or_load(&2, fails).await.unwrap_err();
        scene.script.once(BackendCall::Remove, Act::Fail);
        scene.users.invalidate(&1).await;
        let facade = published.lock().unwrap().take();
        facade.unwrap().publish();
    })
    .await;
    let text = text(&exporter);
    for line in [
        "# TYPE cache_calls_total counter",
        "# HELP cache_calls_total Total: calls that were answered",
        "cache_calls_total{cache=\"user\"} 3",
        "cache_requests_total{cache=\"user\",result=\"hit\"} 1",
        "cache_db_fails_total{cache=\"user\"} 1",
        "cache_load_duration_seconds_count{cache=\"user\"} 2",
        "cache_load_duration_seconds_sum{cache=\"user\"} 2",
        "cache_queued_invalidations 1",
        "cache_backend_errors_total{call=\"remove\",error=\"unavailable\"} 1",
        "cache_backend_duration_seconds_count{call=\"acquire\"} 2",
        "cache_backend_duration_seconds_count{call=\"remove\"} 1",
    ] {
        has(&text, line);
    }
}

#[test]
fn the_series_have_the_names_and_labels_of_the_catalogue() {
    let exporter = exporter();
    let _installed = metrics::set_default_local_recorder(&exporter);
    let stats = Stats::named("orders");
    let facade = Facade::new(&stats);
    let user = facade.cache("user");
    for event in [
        Event::Hit,
        Event::Led,
        Event::Load {
            outcome: LoadOutcome::Failed,
            took: Duration::from_secs(2),
        },
        Event::Failed(cache_core::ErrorKind::Loader),
        Event::Breaker(cache_core::BreakerState::Open),
        Event::Guarantee(cache_core::Guarantee::Strict),
        Event::Backend {
            call: BackendCall::Get,
            took: Duration::from_millis(50),
            error: None,
        },
    ] {
        user.record(event);
    }
    facade.publish();
    let text = text(&exporter);
    for line in [
        "cache_calls_total{engine=\"orders\",cache=\"user\"} 3",
        "cache_requests_total{engine=\"orders\",cache=\"user\",result=\"hit\"} 1",
        "cache_db_fails_total{engine=\"orders\",cache=\"user\"} 1",
        "cache_load_duration_seconds_bucket{engine=\"orders\",cache=\"user\",le=\"1\"} 0",
        "cache_load_duration_seconds_bucket{engine=\"orders\",cache=\"user\",le=\"10\"} 1",
        "cache_backend_duration_seconds_bucket{engine=\"orders\",call=\"get\",le=\"0.1\"} 1",
        "cache_breaker_state{engine=\"orders\",state=\"open\"} 1",
    ] {
        has(&text, line);
    }
    for family in FAMILIES {
        let described = format!("# TYPE {} {}", family.name(), family.kind().as_str());
        has(&text, &described);
    }
}

#[test]
fn published_again_a_counter_is_not_added_to() {
    let exporter = exporter();
    let _installed = metrics::set_default_local_recorder(&exporter);
    let stats = Stats::new();
    let facade = Facade::new(&stats);
    let user = facade.cache("user");
    user.record(Event::Hit);
    facade.publish();
    facade.publish();
    has(&text(&exporter), "cache_calls_total{cache=\"user\"} 1");
    user.record(Event::Hit);
    facade.publish();
    has(&text(&exporter), "cache_calls_total{cache=\"user\"} 2");
}

#[test]
fn the_services_counters_go_on_when_a_cache_is_built_again() {
    let exporter = exporter();
    let _installed = metrics::set_default_local_recorder(&exporter);
    let facade = Facade::new(&Stats::new());
    // Each time one series outgrows what it was and another does not.
    for (hits, misses) in [(5, 100), (200, 10), (1, 150)] {
        let user = facade.cache("user");
        (0..hits).for_each(|_| user.record(Event::Hit));
        (0..misses).for_each(|_| user.record(Event::Led));
        facade.publish();
    }
    let text = text(&exporter);
    has(&text, "cache_calls_total{cache=\"user\"} 466");
    has(
        &text,
        "cache_requests_total{cache=\"user\",result=\"hit\"} 206",
    );
    has(
        &text,
        "cache_requests_total{cache=\"user\",result=\"miss\"} 260",
    );
}

#[test]
fn what_a_cache_counted_since_it_was_published_is_handed_on_when_it_is_dropped() {
    let exporter = exporter();
    let _installed = metrics::set_default_local_recorder(&exporter);
    let facade = Facade::new(&Stats::new());
    for _ in 0..100 {
        let (one, two) = (facade.cache("user"), facade.cache("user"));
        one.record(Event::Hit);
        two.record(Event::Hit);
    }
    has(&text(&exporter), "cache_calls_total{cache=\"user\"} 200");
    facade.publish();
    has(&text(&exporter), "cache_calls_total{cache=\"user\"} 200");
}

#[test]
fn threads_that_publish_hand_everything_on_once() {
    let exporter = exporter();
    let facade = Facade::new(&Stats::new());
    let user = facade.cache("user");
    let publishing = AtomicUsize::new(4);
    let mut hits = 0;
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let _installed = metrics::set_default_local_recorder(&exporter);
                for _ in 0..100 {
                    facade.publish();
                }
                publishing.fetch_sub(1, Ordering::Relaxed);
            });
        }
        // What is counted is another number for each of them.
        while publishing.load(Ordering::Relaxed) > 0 {
            user.record(Event::Hit);
            hits += 1;
        }
    });
    let _installed = metrics::set_default_local_recorder(&exporter);
    facade.publish();
    let all = format!("cache_calls_total{{cache=\"user\"}} {hits}");
    has(&text(&exporter), &all);
}

#[test]
fn durations_come_back_to_an_exporter_that_forgot_them_for_being_idle() {
    const IDLE: Duration = Duration::from_millis(1);
    let idle = Some(IDLE);
    let builder = PrometheusBuilder::new();
    let builder = builder.idle_timeout(metrics_util::MetricKindMask::ALL, idle);
    let exporter = builder.build_recorder();
    let _installed = metrics::set_default_local_recorder(&exporter);
    let facade = Facade::new(&Stats::new());
    let user = facade.cache("user");
    let load = Event::Load {
        outcome: LoadOutcome::Value,
        took: SECOND,
    };
    user.record(load);
    let is_there = || text(&exporter).contains("cache_load_duration_seconds_count");
    assert!(is_there());
    while is_there() {
        thread::yield_now();
    }
    user.record(load);
    assert!(is_there());
}

/// An exporter that panics once, in the middle of what it is handed.
struct PanicsOnce {
    exporter: PrometheusRecorder,
    calls: AtomicUsize,
}

impl metrics::Recorder for PanicsOnce {
    // What a series means is no matter here.
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(
        &self,
        key: &metrics::Key,
        metadata: &metrics::Metadata<'_>,
    ) -> metrics::Counter {
        assert_ne!(self.calls.fetch_add(1, Ordering::Relaxed), 5, "once");
        self.exporter.register_counter(key, metadata)
    }

    fn register_gauge(
        &self,
        key: &metrics::Key,
        metadata: &metrics::Metadata<'_>,
    ) -> metrics::Gauge {
        self.exporter.register_gauge(key, metadata)
    }

    fn register_histogram(
        &self,
        key: &metrics::Key,
        metadata: &metrics::Metadata<'_>,
    ) -> metrics::Histogram {
        self.exporter.register_histogram(key, metadata)
    }
}

#[tokio::test(start_paused = true)]
async fn an_exporter_that_panics_is_handed_the_rest_the_next_time() {
    let exporter = PanicsOnce {
        exporter: exporter(),
        calls: AtomicUsize::new(0),
    };
    let _installed = metrics::set_default_local_recorder(&exporter);
    let facade = Facade::new(&Stats::new());
    facade.publish_every(SECOND).unwrap();
    let user = facade.cache("user");
    (0..10).for_each(|_| user.record(Event::Hit));
    sleep(2 * SECOND + SECOND / 2).await;
    let text = text(&exporter.exporter);
    has(&text, "cache_calls_total{cache=\"user\"} 10");
    has(
        &text,
        "cache_answers_total{cache=\"user\",answer=\"value\"} 10",
    );
    assert!(exporter.calls.load(Ordering::Relaxed) > 5, "it did panic");
}

#[tokio::test(start_paused = true)]
async fn it_publishes_again_and_again_until_it_is_dropped() {
    let exporter = exporter();
    let _installed = metrics::set_default_local_recorder(&exporter);
    let stats = Stats::new();
    let facade = Facade::new(&stats);
    facade.publish_every(SECOND).unwrap();
    let user = facade.cache("user");
    user.record(Event::Hit);
    sleep(SECOND + SECOND / 2).await;
    has(&text(&exporter), "cache_calls_total{cache=\"user\"} 1");
    drop((facade, user));
    settle().await;
    let tasks = tokio::runtime::Handle::current().metrics();
    assert_eq!(tasks.num_alive_tasks(), 0);
}

#[test]
fn an_interval_of_zero_and_no_runtime_are_errors_that_name_the_setting() {
    let facade = Facade::new(&Stats::new());
    let zero = facade.publish_every(Duration::ZERO).unwrap_err();
    assert!(zero.to_string().contains("publish_every"), "{zero}");
    let none = facade.publish_every(SECOND).unwrap_err();
    assert!(matches!(none, SetupError::NoRuntime { .. }), "{none:?}");
}
