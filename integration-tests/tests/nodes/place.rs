//! Where the tests of the fence run: on one server, or on a cluster.

use std::{
    collections::BTreeSet,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use cache_redis::{Redis, RedisBuilder};
use integration_tests::{Cluster, Direction, Proxy, Request, Server, eventually};
use redis::{FromRedisValue, Value};
use serde::{Deserialize, Serialize};

use super::{LAG, keys};

/// One server, or a cluster of three primaries, each of them behind a proxy that delays replies by up
/// to [`LAG`].
pub(crate) enum Place {
    Server(Server),
    Cluster {
        cluster: Arc<Cluster>,
        /// For the database of the test: a cluster has room for one only.
        aside: Server,
    },
}

/// How clients reach a place.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Address {
    Server(String),
    Cluster(String),
}

impl Address {
    /// A client with one lane to each server.
    pub(crate) fn builder(&self) -> RedisBuilder {
        let builder = Redis::builder().lanes(1);
        match self {
            Self::Server(url) => builder.url(url),
            Self::Cluster(seeds) => builder.host(seeds).cluster(),
        }
    }
}

impl Place {
    pub(crate) async fn server() -> Self {
        Self::Server(Server::builder().owned().start().await)
    }

    pub(crate) async fn cluster() -> Self {
        let builder = Cluster::builder().prefer_process().behind_proxies();
        let cluster = builder.start().await;
        for (number, seed) in (0..cluster.nodes().len()).zip(1..) {
            cluster.proxy(number).delay(Direction::Replies, LAG, seed);
        }
        Self::Cluster {
            cluster: Arc::new(cluster),
            aside: Server::builder().owned().prefer_process().start().await,
        }
    }

    /// The way to it for one client: by a proxy of its own to a server. The nodes of a cluster announce
    /// one port to everybody, so all clients go by the same proxies there.
    pub(crate) async fn way(&self, seed: u64) -> Way {
        match self {
            Self::Server(server) => {
                let proxy = Proxy::before(server).await;
                proxy.delay(Direction::Replies, LAG, seed);
                Way::OfItsOwn(Arc::new(proxy))
            }
            Self::Cluster { cluster, .. } => Way::Shared(Arc::clone(cluster)),
        }
    }

    /// How clients reach it that nothing is to hold up: directly, where that can be.
    pub(crate) fn address(&self) -> Address {
        match self {
            Self::Server(server) => Address::Server(server.url()),
            Self::Cluster { cluster, .. } => Address::Cluster(cluster.seeds()),
        }
    }

    /// The server of the test's own database.
    pub(crate) fn database(&self) -> String {
        match self {
            Self::Server(server) | Self::Cluster { aside: server, .. } => server.url(),
        }
    }

    /// The server that has the row `key`.
    pub(crate) async fn server_of(&self, key: u64) -> &Server {
        match self {
            Self::Server(server) => server,
            Self::Cluster { cluster, .. } => {
                let primary = cluster.primary_of(&keys(key).0).await;
                cluster.node(primary)
            }
        }
    }

    /// Runs a command about the row `key` at the server that has it.
    pub(crate) async fn query<T: FromRedisValue>(&self, key: u64, words: &[&str]) -> T {
        self.server_of(key).await.query(words).await
    }

    /// Whether there is a lease of the row `key`.
    pub(crate) async fn has_lease(&self, key: u64) -> bool {
        let (_, lease) = keys(key);
        self.query(key, &["EXISTS", &lease]).await
    }

    /// Sends a command to the server that has the row `key` once more, on another connection.
    pub(crate) async fn send(&self, key: u64, request: &Request) -> Value {
        let words = request.words().iter();
        let words: Vec<_> = words.map(|word| String::from_utf8_lossy(word)).collect();
        let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
        self.query(key, &words).await
    }

    /// Each primary of a cluster has one of these rows.
    pub(crate) async fn is_spread(&self, rows: Range<u64>) {
        if let Self::Cluster { cluster, .. } = self {
            let mut primaries = BTreeSet::new();
            for row in rows {
                primaries.insert(cluster.primary_of(&keys(row).0).await);
            }
            assert_eq!(primaries.len(), cluster.nodes().len());
        }
    }

