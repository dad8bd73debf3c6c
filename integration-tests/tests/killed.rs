//! A server that is killed: callers are served by their loaders, and nothing that was removed
//! comes back.

mod support;

use std::time::Duration;

use cache_core::{Engine, Event, Invalidation, Lookup, OutagePolicy};
use cache_redis::Redis;
use futures_util::future::join_all;
use integration_tests::{Direction, Proxy, within};
use tokio::time::Instant;

use self::support::{
    Events, Loads, connect, engine, exists, key, lease_key, owned, users, users_at,
};

/// The aim for the first answer is 150 ms, and for the comeback a second; what is asserted is ten
/// times as much.
const FIRST: Duration = Duration::from_millis(1_500);
const COMEBACK: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn callers_of_a_killed_server_are_answered_by_their_loaders_at_once() {
    let server = owned().start().await;
    let users = users_at(&server.url()).await;
    let loads = Loads::default();
    assert_eq!(loads.get(&users, 1, "cached").await, "cached");

    server.kill().await;
    let killed = Instant::now();
    assert_eq!(loads.get(&users, 2, "loaded").await, "loaded");
    assert!(killed.elapsed() < FIRST, "the first answer");
    for id in 3..103 {
        assert_eq!(loads.get(&users, id, "loaded").await, "loaded");
    }
    assert!(killed.elapsed() < FIRST * 2, "a hundred more");
    assert_eq!(loads.get(&users, 1, "afresh").await, "afresh");
    assert_eq!(loads.count(), 103, "each was loaded, none twice");

    server.start_again().await;
    within(COMEBACK, "a load is stored again", async || {
        loads.get(&users, 7, "back").await;
        exists(&server, &key(7)).await.then_some(())
    })
    .await;
    let before = loads.count();
    assert_eq!(loads.get(&users, 7, "other").await, "back");
    assert_eq!(loads.count(), before, "a hit");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_invalidated_while_the_server_was_down_is_gone_when_it_is_back() {
    // Whatever it had acknowledged is there again after the restart.
    let args = ["--appendonly", "yes", "--appendfsync", "always"];
    let server = owned().args(args).start().await;
    let users = users_at(&server.url()).await;
    let loads = Loads::default();
    for id in 0..200 {
        loads.get(&users, id, "old").await;
    }

    server.kill().await;
    let ids: Vec<u64> = (0..100).collect();
    let removed = join_all(ids.iter().map(|id| users.invalidate(id))).await;
    assert_eq!(removed, [Invalidation::Queued; 100]);
    assert_eq!(loads.get(&users, 5, "new").await, "new");

    server.start_again().await;
    within(COMEBACK, "all removals are delivered", async || {
        let left: u64 = server.query(&["DBSIZE"]).await;
        (left == 100).then_some(())
    })
    .await;
    for id in [0, 5, 99] {
        assert!(!exists(&server, &key(id)).await);
    }
    assert!(exists(&server, &key(100)).await, "the others came back");
    within(COMEBACK, "the keys are read again", async || {
        matches!(users.get(&5).await, Ok(Lookup::Miss)).then_some(())
    })
    .await;
    assert_eq!(loads.get(&users, 5, "newest").await, "newest");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_invalidated_while_the_server_was_cut_off_is_gone_though_nobody_reconnects_for_it()
{
    let server = owned().start().await;
    let proxy = Proxy::before(&server).await;
    let redis = connect(proxy.url()).await;
    let engine = engine(&redis);
    let users = users(&engine);
    Loads::default().get(&users, 1, "old").await;

    proxy.hold(Direction::Requests);
    assert_eq!(users.invalidate(&1).await, Invalidation::Queued);
    assert!(exists(&server, &key(1)).await, "it did not get through");
    assert!(users.get(&1).await.is_err(), "so it is not read either");
    // What was on its way is lost, and with it the removal.
    proxy.cut();
    proxy.release(Direction::Requests);
    within(COMEBACK, "the removal is delivered", async || {
        (!exists(&server, &key(1)).await).then_some(())
    })
    .await;
    assert!(!exists(&server, &lease_key(1)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_callers_of_a_dead_server_make_a_few_connections_a_second() {
    let server = owned().start().await;
    let proxy = Proxy::before(&server).await;
    let redis = connect(proxy.url()).await;
    let policy = OutagePolicy::LoadThrough {
        max_concurrent: 100_000,
    };
    let builder = Engine::builder(redis).outage(policy);
    let users = users(&builder.build().unwrap());
    let loads = Loads::default();
    loads.get(&users, 0, "value").await;

    // The proxy accepts and finds nobody behind it: each attempt is counted.
    server.kill().await;
    let (before, begin) = (proxy.accepted(), Instant::now());
    let mut id = 0;
    while begin.elapsed() < Duration::from_secs(2) {
        let callers = (0..1_000).map(|caller| loads.get(&users, id + caller, "loaded"));
        join_all(callers).await;
        id += 1_000;
    }
    // Pauses of 50, 100, 200, 400 and then 500 ms, each of them halved at most.
    let attempts = proxy.accepted() - before;
    let most = 5 + 4 * (begin.elapsed().as_secs() + 1);
    assert!((1..=most).contains(&attempts), "{attempts} of {most}");

    // And as many when it is back.
    server.start_again().await;
    let before = proxy.accepted();
    within(COMEBACK, "hits again", async || {
        let callers = (0..200).map(|id| loads.get(&users, id, "loaded"));
        join_all(callers).await;
        exists(&server, &key(0)).await.then_some(())
    })
    .await;
    assert!(proxy.accepted() - before <= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_does_not_wait_becomes_a_cache_once_the_server_is_up() {
    let server = owned().start().await;
    server.kill().await;
    let events = Events::default();
    let builder = Redis::builder().url(server.url()).lanes(1);
    let redis = builder.non_blocking().recorder(events.clone());
    let redis = redis.connect().await.unwrap();
    assert_eq!(redis.guarantee(), None, "nobody has looked yet");
    let users = users(&engine(&redis));
    let loads = Loads::default();
    assert_eq!(loads.get(&users, 1, "loaded").await, "loaded");

    server.start_again().await;
    within(COMEBACK, "a load is stored", async || {
        loads.get(&users, 1, "stored").await;
        exists(&server, &key(1)).await.then_some(())
    })
    .await;
    let report = redis.guarantee().unwrap();
    assert!(events.has(Event::Guarantee(report.guarantee)));
    let before = loads.count();
    assert_eq!(loads.get(&users, 1, "again").await, "stored");
    assert_eq!(loads.count(), before);
}
