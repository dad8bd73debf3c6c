//! The servers of a place, and what is done to one of them.

use std::time::Duration;

use cache_redis::{NodeConfig, Redis, RedisBuilder};
use integration_tests::{Cluster, Direction, Proxy, Server};
use serde_json::json;

use super::{
    support::{APP, exists, owned},
    table::{Fault, Place},
};

/// A reply of a slow server waits for less than twice this, which is below the deadline of a read.
const LATENCY: Duration = Duration::from_millis(60);

/// Beyond the TTL of what the tests cache.
const JUMP: Duration = Duration::from_secs(2 * 3600);

/// Elections begin this long after the loss of a primary: by then all callers are answered.
const NODE_TIMEOUT: Duration = Duration::from_secs(2);

/// Servers, with a proxy before each; the nodes of a cluster with replicas have none.
pub(crate) enum Servers {
    /// One, or the entries of a ring.
    Apart(Vec<(Server, Proxy)>),
    Together(Cluster),
}

impl Servers {
    pub(crate) async fn start(place: Place, fault: Fault) -> Self {
        let count = match place {
            Place::Node => 1,
            Place::Ring => 2,
            Place::Cluster => return Self::Together(cluster(fault).await),
        };
        let mut servers = Vec::new();
        for _ in 0..count {
            let server = owned().user(APP).start().await;
            let proxy = Proxy::before(&server).await;
            servers.push((server, proxy));
        }
        Self::Apart(servers)
    }

    /// A client that goes by the proxies.
    pub(crate) fn client(&self) -> RedisBuilder {
        let builder = match self {
            Self::Together(cluster) => Redis::builder().host(cluster.seeds()).cluster(),
            Self::Apart(servers) => {
                ring_or_node(servers.iter().map(|(_, proxy)| host(proxy.port())))
            }
        };
        builder.user("app").pass("secret").lanes(1)
    }

    /// A client of another process. Only at a node it goes by no proxy: the nodes of a cluster send
    /// everybody to theirs, and the entries of a ring are their addresses.
    pub(crate) fn other_client(&self) -> RedisBuilder {
        match self {
            Self::Apart(servers) if !self.has_others() => {
                let hosts = servers.iter().map(|(server, _)| host(server.port()));
                ring_or_node(hosts).user("app").pass("secret").lanes(1)
            }
            Self::Apart(_) | Self::Together(_) => self.client(),
        }
    }

    /// The one that the fault is of.
    pub(crate) fn victim(&self) -> &Server {
        match self {
            Self::Apart(servers) => &servers[0].0,
            Self::Together(cluster) => cluster.node(0),
        }
    }

    fn proxy(&self) -> &Proxy {
        match self {
            Self::Apart(servers) => &servers[0].1,
            Self::Together(cluster) => cluster.proxy(0),
        }
    }

    /// Whether there is a server that the fault is not of.
    pub(crate) fn has_others(&self) -> bool {
        !matches!(self, Self::Apart(servers) if servers.len() == 1)
    }

    /// Whether the value of the key is cached on the victim.
    pub(crate) async fn is_on_victim(&self, key: &str) -> bool {
        if let Self::Together(cluster) = self
            && cluster.primary_of(key).await != 0
        {
            return false;
        }
        exists(self.victim(), key).await
    }

    /// Whether any server has the value of the key. Asked so that a cluster answers which does not
    /// serve keys yet.
    pub(crate) async fn has(&self, key: &str) -> bool {
        let found: Vec<String> = match self {
            Self::Apart(_) => self.victim().query(&["KEYS", key]).await,
            Self::Together(cluster) => cluster.keys(key).await,
        };
        !found.is_empty()
    }

    /// The replica of the victim, if it has one.
    pub(crate) async fn replica(&self, fault: Fault) -> Option<&Server> {
        match self {
            Self::Together(cluster) if fault == Fault::FailedOver => {
                Some(cluster.node(cluster.replica_of(0).await))
            }
            Self::Together(_) | Self::Apart(_) => None,
        }
    }

    async fn start_again(&self) {
        match self {
            Self::Apart(_) => self.victim().start_again().await,
            Self::Together(cluster) => cluster.start_again(0).await,
        }
    }

