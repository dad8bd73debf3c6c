//! What is to be connected: entries of the configuration, checked.

use std::{fmt, num::NonZeroUsize, thread, time::Duration};

use redis::ConnectionInfo;

use crate::{
    NodeConfig, config::ReplicasConfig, connect::ConnectError, lane::Deadlines, replicas::Replicas,
    sentinel::SentinelSource,
};

/// The longest time that can be set.
const LONGEST: Duration = Duration::from_secs(3600);

/// On more cores than this a second lane gains something: the driver of a lane uses one at most.
const CORES_OF_ONE_LANE: usize = 4;

const MOST_LANES: usize = 64;

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
    /// Checks everything about an entry but where it points.
    pub(crate) fn new(
        config: &NodeConfig,
        source: Source,
        host: String,
    ) -> Result<Self, ConnectError> {
        Ok(Self {
            source,
            deadlines: deadlines(config)?,
            lanes: lane_count(config)?,
            replicas: replicas(config)?,
            waits: !config.non_block.unwrap_or(false),
            weight: 100,
            host,
        })
    }
}

fn deadlines(config: &NodeConfig) -> Result<Deadlines, ConnectError> {
    Ok(Deadlines {
        connect: time("connect_timeout", config.connect_timeout, 300)?,
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
