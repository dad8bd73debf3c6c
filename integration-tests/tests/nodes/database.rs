//! The database of the tests: versions of rows, in another database of a server.

use redis::{AsyncCommands, Client, aio::MultiplexedConnection};

/// A database of rows that are their versions. It is reached directly, not by way of a proxy.
#[derive(Clone)]
pub(crate) struct Database(MultiplexedConnection);

impl Database {
    /// Opens the database of the server at `url`.
    pub(crate) async fn open(url: &str) -> Self {
        let client = Client::open(format!("{url}/1")).unwrap();
        Self(client.get_multiplexed_async_connection().await.unwrap())
    }

    pub(crate) async fn version(&self, key: u64) -> u64 {
        let version: Option<u64> = self.0.clone().get(format!("version:{key}")).await.unwrap();
        version.unwrap_or(0)
    }

    /// Writes the next version of the row.
    pub(crate) async fn commit(&self, key: u64) -> u64 {
        self.add("version", key).await
    }

    /// Loads a row, and counts that.
    pub(crate) async fn load(&self, key: u64) -> u64 {
        let version = self.version(key).await;
        self.add("loads", key).await;
        version
    }

    /// How many loads of the row have read it.
    pub(crate) async fn loads(&self, key: u64) -> u64 {
        let loads: Option<u64> = self.0.clone().get(format!("loads:{key}")).await.unwrap();
        loads.unwrap_or(0)
    }

    /// The time on a clock that all processes share: who reads it later reads a later time.
    pub(crate) async fn now(&self) -> u64 {
        self.add("clock", 0).await
    }

    async fn add(&self, what: &str, key: u64) -> u64 {
        let name = format!("{what}:{key}");
        self.0.clone().incr(name, 1).await.unwrap()
    }
}
