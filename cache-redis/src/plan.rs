//! What is to be connected: entries of the configuration, checked.

use std::{fmt, num::NonZeroUsize, thread, time::Duration};

use redis::ConnectionInfo;

#[cfg(feature = "tls")]
use crate::Tls;
use crate::{
    NodeConfig,
    address::{self, Address},
    config::{Kind, ReplicasConfig},
    connect::ConnectError,
    lane::Deadlines,
    replicas::Replicas,
    secret::Secret,
    sentinel::SentinelSource,
};

/// The longest time that can be set.
const LONGEST: Duration = Duration::from_secs(3600);

/// On more cores than this a second lane gains something: the driver of a lane uses one at most.
const CORES_OF_ONE_LANE: usize = 4;

const MOST_LANES: usize = 64;

/// The weight of an entry that has all its places in a ring.
const ALL: i64 = 100;

/// What an entry of the configuration points at.
pub(crate) enum Source {
    /// One server.
    Node(ConnectionInfo),
    /// The primary that sentinels name.
    Sentinel(SentinelSource),
    /// A cluster, by some of its members.
    Cluster(Vec<ConnectionInfo>),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The driver's description of a server shows the user.
        f.write_str(match self {
            Self::Node(_) => "Node",
            Self::Sentinel(_) => "Sentinel",
            Self::Cluster(_) => "Cluster",
        })
    }
}

/// One entry of the configuration, checked.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) source: Source,
    pub(crate) deadlines: Deadlines,
    pub(crate) lanes: usize,
    pub(crate) replicas: Option<Replicas>,
    /// Whether the first connection is waited for.
    pub(crate) waits: bool,
    /// Its share of a ring; what is not positive is none.
    pub(crate) weight: i64,
    /// What it is called in a ring: the `host`, exactly as it was written.
    pub(crate) host: String,
}

impl Plan {
    /// Checks an entry.
    pub(crate) fn new(config: &NodeConfig, servers: Servers<'_>) -> Result<Self, ConnectError> {
        let address = Address::new(servers.url, config)?;
        let host = config.host.as_ref().map(|host| host.0.clone());
        let host = host.unwrap_or_else(|| address.name());
        #[cfg(feature = "tls")]
        let servers = address.servers(servers.tls, config.tls.as_ref())?;
        #[cfg(not(feature = "tls"))]
        let servers = address.servers(config.tls.as_ref())?;
        Ok(Self {
            source: source(config, servers)?,
            deadlines: deadlines(config)?,
            lanes: lane_count(config)?,
            replicas: replicas(config)?,
            waits: !config.non_block.unwrap_or(false),
            weight: config.weight.unwrap_or(ALL),
            host,
        })
    }

    /// Checks the entries of a configuration, each alone and all together.
    pub(crate) fn all(
        entries: &[NodeConfig],
        servers: Servers<'_>,
    ) -> Result<Vec<Self>, ConnectError> {
        if entries.is_empty() {
            return Err(ConnectError::NoNodes);
        }
        let is_ring = entries.len() > 1;
        if is_ring && servers.url.is_some() {
            let problem = "it is one server, and the configuration has several entries: write it \
                           there as `host`, or leave the others out";
            return Err(ConnectError::setting("url", problem));
        }
        let plans = entries.iter().enumerate().map(|(place, config)| {
            let plan = Self::new(config, servers);
            plan.map_err(|error| {
                if is_ring {
                    error.of_entry(place + 1)
                } else {
                    error
                }
            })
        });
        let plans: Vec<Self> = plans.collect::<Result<_, _>>()?;
        if plans.iter().all(|plan| plan.weight <= 0) {
            let problem = "no cache nodes: no entry has a positive one, so there is no place for \
                           any key; give one, or leave it out, which means 100";
            return Err(ConnectError::setting("weight", problem));
        }
        Ok(plans)
    }
}

/// What the builder says about the servers of every entry.
#[derive(Clone, Copy)]
pub(crate) struct Servers<'a> {
    pub(crate) url: Option<&'a Secret>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<&'a Tls>,
}

fn source(config: &NodeConfig, servers: Vec<ConnectionInfo>) -> Result<Source, ConnectError> {
    let NodeConfig {
        master,
        sentinel_user,
        sentinel_pass,
        ..
    } = config;
    let kind = config.kind.unwrap_or_default();
    if kind != Kind::Sentinel {
        for (setting, is_set) in [
            ("master", master.is_some()),
            ("sentinel_user", sentinel_user.is_some()),
            ("sentinel_pass", sentinel_pass.is_some()),
        ] {
            if is_set {
                let problem = "only sentinels need it: set `type: sentinel`, or leave it out";
                return Err(ConnectError::setting(setting, problem));
            }
        }
    }
    let none = || ConnectError::setting("host", "it names no server");
    match kind {
        Kind::Node => servers
            .into_iter()
            .next()
            .map(Source::Node)
            .ok_or_else(none),
        Kind::Cluster => Ok(Source::Cluster(servers)),
        Kind::Sentinel => {
            let master = master.clone().filter(|master| !master.is_empty());
            let master = master.ok_or_else(|| {
                let problem = "sentinels need the name of the primary: it is the one behind \
                               `sentinel monitor` in their configuration, often `mymaster`";
                ConnectError::setting("master", problem)
            })?;
            if sentinel_user.is_some() && sentinel_pass.is_none() {
                let problem = "a user needs a password: set `sentinel_pass` too";
                return Err(ConnectError::setting("sentinel_user", problem));
            }
            let server = servers.first().cloned().ok_or_else(none)?;
            let login = address::login(sentinel_user.as_deref(), sentinel_pass.as_ref());
            let sentinels = servers.into_iter();
            let sentinels = sentinels.map(|info| info.set_redis_settings(login.clone()));
            Ok(Source::Sentinel(SentinelSource {
                sentinels: sentinels.collect(),
                master,
                server,
            }))
        }
    }
}

fn deadlines(config: &NodeConfig) -> Result<Deadlines, ConnectError> {
    let connect = match (config.connect_timeout, config.ping_timeout) {
        (Some(_), Some(_)) => {
            let problem = "it is another name of `connect_timeout`: set one of them";
            return Err(ConnectError::setting("ping_timeout", problem));
        }
        (None, Some(ping)) => time("ping_timeout", Some(ping), 0)?,
        (connect, None) => time("connect_timeout", connect, 300)?,
    };
    Ok(Deadlines {
        connect,
        read: time("read_timeout", config.read_timeout, 250)?,
        write: time("write_timeout", config.write_timeout, 500)?,
    })
}

fn lane_count(config: &NodeConfig) -> Result<usize, ConnectError> {
    match config.lanes {
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

fn replicas(config: &NodeConfig) -> Result<Option<Replicas>, ConnectError> {
    let Some(ReplicasConfig { count, patience }) = config.wait_for_replicas else {
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
