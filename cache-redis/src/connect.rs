//! Makes connections to one server, and says why it cannot.

use std::{fmt, time::Duration};

use cache_core::BoxError;
use deadpool::managed::{self, Object, PoolError};
use deadpool_redis::{Connection, Manager, Runtime, TimeoutType};
use redis::{
    AsyncConnectionConfig, ConnectionInfo, ErrorKind as RedisKind, RedisError,
    aio::MultiplexedConnection,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};

use crate::{
    checkup::{Checkup, Unusable},
    error::{Cause, Fault},
    lane::Deadlines,
    sentinel::{SentinelManager, SentinelSource},
};

/// When an idle connection is probed by the kernel, and how often.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(5));

/// For how long sent bytes may go unacknowledged before the kernel gives the connection up.
const USER_TIMEOUT: Duration = Duration::from_secs(3);

/// How many commands the driver takes before it makes senders wait. Its default of 50 was measured
/// slower from a thousand callers on.
const DRIVER_BUFFER: usize = 1024;

/// Why redis could not be connected to.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A setting is wrong.
    #[error("`{setting}`{}: {problem}", Place(*.entry))]
    Setting {
        /// In which entry of several it is, the first being 1.
        entry: Option<usize>,
        /// The setting's name.
        setting: &'static str,
        /// What is wrong with it, and the remedy.
        problem: &'static str,
        /// The error below it, if there is one.
        #[source]
        source: Option<BoxError>,
    },
    /// Nobody listens there, or the connection broke while it was made.
    #[error("`host`: redis cannot be reached: is it running there, with TLS or without as set?")]
    Unreachable(#[source] BoxError),
    /// The server did not answer in time.
    #[error(
        "`connect_timeout`: redis did not answer in time: is it overloaded or paused, or does only \
         one side speak TLS?"
    )]
    TimedOut,
    /// The server refuses the user or the password.
    #[error("`user`, `pass`: redis refuses this login")]
    Login(#[source] BoxError),
    /// The server answers, but not as this needs it to.
    #[error("`host`: this server cannot be used")]
    Unusable(#[source] BoxError),
    /// One of several entries cannot be connected.
    #[error("entry {entry}, `{host}`, cannot be connected")]
    Entry {
        /// Its place in the configuration, the first being 1.
        entry: usize,
        /// Its `host`.
        host: String,
        /// Why.
        source: Box<Self>,
    },
    /// There is nothing to connect to.
    #[error("no cache nodes: the configuration is an empty list, give it one entry at least")]
    NoNodes,
    /// There is no tokio runtime to connect on.
    #[error("call `connect` inside a tokio runtime with I/O and timers enabled")]
    NoRuntime,
}

impl ConnectError {
    pub(crate) fn setting(setting: &'static str, problem: &'static str) -> Self {
        Self::Setting {
            entry: None,
            setting,
            problem,
            source: None,
        }
    }

    /// The same, with the entry of several in which the setting is.
    pub(crate) fn of_entry(self, number: usize) -> Self {
        match self {
            Self::Setting {
                setting,
                problem,
                source,
                ..
            } => Self::Setting {
                entry: Some(number),
                setting,
                problem,
                source,
            },
            other => other,
        }
    }

    /// The same, with the entry of several that it is about.
    pub(crate) fn at_entry(self, entry: usize, host: String) -> Self {
        match self {
            Self::Setting { .. } => self.of_entry(entry),
            error => Self::Entry {
                entry,
                host,
                source: Box::new(error),
            },
        }
    }

    /// The same, if it is about an address that a cluster announced.
    pub(crate) fn of_announced(self) -> Self {
        match self {
            Self::Unreachable(_) | Self::TimedOut => Self::Setting {
                entry: None,
                setting: "host",
                problem: "a server there answers, and the cluster's primaries cannot be reached where it \
                          says they are: let them announce what can be reached from here, with \
                          `cluster-announce-hostname` and `cluster-preferred-endpoint-type hostname`",
                source: Some(self.into()),
            },
            // Those of the server that was asked do fit.
            Self::Setting {
                setting: "tls",
                source,
                ..
            } => Self::Setting {
                entry: None,
                setting: "tls",
                problem: "a server there is trusted, and the certificates of the cluster's primaries do \
                          not fit where it says they are: let them announce names that their \
                          certificates hold, with `cluster-announce-hostname` and \
                          `cluster-preferred-endpoint-type hostname`, and let `ca_file` hold the \
                          authorities of all",
                source,
            },
            error => error,
        }
    }

    /// A server of a cluster does not say who owns its slots.
    pub(crate) fn no_slots(error: &RedisError) -> Self {
        let detail = error.detail().unwrap_or_default();
        if detail.contains("cluster support disabled") {
            return Self::unusable(Unusable::NoCluster);
        }
        match Self::of(error) {
            Self::Login(cause) => Self::Setting {
                entry: None,
                setting: "user",
                problem: "redis does not let this user see the cluster: allow it `+cluster|slots`",
                source: Some(cause),
            },
            error => error,
        }
    }

    /// The server answers, but not as it has to.
    pub(crate) fn unusable(cause: impl Into<BoxError>) -> Self {
        Self::Unusable(cause.into())
    }

    pub(crate) fn of(error: &RedisError) -> Self {
        let cause = Cause::of(error);
        // The details may quote the login, so they are looked at and not shown.
        if error
            .detail()
            .is_some_and(|detail| detail.contains("DB index"))
        {
            let problem = "the server has no such database: lower it, or raise its `databases`";
            return Self::setting("db", problem);
        }
        if error.kind() == RedisKind::RESP3NotSupported {
            let problem = "the server is older than Redis 6";
            return Self::setting("host", problem);
        }
        if error.is_io_error() && is_about_certificates(&error.to_string()) {
            return Self::Setting {
                entry: None,
                setting: "tls",
                problem: "the certificates do not fit: `ca_file` is to hold the authority that \
                          signed the server's, made out to this `host`, and `cert_file` and \
                          `key_file` what the server trusts, if it asks",
                source: Some(cause.into()),
            };
        }
        match (error.kind(), Fault::of(error)) {
            _ if error.is_timeout() => Self::TimedOut,
            (RedisKind::AuthenticationFailed, _) | (_, Fault::Denied | Fault::LoggedOut) => {
                Self::Login(cause.into())
            }
            (RedisKind::Io | RedisKind::Parse, _) => Self::Unreachable(cause.into()),
            _ => Self::Unusable(cause.into()),
        }
    }

    /// What a pool says, whose manager fails as `backend` understands it.
    fn of_pool<E>(error: PoolError<E>, backend: impl FnOnce(E) -> Self) -> Self {
        match error {
            PoolError::Backend(error) => backend(error),
            PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle | TimeoutType::Wait) => {
                Self::TimedOut
            }
            PoolError::NoRuntimeSpecified => Self::NoRuntime,
            PoolError::Closed | PoolError::PostCreateHook(_) => {
                Self::Unreachable("the pool is closed".into())
            }
        }
    }
}

