//! A second node, which follows the first.

use super::{Builder, Server};
use crate::eventually;

impl Builder {
    /// Starts a server and makes it a replica of `primary`, in the way in which that one runs, and
    /// waits until it is in sync.
    ///
    /// It needs the TLS of the primary to be given here too, if it has any, but not its password.
    ///
    /// # Panics
    ///
    /// Panics if the primary is not the test's own, or if the replica does not come up or in sync.
    ///
    /// # Cancel safety
    ///
    /// As [`start`](Self::start).
    pub async fn start_replica_of(self, primary: &Server) -> Server {
        let replica = self.only(primary.way()).start().await;
        replica.follow(primary).await;
        replica
    }
}

impl Server {
    /// Starts a replica of `primary` with the defaults.
    ///
    /// # Panics
    ///
    /// As [`Builder::start_replica_of`].
    ///
    /// # Cancel safety
    ///
    /// As [`Builder::start_replica_of`].
    pub async fn start_replica_of(primary: &Self) -> Self {
        Self::builder().start_replica_of(primary).await
    }

    /// Makes this server a replica of `primary`, and waits until it is in sync.
    ///
    /// A primary in a container has another address after a restart: call this again then, also
    /// after a restart of the replica, which forgets whom it followed.
    ///
    /// # Panics
    ///
    /// Panics if one of the two is not the test's own, or if there is no sync within ten seconds.
    ///
    /// # Cancel safety
    ///
    /// Not safe: a drop may leave this server a replica or not.
    pub async fn follow(&self, primary: &Self) {
        let host = match primary.host_for_peers().await {
            Ok(host) => host,
            Err(error) => panic!("{}", error.whole()),
        };
        if let Some(password) = primary.password() {
            self.cmd(&["CONFIG", "SET", "masterauth", password]).await;
        }
        let port = primary.port().to_string();
        self.cmd(&["REPLICAOF", &host, &port]).await;
        let line = format!("port={},state=online", self.port());
        eventually("the replica is in sync", async || {
            let here: String = self.query(&["INFO", "replication"]).await;
            let there: String = primary.query(&["INFO", "replication"]).await;
            (here.contains("master_link_status:up") && there.contains(&line)).then_some(())
        })
        .await;
    }
}
