//! A ring of several entries: each key, its lease with it, is on one of them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod support;

use std::time::Duration;

use cache_core::{
    Acquire, Backend, Entry, ErrorKind, Fill, Guarantee, Key, Lookup, Ttl,
    testing::conformance::{self, Harness},
};
use cache_redis::{ConnectError, NodeConfig, Redis, RedisBuilder};
use integration_tests::{Cluster, Server, eventually};
use serde_json::json;

use self::support::{Loads, engine, key, lease_key, owned, users};

const HOLD: Duration = Duration::from_secs(3);

fn host(server: &Server) -> String {
    format!("127.0.0.1:{}", server.port())
}

fn configured(entries: serde_json::Value) -> RedisBuilder {
    let entries: Vec<NodeConfig> = serde_json::from_value(entries).unwrap();
    RedisBuilder::from(entries)
}

/// A ring of `servers`, each with the default weight.
async fn ring(servers: &[Server]) -> Redis {
    let entries = servers.iter().map(|server| json!({ "Host": host(server) }));
    let entries = serde_json::Value::from_iter(entries);
    configured(entries).connect().await.unwrap()
}

async fn three() -> Vec<Server> {
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(owned().start().await);
    }
    servers
}

fn some_keys() -> Vec<Key> {
    let names = (0..300).map(|id| format!("cache:user:id:{id}"));
    names.map(|name| Key::new(name.as_bytes())).collect()
}

async fn store(redis: &Redis, key: &Key) {
    let minute = Duration::from_secs(60);
    let Acquire::Granted(lease) = redis.acquire(key, HOLD).await.unwrap() else {
        panic!("nobody else is here");
    };
    let entry = Entry::Encoded(key.as_bytes().to_vec().into());
    let ttl = Ttl::new(minute, minute).unwrap();
    assert_eq!(
        redis.fill(key, lease, entry, ttl).await.unwrap(),
        Fill::Stored
    );
}

async fn sizes(servers: &[Server]) -> Vec<u64> {
    let mut sizes = Vec::new();
    for server in servers {
        sizes.push(server.query(&["DBSIZE"]).await);
    }
    sizes
}

/// Stores of the same servers, one after the other, in real time.
struct Stores(RedisBuilder);

impl Harness for Stores {
    type Backend = Redis;

    async fn empty(&self) -> Redis {
        let redis = self.0.clone().connect().await.unwrap();
        redis.clear().await.unwrap();
        redis
    }

