//! A cluster, as one store: keys of all slots, in one call or many.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod clusters;

use std::time::Duration;

use cache_core::{Acquire, Backend, Entry, ErrorKind, Extend, Fill, Guarantee, Key, Ttl};
use cache_redis::{ConnectError, Redis};
use integration_tests::{Cluster, Server, eventually};

use self::clusters::{builder, connect, keys_of_all_slots, start};

const HOLD: Duration = Duration::from_secs(3);

fn entry(text: &str) -> Entry {
    Entry::Encoded(text.as_bytes().to_vec().into())
}

fn ttl() -> Ttl {
    let minute = Duration::from_secs(60);
    Ttl::new(minute, minute).unwrap()
}

async fn fill(redis: &Redis, key: &Key, text: &str) {
    let Acquire::Granted(lease) = redis.acquire(key, HOLD).await.unwrap() else {
        unreachable!("nobody else is here");
    };
    let filled = redis.fill(key, lease, entry(text), ttl()).await.unwrap();
    assert_eq!(filled, Fill::Stored);
}

fn text(entry: &Option<Entry>) -> Option<String> {
    match entry {
        Some(Entry::Encoded(bytes)) => Some(String::from_utf8(bytes.to_vec()).unwrap()),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_all_slots_are_filled_read_and_removed() {
    let cluster = start().await;
    let redis = connect(&cluster).await;
    let texts = keys_of_all_slots();
    let keys: Vec<Key> = texts.iter().map(|key| Key::new(key.as_bytes())).collect();
    for (key, text) in keys.iter().zip(&texts) {
        fill(&redis, key, text).await;
    }
    assert_eq!(cluster.keys("row:*").await.len(), keys.len());
    assert!(cluster.keys("*~l*").await.is_empty(), "leases are ended");

    // Each primary has some; order and duplicates are kept, and a miss is in its place.
    let mut asked = keys.clone();
    asked.push(Key::new(b"row:nobody"));
    asked.push(keys[0].clone());
    let answers = redis.get_many(&asked).await;
    let found: Vec<_> = answers
        .iter()
        .map(|answer| text(answer.as_ref().unwrap()))
        .collect();
    let mut expected: Vec<_> = texts.iter().cloned().map(Some).collect();
    expected.push(None);
    expected.push(Some(texts[0].clone()));
    assert_eq!(found, expected);

    let (removed, kept) = keys.split_at(keys.len() / 2);
    let mut twice = removed.to_vec();
    twice.push(removed[0].clone());
    let answers = redis.remove(&twice).await;
    assert_eq!(answers.len(), twice.len());
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(cluster.keys("row:*").await.len(), kept.len());
    redis.ping().await.unwrap();
    redis.clear().await.unwrap();
    assert!(cluster.keys("*").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_ends_leases_in_all_slots() {
    let cluster = start().await;
    let redis = connect(&cluster).await;
    let keys: Vec<Key> = keys_of_all_slots()
        .iter()
        .map(|key| Key::new(key.as_bytes()))
        .collect();
    let mut leases = Vec::new();
    for key in &keys {
        let Acquire::Granted(lease) = redis.acquire(key, HOLD).await.unwrap() else {
            unreachable!("nobody else is here");
        };
        leases.push(lease);
    }
    assert!(redis.remove(&keys).await.iter().all(Result::is_ok));
    for (key, lease) in keys.iter().zip(leases) {
        let filled = redis.fill(key, lease, entry("old"), ttl()).await;
        assert_eq!(filled.unwrap(), Fill::Superseded);
        assert_eq!(redis.extend(key, lease, HOLD).await.unwrap(), Extend::Lost);
    }
    assert!(cluster.keys("*").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_is_not_is_said_with_the_remedy() {
    let cluster = start().await;
    let error = Redis::connect(&cluster.url_of(0)).await.unwrap_err();
    let said = format!("{error:?}");
    assert!(said.contains("Cluster"), "{said}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("type: cluster"), "{cause}");

    let server = Server::builder().owned().prefer_process().start().await;
    let alone = Redis::builder().url(server.url()).cluster();
    let error = alone.connect().await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        cause.contains("type: node"),
        "a server that stands alone: {error}: {cause}"
    );

    let nobody = Redis::builder().host("127.0.0.1:1,127.0.0.1:2").cluster();
    let error = nobody.connect().await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_seed_that_answers_is_enough_and_none_is_needed_to_begin() {
    let cluster = start().await;
    let seed = format!("127.0.0.1:1,127.0.0.1:{}", cluster.port_of(4));
    let redis = Redis::builder()
        .host(seed)
        .cluster()
        .connect()
        .await
        .unwrap();
    redis.ping().await.unwrap();

    let redis = builder(&cluster).non_blocking().connect().await.unwrap();
    eventually("it is connected by and by", async || {
        redis.ping().await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_dropped_leaves_no_connection() {
    let cluster = Cluster::builder().prefer_process().replicas(0);
    let cluster = cluster.user("app on >secret ~* &* +@all").start().await;
    let login = builder(&cluster).user("app").pass("secret");
    let redis = login.connect().await.unwrap();
    redis.ping().await.unwrap();
    assert_eq!(cluster.connections("app").await, [1, 1, 1], "one lane each");
    let clone = redis.clone();
    drop(redis);
    clone.ping().await.unwrap();
    drop(clone);
    eventually("all are closed", async || {
        (cluster.connections("app").await == [0, 0, 0]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_make_it_strict_until_failover_and_full_coverage_is_found() {
    let cluster = Cluster::builder()
        .prefer_process()
        .full_coverage()
        .start()
        .await;
    let report = connect(&cluster).await.guarantee().unwrap();
    assert_eq!(report.guarantee, Guarantee::StrictUntilFailover);
    let texts: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    let texts = texts.join("\n");
    assert!(texts.contains("replicas"), "{texts}");
    assert!(
        texts.contains("cluster-require-full-coverage no"),
        "{texts}"
    );

    let cluster = Cluster::builder()
        .prefer_process()
        .replicas(0)
        .start()
        .await;
    let report = connect(&cluster).await.guarantee().unwrap();
    assert_eq!(report.guarantee, Guarantee::Strict, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_waits_for_a_replica_of_each_primary() {
    let cluster = start().await;
    let redis = builder(&cluster)
        .wait_for_replicas(1, Duration::from_millis(300))
        .connect()
        .await
        .unwrap();
    let keys: Vec<Key> = keys_of_all_slots()
        .iter()
        .map(|key| Key::new(key.as_bytes()))
        .collect();
    for key in &keys {
        fill(&redis, key, "value").await;
    }
    eventually("all are acknowledged", async || {
        let removed = redis.remove(&keys).await;
        removed.iter().all(Result::is_ok).then_some(())
    })
    .await;
    assert!(cluster.keys("*").await.is_empty());

    let replica = cluster.replica_of(0).await;
    cluster.pause(replica).await;
    let removed = redis.remove(&keys).await;
    for (key, removed) in keys_of_all_slots().iter().zip(removed) {
        let is_of_it = cluster_primary(&cluster, key) == 0;
        match removed {
            Ok(()) => assert!(!is_of_it, "{key} was not acknowledged"),
            Err(error) => {
                assert!(is_of_it, "{key}: {error}");
                assert_eq!(error.kind(), ErrorKind::Unavailable);
            }
        }
    }
    cluster.resume(replica).await;
}

/// The primary that a key had at the start, where slots are spread evenly.
fn cluster_primary(_cluster: &Cluster, key: &str) -> usize {
    usize::from(Cluster::slot_of(key)) * 3 / 16_384
}
