//! The contract of a backend, kept by `Redis` on real servers.

#![expect(clippy::expect_used, reason = "helpers of tests fail by panicking")]

use std::time::Duration;

use cache_core::{
    Backend,
    testing::conformance::{self, Harness},
};
use cache_redis::{Redis, RedisBuilder, Tls};
use integration_tests::{Cluster, Server, Tls as Certificates};

/// Stores of the same servers, one after the other, in real time.
struct Stores(RedisBuilder);

impl Harness for Stores {
    type Backend = Redis;

    async fn empty(&self) -> Redis {
        let redis = self.0.clone().connect().await.expect("the servers run");
        redis.clear().await.expect("they can be emptied");
        redis
    }

    async fn advance(&self, by: Duration) {
        // The server counts whole milliseconds, and what it stored lives through the last of them.
        tokio::time::sleep(by + Duration::from_millis(2)).await;
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(2)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_keeps_the_contract() {
    let server = Server::start().await;
    conformance::run(&Stores(Redis::builder().url(server.url()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_keeps_the_contract() {
    let cluster = Cluster::builder().start().await;
    conformance::run(&Stores(by_one_seed(&cluster))).await;
}

fn by_one_seed(cluster: &Cluster) -> RedisBuilder {
    let seeds = cluster.seeds();
    let seed = seeds.split(',').next().expect("there is one");
    Redis::builder().host(seed).cluster()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_with_tls_keeps_the_contract_for_the_documented_user() {
    let tls = Certificates::new();
    let cluster = Cluster::builder().tls(&tls).user(documented_user());
    let cluster = cluster.start().await;
    let login = by_one_seed(&cluster).user("cache").pass("SECRET");
    // As long for its handshakes as a busy machine may need.
    let login = login.connect_timeout(Duration::from_secs(2));
    conformance::run(&Stores(login.tls(Tls::new().ca_pem(tls.ca())))).await;
}

/// The user of the documentation, for the keys of the suite, with what it adds for a cluster and for
/// `clear`, which the suite calls.
fn documented_user() -> String {
    const PREFIXES: &str = "~user:* ~order:*";
    // One check is about keys without a prefix.
    const OF_THE_SUITE: &str = "~conformance:* ~k* ~K ~?k";
    let documentation = include_str!("../../docs/operations.md");
    let mut lines = documentation.lines();
    let user = lines.find_map(|line| line.strip_prefix("ACL SETUSER "));
    let user = user.expect("it has such a line");
    assert!(user.contains(PREFIXES), "{user}");
    let mut user = user.replace(PREFIXES, OF_THE_SUITE);
    for more in ["+flushdb", "+cluster|slots +cluster|info"] {
        let row = format!("| `{}` |", more.replace('|', "\\|"));
        assert!(documentation.contains(&row), "it has a row {row}");
        user = format!("{user} {more}");
    }
    user
}
