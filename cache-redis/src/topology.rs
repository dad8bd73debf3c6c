//! What stands behind one entry of the configuration: a node, or a cluster of them.

use std::sync::Arc;

use cache_core::{Error, Key};
use futures_util::future::join_all;
use redis::{Cmd, Value};
use tokio::{runtime::Handle, time::Instant};

use crate::{
    checkup::Checkup,
    cluster::{Cluster, Hop},
    lane::{Answer, Deadlines, Failed, LaneSet},
    replicas::{self, Replicas},
    steps,
};

/// What stands behind one entry of the configuration. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Topology {
    Node(Arc<LaneSet>),
    Cluster(Arc<Cluster>),
}

impl Topology {
    pub(crate) fn deadlines(&self) -> Deadlines {
        match self {
            Self::Node(set) => set.deadlines(),
            Self::Cluster(cluster) => cluster.deadlines(),
        }
    }

    pub(crate) fn runtime(&self) -> &Handle {
        match self {
            Self::Node(set) => set.runtime(),
            Self::Cluster(cluster) => cluster.runtime(),
        }
    }

    #[cfg(feature = "testing")]
    pub(crate) fn rules(&self) -> crate::mutant::Rules {
        match self {
            Self::Node(set) => set.rules(),
            Self::Cluster(cluster) => cluster.rules(),
        }
    }

    /// Notes that `keys` are about to be removed.
    pub(crate) fn note_removal(&self, keys: &[Key]) {
        match self {
            Self::Node(set) => set.note_removal(keys),
            Self::Cluster(cluster) => cluster.note_removal(keys),
        }
    }

    /// What the last look at each primary found.
    pub(crate) fn checkups(&self) -> Vec<Option<Arc<Checkup>>> {
        match self {
            Self::Node(set) => vec![set.checkup()],
            Self::Cluster(cluster) => cluster.checkups(),
        }
    }

    /// All primaries.
    pub(crate) fn primaries(&self) -> Result<Vec<Arc<LaneSet>>, Failed> {
        match self {
            Self::Node(set) => Ok(vec![Arc::clone(set)]),
            Self::Cluster(cluster) => cluster.primaries(),
        }
    }

    /// Whether scripts may run where `key` is. Until the first look that is assumed.
    pub(crate) fn runs_scripts(&self, key: &Key) -> bool {
        match self {
            Self::Node(set) => set.runs_scripts(),
            Self::Cluster(cluster) => cluster.owner(key).is_none_or(|set| set.runs_scripts()),
        }
    }

    /// The way to the server that has `key`.
    pub(crate) async fn hop(&self, key: &Key, deadline: Instant) -> Result<Hop, Failed> {
        match self {
            Self::Node(set) => Ok(Hop::to(set, set.lane()?)),
            Self::Cluster(cluster) => cluster.hop(key, deadline).await,
        }
    }

    /// Sends a command about `key` by way of `hop`, and on from there if the key is elsewhere; `hop`
    /// is afterwards the way that it went last.
    pub(crate) async fn call(
        &self,
        hop: &mut Hop,
        key: &Key,
        command: &Cmd,
        deadline: Instant,
    ) -> Result<Value, Failed> {
        match self {
            Self::Node(_) => hop.send(command, deadline).await,
            Self::Cluster(cluster) => cluster.call(hop, key, command, deadline).await,
        }
    }

    /// Reads many keys: an answer for each.
    pub(crate) async fn read_many(&self, keys: &[Key]) -> Vec<Answer> {
        match self {
            Self::Node(set) => {
                let deadline = Instant::now() + set.deadlines().read;
                set.read_many(keys, deadline).await
            }
            Self::Cluster(cluster) => cluster.read_many(keys).await,
        }
    }

    /// Empties all of it: what is stored, and what is leased.
    ///
    /// Twice in a cluster, since a key that moves meanwhile may be behind the first time.
    pub(crate) async fn clear(&self) -> Result<(), Error> {
        let rounds = match self {
            Self::Node(_) => 1,
            Self::Cluster(_) => 2,
        };
        for _ in 0..rounds {
            let servers = match self {
                Self::Node(_) => self.primaries()?,
                Self::Cluster(cluster) => cluster.servers()?,
            };
            let cleared = servers
                .iter()
                .map(|set| steps::plain(set, &["FLUSHDB", "ASYNC"]));
            join_all(cleared)
                .await
                .into_iter()
                .collect::<Result<(), _>>()?;
        }
        Ok(())
    }

    /// Whether every primary answers.
    pub(crate) async fn ping(&self) -> Result<(), Error> {
        let primaries = self.primaries()?;
        let answers = primaries.iter().map(|set| steps::plain(set, &["PING"]));
        join_all(answers).await.into_iter().collect()
    }

    /// Removes many keys, those of one node or slot atomically: an answer for each.
    pub(crate) async fn remove(&self, keys: &[Key], deadline: Instant) -> Vec<Result<(), Error>> {
        match self {
            Self::Node(set) => {
                let removed = steps::remove(set, keys, deadline).await;
                vec![removed; keys.len()]
            }
            Self::Cluster(cluster) => {
                let removed = cluster.remove(keys, deadline).await;
                removed
                    .into_iter()
                    .map(|removed| removed.map_err(Error::from))
                    .collect()
            }
        }
    }

    /// Removes many keys as [`remove`](Self::remove) does, and waits for replicas of each primary.
    pub(crate) async fn remove_and_wait(
        &self,
        keys: &[Key],
        replicas: Replicas,
    ) -> Vec<Result<(), Error>> {
        match self {
            Self::Node(set) => {
                set.note_removal(keys);
                let removed = replicas::remove(set, vec![keys.to_vec()], replicas).await;
                vec![removed.map_err(Error::from); keys.len()]
            }
            Self::Cluster(cluster) => cluster.remove_and_wait(keys, replicas).await,
        }
    }
}