    pub(crate) async fn no_lease_is_left(&self) {
        eventually("no lease is left", async || {
            const LEASES: &str = "{*}~l*";
            let leases: Vec<String> = match self {
                Self::Server(server) => server.query(&["KEYS", LEASES]).await,
                Self::Cluster { cluster, .. } => cluster.keys(LEASES).await,
            };
            leases.is_empty().then_some(())
        })
        .await;
    }

    /// The cluster, if it is one.
    pub(crate) fn as_cluster(&self) -> Option<&Cluster> {
        match self {
            Self::Server(_) => None,
            Self::Cluster { cluster, .. } => Some(cluster),
        }
    }
}

/// The proxies that what a client sends goes by.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    OfItsOwn(Arc<Proxy>),
    Shared(Arc<Cluster>),
}

impl Way {
    fn proxies(&self) -> Vec<&Proxy> {
        match self {
            Self::OfItsOwn(proxy) => vec![proxy],
            Self::Shared(cluster) => {
                let nodes = 0..cluster.nodes().len();
                nodes.map(|number| cluster.proxy(number)).collect()
            }
        }
    }

    pub(crate) fn address(&self) -> Address {
        match self {
            Self::OfItsOwn(proxy) => Address::Server(proxy.url().to_owned()),
            Self::Shared(cluster) => Address::Cluster(cluster.seeds()),
        }
    }

    /// Holds up the next request that matches, and whatever follows it on its connection: others that
    /// share the proxies go on, also with requests that match.
    pub(crate) fn hold_next(&self, matches: impl Fn(&Request) -> bool + Send + Sync + 'static) {
        let next = Arc::new((matches, AtomicBool::new(false)));
        for proxy in self.proxies() {
            let next = Arc::clone(&next);
            proxy.hold_matching(move |request| {
                let (matches, is_held) = &*next;
                matches(request) && !is_held.swap(true, Ordering::SeqCst)
            });
        }
    }

    pub(crate) fn release_held(&self) {
        for proxy in self.proxies() {
            proxy.release_held();
        }
    }

    pub(crate) fn no_delay(&self) {
        for proxy in self.proxies() {
            proxy.no_delay(Direction::Replies);
        }
    }

    pub(crate) fn is_held(&self) -> bool {
        self.proxies().iter().any(|proxy| proxy.held() > 0)
    }

    pub(crate) async fn until_held(&self) {
        eventually("a request is held up", async || {
            self.is_held().then_some(())
        })
        .await;
    }

    /// Remembers requests that match.
    pub(crate) fn remember(
        &self,
        matches: impl Fn(&Request) -> bool + Clone + Send + Sync + 'static,
    ) {
        for proxy in self.proxies() {
            proxy.duplicate_later(matches.clone());
        }
    }

    /// What is remembered about the row `key`, in its order: all of it went by one proxy, unless the
    /// key has moved.
    pub(crate) fn remembered(&self, key: u64) -> Vec<Request> {
        let all = self.proxies().into_iter().flat_map(Proxy::recorded);
        all.filter(|request| is_about(request, key)).collect()
    }
}

/// Whether a request names the row `key`, or its lease.
pub(crate) fn is_about(request: &Request, key: u64) -> bool {
    let (row, lease) = keys(key);
    let mut words = request.words().iter();
    words.any(|word| [row.as_bytes(), lease.as_bytes()].contains(&word.as_slice()))
}

/// Whether a request runs a script with so many keys and arguments.
pub(crate) fn is_step(request: &Request, parts: usize) -> bool {
    (request.is("EVALSHA") || request.is("EVAL")) && request.words().len() == 3 + parts
}

/// The parts of `acquire` and `seize`, of `fill`, of `extend`, and of `release`.
pub(crate) const ACQUIRE: usize = 4;
pub(crate) const FILL: usize = 5;
pub(crate) const EXTEND: usize = 3;
pub(crate) const RELEASE: usize = 2;
