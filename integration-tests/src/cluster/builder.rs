//! What a test wants of its cluster.

use std::time::Duration;

use super::{Cluster, form};
use crate::{Builder, Error, Tls, Way};

/// Configures a [`Cluster`].
///
/// | setting | default |
/// |---|---|
/// | [`primaries`](Self::primaries) | 3 |
/// | [`replicas`](Self::replicas) | 1 of each primary; 0 [behind proxies](Self::behind_proxies) |
/// | [`node_timeout`](Self::node_timeout) | one second |
/// | [`full_coverage`](Self::full_coverage) | not required |
/// | [`behind_proxies`](Self::behind_proxies) | no |
/// | [`tls`](Self::tls), [`mutual_tls`](Self::mutual_tls) | plain text |
/// | [`password`](Self::password), [`user`](Self::user) | none |
///
/// `REDIS_URL` is passed over: a cluster is always the test's own. It needs Redis 7.0 or later.
#[derive(Clone, Debug)]
#[must_use]
pub struct ClusterBuilder {
    pub(crate) node: Builder,
    pub(crate) primaries: usize,
    replicas: Option<usize>,
    pub(crate) node_timeout: Duration,
    pub(crate) full_coverage: bool,
    pub(crate) behind_proxies: bool,
}

impl Default for ClusterBuilder {
    fn default() -> Self {
        Self {
            node: Builder::default().owned(),
            primaries: 3,
            replicas: None,
            node_timeout: Duration::from_secs(1),
            full_coverage: false,
            behind_proxies: false,
        }
    }
}

impl ClusterBuilder {
    /// Returns a builder for each way in which this machine can run a cluster, as
    /// [`Builder::each_way`].
    ///
    /// # Panics
    ///
    /// Panics if there is none, with a text that says what to do.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only looks.
    pub async fn each_way() -> Vec<Self> {
        let nodes = Builder::each_way().await;
        nodes
            .into_iter()
            .map(|node| Self {
                node: node.owned(),
                ..Self::default()
            })
            .collect()
    }

    /// Spreads the slots evenly over this many primaries. At least one; fewer than three elect
    /// nobody when one of them is gone. Default: 3.
    pub fn primaries(mut self, count: usize) -> Self {
        self.primaries = count;
        self
    }

    /// Gives each primary this many replicas. Default: 1, and 0 behind proxies.
    pub fn replicas(mut self, count: usize) -> Self {
        self.replicas = Some(count);
        self
    }

    /// Lets nodes take another for failed after this time (`cluster-node-timeout`), at least a
    /// millisecond. A failover takes one to two seconds more. Default: one second.
    pub fn node_timeout(mut self, timeout: Duration) -> Self {
        self.node_timeout = timeout;
        self
    }

    /// Refuses every command while a slot is served by nobody (`cluster-require-full-coverage`).
    /// Default: the slots that are served are served, which is how a cache should run.
    pub fn full_coverage(mut self) -> Self {
        self.full_coverage = true;
        self
    }

    /// Announces each node by the port of a [`Proxy`](crate::Proxy) of its own, so that clients go
    /// through [`Cluster::proxy`] also when they are redirected. The nodes reach each other
    /// directly. There are no replicas: they would follow through the proxies too. Default: no.
    pub fn behind_proxies(mut self) -> Self {
        self.behind_proxies = true;
        self
    }

    /// Asks clients for this password, at every node, as [`Builder::password`]. Default: none.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.node = self.node.password(password);
        self
    }

    /// Adds a user at every node, as [`Builder::user`]. Default: none but `default`.
    pub fn user(mut self, rules: impl Into<String>) -> Self {
        self.node = self.node.user(rules);
        self
    }

    /// Speaks TLS alone, with clients as [`Builder::tls`], and between the nodes: replication, the
    /// bus and keys that move. Default: plain text.
    pub fn tls(mut self, tls: &Tls) -> Self {
        self.node = self.node.tls(tls);
        self
    }

    /// Speaks TLS alone, as [`tls`](Self::tls), and lets in only clients with a certificate, as
    /// [`Builder::mutual_tls`]. Default: plain text.
    pub fn mutual_tls(mut self, tls: &Tls) -> Self {
        self.node = self.node.mutual_tls(tls);
        self
    }

    /// Adds arguments of every node, as [`Builder::args`]. Default: none.
    pub fn args<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.node = self.node.args(arguments);
        self
    }

    /// Prefers processes to containers, as [`Builder::prefer_process`]. Default: containers.
    pub fn prefer_process(mut self) -> Self {
        self.node = self.node.prefer_process();
        self
    }

    /// Allows this way alone, which cannot be [`Way::Url`]. Default: any, or the one that
    /// `REDIS_WAY` names unless that is `url`.
    pub fn only(mut self, way: Way) -> Self {
        self.node = self.node.only(way);
        self
    }

    /// Starts the cluster and waits until every node serves and knows it, and every replica is in
    /// sync: two to four seconds.
    ///
    /// # Panics
    ///
    /// Panics if there is none to be had or it does not form. The text says what to do.
    ///
    /// # Cancel safety
    ///
    /// As [`Builder::start`].
    pub async fn start(self) -> Cluster {
        match self.try_start().await {
            Ok(cluster) => cluster,
            Err(error) => panic!("{}", error.whole()),
        }
    }

    /// Starts the cluster, as [`start`](Self::start).
    ///
    /// # Errors
    ///
    /// Says why there is no cluster, and what to do.
    ///
    /// # Cancel safety
    ///
    /// As [`Builder::start`].
    pub async fn try_start(mut self) -> Result<Cluster, Error> {
        self.check()?;
        let (way, _) = self.node.choose().await?;
        if way == Way::Url {
            return Err(Error::new(
                "a cluster cannot come from REDIS_URL: allow another way than Way::Url",
            ));
        }
        form::start(&self, way).await
    }

    fn check(&self) -> Result<(), Error> {
        if !(1..=1_000).contains(&self.primaries) {
            return Err(Error::new(
                "primaries() must be from 1 to 1000: that is how many nodes a cluster can have",
            ));
        }
        if self.node_timeout.as_millis() == 0 {
            return Err(Error::new("node_timeout() must be at least a millisecond"));
        }
        if self.behind_proxies && self.replicas_of_each() > 0 {
            return Err(Error::new(
                "a cluster behind proxies has no replicas, since they would follow through the proxies: leave out replicas()",
            ));
        }
        Ok(())
    }

    pub(crate) fn replicas_of_each(&self) -> usize {
        self.replicas
            .unwrap_or(if self.behind_proxies { 0 } else { 1 })
    }
}
