//! How a [`Redis`] is connected.

use std::{sync::Arc, time::Duration};

use cache_core::Recorder;
use tokio::runtime::Handle;

#[cfg(feature = "tls")]
use crate::Tls;
use crate::{
    NodeConfig, Redis,
    backend::Inner,
    config::{Host, Kind, ReplicasConfig},
    connect::ConnectError,
    members::Members,
    mutant::Rules,
    plan::{Plan, Servers},
    secret::Secret,
    token::Tokens,
};

/// Builder for [`Redis`].
///
/// Setters only record; every check happens in [`connect`](Self::connect). A time may be from 1 ms
/// to 1 hour.
///
/// | setting | default |
/// |---|---|
/// | [`url`](Self::url) or [`host`](Self::host) | `127.0.0.1:6379` |
/// | [`cluster`](Self::cluster), [`sentinel`](Self::sentinel) | neither: one node |
/// | [`sentinel_login`](Self::sentinel_login) | none |
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
/// The same settings can be read from a file: see [`NodeConfig`]. A builder is made of one entry, or
/// of a list of them:
///
/// | entries | make |
/// |---|---|
/// | none | an error |
/// | one | a node, a cluster, or the primary behind sentinels, as its `type` says |
/// | several | a ring of those, which places keys by `host` and `weight`, as go-zero does |
///
/// A setter overrides what the entries say, in each of them; only what a [`url`](Self::url) says may
/// not be said twice.
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
#[derive(Clone, Debug)]
pub struct RedisBuilder {
    url: Option<Secret>,
    entries: Vec<NodeConfig>,
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

    /// Sets the server as `host`, or `host:port`; for a cluster or sentinels several of them, with
    /// commas between. Default: `127.0.0.1`, and the port 6379, or 26379 for sentinels.
    pub fn host(self, host: impl Into<String>) -> Self {
        let host = Host(host.into());
        self.each(|entry| entry.host = Some(host.clone()))
    }

    /// Connects to a cluster, of which the `host`, or the `url`, names some members. Default: to one
    /// node.
    pub fn cluster(self) -> Self {
        self.each(|entry| entry.kind = Some(Kind::Cluster))
    }

    /// Connects to the primary that sentinels know by the name `master`; they are what `host` names,
    /// with commas between, and their port is 26379 by default. Default: to one node.
    ///
    /// They are asked whenever a connection is made, so a failover is followed without a restart.
    /// With TLS both they and redis are spoken to with it, and the certificate of the primary is to
    /// hold the name or address that they give.
    pub fn sentinel(self, master: impl Into<String>) -> Self {
        let master = master.into();
        self.each(|entry| {
            entry.kind = Some(Kind::Sentinel);
            entry.master = Some(master.clone());
        })
    }

    /// Sets the login at the sentinels, which is not that of redis; where they have a password and no
    /// users, the user is `default`. Default: no login.
    pub fn sentinel_login(self, user: impl Into<String>, pass: impl Into<String>) -> Self {
        let (user, pass) = (user.into(), Secret(pass.into()));
        self.each(|entry| {
            entry.sentinel_user = Some(user.clone());
            entry.sentinel_pass = Some(pass.clone());
        })
    }

    /// Sets the user to log in as, which needs a [`pass`](Self::pass) too. Default: the server's
    /// default user.
    pub fn user(self, user: impl Into<String>) -> Self {
        let user = user.into();
        self.each(|entry| entry.user = Some(user.clone()))
    }

    /// Sets the password to log in with. Default: no login.
    pub fn pass(self, pass: impl Into<String>) -> Self {
        let pass = Secret(pass.into());
        self.each(|entry| entry.pass = Some(pass.clone()))
    }

    /// Sets the number of the database, which a cluster does not have. Default: 0.
    pub fn db(self, db: u32) -> Self {
        self.each(|entry| entry.db = Some(db))
    }

