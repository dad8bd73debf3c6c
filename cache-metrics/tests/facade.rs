//! The `metrics` facade, with an exporter that many services use.
#![cfg(feature = "metrics")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

use std::{sync::Mutex, time::Duration};

use cache_core::{BackendCall, Event, LoadOutcome, Recorder, testing::Act};
use cache_metrics::{Facade, SetupError, Stats, catalogue::FAMILIES};
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
    for family in &FAMILIES {
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

    // A cache that is built again begins at zero, and the service's counter goes on.
    drop(user);
    let user = facade.cache("user");
    user.record(Event::Hit);
    facade.publish();
    has(&text(&exporter), "cache_calls_total{cache=\"user\"} 3");
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
    drop(facade);
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
