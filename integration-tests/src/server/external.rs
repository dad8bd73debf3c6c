//! A database of a server that somebody else runs.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use url::Url;

use crate::{Error, lock::Lock, wait::until_ok};

/// How long a test waits for another to give a database back.
const LIMIT: Duration = Duration::from_secs(30);

/// An answer of the server, when the database is given back.
const ANSWER: Duration = Duration::from_secs(2);

/// An empty database for one test, emptied again when this is dropped.
///
/// Only databases that are empty are taken, so that nothing is ever lost that a test did not write.
/// What a killed run left behind stays, and makes its database unusable until somebody empties it.
/// Database 0 is taken only if the URL ends in `/0`: it is where others keep what they need. The
/// locks are those of this machine: two machines must not share one server.
#[derive(Debug)]
pub(crate) struct Database {
    url: Url,
    _lock: Lock,
}

impl Database {
    pub(crate) async fn take(url: &str) -> Result<Self, Error> {
        Self::take_within(LIMIT, url).await
    }

    async fn take_within(limit: Duration, url: &str) -> Result<Self, Error> {
        let parsed = redis::parse_redis_url(url)
            .ok_or_else(|| Error::new("REDIS_URL is no URL: write it as redis://HOST:PORT"))?;
        let named = parsed.path().trim_start_matches('/');
        let candidates: Vec<u16> = if named.is_empty() {
            (1..16).collect()
        } else {
            vec![named.parse().map_err(|error| {
                Error::because(
                    "the path of REDIS_URL must be the number of a database",
                    error,
                )
            })?]
        };
        let host = parsed.host_str().unwrap_or_default().replace(':', "-");
        let port = parsed.port().unwrap_or(6379);
        until_ok(limit, async || {
            for number in &candidates {
                let Some(lock) = Lock::try_take(&format!("database-{host}-{port}-{number}"))?
                else {
                    continue;
                };
                let mut parsed = parsed.clone();
                parsed.set_path(&format!("/{number}"));
                if is_empty(parsed.as_str()).await? {
                    return Ok(Self {
                        url: parsed,
                        _lock: lock,
                    });
                }
            }
            Err(Error::new(format!(
                "none of the databases {candidates:?} of REDIS_URL is empty and free: empty one with FLUSHDB if nobody needs what is in it, or use another server"
            )))
        })
        .await
    }

    /// Returns the URL, or that of a proxy before the server on `port` of 127.0.0.1, with `login`
    /// in place of its own unless that is empty.
    pub(crate) fn url(&self, login: &str, proxy: Option<u16>) -> String {
        let own = self.url.as_str();
        let begin = own.find("://").map_or(0, |at| at + "://".len());
        let rest = &own[begin..];
        let (own_login, _) = rest.split_at(rest.rfind('@').map_or(0, |at| at + 1));
        let login = if login.is_empty() { own_login } else { login };
        let (host, port) = match proxy {
            Some(port) => ("127.0.0.1".to_owned(), port),
            None => (self.host(), self.port()),
        };
        format!("{}{login}{host}:{port}{}", &own[..begin], self.url.path())
    }

    pub(crate) fn host(&self) -> String {
        self.url.host_str().unwrap_or("127.0.0.1").to_owned()
    }

    pub(crate) fn port(&self) -> u16 {
        self.url.port().unwrap_or(6379)
    }

    fn flush(&self) -> redis::RedisResult<()> {
        let client = redis::Client::open(self.url.as_str())?;
        let mut connection = client.get_connection_with_timeout(ANSWER)?;
        connection.set_read_timeout(Some(ANSWER))?;
        redis::cmd("FLUSHDB").exec(&mut connection)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // It failed, or it did not: either way the next test looks for itself.
        self.flush().ok();
    }
}

async fn is_empty(url: &str) -> Result<bool, Error> {
    let ask = async {
        let client = redis::Client::open(url)?;
        let mut connection: MultiplexedConnection =
            client.get_multiplexed_async_connection().await?;
        let size: u64 = redis::cmd("DBSIZE").query_async(&mut connection).await?;
        Ok(size == 0)
    };
    ask.await.map_err(|error: redis::RedisError| {
        Error::because(
            "the server of REDIS_URL does not answer: start it, or unset REDIS_URL",
            error,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Server;

    const AT_ONCE: Duration = Duration::ZERO;

    fn number(database: &Database) -> u16 {
        database.url.path()[1..].parse().unwrap()
    }

    async fn set(database: &Database) {
        let client = redis::Client::open(database.url("", None)).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let set = redis::cmd("SET").arg("key").arg(1).to_owned();
        set.exec_async(&mut connection).await.unwrap();
    }

    #[tokio::test]
    async fn databases_are_taken_once_and_given_back_empty() {
        let server = Server::builder().owned().start().await;
        let mut taken = Vec::new();
        for expected in 1..16 {
            let database = Database::take_within(AT_ONCE, &server.url()).await.unwrap();
            assert_eq!(number(&database), expected);
            set(&database).await;
            taken.push(database);
        }
        let error = Database::take_within(AT_ONCE, &server.url()).await;
        assert!(error.unwrap_err().to_string().contains("FLUSHDB"));

        taken.remove(6);
        let again = Database::take_within(AT_ONCE, &server.url()).await.unwrap();
        assert_eq!(number(&again), 7);
    }

    #[tokio::test]
    async fn data_that_no_test_wrote_is_left_alone() {
        let server = Server::builder().owned().start().await;
        let url = format!("{}/3", server.url());
        let database = Database::take_within(AT_ONCE, &url).await.unwrap();
        assert_eq!(number(&database), 3);
        drop(database);

        server.query::<String>(&["SET", "precious", "0"]).await;
        server.query::<u64>(&["MOVE", "precious", "3"]).await;
        assert!(Database::take_within(AT_ONCE, &url).await.is_err());
        let keyspace: String = server.query(&["INFO", "keyspace"]).await;
        assert!(keyspace.contains("db3:keys=1"), "{keyspace}");
    }

    #[tokio::test]
    async fn a_url_keeps_its_login_unless_it_is_given_another() {
        let server = Server::builder().password("sesame").start().await;
        let (port, url) = (server.port(), format!("{}/2", server.url()));
        let database = Database::take_within(AT_ONCE, &url).await.unwrap();
        assert_eq!(database.url("", None), url);
        let by_proxy = database.url("user:word@", Some(1));
        assert_eq!(by_proxy, "redis://user:word@127.0.0.1:1/2");
        assert_eq!(
            (database.host(), database.port()),
            ("127.0.0.1".to_owned(), port)
        );
    }
}