/// In which entry of several something is, in words.
struct Place(Option<usize>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => write!(f, " of entry {number}"),
            None => Ok(()),
        }
    }
}

/// Whether an error of a connection is one of TLS about who the other side is. The driver hands on
/// the words of rustls, and nothing else of it.
fn is_about_certificates(text: &str) -> bool {
    ["certificate", "Certificate", "UnknownCA"]
        .iter()
        .any(|word| text.contains(word))
}

/// Where connections are made to.
pub(crate) enum Source {
    /// A server whose address is known.
    Address(ConnectionInfo),
    /// Whichever server is the primary when one is made.
    Sentinel(SentinelSource),
}

/// A connection, and its place in a pool.
pub(crate) enum Pooled {
    Direct(Connection),
    Sentinel(Object<SentinelManager>),
}

impl Pooled {
    /// A clone of the connection, which others may use at the same time.
    pub(crate) fn connection(&self) -> MultiplexedConnection {
        match self {
            Self::Direct(connection) => MultiplexedConnection::clone(connection),
            Self::Sentinel(connection) => MultiplexedConnection::clone(connection),
        }
    }

    pub(crate) fn connection_mut(&mut self) -> &mut MultiplexedConnection {
        match self {
            Self::Direct(connection) => connection,
            Self::Sentinel(connection) => connection,
        }
    }

    /// Takes it out of the pool, which is not to hand it out again.
    pub(crate) fn discard(self) {
        drop(match self {
            Self::Direct(connection) => Connection::take(connection),
            Self::Sentinel(connection) => Object::take(connection),
        });
    }
}

/// A pool of connections of either kind.
enum Pool {
    Direct(deadpool_redis::Pool),
    Sentinel(managed::Pool<SentinelManager>),
}