    /// Begins the fault. `keys` are those of the values.
    pub(crate) async fn begin(&self, fault: Fault, keys: &[String]) {
        let server = self.victim();
        let tell = async |words: &[&str]| drop(server.cmd(words).await);
        match fault {
            Fault::Killed | Fault::FailedOver => server.kill().await,
            Fault::Restarted => {
                server.kill().await;
                self.start_again().await;
            }
            Fault::Paused => server.pause().await,
            Fault::CutOff => {
                self.proxy().refuse().await;
                self.proxy().cut();
            }
            Fault::Slow => self.proxy().delay(Direction::Replies, LATENCY, 1),
            Fault::HalfOpen => {
                self.proxy().refuse().await;
                self.proxy().lose_open();
            }
            Fault::OutOfMemory => tell(&["CONFIG", "SET", "maxmemory", "1"]).await,
            Fault::BecameReplica => tell(&["REPLICAOF", "127.0.0.1", "1"]).await,
            Fault::RefusesWrites => tell(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await,
            Fault::ScriptsFlushed => tell(&["SCRIPT", "FLUSH"]).await,
            Fault::DataFlushed => tell(&["FLUSHALL"]).await,
            Fault::PasswordChanged => {
                tell(&["ACL", "SETUSER", "app", "resetpass", ">other"]).await;
            }
            Fault::Rubbish => spoil(server, keys).await,
            Fault::ClockJump => {
                tokio::time::pause();
                tokio::time::advance(JUMP).await;
                tokio::time::resume();
            }
        }
    }

    /// Closes the clients' connections to the victim, at its side.
    pub(crate) async fn hang_up(&self) {
        let words = ["CLIENT", "KILL", "USER", "app"];
        self.victim().cmd(&words).await;
    }

    /// Ends the fault, unless it does that by itself.
    pub(crate) async fn end(&self, fault: Fault) {
        let server = self.victim();
        let tell = async |words: &[&str]| drop(server.cmd(words).await);
        match fault {
            Fault::Killed => self.start_again().await,
            Fault::Paused => server.resume().await,
            Fault::CutOff | Fault::HalfOpen => self.proxy().accept().await,
            Fault::Slow => self.proxy().no_delay(Direction::Replies),
            Fault::FailedOver => {
                if let Self::Together(cluster) = self {
                    cluster.until_failed_over(0).await;
                }
            }
            Fault::OutOfMemory => tell(&["CONFIG", "SET", "maxmemory", "0"]).await,
            Fault::BecameReplica => tell(&["REPLICAOF", "NO", "ONE"]).await,
            Fault::RefusesWrites => tell(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await,
            Fault::PasswordChanged => tell(&["ACL", "SETUSER", "app", ">secret"]).await,
            Fault::Restarted
            | Fault::ScriptsFlushed
            | Fault::DataFlushed
            | Fault::Rubbish
            | Fault::ClockJump => {}
        }
    }
}

/// Puts something else than values under the keys.
async fn spoil(server: &Server, keys: &[String]) {
    for (key, number) in keys.iter().zip(0..) {
        server.cmd(&["DEL", key]).await;
        let words: &[&str] = match number % 3 {
            0 => &["RPUSH", key, "x"],
            1 => &["SET", key, "\u{1}rubbish"],
            _ => &["HSET", key, "x", "y"],
        };
        server.cmd(words).await;
    }
}

fn host(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn ring_or_node(hosts: impl IntoIterator<Item = String>) -> RedisBuilder {
    let entries = hosts.into_iter().map(|host| json!({ "Host": host }));
    let entries: Vec<NodeConfig> =
        serde_json::from_value(serde_json::Value::from_iter(entries)).unwrap();
    RedisBuilder::from(entries)
}

/// Replicas would follow through the proxies, so there are either those or these.
async fn cluster(fault: Fault) -> Cluster {
    let builder = Cluster::builder().prefer_process().user(APP);
    let builder = if fault == Fault::FailedOver {
        builder.replicas(1).node_timeout(NODE_TIMEOUT)
    } else {
        builder.behind_proxies()
    };
    builder.start().await
}
