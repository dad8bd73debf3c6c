//! What a test holds of its cluster.

use redis::FromRedisValue;

use super::{
    ClusterBuilder,
    form::Bus,
    slot,
    view::{self, View},
};
use crate::{Error, Proxy, Server, Tls, Way, eventually, server::expect};

/// A Redis Cluster for one test, ended and removed when it is dropped.
///
/// Its nodes have numbers: with three primaries and a replica of each, 0 to 2 begin as primaries in
/// the order of their slots, and 3 to 5 as their replicas in the same order.
///
/// Every method that fails panics with a text that says why.
///
/// # Examples
///
/// ```no_run
/// use integration_tests::Cluster;
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let cluster = Cluster::start().await;
/// cluster.query::<()>("key", &["SET", "key", "value"]).await;
///
/// let primary = cluster.primary_of("key").await;
/// cluster.kill(primary).await;
/// let promoted = cluster.until_failed_over(primary).await;
///
/// assert_eq!(cluster.primary_of("key").await, promoted);
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Cluster {
    pub(crate) nodes: Vec<Server>,
    /// Empty, or one before each node.
    pub(crate) proxies: Vec<Proxy>,
    /// The names that the nodes have among themselves, which they keep.
    pub(crate) ids: Vec<String>,
    pub(crate) buses: Vec<Bus>,
    pub(crate) primaries: usize,
    way: Way,
}

impl Cluster {
    pub(crate) fn new(primaries: usize, way: Way) -> Self {
        Self {
            nodes: Vec::new(),
            proxies: Vec::new(),
            ids: Vec::new(),
            buses: Vec::new(),
            primaries,
            way,
        }
    }

    /// Returns a builder with the defaults.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }

    /// Starts a cluster with the defaults.
    ///
    /// # Panics
    ///
    /// As [`ClusterBuilder::start`].
    ///
    /// # Cancel safety
    ///
    /// As [`ClusterBuilder::start`].
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// Returns where this cluster came from.
    #[must_use]
    pub fn way(&self) -> Way {
        self.way
    }

    /// Returns all nodes, by their numbers.
    ///
    /// Start one again by [`Cluster::start_again`]: [`Server::start_again`] does not tell the
    /// others where it is.
    #[must_use]
    pub fn nodes(&self) -> &[Server] {
        &self.nodes
    }

    /// Returns the node of this number.
    ///
    /// # Panics
    ///
    /// Panics if there is none.
    #[must_use]
    pub fn node(&self, number: usize) -> &Server {
        &self.nodes[number]
    }

    /// Returns the proxy before the node of this number.
    ///
    /// # Panics
    ///
    /// Panics if there is none: see [`ClusterBuilder::behind_proxies`].
    #[must_use]
    pub fn proxy(&self, number: usize) -> &Proxy {
        &self.proxies[number]
    }

    /// Returns the addresses of all nodes as clients reach them, such as
    /// `127.0.0.1:20001,127.0.0.1:20002`: by their proxies, if there are any.
    #[must_use]
    pub fn seeds(&self) -> String {
        let seed = |number| format!("127.0.0.1:{}", self.port_of(number));
        (0..self.nodes.len())
            .map(seed)
            .collect::<Vec<_>>()
            .join(",")
    }

    /// Returns the certificates of the nodes and for their clients, if they speak TLS.
    #[must_use]
    pub fn tls(&self) -> Option<&Tls> {
        self.nodes.first().and_then(Server::tls)
    }

    /// Returns the URL of a node, with the password if there is one, and by its proxy if there is
    /// one.
    ///
    /// # Panics
    ///
    /// Panics if there is no node of this number.
    #[must_use]
    pub fn url_of(&self, number: usize) -> String {
        match self.proxies.get(number) {
            Some(proxy) => proxy.url().to_owned(),
            None => self.nodes[number].url(),
        }
    }

    /// Returns the port by which clients reach a node: that of its proxy, if there is one.
    ///
    /// # Panics
    ///
    /// Panics if there is no node of this number.
    #[must_use]
    pub fn port_of(&self, number: usize) -> u16 {
        match self.proxies.get(number) {
            Some(proxy) => proxy.port(),
            None => self.nodes[number].port(),
        }
    }

    /// Returns the slot of a key.
    #[must_use]
    pub fn slot_of(key: &str) -> u16 {
        slot::slot_of(key.as_bytes())
    }

    /// Returns a key of this slot that begins with `prefix`, always the same.
    ///
    /// # Panics
    ///
    /// Panics if the slot is beyond 16383, or if `prefix` holds a tag of its own in braces.
    #[must_use]
    pub fn key_in(slot: u16, prefix: &str) -> String {
        assert!(slot < slot::COUNT, "the last slot is {}", slot::COUNT - 1);
        assert!(!prefix.contains('{'), "the tag goes after the prefix");
        let key = (0..10_000_000)
            .map(|number| format!("{prefix}{{{number}}}"))
            .find(|key| Self::slot_of(key) == slot);
        key.unwrap_or_else(|| unreachable!("short tags reach every slot"))
    }

