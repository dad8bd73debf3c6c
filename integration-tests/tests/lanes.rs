//! The connections of a `Redis`: how many there are, when they are made anew, and that they end.

mod support;

use std::time::Duration;

use cache_core::{Backend, Invalidation, Key};
use cache_redis::Redis;
use integration_tests::{Proxy, eventually, within};

use self::support::{
    APP, CEILING, Loads, connect, connections, engine, exists, key, lease_key, owned,
    until_connections, users, users_at,
};

#[tokio::test(flavor = "multi_thread")]
async fn there_are_as_many_connections_as_lanes_and_they_end_with_the_last_clone() {
    let server = owned().user(APP).start().await;
    let url = server.url_as("app", "secret");
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = tasks();
    for lanes in [1, 3] {
        let redis = Redis::builder().url(&url).lanes(lanes).connect().await;
        let redis = redis.unwrap();
        let open = until_connections(&server, lanes).await;
        let clone = redis.clone();
        let users = users(&engine(&redis));
        let loads = Loads::default();
        for id in 0..100 {
            loads.get(&users, id, "value").await;
        }
        assert_eq!(connections(&server).await, open, "no other is opened");
        drop((redis, users));
        clone.ping().await.unwrap();
        assert_eq!(connections(&server).await, open);
        drop(clone);
        until_connections(&server, 0).await;
        eventually("its tasks have ended", async || {
            (tasks() <= before).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_that_died_idle_are_replaced_with_the_one_that_was_found_out() {
    let server = owned().user(APP).start().await;
    let builder = Redis::builder().url(server.url_as("app", "secret"));
    let redis = builder.lanes(3).connect().await.unwrap();
    let before = until_connections(&server, 3).await;
    server.cmd(&["CLIENT", "KILL", "USER", "app"]).await;
    assert!(redis.ping().await.is_err());
    let after = until_connections(&server, 3).await;
    assert!(before.iter().all(|id| !after.contains(id)));
    // Each of the three carries some of these.
    let pings = futures_util::future::join_all((0..100).map(|_| redis.ping())).await;
    assert!(pings.iter().all(Result::is_ok));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_dropped_while_a_lane_is_replaced_leaves_no_connection() {
    let server = owned().user(APP).start().await;
    let proxy = Proxy::before(&server).await;
    let url = proxy.url().replace("redis://", "redis://app:secret@");
    // At its login, at the look at the server, and at the removal of what was removed before.
    for step in ["HELLO", "INFO", "DEL"] {
        let redis = connect(&url).await;
        let removed = redis.remove(&[Key::new(b"key")]).await;
        assert!(removed[0].is_ok());
        proxy.hold_matching(move |request| request.is(step));
        server.cmd(&["CLIENT", "KILL", "USER", "app"]).await;
        redis.ping().await.ok();
        proxy.until_held(1).await;
        drop(redis);
        proxy.release_held();
        until_connections(&server, 0).await;
        eventually("the proxy has none either", async || {
            (proxy.open() == 0).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_removed_is_removed_again_when_a_lane_is_replaced() {
    let server = owned().user(APP).start().await;
    let users = users_at(&server.url_as("app", "secret")).await;
    let loads = Loads::default();
    for id in 0..3 {
        loads.get(&users, id, "old").await;
    }
    assert_eq!(users.invalidate(&1).await, Invalidation::Done);
    users.put(&2, "put".to_owned()).await.unwrap();
    // What a failover to a replica that lags would bring back.
    server.cmd(&["SET", &key(1), "\"old\""]).await;
    server.cmd(&["SET", &lease_key(1), "old"]).await;
    server.cmd(&["SET", &key(2), "\"old\""]).await;

    server.cmd(&["CLIENT", "KILL", "USER", "app"]).await;
    within(CEILING, "it is removed again", async || {
        users.get(&0).await.ok();
        (!exists(&server, &key(1)).await).then_some(())
    })
    .await;
    assert!(!exists(&server, &lease_key(1)).await);
    assert!(!exists(&server, &key(2)).await, "a put removes as well");
    assert!(exists(&server, &key(0)).await, "and nothing else is");
    assert_eq!(loads.get(&users, 1, "new").await, "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connect_that_is_given_up_leaves_no_connection() {
    let server = owned().user(APP).start().await;
    let proxy = Proxy::before(&server).await;
    let url = proxy.url().replace("redis://", "redis://app:secret@");
    for step in ["HELLO", "INFO"] {
        proxy.hold_matching(move |request| request.is(step));
        let builder = Redis::builder().url(&url);
        let connecting = builder.connect_timeout(Duration::from_secs(30)).connect();
        tokio::select! {
            _ = connecting => panic!("it is held up"),
            () = proxy.until_held(1) => {}
        }
        proxy.release_held();
        until_connections(&server, 0).await;
    }
}
