//! Invalidations that wait for replicas.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

use std::time::Duration;

use cache_core::{Backend, Engine, Invalidation, Key};
use cache_redis::Redis;
use integration_tests::{Proxy, Server, within};

use self::support::{APP, CEILING, Loads, connections, exists, key, owned, replica_of, users};

const PATIENCE: Duration = Duration::from_millis(200);

async fn waiting_at(url: &str) -> Redis {
    let builder = Redis::builder().url(url).lanes(1);
    let builder = builder.wait_for_replicas(1, PATIENCE);
    builder.connect().await.unwrap()
}

async fn pair() -> (Server, Server) {
    let primary = owned().user(APP).start().await;
    let replica = replica_of(&primary).await;
    (primary, replica)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_done_when_the_replica_has_it_and_queued_when_it_has_not() {
    let (primary, replica) = pair().await;
    let redis = waiting_at(&primary.url_as("app", "secret")).await;
    let engine = Engine::builder(redis).build().unwrap();
    let users = users(&engine);
    let loads = Loads::default();
    loads.get(&users, 1, "old").await;
    within(CEILING, "the replica has the value", async || {
        exists(&replica, &key(1)).await.then_some(())
    })
    .await;
    assert_eq!(users.invalidate(&1).await, Invalidation::Done);
    assert!(!exists(&replica, &key(1)).await, "as of the answer");
    // A lane, and one that waits.
    let open = connections(&primary).await;
    assert_eq!(open.len(), 2);

    replica.pause().await;
    loads.get(&users, 1, "old").await;
    assert_eq!(users.invalidate(&1).await, Invalidation::Queued);
    assert!(
        !exists(&primary, &key(1)).await,
        "the primary has removed it"
    );
    assert!(
        users.get(&1).await.is_err(),
        "it is bypassed until it is sure"
    );
    let repeated = users.invalidate(&1).await;
    assert_eq!(repeated, Invalidation::Queued, "nothing was left to remove");

    replica.resume().await;
    within(CEILING, "done again", async || {
        (users.invalidate(&3).await == Invalidation::Done).then_some(())
    })
    .await;
    within(CEILING, "what was queued is delivered", async || {
        users.get(&1).await.is_ok().then_some(())
    })
    .await;
    for id in 0..20 {
        assert_eq!(users.invalidate(&id).await, Invalidation::Done);
    }
    assert_eq!(connections(&primary).await[..2], open, "none was spoilt");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_was_given_up_holds_nobody_else_up() {
    let (primary, replica) = pair().await;
    let proxy = Proxy::before(&primary).await;
    let url = proxy.url().replace("redis://", "redis://app:secret@");
    let builder = Redis::builder().url(url).lanes(1);
    let patience = Duration::from_secs(30);
    let redis = builder.wait_for_replicas(1, patience).connect().await;
    let redis = redis.unwrap();
    let removed = async || redis.remove(&[Key::new(b"key")]).await.remove(0);
    removed().await.unwrap();
    let before = connections(&primary).await;

    // It hangs in a `WAIT`, and its caller leaves.
    replica.pause().await;
    proxy.duplicate_later(|request| request.is("WAIT"));
    tokio::select! {
        _ = removed() => panic!("there is nobody to acknowledge it"),
        () = within(CEILING, "it waits", async || {
            (proxy.recorded().len() == 1).then_some(())
        }) => {}
    }
    within(CEILING, "its connection is closed", async || {
        let open = connections(&primary).await;
        let kept = before.iter().filter(|id| open.contains(id));
        (kept.count() == 1).then_some(())
    })
    .await;
    replica.resume().await;
    removed().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_may_wait_at_once_and_the_rest_wait_for_a_place() {
    let (primary, _replica) = pair().await;
    let redis = waiting_at(&primary.url_as("app", "secret")).await;
    let removals = (0..100).map(|id: u32| {
        let redis = redis.clone();
        async move { redis.remove(&[Key::new(&id.to_be_bytes())]).await.remove(0) }
    });
    let removed = futures_util::future::join_all(removals).await;
    assert!(removed.iter().all(Result::is_ok), "{removed:?}");
    assert!(connections(&primary).await.len() <= 5);
}
