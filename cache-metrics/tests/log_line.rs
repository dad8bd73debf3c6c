//! The line in the log.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use cache_core::{Event, LoadOutcome, Recorder};
use cache_metrics::{SetupError, Stats};
use tokio::time::sleep;
use tracing::{
    Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::{DefaultGuard, set_default},
};

const MINUTE: Duration = Duration::from_secs(60);

/// Keeps the fields of each event, the text among them, as `message`.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<BTreeMap<String, String>>>>);

struct Fields<'a>(&'a mut BTreeMap<String, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = BTreeMap::new();
        event.record(&mut Fields(&mut fields));
        fields.insert("level".to_owned(), event.metadata().level().to_string());
        self.0.lock().unwrap().push(fields);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Log {
    fn start() -> (Self, DefaultGuard) {
        let log = Self::default();
        (log.clone(), set_default(log))
    }

    fn take(&self) -> Vec<BTreeMap<String, String>> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn messages(&self) -> Vec<String> {
        let lines = self.take().into_iter();
        lines.map(|line| line["message"].clone()).collect()
    }
}

fn count(stats: &dyn cache_core::CacheRecorder, event: Event, times: u64) {
    for _ in 0..times {
        stats.record(event);
    }
}

const FAILED: Event = Event::Load {
    outcome: LoadOutcome::Failed,
    took: MINUTE,
};

#[tokio::test(start_paused = true)]
async fn the_line_of_a_minute_is_go_zeros_with_the_numbers_as_fields() {
    let (log, _in_force) = Log::start();
    let stats = Stats::new();
    stats.log_every(MINUTE).unwrap();
    let user = stats.cache("user");
    count(&*user, Event::Hit, 4_996);
    count(&*user, Event::Led, 61);
    count(&*user, FAILED, 2);
    sleep(MINUTE + Duration::from_millis(1)).await;
    let lines = log.take();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = &lines[0];
    assert_eq!(
        line["message"],
        "dbcache(user) - qpm: 5057, hit_ratio: 98.8%, hit: 4996, miss: 61, db_fails: 2"
    );
    for (field, value) in [
        ("level", Level::INFO.as_str()),
        ("cache", "user"),
        ("qpm", "5057"),
        ("hit", "4996"),
        ("miss", "61"),
        ("db_fails", "2"),
    ] {
        assert_eq!(line[field], value, "{field}");
    }
    assert!(line["hit_ratio"].starts_with("98.79"), "{line:?}");
    assert!(!line.contains_key("engine"), "which has no name");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_minute_is_silent_and_each_line_has_its_own_minute() {
    let (log, _in_force) = Log::start();
    let stats = Stats::named("orders");
    stats.log_every(MINUTE).unwrap();
    let (user, _idle) = (stats.cache("user"), stats.cache("idle"));
    sleep(MINUTE + Duration::from_millis(1)).await;
    assert_eq!(log.messages(), [""; 0]);

    count(&*user, Event::Hit, 3);
    sleep(MINUTE).await;
    let lines = log.take();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["engine"], "orders");

    // Nobody waited for this load: it is told with the next calls.
    count(&*user, FAILED, 1);
    sleep(MINUTE).await;
    assert_eq!(log.messages(), [""; 0]);

    count(&*user, Event::NotFound, 1);
    sleep(MINUTE).await;
    assert_eq!(
        log.messages(),
        ["dbcache(user) - qpm: 1, hit_ratio: 0.0%, hit: 0, miss: 1, db_fails: 1"]
    );
}

#[tokio::test(start_paused = true)]
async fn calls_are_told_per_minute_whatever_the_interval() {
    let (log, _in_force) = Log::start();
    let stats = Stats::new();
    stats.log_every(MINUTE / 6).unwrap();
    let user = stats.cache("user");
    count(&*user, Event::Hit, 10);
    sleep(MINUTE / 6 + Duration::from_millis(1)).await;
    assert_eq!(
        log.messages(),
        ["dbcache(user) - qpm: 60, hit_ratio: 100.0%, hit: 10, miss: 0, db_fails: 0"]
    );
}

#[tokio::test(start_paused = true)]
async fn it_stops_when_the_stats_are_dropped() {
    let (log, _in_force) = Log::start();
    let stats = Stats::new();
    stats.log_every(MINUTE).unwrap();
    let running = tokio::runtime::Handle::current().metrics();
    assert_eq!(running.num_alive_tasks(), 1);
    let user = stats.cache("user");
    count(&*user, Event::Hit, 1);
    drop(stats);
    support::settle().await;
    assert_eq!(running.num_alive_tasks(), 0, "at once");
    sleep(2 * MINUTE).await;
    assert_eq!(log.messages(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn asked_for_late_and_again_it_tells_nothing_twice() {
    let (log, _in_force) = Log::start();
    let stats = Stats::new();
    let user = stats.cache("user");
    count(&*user, Event::Hit, 1_000);
    sleep(60 * MINUTE).await;
    stats.log_every(MINUTE).unwrap();
    count(&*user, Event::Hit, 1);
    sleep(MINUTE + Duration::from_millis(1)).await;
    let told = "dbcache(user) - qpm: 1, hit_ratio: 100.0%, hit: 1, miss: 0, db_fails: 0";
    assert_eq!(log.messages(), [told], "from then on");

    count(&*user, Event::Hit, 7);
    sleep(MINUTE / 2).await;
    stats.log_every(MINUTE / 2).unwrap();
    count(&*user, Event::Hit, 1);
    sleep(MINUTE / 2 + Duration::from_millis(1)).await;
    let told = "dbcache(user) - qpm: 8, hit_ratio: 100.0%, hit: 8, miss: 0, db_fails: 0";
    assert_eq!(log.messages(), [told], "and on, by one of them");
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_is_built_again_is_told_from_zero() {
    let (log, _in_force) = Log::start();
    let stats = Stats::new();
    stats.log_every(MINUTE).unwrap();
    for (before, after) in [(100, 5), (5, 100)] {
        let user = stats.cache("user");
        count(&*user, Event::Hit, before);
        sleep(MINUTE + Duration::from_millis(1)).await;
        drop(user);
        let user = stats.cache("user");
        count(&*user, Event::Hit, after);
        sleep(MINUTE).await;
        let last = log.messages().pop().unwrap();
        assert!(last.contains(&format!("hit: {after},")), "{last}");
    }
}

#[test]
fn an_interval_of_zero_and_no_runtime_are_errors_that_name_the_setting() {
    let error = Stats::new().log_every(Duration::ZERO).unwrap_err();
    assert!(matches!(error, SetupError::ZeroInterval { .. }));
    assert!(error.to_string().contains("log_every"), "{error}");
    let error = Stats::new().log_every(MINUTE).unwrap_err();
    assert!(matches!(error, SetupError::NoRuntime { .. }));
    assert!(error.to_string().contains("log_every"), "{error}");
}
