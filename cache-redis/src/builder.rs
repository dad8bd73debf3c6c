//! How a [`Redis`] is connected.

use std::{num::NonZeroUsize, sync::Arc, thread, time::Duration};

use cache_core::Recorder;
use tokio::runtime::Handle;

#[cfg(feature = "tls")]
use crate::Tls;
use crate::{
    Redis, RedisConfig,
    address::Address,
    backend::Inner,
    config::ReplicasConfig,
    connect::{ConnectError, Connector},
    lane::{Deadlines, Keeping, LaneSet},
    mutant::Rules,
    replicas::{self, Replicas},
    secret::Secret,
    token::Tokens,
};

/// The longest time that can be set.
const LONGEST: Duration = Duration::from_secs(3600);

/// On more cores than this a second lane gains something: the driver of a lane uses one at most.
const CORES_OF_ONE_LANE: usize = 4;

const MOST_LANES: usize = 64;

/// Builder for [`Redis`].
///
/// Setters only record; every check happens in [`connect`](Self::connect). A time may be from 1 ms
/// to 1 hour.
///
/// | setting | default |
/// |---|---|
/// | [`url`](Self::url) or [`host`](Self::host) | `127.0.0.1:6379` |
/// | [`user`](Self::user), [`pass`](Self::pass) | none |
/// | [`db`](Self::db) | 0 |
/// | `tls` | off, unless the URL begins with `rediss://` |
/// | [`connect_timeout`](Self::connect_timeout) | 300 ms |
/// | [`read_timeout`](Self::read_timeout) | 250 ms |
/// | [`write_timeout`](Self::write_timeout) | 500 ms |
/// | [`lanes`](Self::lanes) | 1 on up to four cores, else 2 |
/// | [`wait_for_replicas`](Self::wait_for_replicas) | not |
/// | [`non_blocking`](Self::non_blocking) | off: `connect` waits for the first connection |
/// | [`recorder`](Self::recorder) | none |
///
/// The same settings can be read from a file: see [`RedisConfig`].
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> Result<(), cache_redis::ConnectError> {
/// use cache_redis::Redis;
/// use std::time::Duration;
///
/// let redis = Redis::builder()
///     .host("cache.internal:6379")
///     .user("app")
///     .pass("secret")
///     .read_timeout(Duration::from_millis(100))
///     .connect()
///     .await?;
/// # drop(redis);
/// # Ok(())
/// # }
/// # tokio::runtime::Runtime::new()?.block_on(example())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a builder does nothing until `connect` is called"]
#[derive(Clone, Debug, Default)]
pub struct RedisBuilder {
    url: Option<Secret>,
    config: RedisConfig,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    recorder: Option<Arc<dyn Recorder>>,
    rules: Rules,
}

impl RedisBuilder {
    /// Sets the server as `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS;
    /// `valkey://` and `valkeys://` are the same. User and password are percent-encoded. What it
    /// says may not be set once more by another setter. Default: see [`host`](Self::host).
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(Secret(url.into()));
        self
    }

    /// Sets the server as `host`, or `host:port`. Default: `127.0.0.1:6379`.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.config.host = Some(host.into());
        self
    }

    /// Sets the user to log in as, which needs a [`pass`](Self::pass) too. Default: the server's
    /// default user.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.config.user = Some(user.into());
        self
    }

    /// Sets the password to log in with. Default: no login.
    pub fn pass(mut self, pass: impl Into<String>) -> Self {
        self.config.pass = Some(Secret(pass.into()));
        self
    }

    /// Sets the number of the database. Default: 0.
    pub fn db(mut self, db: u32) -> Self {
        self.config.db = Some(db);
        self
    }

    /// Connects with TLS. Default: without, unless the URL begins with `rediss://`, which means
    /// [`Tls::new`].
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets how long it may take to connect, login included; and once more for the look at the
    /// server that follows. Default: 300 ms.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = Some(timeout);
        self
    }

    /// Sets how long to wait for the answer to a read, or for a lease. Default: 250 ms.
    ///
    /// This is what an outage costs a caller at most. A server that is silent for longer is taken
    /// for one that hangs, so set it above the pauses that yours is known to have.
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.config.read_timeout = Some(timeout);
        self
    }

    /// Sets how long to wait for the answer to a write. Default: 500 ms.
    ///
    /// The engine's `backend_deadline` is to be longer than this, and is: 1 second by default.
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.config.write_timeout = Some(timeout);
        self
    }

    /// Sets how many connections carry the commands, from 1 to 64. Default: 1 on up to four cores,
    /// else 2. More gain nothing unless one core is full, or large values hold up small ones.
    pub fn lanes(mut self, lanes: usize) -> Self {
        self.config.lanes = Some(lanes);
        self
    }

    /// Lets an invalidation wait, for at most `patience`, until `count` replicas have acknowledged
    /// it; if fewer do, it is queued and repeated. Default: it waits for none.
    ///
    /// This narrows what a failover can bring back, and makes an invalidation as slow as the
    /// slowest of these replicas. The engine's `backend_deadline` is to be longer than `patience`
    /// and the write timeout together. Four removals can wait at once.
    pub fn wait_for_replicas(mut self, count: u32, patience: Duration) -> Self {
        self.config.wait_for_replicas = Some(ReplicasConfig { count, patience });
        self
    }

    /// Lets [`connect`](Self::connect) answer at once: connections are made in the background, and
    /// until there is one the backend is unavailable. Default: `connect` waits for the first
    /// connection, and answers why there is none.
    pub fn non_blocking(mut self) -> Self {
        self.config.non_block = Some(true);
        self
    }

    /// Sets who is told about the breaker and the guarantee in force. Default: nobody.
    pub fn recorder(mut self, recorder: impl Recorder) -> Self {
        self.recorder = Some(Arc::new(recorder));
        self
    }

    /// Switches a rule that the fence rests on off, to see tests fail.
    #[cfg(feature = "testing")]
    pub fn mutant(mut self, mutant: crate::Mutant) -> Self {
        self.rules.mutant = Some(mutant);
        self
    }

    /// Connects, on the current tokio runtime: connections, and the tasks that replace them, live
    /// there, so it must outlive the backend.
    ///
    /// # Errors
    ///
    /// [`ConnectError`], with the setting at fault and the remedy. With
    /// [`non_blocking`](Self::non_blocking) only for settings that can never work.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future closes what was opened.
    pub async fn connect(self) -> Result<Redis, ConnectError> {
        Handle::try_current().map_err(|_none| ConnectError::NoRuntime)?;
        let deadlines = self.deadlines()?;
        let lanes = self.lane_count()?;
        let replicas = self.replicas()?;
        let address = Address::new(self.url.as_ref(), &self.config)?;
        #[cfg(feature = "tls")]
        let server = address.server(self.tls.as_ref(), self.config.tls.as_ref())?;
        #[cfg(not(feature = "tls"))]
        let server = address.server(self.config.tls.as_ref())?;
        let tokens =
            Tokens::new(self.rules).map_err(|error| ConnectError::Unusable(error.into()))?;
        let exclusive = replicas.map_or(0, |_| replicas::CONNECTIONS);
        let connector = Connector::new(server, deadlines, lanes, exclusive)?;
        let waits = !self.config.non_block.unwrap_or(false);
        let keeping = Keeping {
            deadlines,
            lanes,
            recorder: self.recorder,
            rules: self.rules,
        };
        let node = LaneSet::start(connector, keeping, waits).await?;
        Ok(Redis::new(Inner {
            node: Arc::new(node),
            tokens,
            replicas,
        }))
    }

    fn deadlines(&self) -> Result<Deadlines, ConnectError> {
        let RedisConfig {
            connect_timeout,
            read_timeout,
            write_timeout,
            ..
        } = self.config;
        Ok(Deadlines {
            connect: time("connect_timeout", connect_timeout, 300)?,
            read: time("read_timeout", read_timeout, 250)?,
            write: time("write_timeout", write_timeout, 500)?,
        })
    }

    fn lane_count(&self) -> Result<usize, ConnectError> {
        match self.config.lanes {
            Some(lanes) if lanes == 0 || lanes > MOST_LANES => Err(ConnectError::setting(
                "lanes",
                "give a number from 1 to 64, or leave the default",
            )),
            Some(lanes) => Ok(lanes),
            None => {
                let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
                Ok(if cores <= CORES_OF_ONE_LANE { 1 } else { 2 })
            }
        }
    }

    fn replicas(&self) -> Result<Option<Replicas>, ConnectError> {
        let Some(ReplicasConfig { count, patience }) = self.config.wait_for_replicas else {
            return Ok(None);
        };
        if count == 0 {
            return Err(ConnectError::setting(
                "wait_for_replicas",
                "there is nothing to wait for: give a positive count, or leave it out",
            ));
        }
        let patience = time("wait_for_replicas", Some(patience), 0)?;
        Ok(Some(Replicas { count, patience }))
    }
}

impl From<RedisConfig> for RedisBuilder {
    fn from(config: RedisConfig) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }
}

/// A time that was set, or its default.
fn time(
    setting: &'static str,
    time: Option<Duration>,
    default_ms: u64,
) -> Result<Duration, ConnectError> {
    let time = time.unwrap_or_else(|| Duration::from_millis(default_ms));
    if time < Duration::from_millis(1) || time > LONGEST {
        let problem = "give a time from 1 ms to 1 hour";
        return Err(ConnectError::setting(setting, problem));
    }
    Ok(time)
}
