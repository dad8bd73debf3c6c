//! How long entries live.

use std::{io, time::Duration};

use cache_core::{Cache, CacheBuilder, Engine, ErrorKind, Event, Load, Lookup, Put, codec::Json};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    HOUR, SECOND,
    support::{Events, Loads, Stage, assert_empty, on_stage, users},
    value,
};

const MILLI: Duration = Duration::from_millis(1);

/// A cache for an hour without jitter, to be built.
fn exact(engine: &Engine) -> CacheBuilder<u64, String, Json> {
    engine.cache("user").ttl(HOUR).jitter(0.0)
}

/// Asserts that key 1 has `there` until just before `ttl` has passed since `since`, and no longer.
async fn ends(users: &Cache<u64, String>, since: Instant, ttl: Duration, there: Lookup<String>) {
    sleep_until(since + ttl - MILLI).await;
    assert_eq!(users.get(&1).await.unwrap(), there, "just before {ttl:?}");
    sleep_until(since + ttl).await;
    assert_eq!(
        users.get(&1).await.unwrap(),
        Lookup::Miss,
        "the boundary is over"
    );
}

#[tokio::test(start_paused = true)]
async fn without_jitter_a_value_ends_exactly_with_its_ttl() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let (users, loads) = (exact(&engine).build().unwrap(), Loads::default());
        users
            .get_or_load(&1, loads.value("ann", SECOND))
            .await
            .unwrap();
        ends(&users, Instant::now(), HOUR, value("ann")).await;

        users.put(&1, "bob".to_owned()).await.unwrap();
        ends(&users, Instant::now(), HOUR, value("bob")).await;
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_put_with_a_ttl_ends_with_it() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let users = exact(&engine).build().unwrap();
        for ttl in [MILLI, 90 * SECOND, 2 * HOUR] {
            let put = users.put_with_ttl(&1, "ann".to_owned(), ttl).await;
            assert_eq!(put.unwrap(), Put::Stored);
            ends(&users, Instant::now(), ttl, value("ann")).await;
        }
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_put_with_a_ttl_out_of_range_removes_the_key() {
    on_stage(async |stage| {
        let engine = stage.builder(stage.memory.clone()).longest_ttl(HOUR);
        let engine = engine.build().unwrap();
        let users = exact(&engine).build().unwrap();
        for ttl in [Duration::ZERO, MILLI / 2, HOUR + MILLI, Duration::MAX] {
            users.put(&1, "old".to_owned()).await.unwrap();
            let error = users
                .put_with_ttl(&1, "new".to_owned(), ttl)
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{ttl:?}");
            assert!(error.to_string().contains("`ttl`"), "{error}");
            assert_eq!(users.get(&1).await.unwrap(), Lookup::Miss, "{ttl:?}");
        }
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn absence_has_a_lifetime_of_its_own() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let users = exact(&engine).negative_ttl(10 * SECOND).build().unwrap();
        let loads = Loads::default();
        let absent = || {
            let loads = loads.clone();
            users.get_or_load(&1, move || async move {
                loads.begin();
                Ok::<_, io::Error>(None)
            })
        };
        users.put(&2, "ann".to_owned()).await.unwrap();
        assert_eq!(absent().await.unwrap(), None);
        let since = Instant::now();
        sleep(5 * SECOND).await;
        assert_eq!(absent().await.unwrap(), None);
        assert_eq!(loads.count(), 1, "remembered");
        ends(&users, since, 10 * SECOND, Lookup::Absent).await;
        assert_eq!(absent().await.unwrap(), None);
        assert_eq!(loads.count(), 2, "forgotten");
        assert_eq!(users.get(&2).await.unwrap(), value("ann"), "values live on");
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn absence_is_remembered_for_a_minute_unless_told_otherwise() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let users = exact(&engine).build().unwrap();
        let absent = users.get_or_load(&1, || async { Ok::<_, io::Error>(None) });
        assert_eq!(absent.await.unwrap(), None);
        ends(&users, Instant::now(), 60 * SECOND, Lookup::Absent).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn without_negative_entries_absence_is_asked_for_each_time() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let users = exact(&engine).no_negative().build().unwrap();
        let loads = Loads::default();
        for answer in [Load::absent(), Load::absent().with_ttl(HOUR)] {
            let began = Instant::now();
            let inner = loads.clone();
            let found = users.get_or_load(&1, || async move {
                inner.begin();
                Ok::<_, io::Error>(answer)
            });
            assert_eq!(found.await.unwrap(), None);
            assert_eq!(users.get(&1).await.unwrap(), Lookup::Miss);
            assert_eq!(began.elapsed(), Duration::ZERO, "no lease was left");
        }
        assert_eq!(loads.count(), 2);
        assert_empty(&engine).await;
    })
    .await;
}

