//! All entries of the configuration, and the ring that says which of them has a key.

use std::sync::Arc;

use cache_core::{Error, ErrorKind, Guarantee, Key, Recorder};
use futures_util::future::join_all;
use tokio::time::Instant;
use tracing::warn;

use crate::{
    checkup::{Checkup, Finding},
    cluster::{Cluster, Servers},
    connect::{self, ConnectError, Connector},
    health::Health,
    lane::{Keeping, LaneSet},
    mutant::Rules,
    plan::{Plan, Source},
    replicas::{self, Replicas},
    ring::{Ring, surprises},
    topology::Topology,
};

/// All entries of the configuration.
#[derive(Debug)]
pub(crate) struct Members {
    ring: Ring,
    /// In the order of the configuration. Entries that the ring gives no keys to are not connected.
    members: Vec<Option<Member>>,
}

/// One entry of the configuration.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) topology: Topology,
    replicas: Option<Replicas>,
}

impl Members {
    /// Connects what was planned: one entry, or a ring of several.
    ///
    /// # Errors
    ///
    /// If no entry gets a key, or one that is waited for cannot be connected.
    pub(crate) async fn start(
        plans: Vec<Plan>,
        recorder: Option<Arc<dyn Recorder>>,
        rules: Rules,
    ) -> Result<Self, ConnectError> {
        let entries: Vec<(&str, i64)> = plans
            .iter()
            .map(|plan| (plan.host.as_str(), plan.weight))
            .collect();
        let ring = Ring::new(&entries).map_err(|_no_nodes| {
            ConnectError::setting(
                "weight",
                "no entry has a share of the keys: give at least one a positive weight",
            )
        })?;
        for surprise in surprises(&entries) {
            warn!("{surprise}");
        }
        let used = ring.entries();
        let is_alone = plans.len() == 1;
        let health = Health::new(recorder);
        let members = plans.into_iter().enumerate().map(|(index, plan)| {
            let (health, is_used) = (&health, used.contains(&index));
            async move {
                if !is_used {
                    return Ok(None);
                }
                let host = plan.host.clone();
                let member = Member::start(plan, health, rules).await;
                member.map(Some).map_err(|error| {
                    if is_alone {
                        error
                    } else {
                        error.at_entry(index + 1, host)
                    }
                })
            }
        });
        let members: Result<Vec<_>, _> = join_all(members).await.into_iter().collect();
        Ok(Self {
            ring,
            members: members?,
        })
    }

    /// All that are connected.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().flatten()
    }

    /// The entry that has a key.
    pub(crate) fn owner(&self, key: &Key) -> Result<&Member, Error> {
        let (_, member) = self.place(key)?;
        Ok(member)
    }

    fn place(&self, key: &Key) -> Result<(usize, &Member), Error> {
        let index = self.ring.owner(key.as_bytes());
        let member = self.members.get(index).and_then(Option::as_ref);
        let member = member.ok_or_else(|| {
            Error::new(
                ErrorKind::Unavailable,
                "the owner of the key is not connected",
            )
        })?;
        Ok((index, member))
    }

    /// The places of `keys`, by the entry that has them.
    pub(crate) fn by_owner(&self, keys: &[Key]) -> Vec<(&Member, Vec<usize>)> {
        let mut places: Vec<Vec<usize>> = vec![Vec::new(); self.members.len()];
        for (place, key) in keys.iter().enumerate() {
            if let Ok((index, _)) = self.place(key) {
                places[index].push(place);
            }
        }
        let places = self.members.iter().zip(places);
        places
            .filter(|(_, places)| !places.is_empty())
            .filter_map(|(member, places)| Some((member.as_ref()?, places)))
            .collect()
    }

    /// What the last looks at all primaries found: the guarantee, and each finding once; `None`
    /// before the first look.
    pub(crate) fn findings(&self) -> Option<(Guarantee, Vec<Finding>)> {
        let checkups: Vec<Option<Arc<Checkup>>> = self
            .all()
            .flat_map(|member| member.topology.checkups())
            .collect();
        let known = checkups.iter().flatten().count();
        if known == 0 {
            return None;
        }
        let mut findings: Vec<Finding> = Vec::new();
        let found = checkups.iter().flatten();
        let found = found.flat_map(|checkup| checkup.findings.iter().copied());
        let unseen = (known < checkups.len()).then_some(Finding::UNSEEN);
        let ring = (self.members.len() > 1).then_some(Finding::RING);
        for finding in found.chain(unseen).chain(ring) {
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
        Some((Finding::level(&findings), findings))
    }
}

impl Member {
    async fn start(plan: Plan, health: &Arc<Health>, rules: Rules) -> Result<Self, ConnectError> {
        let Plan {
            source,
            deadlines,
            lanes,
            replicas,
            waits,
            weight: _,
            host,
        } = plan;
        let exclusive = replicas.map_or(0, |_| replicas::CONNECTIONS);
        let source = match source {
            Source::Node(server) => connect::Source::Address(server),
            Source::Sentinel(source) => connect::Source::Sentinel(source),
            Source::Cluster(seeds) => {
                let servers = Servers {
                    seeds,
                    deadlines,
                    lanes,
                    exclusive,
                    health: Arc::clone(health),
                    rules,
                };
                let cluster = Cluster::start(servers, waits).await?;
                return Ok(Self {
                    topology: Topology::Cluster(Arc::new(cluster)),
                    replicas,
                });
            }
        };
        let connector = Connector::new(source, deadlines, lanes, exclusive)?;
        let keeping = Keeping {
            name: host,
            deadlines,
            lanes,
            voice: health.voice(),
            journal: Arc::default(),
            part: None,
            rules,
        };
        let node = if waits {
            LaneSet::connect(connector, keeping).await?
        } else {
            LaneSet::start(connector, keeping)
        };
        Ok(Self {
            topology: Topology::Node(Arc::new(node)),
            replicas,
        })
    }

    /// Removes many keys, those of one node or slot atomically: an answer for each.
    pub(crate) async fn remove(&self, keys: &[Key]) -> Vec<Result<(), Error>> {
        match self.replicas {
            Some(replicas) => self.topology.remove_and_wait(keys, replicas).await,
            None => {
                let deadline = Instant::now() + self.topology.deadlines().write;
                self.topology.remove(keys, deadline).await
            }
        }
    }
}