    /// Connects with TLS. Default: without, unless the URL begins with `rediss://`, which means
    /// [`Tls::new`].
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets how long it may take to connect, login included; and once more for the look at the
    /// server that follows. Sentinels, which are asked first and all at once, have as long to answer
    /// in. Default: 300 ms.
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        self.each(|entry| {
            entry.connect_timeout = Some(timeout);
            entry.ping_timeout = None;
        })
    }

    /// Sets how long to wait for the answer to a read, or for a lease. Default: 250 ms.
    ///
    /// This is what an outage costs a caller at most. A server that is silent for longer is taken
    /// for one that hangs, so set it above the pauses that yours is known to have.
    pub fn read_timeout(self, timeout: Duration) -> Self {
        self.each(|entry| entry.read_timeout = Some(timeout))
    }

    /// Sets how long to wait for the answer to a write. Default: 500 ms.
    ///
    /// The engine's `backend_deadline` is to be longer than this, and is: 1 second by default.
    pub fn write_timeout(self, timeout: Duration) -> Self {
        self.each(|entry| entry.write_timeout = Some(timeout))
    }

    /// Sets how many connections carry the commands, from 1 to 64. Default: 1 on up to four cores,
    /// else 2. More gain nothing unless one core is full, or large values hold up small ones.
    pub fn lanes(self, lanes: usize) -> Self {
        self.each(|entry| entry.lanes = Some(lanes))
    }

    /// Lets an invalidation wait, for at most `patience`, until `count` replicas have acknowledged
    /// it; if fewer do, it is queued and repeated. Default: it waits for none.
    ///
    /// This narrows what a failover can bring back, and makes an invalidation as slow as the
    /// slowest of these replicas. The engine's `backend_deadline` is to be longer than `patience`
    /// and the write timeout together. Four removals can wait at once.
    pub fn wait_for_replicas(self, count: u32, patience: Duration) -> Self {
        self.each(|entry| entry.wait_for_replicas = Some(ReplicasConfig { count, patience }))
    }

    /// Lets [`connect`](Self::connect) answer at once: connections are made in the background, and
    /// until there is one the backend is unavailable. Default: `connect` waits for the first
    /// connection, and answers why there is none.
    pub fn non_blocking(self) -> Self {
        self.each(|entry| entry.non_block = Some(true))
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

    fn each(mut self, set: impl FnMut(&mut NodeConfig)) -> Self {
        self.entries.iter_mut().for_each(set);
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
        let plans = self.plans()?;
        let tokens =
            Tokens::new(self.rules).map_err(|error| ConnectError::Unusable(error.into()))?;
        let members = Members::start(plans, self.recorder, self.rules).await?;
        Ok(Redis::new(Inner { members, tokens }))
    }

    /// Checks the settings, and connects to nothing. What [`connect`](Self::connect) refuses because
    /// of a setting alone, this does too; files of certificates are read.
    ///
    /// # Errors
    ///
    /// [`ConnectError`], with the setting at fault and the remedy.
    pub fn check(&self) -> Result<(), ConnectError> {
        self.plans().map(drop)
    }

    /// What is to be connected, checked.
    fn plans(&self) -> Result<Vec<Plan>, ConnectError> {
        let servers = Servers {
            url: self.url.as_ref(),
            #[cfg(feature = "tls")]
            tls: self.tls.as_ref(),
        };
        Plan::all(&self.entries, servers)
    }
}

impl Default for RedisBuilder {
    fn default() -> Self {
        Self::from(NodeConfig::default())
    }
}

impl From<NodeConfig> for RedisBuilder {
    fn from(entry: NodeConfig) -> Self {
        Self::from(vec![entry])
    }
}

/// One entry is a node, a cluster or a primary behind sentinels; several are a ring of those.
impl From<Vec<NodeConfig>> for RedisBuilder {
    fn from(entries: Vec<NodeConfig>) -> Self {
        Self {
            url: None,
            entries,
            #[cfg(feature = "tls")]
            tls: None,
            recorder: None,
            rules: Rules::default(),
        }
    }
}