impl Pool {
    /// A pool of at most `most` connections.
    fn new(source: &Source, deadlines: Deadlines, most: usize) -> Result<Self, ConnectError> {
        // The deadline of each command is kept here, where it is known.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(deadlines.connect))
            .set_response_timeout(None)
            .set_pipeline_buffer_size(DRIVER_BUFFER);
        match source {
            Source::Address(server) => {
                let manager = Manager::new_with_config(server.clone(), config);
                let manager = manager.map_err(|error| ConnectError::of(&error))?;
                build(manager, deadlines, deadlines.connect, most).map(Self::Direct)
            }
            Source::Sentinel(source) => {
                let manager = SentinelManager::new(source.clone(), config, deadlines.connect);
                let create = manager.longest();
                build(manager, deadlines, create, most).map(Self::Sentinel)
            }
        }
    }

    async fn get(&self) -> Result<Pooled, ConnectError> {
        match self {
            Self::Direct(pool) => pool
                .get()
                .await
                .map(Pooled::Direct)
                .map_err(|error| ConnectError::of_pool(error, |error| ConnectError::of(&error))),
            Self::Sentinel(pool) => {
                let pooled = pool.get().await.map(Pooled::Sentinel);
                pooled.map_err(|error| ConnectError::of_pool(error, |error| error))
            }
        }
    }

    fn status(&self) -> managed::Status {
        match self {
            Self::Direct(pool) => pool.status(),
            Self::Sentinel(pool) => pool.status(),
        }
    }
}

fn build<M, W>(
    manager: M,
    deadlines: Deadlines,
    create: Duration,
    most: usize,
) -> Result<managed::Pool<M, W>, ConnectError>
where
    M: managed::Manager,
    W: From<Object<M>>,
{
    managed::Pool::builder(manager)
        .max_size(most)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(deadlines.write))
        .create_timeout(Some(create))
        .recycle_timeout(Some(deadlines.connect))
        .build()
        .map_err(|_no_runtime| ConnectError::NoRuntime)
}

/// The settings of every socket.
fn tcp_settings() -> TcpSettings {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE.0)
        .with_interval(KEEPALIVE.1);
    let tcp = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive);
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    let tcp = tcp.set_user_timeout(USER_TIMEOUT);
    tcp
}

/// Makes connections to one server.
pub(crate) struct Connector {
    /// Of lanes.
    lanes: Pool,
    /// Of connections that somebody needs for themselves for a while.
    exclusive: Pool,
    deadlines: Deadlines,
}

impl Connector {
    /// `lanes` and `exclusive` are how many connections of each kind there may be at once.
    ///
    /// # Errors
    ///
    /// If the settings do not make a client.
    pub(crate) fn new(
        source: Source,
        deadlines: Deadlines,
        lanes: usize,
        exclusive: usize,
    ) -> Result<Self, ConnectError> {
        let source = match source {
            Source::Address(server) => Source::Address(server.set_tcp_settings(tcp_settings())),
            Source::Sentinel(source) => Source::Sentinel(source.with_tcp(&tcp_settings())),
        };
        Ok(Self {
            lanes: Pool::new(&source, deadlines, lanes)?,
            exclusive: Pool::new(&source, deadlines, exclusive)?,
            deadlines,
        })
    }

    /// Makes a connection, and looks the server over.
    pub(crate) async fn connect(&self) -> Result<(Pooled, Checkup), ConnectError> {
        let mut pooled = self.lanes.get().await?;
        match Checkup::of(pooled.connection_mut(), self.deadlines.connect).await {
            Ok(checkup) => Ok((pooled, checkup)),
            Err(unusable) => {
                // Not back into the pool: the name may lead to another server next time.
                pooled.discard();
                Err(match unusable {
                    Unusable::Silent => ConnectError::TimedOut,
                    Unusable::Broken => ConnectError::Unreachable(unusable.into()),
                    Unusable::Replica
                    | Unusable::Loading
                    | Unusable::Cluster
                    | Unusable::NoCluster => ConnectError::Unusable(unusable.into()),
                })
            }
        }
    }

    /// A connection for who needs one of their own for a while.
    pub(crate) async fn exclusive(&self) -> Result<Pooled, ConnectError> {
        self.exclusive.get().await
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The pool's own `Debug` shows its manager, and that the server's address.
        f.debug_struct("Connector")
            .field("lanes", &self.lanes.status())
            .finish_non_exhaustive()
    }
}
