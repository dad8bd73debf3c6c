//! A server that takes its first slot over, and one that is given a slot with old data in it.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod clusters;

use std::{ops::RangeInclusive, slice, time::Duration};

use cache_core::{Acquire, Backend, Entry, Fill, Key, Ttl};
use cache_redis::Redis;
use integration_tests::{Cluster, ClusterBuilder, eventually};

use self::clusters::{connect, encrypted, plain};

const HOLD: Duration = Duration::from_secs(3);

async fn small(cluster: ClusterBuilder) -> Cluster {
    // Who loses its last slot is not to become a replica.
    let args = ["--cluster-allow-replica-migration", "no"];
    cluster.replicas(0).args(args).start().await
}

/// Gives all slots of one node to another, without keys.
async fn hand_over(cluster: &Cluster, from: usize, to: usize) {
    let id: String = cluster.node(to).query(&["CLUSTER", "MYID"]).await;
    let nodes: String = cluster.node(from).query(&["CLUSTER", "NODES"]).await;
    let line = nodes.lines().find(|line| line.contains("myself")).unwrap();
    let (first, last) = line.rsplit(' ').next().unwrap().split_once('-').unwrap();
    let slots: RangeInclusive<u16> = first.parse().unwrap()..=last.parse().unwrap();
    // Else what the old owner says on the way counts for more.
    cluster.node(to).cmd(&["CLUSTER", "BUMPEPOCH"]).await;
    for node in cluster.nodes() {
        let mut commands = redis::pipe();
        for slot in slots.clone() {
            let command = commands.cmd("CLUSTER").arg("SETSLOT");
            command.arg(slot).arg("NODE").arg(&id).ignore();
        }
        let mut client = node.client().await;
        commands.exec_async(&mut client).await.unwrap();
    }
    eventually("nobody knows it as an owner any more", async || {
        for node in cluster.nodes() {
            let slots: redis::Value = node.cmd(&["CLUSTER", "SLOTS"]).await;
            let port = cluster.port_of(from);
            if format!("{slots:?}").contains(&format!("int({port})")) {
                return None;
            }
        }
        Some(())
    })
    .await;
}

async fn store(redis: &Redis, key: &Key) {
    let Acquire::Granted(lease) = redis.acquire(key, HOLD).await.unwrap() else {
        unreachable!("nobody else is here");
    };
    let minute = Duration::from_secs(60);
    let entry = Entry::Encoded(b"value".to_vec().into());
    let ttl = Ttl::new(minute, minute).unwrap();
    let filled = redis.fill(key, lease, entry, ttl).await.unwrap();
    assert_eq!(filled, Fill::Stored);
}

/// The slot that moves.
const SLOT: u16 = 6_000;

/// A cluster whose node 2 owns no slot, a backend that has not heard of that node, and what it stored.
async fn with_a_newcomer(cluster: ClusterBuilder) -> (Cluster, Redis, Key) {
    let cluster = small(cluster).await;
    hand_over(&cluster, 2, 0).await;
    let redis = connect(&cluster).await;
    let key = Key::new(Cluster::key_in(SLOT, "row:").as_bytes());
    store(&redis, &key).await;
    (cluster, redis, key)
}

async fn a_server_takes_its_first_slot(cluster: ClusterBuilder) {
    let (cluster, redis, key) = with_a_newcomer(cluster).await;

    cluster.begin_move(SLOT, 2).await;
    cluster.move_keys(SLOT).await;
    // The first that is heard of it is where to ask.
    assert!(redis.get(&key).await.unwrap().is_some());
    assert!(
        redis.get_many(slice::from_ref(&key)).await[0]
            .as_ref()
            .unwrap()
            .is_some()
    );
    cluster.end_move(SLOT, 2).await;
    assert!(redis.get(&key).await.unwrap().is_some());
    assert!(redis.remove(slice::from_ref(&key)).await[0].is_ok());
    assert!(redis.get(&key).await.unwrap().is_none());
    assert!(cluster.keys("*").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_its_first_slot_is_followed_to_within_the_deadline() {
    a_server_takes_its_first_slot(plain()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_its_first_slot_is_followed_to_over_tls() {
    a_server_takes_its_first_slot(encrypted()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clear_reaches_a_server_that_is_taking_its_first_slot() {
    let (cluster, redis, key) = with_a_newcomer(plain()).await;
    cluster.begin_move(SLOT, 2).await;
    cluster.move_keys(SLOT).await;
    assert!(redis.get(&key).await.unwrap().is_some());
    redis.clear().await.unwrap();
    assert!(redis.get(&key).await.unwrap().is_none());
    let left: u64 = cluster.node(2).query(&["DBSIZE"]).await;
    assert_eq!(left, 0);
}

async fn a_server_is_heard_of_by_a_redirection(cluster: ClusterBuilder) {
    let (cluster, redis, key) = with_a_newcomer(cluster).await;
    cluster.move_slot(SLOT, 2).await;
    assert!(redis.remove(slice::from_ref(&key)).await[0].is_ok());
    assert!(redis.get(&key).await.unwrap().is_none());
    eventually("it is one of them", async || {
        format!("{redis:?}").contains("primaries: 3").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_heard_of_by_a_redirection_is_followed_to_within_the_deadline() {
    a_server_is_heard_of_by_a_redirection(plain()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_heard_of_by_a_redirection_is_followed_to_over_tls() {
    a_server_is_heard_of_by_a_redirection(encrypted()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_slot_brings_back_from_its_new_owner_is_removed_again() {
    let cluster = small(plain()).await;
    let redis = connect(&cluster).await;
    let text = Cluster::key_in(SLOT, "row:");
    let key = Key::new(text.as_bytes());
    store(&redis, &key).await;
    assert!(redis.remove(slice::from_ref(&key)).await[0].is_ok());

    // The other server has the value of an earlier life.
    cluster.begin_move(SLOT, 2).await;
    let mut client = cluster.node(2).client().await;
    let mut commands = redis::pipe();
    commands.cmd("ASKING").ignore();
    commands.cmd("SET").arg(&text).arg("old").ignore();
    commands.exec_async(&mut client).await.unwrap();
    let brought: u64 = cluster.node(2).query(&["DBSIZE"]).await;
    assert_eq!(brought, 1);
    cluster.end_move(SLOT, 2).await;
    eventually("it is removed", async || {
        redis.get(&key).await.unwrap().is_none().then_some(())
    })
    .await;
    eventually("at the server as well", async || {
        let left: u64 = cluster.node(2).query(&["EXISTS", &text]).await;
        (left == 0).then_some(())
    })
    .await;
}