    async fn advance(&self, by: Duration) {
        // The server counts whole milliseconds, and what it stored lives through the last of them.
        tokio::time::sleep(by + Duration::from_millis(2)).await;
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(2)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_of_nodes_and_a_cluster_keeps_the_contract() {
    let (one, two) = (owned().start().await, owned().start().await);
    let cluster = Cluster::builder()
        .prefer_process()
        .replicas(0)
        .start()
        .await;
    let entries = json!([
        { "Host": host(&one), "Weight": 60 },
        { "Host": cluster.seeds(), "Type": "cluster" },
        { "host": host(&two) },
    ]);
    conformance::run(&Stores(configured(entries))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_key_is_on_one_server_and_all_are_read_and_removed_in_one_call() {
    let servers = three().await;
    let redis = ring(&servers).await;
    let keys = some_keys();
    for key in &keys {
        store(&redis, key).await;
    }
    let stored = sizes(&servers).await;
    assert_eq!(stored.iter().sum::<u64>(), 300, "no leases, no copies");
    assert!(stored.iter().all(|size| *size > 30), "{stored:?}");

    let mut asked = keys.clone();
    asked.insert(7, Key::new(b"cache:user:id:nobody"));
    asked.push(keys[3].clone());
    let found = redis.get_many(&asked).await;
    for (key, found) in asked.iter().zip(found) {
        let expected = (key != &asked[7]).then(|| key.as_bytes().to_vec());
        let found = found.unwrap().map(|entry| match entry {
            Entry::Encoded(bytes) => bytes.to_vec(),
            other @ (Entry::Absent | Entry::Decoded { .. }) => panic!("no payload: {other:?}"),
        });
        assert_eq!(found, expected);
    }
    // Another process, with the same entries.
    let again = ring(&servers).await;
    assert!(again.get(&keys[5]).await.unwrap().is_some());

    let removed = redis.remove(&keys[..200]).await;
    assert!(removed.iter().all(Result::is_ok));
    assert_eq!(sizes(&servers).await.iter().sum::<u64>(), 100);
    redis.ping().await.unwrap();
    redis.clear().await.unwrap();
    assert_eq!(sizes(&servers).await, [0, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_where_its_value_is() {
    let servers = three().await;
    let users = users(&engine(&ring(&servers).await));
    for id in 0..5 {
        let (looked, loads) = (users.clone(), Loads::default());
        let load = users.get_or_load(&id, || async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Ok::<_, std::io::Error>("value".to_owned())
        });
        let look = async {
            eventually("the lease is on one server", async || {
                let mut leases = Vec::new();
                for (place, server) in servers.iter().enumerate() {
                    let there: u64 = server.query(&["EXISTS", &lease_key(id)]).await;
                    leases.extend((there == 1).then_some(place));
                }
                leases.first().copied().filter(|_| leases.len() == 1)
            })
            .await
        };
        let (loaded, place) = tokio::join!(load, look);
        loaded.unwrap();
        let there: u64 = servers[place].query(&["EXISTS", &key(id)]).await;
        assert_eq!(there, 1, "user {id}");
        assert_eq!(loads.get(&looked, id, "other").await, "value");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_entry_that_is_dead_harms_no_key_of_the_others() {
    let servers = three().await;
    let redis = ring(&servers).await;
    let keys = some_keys();
    for key in &keys {
        store(&redis, key).await;
    }
    let dead = sizes(&servers).await[1];
    servers[1].kill().await;
    let answers = redis.get_many(&keys).await;
    let failed = answers.iter().filter(|answer| answer.is_err()).count();
    assert_eq!(u64::try_from(failed).unwrap(), dead);
    let removed = redis.remove(&keys).await;
    for (read, removed) in answers.iter().zip(&removed) {
        assert_eq!(read.is_err(), removed.is_err(), "the same keys");
    }
    assert_eq!(
        redis.ping().await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    servers[1].start_again().await;
    eventually("all are served again", async || redis.ping().await.ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_without_a_share_is_not_even_connected() {
    let server = owned().start().await;
    let entries = json!([
        { "Host": "127.0.0.1:1", "Weight": 0 },
        { "Host": "127.0.0.1:2", "Weight": -3 },
        { "Host": host(&server), "Weight": 1, "User": "nobody", "Pass": "wrong" },
        { "Host": host(&server), "Weight": 1000 },
    ]);
    let redis = configured(entries).connect().await.unwrap();
    let keys = some_keys();
    store(&redis, &keys[0]).await;
    assert_eq!(sizes(&[server]).await, [1]);
    let report = redis.guarantee().unwrap();
    assert_eq!(report.guarantee, Guarantee::Strict);
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.remedy.contains("entries")),
        "what a ring means is said: {report:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_cannot_be_connected_is_named() {
    let server = owned().start().await;
    let entries = json!([
        { "Host": host(&server) },
        { "Host": "127.0.0.1:1" },
    ]);
    let error = configured(entries).connect().await.unwrap_err();
    let ConnectError::Entry {
        entry, host: named, ..
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!((*entry, named.as_str()), (2, "127.0.0.1:1"));
    let said = error.to_string();
    assert!(
        said.contains("entry 2") && said.contains("127.0.0.1:1"),
        "{said}"
    );

    // Unless it may come later: then the others serve meanwhile.
    let entries = json!([
        { "Host": host(&server) },
        { "Host": "127.0.0.1:1", "NonBlock": true },
    ]);
    let redis = configured(entries).connect().await.unwrap();
    let answers = redis.get_many(&some_keys()).await;
    let served = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!((30..270).contains(&served), "{served} of 300");
    let report = redis.guarantee().unwrap();
    assert_eq!(report.guarantee, Guarantee::StrictUntilFailover);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_over_a_ring_is_one_cache() {
    let servers = three().await;
    let (here, there) = (ring(&servers).await, ring(&servers).await);
    let (here, there) = (users(&engine(&here)), users(&engine(&there)));
    let loads = Loads::default();
    for id in 0..60 {
        loads.get(&here, id, "first").await;
        assert_eq!(loads.get(&there, id, "other").await, "first");
    }
    assert_eq!(loads.count(), 60);
    for id in 0..60 {
        here.invalidate(&id).await;
        assert!(matches!(there.get(&id).await, Ok(Lookup::Miss)));
    }
}
