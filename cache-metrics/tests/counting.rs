//! Total, Hit, Miss and DbFails, row by row, and what is counted besides.

mod support;

use std::io;

use cache_core::{
    Acquire, Backend, BackendCall, CacheRecorder, Entry, ErrorKind, Event, Key, Load, LoadOutcome,
    Recorder, Ttl, testing::Act,
};
use cache_metrics::Stats;
use futures_util::{FutureExt, future::join_all};
use tokio::time::timeout;

use self::support::{
    SECOND, Scene, fails, finds_nothing, four, hangs, loads, on_scene, panics, settle,
};

/// Calls of `users.get_or_load(&1)` at once, all with this loader.
macro_rules! storm {
    ($scene:expr, $callers:expr, $loader:expr) => {
        join_all((0..$callers).map(|_| $scene.users.get_or_load(&1, $loader))).await
    };
}

async fn on_stats<T>(test: impl AsyncFnOnce(Scene) -> T) -> T {
    on_scene(Stats::clone, test).await
}

#[tokio::test(start_paused = true)]
async fn of_a_storm_of_ten_one_is_a_miss_and_nine_are_hits() {
    on_stats(async |scene| {
        for answer in storm!(scene, 10, loads) {
            assert_eq!(answer.unwrap().unwrap().as_str(), "ann");
        }
        let counts = scene.counts();
        assert_eq!(four(&counts), [10, 9, 1, 0]);
        assert_eq!((counts.coalesced(), counts.led()), (9, 1));
        assert_eq!(counts.hit_rate(), Some(0.9));
        assert_eq!(counts.loads(LoadOutcome::Value), 1);
        assert_eq!(counts.load_duration().sum(), SECOND);
        assert_eq!(counts.fills_stored(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn of_a_failing_storm_all_are_misses_and_one_load_failed() {
    on_stats(async |scene| {
        for answer in storm!(scene, 10, fails) {
            assert_eq!(answer.unwrap_err().kind(), ErrorKind::Loader);
        }
        let counts = scene.counts();
        assert_eq!(four(&counts), [10, 0, 10, 1]);
        assert_eq!(counts.led(), 1);
        assert_eq!(counts.failed(ErrorKind::Loader), 9);
        assert_eq!(counts.loads(LoadOutcome::Failed), 1);
        assert_eq!(counts.fills_stored(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_hit_and_a_negative_hit_are_hits() {
    on_stats(async |scene| {
        storm!(scene, 1, loads);
        scene.users.get_or_load(&2, finds_nothing).await.unwrap();
        assert_eq!(four(&scene.counts()), [2, 0, 2, 0], "both were loaded");
        for key in [1, 2] {
            scene.users.get_or_load(&key, loads).await.unwrap();
            scene.users.get(&key).await.unwrap();
            scene.users.get_many([&key]).await;
        }
        let counts = scene.counts();
        assert_eq!(four(&counts), [8, 6, 2, 0]);
        assert_eq!(counts.negative_hits(), 3);
        assert_eq!(counts.loads(LoadOutcome::Absent), 1);
        assert_eq!(counts.hit_rate(), Some(0.75));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_storm_on_what_does_not_exist_is_answered_by_one_load() {
    on_stats(async |scene| {
        storm!(scene, 10, finds_nothing);
        assert_eq!(four(&scene.counts()), [10, 9, 1, 0]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_loaded_is_a_miss() {
    on_stats(async |scene| {
        scene.users.get(&1).await.unwrap();
        scene.users.get_many([&1, &2]).await;
        let counts = scene.counts();
        assert_eq!(four(&counts), [3, 0, 3, 0]);
        assert_eq!(counts.not_found(), 3);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_cannot_be_decoded_counts_by_the_load_that_follows() {
    on_stats(async |scene| {
        let key = Key::new(b"user:1");
        let Ok(Acquire::Granted(lease)) = scene.memory.acquire(&key, SECOND).await else {
            unreachable!("nobody else is there");
        };
        let rubbish = Entry::Encoded(b"{".as_slice().into());
        let ttl = Ttl::new(60 * SECOND, 60 * SECOND).unwrap();
        let fill = scene.memory.fill(&key, lease, rubbish, ttl);
        fill.await.unwrap();

        scene.users.get(&1).await.unwrap();
        let counts = scene.counts();
        assert_eq!((four(&counts), counts.undecodable()), ([1, 0, 1, 0], 1));

        storm!(scene, 1, loads);
        let counts = scene.counts();
        assert_eq!((four(&counts), counts.undecodable()), ([2, 0, 2, 0], 2));
        assert_eq!(counts.loads(LoadOutcome::Value), 1);

        storm!(scene, 1, loads);
        assert_eq!(four(&scene.counts()), [3, 1, 2, 0]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_load_that_takes_too_long_failed() {
    on_stats(async |scene| {
        for answer in storm!(scene, 3, hangs) {
            assert_eq!(answer.unwrap_err().kind(), ErrorKind::LoadTimeout);
        }
        let counts = scene.counts();
        assert_eq!(four(&counts), [3, 0, 3, 1]);
        assert_eq!(counts.loads(LoadOutcome::TimedOut), 1);
        assert_eq!(counts.failed(ErrorKind::LoadTimeout), 2);
        assert_eq!(counts.load_duration().sum(), 30 * SECOND);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_load_that_panics_failed() {
    on_stats(async |scene| {
        for answer in storm!(scene, 3, panics) {
            assert_eq!(answer.unwrap_err().kind(), ErrorKind::Panicked);
        }
        let counts = scene.counts();
        assert_eq!(four(&counts), [3, 0, 3, 1]);
        assert_eq!(counts.loads(LoadOutcome::Panicked), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_refused_is_a_miss() {
    on_stats(async |scene| {
        let answers = storm!(scene, 12, loads);
        let refused = answers.iter().filter_map(|answer| answer.as_ref().err());
        let refused: Vec<_> = refused.map(cache_core::Error::kind).collect();
        assert_eq!(refused, [ErrorKind::Overloaded; 2], "10 may wait");
        let counts = scene.counts();
        assert_eq!(four(&counts), [12, 9, 3, 0]);
        assert_eq!(counts.failed(ErrorKind::Overloaded), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_load_inside_itself_is_a_miss_of_each_call() {
    on_stats(async |scene| {
        let users = scene.users.clone();
        let inner = scene.users.get_or_load(&1, || async move {
            let inside = users.get_or_load(&1, loads).await;
            inside.map(|value| value.map(|value| value.as_str().to_owned()))
        });
        assert_eq!(inner.await.unwrap_err().kind(), ErrorKind::Loader);
        let counts = scene.counts();
        assert_eq!(four(&counts), [2, 0, 2, 1]);
        assert_eq!(counts.failed(ErrorKind::Recursive), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_does_not_count() {
    on_stats(async |scene| {
        let left = timeout(SECOND / 2, scene.users.get_or_load(&1, loads)).await;
        left.unwrap_err();
        tokio::time::sleep(SECOND).await;
        settle().await;
        let counts = scene.counts();
        assert_eq!(four(&counts), [0; 4]);
        assert_eq!(counts.hit_rate(), None);
        assert_eq!(counts.loads(LoadOutcome::Value), 1, "its load went on");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_counts_its_loads_and_the_errors_of_the_backend() {
    on_stats(async |scene| {
        scene.script.ask();
        scene.script.once(BackendCall::Get, Act::Fail);
        storm!(scene, 1, loads);
        let counts = scene.counts();
        assert_eq!(four(&counts), [1, 0, 1, 0]);
        assert_eq!(counts.outage_loads(), 1);
        let engine = scene.stats.snapshot().engine;
        let gets = engine.calls(BackendCall::Get).unwrap();
        assert_eq!(gets.duration().count(), 1);
        assert_eq!(gets.errors(ErrorKind::Unavailable), 1);
        assert_eq!(engine.calls(BackendCall::Acquire), None, "nothing follows");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_is_told_as_long_as_it_is() {
    on_stats(async |scene| {
        scene.script.once(BackendCall::Remove, Act::Fail);
        scene.users.invalidate(&1).await;
        assert_eq!(scene.stats.snapshot().engine.queued_invalidations(), 1);
        tokio::time::sleep(3 * SECOND).await;
        assert_eq!(scene.stats.snapshot().engine.queued_invalidations(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_ttl_out_of_range_and_a_fill_that_was_overtaken_are_counted() {
    on_stats(async |scene| {
        let long = || async {
            let year = 365 * 24 * 3600 * SECOND;
            Ok::<_, io::Error>(Load::value("ann".to_owned()).with_ttl(year))
        };
        scene.users.get_or_load(&1, long).await.unwrap();
        assert_eq!(scene.counts().clamped_ttls(), 1);

        let users = scene.users.clone();
        let load = scene.users.get_or_load(&2, || async move {
            users.invalidate(&2).await;
            // Before the lease is renewed, which would show that it is lost.
            tokio::time::sleep(SECOND / 2).await;
            Ok::<_, io::Error>("old".to_owned())
        });
        load.await.unwrap();
        assert_eq!(scene.counts().fills_superseded(), 1);
    })
    .await;
}

#[test]
fn a_cache_that_is_built_again_begins_at_zero() {
    let stats = Stats::new();
    let user = stats.cache("user");
    user.record(Event::Hit);
    drop(user);
    assert!(stats.snapshot().cache("user").is_none(), "its series ended");
    let user = stats.cache("user");
    assert_eq!(four(stats.snapshot().cache("user").unwrap()), [0; 4]);
    drop(user);
}

#[test]
fn two_caches_of_one_name_are_counted_together() {
    let stats = Stats::new();
    let (one, two) = (stats.cache("user"), stats.cache("user"));
    one.record(Event::Hit);
    two.record(Event::Led);
    drop(one);
    assert_eq!(
        four(stats.snapshot().cache("user").unwrap()),
        [2, 1, 1, 0],
        "as long as one of them is there"
    );
}

#[tokio::test(start_paused = true)]
async fn the_series_of_a_cache_end_with_its_last_handle() {
    on_stats(async |scene| {
        let other = support::cache(&scene.engine, "other");
        let clone = other.clone();
        drop(other);
        assert!(scene.stats.snapshot().cache("other").is_some());
        drop(clone);
        assert!(scene.stats.snapshot().cache("other").is_none());
        assert!(scene.stats.snapshot().cache("user").is_some());
    })
    .await;
}

#[test]
fn the_stats_may_be_dropped_before_what_counts() {
    let stats = Stats::new();
    let user = stats.cache("user");
    drop(stats);
    user.record(Event::Hit);
    drop(user);
}

#[test]
fn a_recorder_is_ready_when_it_is_handed_out() {
    let recorder: std::sync::Arc<dyn CacheRecorder> = Stats::new().cache("user");
    assert!(
        async { recorder.record(Event::Hit) }
            .now_or_never()
            .is_some()
    );
}
