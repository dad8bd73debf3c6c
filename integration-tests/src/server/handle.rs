//! What a test holds of its server.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, FromRedisValue, RedisError, RedisResult, Value,
    aio::MultiplexedConnection,
};

use super::{Builder, Network, Way, node::Node};
use crate::{Error, Tls, wait::until_ok};

/// How long a server may take until it answers.
const READY: Duration = Duration::from_secs(15);

/// Limits of the connections that the harness itself uses.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(10);

/// A Redis node for one test, stopped and removed when it is dropped.
///
/// Every method that fails panics with a text that says why.
#[derive(Debug)]
pub struct Server {
    node: Node,
    builder: Builder,
    /// Whether the test left it so that it can answer.
    up: AtomicBool,
}

impl Server {
    pub(crate) fn new(node: Node, builder: Builder) -> Self {
        Self {
            node,
            builder,
            up: AtomicBool::new(true),
        }
    }

    /// Returns a builder with the defaults.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Starts a server with the defaults.
    ///
    /// # Panics
    ///
    /// As [`Builder::start`].
    ///
    /// # Cancel safety
    ///
    /// As [`Builder::start`].
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// Returns where this server came from.
    #[must_use]
    pub fn way(&self) -> Way {
        self.node.way()
    }

    /// Returns the URL for a client that may do everything: with the password, if there is one.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_by(None)
    }

    /// Returns the URL for a client that logs in as `user`. They are not escaped: use letters.
    #[must_use]
    pub fn url_as(&self, user: &str, password: &str) -> String {
        self.node
            .url(self.scheme(), &format!("{user}:{password}@"), None)
    }

    /// Returns the URL, or that of a proxy on this port.
    pub(crate) fn url_by(&self, proxy: Option<u16>) -> String {
        let login = match &self.builder.password {
            Some(password) => format!(":{password}@"),
            None => String::new(),
        };
        self.node.url(self.scheme(), &login, proxy)
    }

    /// Returns the certificates of the server and for its clients, if it speaks TLS.
    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.builder.tls.as_ref().map(|(tls, _)| tls)
    }

    pub(crate) fn password(&self) -> Option<&str> {
        self.builder.password.as_deref()
    }

    pub(crate) async fn host_for_peers(&self) -> Result<String, Error> {
        match self.builder.network {
            Network::Joined(_) => Ok("127.0.0.1".to_owned()),
            Network::Own | Network::Shared(_) => self.node.host_for_peers().await,
        }
    }

    /// Returns the name of the container, if it is in one.
    pub(crate) fn container(&self) -> Option<&str> {
        self.node.container()
    }

    fn scheme(&self) -> &'static str {
        match self.tls() {
            Some(_) => "rediss",
            None => "redis",
        }
    }

    /// Returns host and port, as seen from here.
    pub(crate) fn address(&self) -> (String, u16) {
        self.node.address()
    }

    /// Returns the port, which is the same after a restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.node.port()
    }

    /// Ends the server at once, as `kill -9` does, and waits until it is gone. Does nothing if it
    /// is down.
    ///
    /// # Panics
    ///
    /// Panics if the server is not the test's own: see [`Builder::owned`].
    ///
    /// # Cancel safety
    ///
    /// Not safe: a drop may leave the server up or down.
    pub async fn kill(&self) {
        self.up.store(false, Ordering::Release);
        expect(self.node.kill().await);
    }

    /// Starts the server after [`kill`](Self::kill), on the same port and without data, and waits
    /// until it answers. Does nothing if it is up.
    ///
    /// # Panics
    ///
    /// Panics if the server is not the test's own or does not come up.
    ///
    /// # Cancel safety
    ///
    /// Not safe: a drop may leave the server up or down.
    pub async fn start_again(&self) {
        expect(self.node.start_again().await);
        expect(self.ready().await);
        self.up.store(true, Ordering::Release);
    }

    /// Kills the server and starts it again.
    ///
    /// # Panics
    ///
    /// As [`kill`](Self::kill) and [`start_again`](Self::start_again).
    ///
    /// # Cancel safety
    ///
    /// Not safe: a drop may leave the server up or down.
    pub async fn restart(&self) {
        self.kill().await;
        self.start_again().await;
    }

    /// Stops the server in its tracks: connections stay open and nothing answers.
    ///
    /// # Panics
    ///
    /// Panics if the server is not the test's own, or is down or paused.
    ///
    /// # Cancel safety
    ///
    /// Not safe: a drop may leave the server paused or not.
    pub async fn pause(&self) {
        self.up.store(false, Ordering::Release);
        expect(self.node.pause().await);
    }

    /// Lets the server go on after [`pause`](Self::pause).
    ///
    /// # Panics
    ///
    /// Panics if the server is not the test's own, or is not paused.
    ///
    /// # Cancel safety
    ///
    /// Not safe: a drop may leave the server paused or not.
    pub async fn resume(&self) {
        expect(self.node.resume().await);
        self.up.store(true, Ordering::Release);
    }

    /// Returns whether the test left the server running: neither killed nor paused.
    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    /// Opens a connection with all rights and with generous limits: five seconds to connect, ten
    /// for an answer.
    ///
    /// # Panics
    ///
    /// Panics if the server does not answer.
    ///
    /// # Cancel safety
    ///
    /// Safe: a drop closes the connection.
    pub async fn client(&self) -> MultiplexedConnection {
        expect(
            self.connect()
                .await
                .map_err(|error| Error::because("cannot connect to the server", error)),
        )
    }

    /// Runs one command on a connection of its own, such as `["CONFIG", "SET", "maxmemory", "2mb"]`.
    ///
    /// # Panics
    ///
    /// Panics if the server does not answer, or answers with an error.
    ///
    /// # Cancel safety
    ///
    /// Not safe: a drop may leave the command done or not.
    pub async fn cmd(&self, words: &[&str]) -> Value {
        self.query(words).await
    }

    /// Runs one command as [`cmd`](Self::cmd) does, and reads the answer as `T`.
    ///
    /// # Panics
    ///
    /// As [`cmd`](Self::cmd), and if the answer is no `T`.
    ///
    /// # Cancel safety
    ///
    /// As [`cmd`](Self::cmd).
    pub async fn query<T: FromRedisValue>(&self, words: &[&str]) -> T {
        expect(self.ask(words).await)
    }

    /// Runs one command as [`query`](Self::query) does, for those who can go on without an answer.
    pub(crate) async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> Result<T, Error> {
        let ask = async {
            let mut connection = self.connect().await?;
            let mut command = redis::Cmd::new();
            for word in words {
                command.arg(word);
            }
            command.query_async(&mut connection).await
        };
        ask.await.map_err(|error: RedisError| {
            let text = format!("{words:?} failed on port {}", self.port());
            Error::because(text, error)
        })
    }

    /// Waits until the server answers.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        let ping = async || {
            let mut connection = self.connect().await?;
            redis::cmd("PING").exec_async(&mut connection).await
        };
        let attempt = async || {
            if let Some(words) = self.node.last_words().await {
                return Ok(Err(Error::new(words)));
            }
            ping().await.map(Ok)
        };
        until_ok(READY, attempt).await.unwrap_or_else(|error| {
            Err(Error::because(
                format!("the server does not answer within {READY:?}"),
                error,
            ))
        })
    }

    /// Returns a client with all rights.
    pub(crate) fn admin(&self) -> RedisResult<Client> {
        match self.tls() {
            Some(tls) => Client::build_with_tls(self.url(), tls.certificates()),
            None => Client::open(self.url()),
        }
    }

    pub(crate) async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let limits = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER));
        self.admin()?
            .get_multiplexed_async_connection_with_config(&limits)
            .await
    }
}

pub(crate) fn expect<T>(outcome: Result<T, Error>) -> T {
    match outcome {
        Ok(value) => value,
        Err(error) => panic!("{}", error.whole()),
    }
}
