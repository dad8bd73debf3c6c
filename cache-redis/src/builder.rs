//! How a [`Redis`] is connected.

use std::{sync::Arc, time::Duration};

use cache_core::Recorder;
use tokio::runtime::Handle;

#[cfg(feature = "tls")]
use crate::Tls;
use crate::{
    NodeConfig, Redis,
    address::Address,
    backend::Inner,
    config::ReplicasConfig,
    connect::{self, ConnectError, Connector},
    lane::{Keeping, LaneSet},
    mutant::Rules,
    plan::{Plan, Source},
    replicas,
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
/// The same settings can be read from a file: see [`NodeConfig`].
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
    config: NodeConfig,
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
        let plans = self.plans()?;
        start(plans, self.recorder, self.rules).await
    }

    /// What is to be connected, checked.
    fn plans(&self) -> Result<Vec<Plan>, ConnectError> {
        let address = Address::new(self.url.as_ref(), &self.config)?;
        let host = address.name();
        #[cfg(feature = "tls")]
        let server = address.server(self.tls.as_ref(), self.config.tls.as_ref())?;
        #[cfg(not(feature = "tls"))]
        let server = address.server(self.config.tls.as_ref())?;
        let plan = Plan::new(&self.config, Source::Node(server), host)?;
        Ok(vec![plan])
    }
}

/// Starts what was planned: one node, a cluster, or a ring of several of either.
///
/// PLACEHOLDER for `Members::start(plans, recorder, rules)`: it knows one entry that is no cluster.
async fn start(
    plans: Vec<Plan>,
    recorder: Option<Arc<dyn Recorder>>,
    rules: Rules,
) -> Result<Redis, ConnectError> {
    let [plan] = <[Plan; 1]>::try_from(plans).map_err(|_several| {
        ConnectError::setting("host", "a ring of several entries is not supported yet")
    })?;
    let source = match plan.source {
        Source::Node(server) => connect::Source::Address(server),
        Source::Sentinel(source) => connect::Source::Sentinel(source),
        Source::Cluster(_) => {
            return Err(ConnectError::setting(
                "type",
                "a cluster is not supported yet",
            ));
        }
    };
    let tokens = Tokens::new(rules).map_err(|error| ConnectError::Unusable(error.into()))?;
    let exclusive = plan.replicas.map_or(0, |_| replicas::CONNECTIONS);
    let connector = Connector::new(source, plan.deadlines, plan.lanes, exclusive)?;
    let keeping = Keeping {
        deadlines: plan.deadlines,
        lanes: plan.lanes,
        recorder,
        rules,
    };
    let node = LaneSet::start(connector, keeping, plan.waits).await?;
    Ok(Redis::new(Inner {
        node: Arc::new(node),
        tokens,
        replicas: plan.replicas,
    }))
}

impl From<NodeConfig> for RedisBuilder {
    fn from(config: NodeConfig) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }
}
