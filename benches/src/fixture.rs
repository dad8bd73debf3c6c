//! Everything that the rows need.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cache_core::{Backend, Cache, Engine, Key, Lookup};
use cache_redis::Redis;
use redis::{
    AsyncConnectionConfig, Client, IntoConnectionInfo, aio::MultiplexedConnection, io::tcp,
};

use crate::{Blob, Bytewise, Row};

/// How many keys there are to be found: those of the integers from 0 on.
pub const KEYS: u64 = 1_000;

/// Both sides have a deadline for each command, since a service has one. It is so long that a busy
/// machine, or one that counts instructions, ends no run.
const DEADLINE: Duration = Duration::from_secs(60);

/// How long entries live: longer than any run.
const TTL: Duration = Duration::from_secs(36_000);

/// The next integer whose key nobody has asked for.
static FRESH: AtomicU64 = AtomicU64::new(1_000_000);

/// A raw connection, a backend and two caches, on one server and with values of one size.
#[derive(Clone, Debug)]
pub struct Fixture {
    raw: MultiplexedConnection,
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
        let server = url.into_connection_info().expect("the URL of the server");
        let server = server.set_tcp_settings(tcp::TcpSettings::default().set_nodelay(true));
        let limits = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(DEADLINE))
            .set_response_timeout(Some(DEADLINE));
        let raw = Client::open(server)
            .expect("the URL of the server")
            .get_multiplexed_async_connection_with_config(&limits)
            .await
            .expect("the server answers the driver");
        let backend = Redis::builder()
            .url(url)
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

    /// The connection of [`Row::Raw`]. A clone is a handle of the same.
    #[must_use]
    pub fn raw(&self) -> MultiplexedConnection {
        self.raw.clone()
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
    /// # Cancel safety
    ///
    /// Safe, but a miss may go on.
    pub async fn run(&self, row: Row, id: u64) {
        match row {
            Row::Raw => {
                let found = self.raw_get(id).await;
                assert!(found.is_some(), "the key is there");
            }
            Row::Backend => {
                let key = Key::new(Self::text(id).as_bytes());
                let found = self.backend.get(&key).await.expect("it is read");
                assert!(found.is_some(), "the key is there");
            }
            Row::Get => {
                let found = self.json.get(&id).await.expect("it is read");
                assert!(matches!(found, Lookup::Value(_)), "the key is there");
            }
            Row::GetOrLoad => {
                let found = self.json.get_or_load(&id, no_text).await;
                assert!(found.expect("it is read").is_some(), "the key is there");
            }
            Row::Bytes => {
                let found = self.bytes.get_or_load(&id, no_blob).await;
                assert!(found.expect("it is read").is_some(), "the key is there");
            }
            Row::Aside => self.aside(Self::fresh()).await,
            Row::Miss => {
                let size = self.size;
                let loader = move || async move { Ok::<_, Infallible>(Blob::of_payload(size)) };
                let found = self.bytes.get_or_load(&Self::fresh(), loader).await;
                assert!(found.expect("it is loaded").is_some(), "it is loaded");
            }
        }
    }

    async fn raw_get(&self, id: u64) -> Option<Vec<u8>> {
        let mut get = redis::cmd("GET");
        get.arg(Self::text(id));
        let found = get.query_async(&mut self.raw.clone()).await;
        found.expect("it is read")
    }

    async fn aside(&self, id: u64) {
        let found = self.raw_get(id).await;
        assert_eq!(found, None, "the key is not there");
        let mut set = redis::cmd("SET");
        set.arg(Self::text(id)).arg(vec![b'x'; self.size]);
        set.arg("PX").arg(TTL.as_millis());
        let stored = set.exec_async(&mut self.raw.clone()).await;
        stored.expect("it is written");
    }
}

/// The loaders of hits. What they answer is not there, so that a miss ends the run.
async fn no_text() -> Result<Option<String>, Infallible> {
    Ok(None)
}

async fn no_blob() -> Result<Option<Blob>, Infallible> {
    Ok(None)
}
