//! What the tests of `Redis` on a cluster share.
#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cache_core::{Backend, Cache, Engine, Error, Invalidation, Key};
use cache_redis::{Redis, RedisBuilder, Tls};
use integration_tests::{Cluster, ClusterBuilder, Tls as Certificates, eventually};
use tokio::time::timeout;

/// What tells an answer from a call that hangs.
pub(crate) const CEILING: Duration = Duration::from_secs(8);

/// With TLS if the cluster has it.
pub(crate) fn builder(cluster: &Cluster) -> RedisBuilder {
    let builder = Redis::builder().host(cluster.seeds()).cluster().lanes(1);
    match cluster.tls() {
        Some(tls) => trusting(builder, tls),
        None => builder,
    }
}

pub(crate) async fn connect(cluster: &Cluster) -> Redis {
    builder(cluster).connect().await.unwrap()
}

/// With TLS, and as long for its handshakes as a busy machine may need.
pub(crate) fn trusting(builder: RedisBuilder, tls: &Certificates) -> RedisBuilder {
    let builder = builder.connect_timeout(Duration::from_secs(2));
    builder.tls(Tls::new().ca_pem(tls.ca()))
}

/// Processes near at hand: many of them start for each test.
pub(crate) async fn start() -> Cluster {
    plain().start().await
}

pub(crate) fn plain() -> ClusterBuilder {
    Cluster::builder().prefer_process()
}

pub(crate) fn encrypted() -> ClusterBuilder {
    plain().tls(&Certificates::new())
}

/// Keys, one for each slot in steps through all of them.
pub(crate) fn keys_of_all_slots() -> Vec<String> {
    let slots = (0..16_384).step_by(331);
    slots.map(|slot| Cluster::key_in(slot, "row:")).collect()
}

/// A key of which this node is the primary.
pub(crate) async fn key_of(cluster: &Cluster, primary: usize) -> String {
    for key in keys_of_all_slots() {
        if cluster.primary_of(&key).await == primary {
            return key;
        }
    }
    panic!("node {primary} serves no slot");
}

/// Rows that are their versions: what is loaded is never older than a confirmed invalidation.
#[derive(Clone)]
pub(crate) struct Rows {
    pub(crate) cache: Cache<String, u64>,
    table: Arc<Vec<Row>>,
}

#[derive(Debug, Default)]
struct Row {
    key: String,
    version: AtomicU64,
    /// The version that the last confirmed invalidation was about.
    floor: AtomicU64,
    loads: AtomicU64,
}

impl Rows {
    /// Rows under these keys, which begin with `row:`.
    pub(crate) fn new(engine: &Engine, keys: impl IntoIterator<Item = String>) -> Self {
        let cache = engine.cache("row").ttl(Duration::from_secs(3600));
        let rows = keys.into_iter().map(|key| Row {
            key: key.strip_prefix("row:").unwrap().to_owned(),
            ..Row::default()
        });
        Self {
            cache: cache.build().unwrap(),
            table: Arc::new(rows.collect()),
        }
    }

    /// The same rows, by another engine.
    pub(crate) fn at(&self, engine: &Engine) -> Self {
        let cache = engine.cache("row").ttl(Duration::from_secs(3600));
        Self {
            cache: cache.build().unwrap(),
            table: Arc::clone(&self.table),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn loads(&self, row: usize) -> u64 {
        self.table[row].loads.load(Ordering::SeqCst)
    }

    /// Reads a row, by a load that takes a moment. What is older than allowed fails the test.
    pub(crate) async fn read(&self, row: usize) -> Result<u64, Error> {
        let floor = self.table[row].floor.load(Ordering::SeqCst);
        let table = Arc::clone(&self.table);
        let load = move || async move {
            let version = table[row].version.load(Ordering::SeqCst);
            table[row].loads.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(2)).await;
            Ok::<_, io::Error>(version)
        };
        let read = self.cache.get_or_load(&self.table[row].key, load);
        let read = timeout(CEILING, read).await.expect("a read hangs");
        let version = read.map(|version| *version.expect("it is there"));
        if let Ok(version) = version {
            assert!(
                version >= floor,
                "row {row}: {version} was read after {floor} was confirmed"
            );
        }
        version
    }

    /// Commits a new version, and invalidates the row.
    pub(crate) async fn write(&self, row: usize) -> Invalidation {
        let version = self.table[row].version.fetch_add(1, Ordering::SeqCst) + 1;
        let invalidated = self.cache.invalidate(&self.table[row].key);
        let invalidated = timeout(CEILING, invalidated).await;
        let invalidated = invalidated.expect("an invalidation hangs");
        if invalidated == Invalidation::Done {
            self.table[row].floor.fetch_max(version, Ordering::SeqCst);
        }
        invalidated
    }
}

/// Whether the backend itself answers about `key`.
pub(crate) async fn is_served(redis: &Redis, key: &str) -> bool {
    let read = timeout(CEILING, redis.get(&Key::new(key.as_bytes()))).await;
    read.expect("a read hangs").is_ok()
}

pub(crate) async fn until_served(redis: &Redis, key: &str) {
    eventually("the key is served", async || {
        is_served(redis, key).await.then_some(())
    })
    .await;
}
