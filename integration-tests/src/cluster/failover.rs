//! Nodes that go and come, and who takes their place.

use std::time::Duration;

use super::{
    Cluster,
    view::View,
    well::{self, Report},
};
use crate::{
    Error, Way,
    server::expect,
    wait::{until_ok, within},
};

/// How long a cluster may take to get well: beyond the time for which nodes that come back wait
/// before they serve.
const WELL: Duration = Duration::from_secs(30);

/// How long a failover may take. An election that nobody wins is tried again after twice the node
/// timeout, at least after two seconds.
const FAILOVER: Duration = Duration::from_secs(30);

impl Cluster {
    /// Kills a node, as [`Server::kill`](crate::Server::kill).
    ///
    /// # Panics
    ///
    /// Panics if it cannot be killed.
    ///
    /// # Cancel safety
    ///
    /// Not safe: a drop may leave the node up or down.
    pub async fn kill(&self, number: usize) {
        self.nodes[number].kill().await;
    }

    /// Pauses a node, as [`Server::pause`](crate::Server::pause).
    ///
    /// # Panics
    ///
    /// Panics if it is down or paused.
    ///
    /// # Cancel safety
    ///
    /// Not safe: a drop may leave the node paused or not.
    pub async fn pause(&self, number: usize) {
        self.nodes[number].pause().await;
    }

    /// Lets a paused node go on, as [`Server::resume`](crate::Server::resume).
    ///
    /// # Panics
    ///
    /// Panics if it is not paused.
    ///
    /// # Cancel safety
    ///
    /// Not safe: a drop may leave the node paused or not.
    pub async fn resume(&self, number: usize) {
        self.nodes[number].resume().await;
    }

    /// Starts a node after [`kill`](Self::kill), without data, and tells it and the others where
    /// they are. It answers then; [`until_well`](Self::until_well) waits until it serves.
    ///
    /// # Panics
    ///
    /// Panics if it does not come up.
    ///
    /// # Cancel safety
    ///
    /// Not safe: a drop may leave the node up or down, or known to some.
    pub async fn start_again(&self, number: usize) {
        self.nodes[number].start_again().await;
        // A container may have got another address, also one that was another node's before.
        if self.way() == Way::Docker {
            expect(self.introduce_all().await);
        }
    }

    /// Waits until every running node reaches every other and says that all slots are served, all
    /// agree on who serves them, and every running replica is in sync.
    ///
    /// # Panics
    ///
    /// Panics if that does not happen within 30 seconds. The text says what is amiss.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only looks.
    pub async fn until_well(&self) {
        expect(self.try_until_well().await);
    }

    pub(crate) async fn try_until_well(&self) -> Result<(), Error> {
        until_ok(WELL, async || {
            let reports = self.reports().await?;
            well::check(&reports, &self.ids).map_err(Error::new)
        })
        .await
        .map_err(|error| Error::because(format!("the cluster is not well after {WELL:?}"), error))
    }

    /// Waits until another node serves in the place of `old`, is writable, and every running node
    /// knows it. Returns the number of that node, at once if it took over before.
    ///
    /// # Panics
    ///
    /// Panics if that does not happen within 30 seconds.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only looks.
    pub async fn until_failed_over(&self, old: usize) -> usize {
        let what = format!("another node serves in the place of node {old}");
        within(FAILOVER, &what, async || {
            let reports = self.reports().await.ok()?;
            let promoted = reports.iter().find(|report| {
                let own = report.view.own();
                report.number != old
                    && self.are_one_shard(report.number, old)
                    && own.is_some_and(|own| own.is("master") && !own.slots.is_empty())
                    && report.info.contains("cluster_state:ok")
            })?;
            let id = &self.ids[promoted.number];
            let slots = &promoted.view.of(id)?.slots;
            let known = |view: &View| view.of(id).is_some_and(|line| line.slots == *slots);
            let all_know = reports.iter().all(|report| known(&report.view));
            all_know.then_some(promoted.number)
        })
        .await
    }

    /// Lets a replica take the place of `primary`, which both agree on: no write is lost. Returns
    /// the number of the replica when every running node knows.
    ///
    /// # Panics
    ///
    /// Panics if `primary` has no running replica or that does not take over.
    ///
    /// # Cancel safety
    ///
    /// Not safe: a drop may leave the failover done or not.
    pub async fn fail_over(&self, primary: usize) -> usize {
        let replica = self.replica_of(primary).await;
        self.nodes[replica].cmd(&["CLUSTER", "FAILOVER"]).await;
        self.until_failed_over(primary).await
    }

    /// Whether both began as a primary and its replica, or as replicas of one primary.
    fn are_one_shard(&self, one: usize, other: usize) -> bool {
        one % self.primaries == other % self.primaries
    }

    async fn reports(&self) -> Result<Vec<Report>, Error> {
        let mut reports = Vec::new();
        for (number, server) in self.nodes.iter().enumerate() {
            if !server.is_up() {
                continue;
            }
            let look = async {
                let mut connection = server.connect().await?;
                redis::pipe()
                    .cmd("CLUSTER")
                    .arg("NODES")
                    .cmd("CLUSTER")
                    .arg("INFO")
                    .cmd("INFO")
                    .arg("replication")
                    .query_async(&mut connection)
                    .await
            };
            let (nodes, info, replication): (String, String, String) =
                look.await.map_err(|error: redis::RedisError| {
                    Error::because(format!("node {number} does not answer"), error)
                })?;
            reports.push(Report {
                number,
                view: View::read(&nodes),
                info,
                replication,
            });
        }
        if reports.is_empty() {
            return Err(Error::new("no node of the cluster runs"));
        }
        Ok(reports)
    }

    /// Tells every running node where every other is.
    pub(crate) async fn introduce_all(&self) -> Result<(), Error> {
        let mut addresses = Vec::new();
        for (server, bus) in self.nodes.iter().zip(&self.buses) {
            if server.is_up() {
                let host = server.host_for_peers().await?;
                addresses.push((server, host, server.port(), bus.port()));
            }
        }
        for (number, (server, ..)) in addresses.iter().enumerate() {
            for (other, (_, host, port, bus)) in addresses.iter().enumerate() {
                if number != other {
                    let (port, bus) = (port.to_string(), bus.to_string());
                    server
                        .ask::<()>(&["CLUSTER", "MEET", host, &port, &bus])
                        .await?;
                }
            }
        }
        Ok(())
    }
}
