//! A server that hangs while its sockets look alive.

mod support;

use std::{sync::Arc, time::Duration};

use cache_core::{
    Acquire, Backend, BreakerState, Engine, ErrorKind, Event, Invalidation, Key, OutagePolicy,
};
use cache_redis::Redis;
use futures_util::future::join_all;
use integration_tests::{Proxy, eventually, within};
use tokio::sync::Semaphore;

use self::support::{
    APP, CEILING, Events, Loads, engine, exists, key, owned, sent, until_connections, users,
    users_at,
};

/// Longer than any test: who waits for it has been forgotten.
const LONG_HOLD: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn one_read_waits_for_a_hung_server_and_nothing_is_sent_after_it() {
    let server = owned().start().await;
    let proxy = Proxy::before(&server).await;
    let events = Events::default();
    let builder = Redis::builder().url(proxy.url()).lanes(1);
    let redis = builder.recorder(events.clone()).connect().await.unwrap();
    let users = users(&engine(&redis));
    let loads = Loads::default();
    assert_eq!(loads.get(&users, 1, "cached").await, "cached");

    server.pause().await;
    proxy.duplicate_later(|_| true);
    assert_eq!(loads.get(&users, 2, "loaded").await, "loaded");
    assert!(events.has(Event::Breaker(BreakerState::Open)));
    for id in 3..53 {
        assert_eq!(loads.get(&users, id, "loaded").await, "loaded");
    }
    assert_eq!(users.invalidate(&1).await, Invalidation::Queued);
    let requests = proxy.recorded();
    let reads = sent(&requests, "GET");
    // The checkup of a connection that takes the lane's place reads the empty key.
    let checkups = sent(&requests, "ROLE");
    assert_eq!(reads - checkups, 1, "one read found out");
    let scripts = sent(&requests, "EVALSHA") + sent(&requests, "MGET") + sent(&requests, "DEL");
    assert_eq!(scripts, 0, "and nothing of a caller's followed it");

    server.resume().await;
    events.until(Event::Breaker(BreakerState::Closed)).await;
    within(CEILING, "the removal is delivered", async || {
        (!exists(&server, &key(1)).await).then_some(())
    })
    .await;
    assert_eq!(loads.get(&users, 2, "stored").await, "stored");
    eventually("it is stored", async || {
        exists(&server, &key(2)).await.then_some(())
    })
    .await;
    assert_eq!(loads.get(&users, 2, "other").await, "stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_loads_run_while_the_server_hangs_and_the_rest_are_turned_away() {
    let server = owned().start().await;
    let redis = support::connect(&server.url()).await;
    let policy = OutagePolicy::LoadThrough { max_concurrent: 5 };
    let builder = Engine::builder(redis).outage(policy);
    let users = users(&builder.build().unwrap());

    server.pause().await;
    let gate = Arc::new(Semaphore::new(0));
    let callers: Vec<_> = (0..50)
        .map(|id| {
            let (users, gate) = (users.clone(), Arc::clone(&gate));
            tokio::spawn(async move {
                let loader = || async move {
                    drop(gate.acquire().await);
                    Ok::<_, std::io::Error>("loaded".to_owned())
                };
                users.get_or_load(&id, loader).await.map(|_found| ())
            })
        })
        .collect();
    within(CEILING, "all but five are turned away", async || {
        let ended = callers.iter().filter(|caller| caller.is_finished());
        (ended.count() == 45).then_some(())
    })
    .await;
    gate.close();
    let mut kinds = Vec::new();
    for answer in join_all(callers).await {
        kinds.push(answer.unwrap().map_err(|error| error.kind()));
    }
    let turned_away = kinds
        .iter()
        .filter(|kind| **kind == Err(ErrorKind::Overloaded));
    assert_eq!(turned_away.count(), 45);
    assert_eq!(kinds.iter().filter(|kind| kind.is_ok()).count(), 5);
    server.resume().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_timed_out_three_times_is_replaced_though_its_socket_looks_alive() {
    let server = owned().start().await;
    let proxy = Proxy::before(&server).await;
    let users = users_at(proxy.url()).await;
    let loads = Loads::default();
    loads.get(&users, 1, "value").await;
    let list = async || -> Vec<u64> {
        let list: String = server.query(&["CLIENT", "LIST", "TYPE", "normal"]).await;
        let id = |line: &str| line.split_once("id=")?.1.split_once(' ')?.0.parse().ok();
        list.lines().filter_map(id).collect()
    };
    let before = list().await[0];

    server.pause().await;
    let accepted = proxy.accepted();
    loads.get(&users, 2, "value").await;
    assert_eq!(proxy.accepted(), accepted, "one timeout is no reason");
    // Two probes more, and another connection is attempted.
    within(CEILING, "the lane is given up", async || {
        (proxy.accepted() > accepted).then_some(())
    })
    .await;
    server.resume().await;
    within(CEILING, "another connection takes its place", async || {
        let open = list().await;
        (proxy.open() == 1 && open.len() == 2 && !open.contains(&before)).then_some(())
    })
    .await;
    within(CEILING, "a hit again", async || {
        (loads.get(&users, 1, "other").await == "value").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_was_granted_to_nobody_is_given_back_long_before_its_hold_ends() {
    let server = owned().start().await;
    let proxy = Proxy::before(&server).await;
    let redis = support::connect(proxy.url()).await;
    let granted = redis.acquire(&Key::new(b"a"), LONG_HOLD).await.unwrap();
    assert!(matches!(granted, Acquire::Granted(_)));

    // The server knows the script that grants, and not yet the one that gives back.
    server.pause().await;
    proxy.duplicate_later(|_| true);
    let key = Key::new(b"b");
    let error = redis.acquire(&key, LONG_HOLD).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    // Until the lane was given up: nobody waits for an answer on it any more.
    let accepted = proxy.accepted();
    within(CEILING, "the lane is replaced", async || {
        (proxy.accepted() > accepted).then_some(())
    })
    .await;

    server.resume().await;
    within(CEILING, "the lease is free", async || {
        let retry = redis.acquire(&key, LONG_HOLD).await;
        matches!(retry, Ok(Acquire::Granted(_))).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_by_the_hundred_are_all_answered_when_the_server_goes_on() {
    let server = owned().user(APP).start().await;
    let users = users_at(&server.url_as("app", "secret")).await;
    let loads = Loads::default();
    server.pause().await;
    let waiting = join_all((0..64).map(|id| loads.get(&users, id, "value")));
    let (answers, ()) = futures_util::join!(waiting, async {
        // The reads are on their way, or waiting for their batch.
        tokio::task::yield_now().await;
        server.resume().await;
    });
    assert!(answers.iter().all(|answer| answer == "value"));
    until_connections(&server, 1).await;
}