    /// Returns the number of the node that serves a key, by the newest that any running node knows:
    /// the old primary until a failover.
    ///
    /// # Panics
    ///
    /// Panics if no node serves it or a running node does not answer.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only looks.
    pub async fn primary_of(&self, key: &str) -> usize {
        self.primary_of_slot(Self::slot_of(key)).await
    }

    /// Returns the number of the node that serves a slot, as [`primary_of`](Self::primary_of).
    ///
    /// # Panics
    ///
    /// As [`primary_of`](Self::primary_of).
    ///
    /// # Cancel safety
    ///
    /// Safe: it only looks.
    pub async fn primary_of_slot(&self, slot: u16) -> usize {
        let views = expect(self.views().await);
        match view::owner(&views, slot).and_then(|id| self.number_of(id)) {
            Some(number) => number,
            None => panic!("no node serves slot {slot}"),
        }
    }

    /// Returns the number of a running replica of `primary`, waiting until there is one.
    ///
    /// # Panics
    ///
    /// Panics if there is none within ten seconds or a running node does not answer.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only looks.
    pub async fn replica_of(&self, primary: usize) -> usize {
        let id = &self.ids[primary];
        let what = format!("node {primary} has a replica that runs");
        eventually(&what, async || {
            let views = expect(self.views().await);
            let mut own = views.iter().filter_map(View::own);
            own.find(|own| own.primary.as_ref() == Some(id))
                .and_then(|own| self.number_of(&own.id))
        })
        .await
    }

    /// Runs one command at the node that serves `key`, as [`Server::query`].
    ///
    /// # Panics
    ///
    /// As [`primary_of`](Self::primary_of) and [`Server::query`].
    ///
    /// # Cancel safety
    ///
    /// As [`Server::query`].
    pub async fn query<T: FromRedisValue>(&self, key: &str, words: &[&str]) -> T {
        let primary = self.primary_of(key).await;
        self.nodes[primary].query(words).await
    }

    /// Removes every key at every running primary.
    ///
    /// # Panics
    ///
    /// Panics if a running node does not answer.
    ///
    /// # Cancel safety
    ///
    /// Not safe: a drop may leave some of the keys.
    pub async fn flush(&self) {
        for number in self.running_primaries().await {
            self.nodes[number].cmd(&["FLUSHALL"]).await;
        }
    }

    /// Returns the keys that match, over all running primaries, in their order.
    ///
    /// # Panics
    ///
    /// Panics if a running node does not answer.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only looks.
    pub async fn keys(&self, pattern: &str) -> Vec<String> {
        let mut keys = Vec::new();
        for number in self.running_primaries().await {
            let own: Vec<String> = self.nodes[number].query(&["KEYS", pattern]).await;
            keys.extend(own);
        }
        keys.sort_unstable();
        keys
    }

    /// Returns how many connections of `user` each node has, and 0 for one that is not running.
    /// Connections between nodes and those of the harness itself do not count.
    ///
    /// # Panics
    ///
    /// Panics if a running node does not answer.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only looks.
    pub async fn connections(&self, user: &str) -> Vec<usize> {
        let word = format!("user={user}");
        let mut counts = Vec::new();
        for server in &self.nodes {
            if !server.is_up() {
                counts.push(0);
                continue;
            }
            let list: String = server.query(&["CLIENT", "LIST"]).await;
            let theirs = |line: &&str| {
                let mut words = line.split(' ');
                let between_nodes = |word: &str| {
                    let flags = word.strip_prefix("flags=").unwrap_or_default();
                    flags.contains(['S', 'M'])
                };
                // Only the harness lists clients.
                words.clone().any(|own| own == word)
                    && !words.any(|word| between_nodes(word) || word == "cmd=client|list")
            };
            counts.push(list.lines().filter(theirs).count());
        }
        counts
    }

    pub(crate) fn number_of(&self, id: &str) -> Option<usize> {
        self.ids.iter().position(|own| own == id)
    }

    /// Returns the running nodes that say that they are primaries.
    pub(crate) async fn running_primaries(&self) -> Vec<usize> {
        let views = expect(self.views().await);
        let own = views.iter().filter_map(View::own);
        own.filter(|own| own.is("master"))
            .filter_map(|own| self.number_of(&own.id))
            .collect()
    }

    /// Asks every running node what it knows.
    pub(crate) async fn views(&self) -> Result<Vec<View>, Error> {
        let mut views = Vec::new();
        for server in self.nodes.iter().filter(|server| server.is_up()) {
            let text: String = server.ask(&["CLUSTER", "NODES"]).await?;
            views.push(View::read(&text));
        }
        if views.is_empty() {
            return Err(Error::new("no node of the cluster runs"));
        }
        Ok(views)
    }
}
