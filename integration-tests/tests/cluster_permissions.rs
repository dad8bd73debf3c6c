//! A user of a cluster who may do what the documentation asks for, and no more.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod clusters;

use std::{error::Error as _, slice, time::Duration};

use cache_core::{Acquire, Backend, Entry, Fill, Guarantee, Key, Ttl};
use cache_redis::{ConnectError, Redis};
use integration_tests::Cluster;

use self::clusters::builder;

/// As documented, for a cluster; `+client|setinfo` is not known before Redis 7.2.
const COMMANDS: &str = "+get +mget +set +del +pttl +pexpire +eval +evalsha +ping +info +config|get \
                        +cluster|slots +cluster|info +asking";
const KEYS: &str = "~row:* ~{*";

async fn cluster(commands: &str) -> Cluster {
    let cluster = Cluster::builder().prefer_process().replicas(0);
    let user = format!("app on >secret {KEYS} {commands}");
    cluster.user(user).start().await
}

async fn connect(cluster: &Cluster) -> Result<Redis, ConnectError> {
    builder(cluster).user("app").pass("secret").connect().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_permissions_are_enough_also_while_a_slot_moves() {
    let cluster = cluster(COMMANDS).await;
    let redis = connect(&cluster).await.unwrap();
    assert_eq!(redis.guarantee().unwrap().guarantee, Guarantee::Strict);
    let slot = 9_000;
    let key = Key::new(Cluster::key_in(slot, "row:").as_bytes());
    let minute = Duration::from_secs(60);
    let Acquire::Granted(lease) = redis.acquire(&key, minute).await.unwrap() else {
        unreachable!("nobody else is here");
    };
    let entry = Entry::Encoded(b"value".to_vec().into());
    let ttl = Ttl::new(minute, minute).unwrap();
    let filled = redis.fill(&key, lease, entry, ttl).await.unwrap();
    assert_eq!(filled, Fill::Stored);
    let to = (cluster.primary_of_slot(slot).await + 1) % 3;
    cluster.begin_move(slot, to).await;
    cluster.move_keys(slot).await;
    assert!(redis.get(&key).await.unwrap().is_some());
    assert!(redis.remove(slice::from_ref(&key)).await[0].is_ok());
    cluster.end_move(slot, to).await;
    assert!(redis.get(&key).await.unwrap().is_none());
    redis.ping().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_see_the_slots_is_told() {
    let cluster = cluster(&COMMANDS.replace("+cluster|slots ", "")).await;
    let error = connect(&cluster).await.unwrap_err();
    assert!(error.to_string().contains("+cluster|slots"), "{error}");
    let cause = error.source().unwrap().to_string();
    assert!(cause.contains("NOPERM"), "{cause}");
}
