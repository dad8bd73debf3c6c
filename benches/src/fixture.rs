//! Everything that the rows need.

use std::{
    convert::Infallible,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cache_core::{Backend, Cache, Engine, Key, Lookup};
use cache_redis::{Redis, RedisBuilder};
use futures_util::future::join_all;
use integration_tests::Cluster;
use redis::{
    AsyncConnectionConfig, Client, IntoConnectionInfo, ProtocolVersion, aio::MultiplexedConnection,
    cluster::ClusterClient, cluster_async::ClusterConnection, io::tcp::TcpSettings,
};

use crate::{Blob, Bytewise, Row, owners::Owners};

/// How many keys there are to be found: those of the integers from 0 on.
pub const KEYS: u64 = 1_000;

/// How many keys a row of many reads at once: so many that follow each other.
pub const MANY: u64 = 64;

/// How many commands a raw connection to a member of a cluster takes before senders wait: as many as
/// one of the backend. The driver's default is 50.
const BUFFER: usize = 1024;

/// Both sides have a deadline for each command, since a service has one. It is so long that a busy
/// machine, or one that counts instructions, ends no run.
const DEADLINE: Duration = Duration::from_secs(60);

/// How long entries live: longer than any run.
const TTL: Duration = Duration::from_secs(36_000);

/// The next integer whose key nobody has asked for.
static FRESH: AtomicU64 = AtomicU64::new(1_000_000);

/// Raw connections, a backend and two caches, on one server or cluster and with values of one size.
#[derive(Clone, Debug)]
pub struct Fixture {
    raw: Owners,
    driver: Option<Driver>,
    backend: Redis,
    json: Cache<u64, String>,
    bytes: Cache<u64, Blob>,
    size: usize,
}

impl Fixture {
    /// Connects to the server at `url`, for values of `size` bytes as they are stored, at least two.
    ///
    /// # Cancel safety
    ///
    /// Safe: a drop closes what was opened.
    pub async fn connect(url: &str, size: usize) -> Arc<Self> {
        let raw = connect(url, ProtocolVersion::default(), limits()).await;
        let backend = Redis::builder().url(url);
        Self::new(Owners::one(raw), None, backend, size).await
    }

    /// Connects to `cluster`, as [`connect`](Self::connect): the backend, the driver's connection to
    /// a cluster, and a raw connection to each primary, with the settings that the backend gives its
    /// own.
    ///
    /// # Cancel safety
    ///
    /// Safe: a drop closes what was opened.
    pub async fn connect_cluster(cluster: &Cluster, size: usize) -> Arc<Self> {
        let mut owners = Vec::new();
        for node in cluster.nodes() {
            let limits = limits().set_pipeline_buffer_size(BUFFER);
            let raw = connect(&node.url(), ProtocolVersion::RESP3, limits).await;
            let nodes: String = node.query(&["CLUSTER", "NODES"]).await;
            owners.extend(Owners::first_slot(&nodes).map(|first| (first, raw)));
        }
        let urls = (0..cluster.nodes().len()).map(|number| cluster.url_of(number));
        let driver = ClusterClient::builder(urls)
            .tcp_settings(nodelay())
            .use_protocol(ProtocolVersion::RESP3)
            .connection_timeout(DEADLINE)
            .response_timeout(DEADLINE)
            .overall_response_timeout(Some(DEADLINE))
            .retries(4)
            .min_retry_wait(10)
            .max_retry_wait(200)
            .build()
            .expect("the URLs of the cluster")
            .get_async_connection()
            .await
            .expect("the cluster answers the driver");
        let backend = Redis::builder().host(cluster.seeds()).cluster();
        Self::new(Owners::of(owners), Some(Driver(driver)), backend, size).await
    }

    async fn new(
        raw: Owners,
        driver: Option<Driver>,
        backend: RedisBuilder,
        size: usize,
    ) -> Arc<Self> {
        let backend = backend
            .connect_timeout(DEADLINE)
            .read_timeout(DEADLINE)
            .write_timeout(DEADLINE)
            .connect()
            .await
            .expect("the server answers the backend");
        let engine = Engine::builder(backend.clone())
            .backend_deadline(2 * DEADLINE)
            .build()
            .expect("the settings of the engine");
        let json = engine.cache("json").ttl(TTL).build();
        let bytes = engine.cache("bytes").ttl(TTL).codec(Bytewise).build();
        Arc::new(Self {
            raw,
            driver,
            backend,
            json: json.expect("the settings of a cache"),
            bytes: bytes.expect("the settings of a cache"),
            size,
        })
    }

    /// Stores the keys that are to be found.
    ///
    /// # Cancel safety
    ///
    /// Not safe: after a drop some are stored.
    pub async fn store(&self) {
        let text = "x".repeat(self.size.saturating_sub(2));
        for id in 0..KEYS {
            self.json.put(&id, text.clone()).await.expect("it is put");
            let blob = Blob::of_payload(self.size);
            self.bytes.put(&id, blob).await.expect("it is put");
        }
    }

    /// The connection of [`Row::Raw`] for the key of `id`. A clone is a handle of the same.
    #[must_use]
    pub fn raw(&self, id: u64) -> MultiplexedConnection {
        self.raw.owner(&Self::text(id)).clone()
    }

    /// The backend.
    #[must_use]
    pub fn backend(&self) -> &Redis {
        &self.backend
    }

    /// The cache of values that are copied and not decoded.
    #[must_use]
    pub fn bytes(&self) -> &Cache<u64, Blob> {
        &self.bytes
    }

    /// How many bytes a value has as it is stored.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// An integer whose key nobody has asked for.
    #[must_use]
    pub fn fresh() -> u64 {
        FRESH.fetch_add(1, Ordering::Relaxed)
    }

    /// The text of the key of `id`, as the cache of bytes writes it.
    #[must_use]
    pub fn text(id: u64) -> String {
        format!("bytes:{id}")
    }

    /// Does once what `row` stands for. Rows that find nothing use a key of their own for `id`.
    ///
    /// # Panics
    ///
    /// Panics if what is there is not found, or if a row of the driver's connection to a cluster
    /// meets a node that stands alone.
    ///
    /// # Cancel safety
    ///
    /// Safe, but a miss may go on.
    pub async fn run(&self, row: Row, id: u64) {
        match row {
            Row::Raw => {
                let found = self.raw_get(id).await;
                is_there(found.as_ref());
            }
            Row::Driver => {
                let get = redis::Cmd::get(Self::text(id));
                let found: Result<Option<Vec<u8>>, _> = get.query_async(&mut self.driver()).await;
                is_there(found.expect("it is read").as_ref());
            }
            Row::Backend => {
                let key = Key::new(Self::text(id).as_bytes());
                let found = self.backend.get(&key).await.expect("it is read");
                is_there(found.as_ref());
            }
            Row::Get => {
                let found = self.json.get(&id).await.expect("it is read");
                assert!(matches!(found, Lookup::Value(_)), "the key is there");
            }
            Row::GetOrLoad => {
                let found = self.json.get_or_load(&id, no_text).await;
                is_there(found.expect("it is read").as_ref());
            }
            Row::Bytes => {
                let found = self.bytes.get_or_load(&id, no_blob).await;
                is_there(found.expect("it is read").as_ref());
            }
            Row::Aside => self.aside(Self::fresh()).await,
            Row::Miss => {
                let size = self.size;
                let loader = move || async move { Ok::<_, Infallible>(Blob::of_payload(size)) };
                let found = self.bytes.get_or_load(&Self::fresh(), loader).await;
                is_there(found.expect("it is loaded").as_ref());
            }
            Row::RawMany => all_there(self.raw_pipelines(&many_from(id)).await),
            Row::DriverMany => all_there(self.driver_mget(&many_from(id)).await),
            Row::BackendMany => all_there(self.backend_many(&many_from(id)).await),
            Row::GetMany => all_there(self.cache_many(&many_from(id)).await),
        }
    }

    /// Sends each primary a pipeline, all of them at once: how many keys there are.
    async fn raw_pipelines(&self, ids: &[u64]) -> usize {
        let mut pipelines = vec![redis::pipe(); self.raw.all().len()];
        for &id in ids {
            let text = Self::text(id);
            pipelines[self.raw.place(&text)].get(text);
        }
        let asked = pipelines.iter().zip(self.raw.all());
        let asked = asked.filter(|(pipeline, _)| !pipeline.is_empty());
        let found = asked.map(async |(pipeline, raw)| {
            let found = pipeline.query_async(&mut raw.clone()).await;
            let found: Vec<Option<Vec<u8>>> = found.expect("they are read");
            found.iter().flatten().count()
        });
        join_all(found).await.into_iter().sum()
    }

    async fn driver_mget(&self, ids: &[u64]) -> usize {
        let mut mget = redis::cmd("MGET");
        for &id in ids {
            mget.arg(Self::text(id));
        }
        let found = mget.query_async(&mut self.driver()).await;
        let found: Vec<Option<Vec<u8>>> = found.expect("they are read");
        found.iter().flatten().count()
    }

    async fn backend_many(&self, ids: &[u64]) -> usize {
        let key = |id: &u64| Key::new(Self::text(*id).as_bytes());
        let keys: Vec<Key> = ids.iter().map(key).collect();
        let found = self.backend.get_many(&keys).await;
        found.iter().flatten().flatten().count()
    }

    async fn cache_many(&self, ids: &[u64]) -> usize {
        let found = self.bytes.get_many(ids).await;
        let is_value = |found: &&Result<_, _>| matches!(found, Ok(Lookup::Value(_)));
        found.iter().filter(is_value).count()
    }

    fn driver(&self) -> ClusterConnection {
        let driver = self.driver.as_ref();
        driver.expect("a cluster has this row").0.clone()
    }

    async fn raw_get(&self, id: u64) -> Option<Vec<u8>> {
        let text = Self::text(id);
        let mut raw = self.raw.owner(&text).clone();
        let mut get = redis::cmd("GET");
        get.arg(text);
        let found = get.query_async(&mut raw).await;
        found.expect("it is read")
    }

    async fn aside(&self, id: u64) {
        let found = self.raw_get(id).await;
        assert_eq!(found, None, "the key is not there");
        let mut set = redis::cmd("SET");
        set.arg(Self::text(id)).arg(vec![b'x'; self.size]);
        set.arg("PX").arg(TTL.as_millis());
        let stored = set.exec_async(&mut self.raw(id)).await;
        stored.expect("it is written");
    }
}

/// The driver's own connection to a cluster.
#[derive(Clone)]
struct Driver(ClusterConnection);

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

fn nodelay() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

fn limits() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(DEADLINE))
        .set_response_timeout(Some(DEADLINE))
}

/// Opens a raw connection.
async fn connect(
    url: &str,
    protocol: ProtocolVersion,
    config: AsyncConnectionConfig,
) -> MultiplexedConnection {
    let server = url.into_connection_info().expect("the URL of the server");
    let settings = server.redis_settings().clone().set_protocol(protocol);
    let server = server
        .set_tcp_settings(nodelay())
        .set_redis_settings(settings);
    Client::open(server)
        .expect("the URL of the server")
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .expect("the server answers the driver")
}

/// So many integers that follow each other, and after the last the first.
fn many_from(id: u64) -> Vec<u64> {
    (id..id + MANY).map(|id| id % KEYS).collect()
}

fn is_there<T>(found: Option<&T>) {
    assert!(found.is_some(), "the key is there");
}

fn all_there(found: usize) {
    assert_eq!(found as u64, MANY, "the keys are there");
}

/// The loaders of hits. What they answer is not there, so that a miss ends the run.
async fn no_text() -> Result<Option<String>, Infallible> {
    Ok(None)
}

async fn no_blob() -> Result<Option<Blob>, Infallible> {
    Ok(None)
}