/// Asserts that this load of key 1 is answered with `answer`. The longest TTL is two hours; says
/// how often a TTL was clamped to it.
async fn load_with(
    stage: &Stage,
    load: Load<String>,
    answer: Option<&str>,
) -> (Cache<u64, String>, usize) {
    let events = Events::default();
    let engine = stage.builder(stage.memory.clone()).recorder(events.clone());
    let engine = engine.longest_ttl(2 * HOUR).build().unwrap();
    let users = exact(&engine).build().unwrap();
    let found = users.get_or_load(&1, || async { Ok::<_, io::Error>(load) });
    assert_eq!(
        found
            .await
            .unwrap()
            .map(|found| found.to_string())
            .as_deref(),
        answer
    );
    assert_empty(&engine).await;
    (users, events.of(Event::TtlClamped))
}

#[tokio::test(start_paused = true)]
async fn a_load_may_bring_its_own_ttl() {
    // (what it brings, what becomes of it, how often it was clamped)
    for (brought, ttl, clamped) in [
        (MILLI, MILLI, 0),
        (90 * SECOND, 90 * SECOND, 0),
        (2 * HOUR, 2 * HOUR, 0),
        (MILLI / 2, MILLI, 1),
        (2 * HOUR + MILLI, 2 * HOUR, 1),
        (Duration::MAX, 2 * HOUR, 1),
    ] {
        on_stage(async |stage| {
            let load = Load::value("ann".to_owned()).with_ttl(brought);
            let since = Instant::now();
            let (users, counted) = load_with(&stage, load, Some("ann")).await;
            ends(&users, since, ttl, value("ann")).await;
            assert_eq!(counted, clamped, "{brought:?}");
        })
        .await;
        on_stage(async |stage| {
            let since = Instant::now();
            let (users, counted) = load_with(&stage, Load::absent().with_ttl(brought), None).await;
            ends(&users, since, ttl, Lookup::Absent).await;
            assert_eq!(counted, clamped, "{brought:?}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_that_is_not_to_be_stored_is_answered_and_forgotten() {
    for (load, answer) in [
        (Load::value("ann".to_owned()).no_store(), Some("ann")),
        (
            Load::value("ann".to_owned()).with_ttl(Duration::ZERO),
            Some("ann"),
        ),
        (Load::absent().no_store(), None),
        (Load::absent().with_ttl(Duration::ZERO), None),
    ] {
        on_stage(async |stage| {
            let (users, clamped) = load_with(&stage, load, answer).await;
            assert_eq!(users.get(&1).await.unwrap(), Lookup::Miss);
            assert_eq!(clamped, 0, "zero is a word of its own");
            let (began, loads) = (Instant::now(), Loads::default());
            users
                .get_or_load(&1, loads.value("anew", SECOND))
                .await
                .unwrap();
            assert_eq!(
                (loads.count(), began.elapsed()),
                (1, SECOND),
                "no lease was left"
            );
        })
        .await;
    }
}

/// How many of 500 entries of an hour, stored at once, are there after each of these times.
async fn survivors(stage: &Stage, minutes: &[u64]) -> Vec<usize> {
    const ENTRIES: u64 = 500;
    // The spread is drawn from this thread's generator.
    fastrand::seed(7);
    let engine = stage.engine();
    let users = users(&engine);
    let since = Instant::now();
    for key in 0..ENTRIES {
        let loader = Loads::default().value("ann", Duration::ZERO);
        match key % 3 {
            0 => drop(users.get_or_load(&key, loader).await.unwrap()),
            1 => drop(users.put(&key, "ann".to_owned()).await.unwrap()),
            _ => drop(
                users
                    .put_with_ttl(&key, "ann".to_owned(), HOUR)
                    .await
                    .unwrap(),
            ),
        }
    }
    assert_eq!(since.elapsed(), Duration::ZERO, "all at once");
    let mut counts = Vec::new();
    for seconds in minutes {
        sleep_until(since + Duration::from_secs(*seconds)).await;
        let keys: Vec<u64> = (0..ENTRIES).collect();
        let found = users.get_many(&keys).await.into_iter();
        counts.push(
            found
                .filter(|found| matches!(found, Ok(Lookup::Value(_))))
                .count(),
        );
    }
    counts
}

#[tokio::test(start_paused = true)]
async fn an_hour_ends_after_54_to_66_minutes_spread_evenly() {
    on_stage(async |stage| {
        let at = |minutes: u64, seconds: u64| 60 * minutes + seconds;
        let times = [at(53, 59), at(57, 0), at(60, 0), at(63, 0), at(66, 1)];
        let counts = survivors(&stage, &times).await;
        assert_eq!(counts[0], 500, "at 53:59 all are there");
        assert_eq!(counts[4], 0, "at 66:01 all are gone");
        for (quarter, count) in counts.into_iter().enumerate() {
            let expected = 500 - 125 * quarter;
            assert!(count.abs_diff(expected) < 50, "{count} of about {expected}");
        }
    })
    .await;
}
