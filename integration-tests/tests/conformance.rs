//! The contract of a backend, kept by `Redis` on real servers.

#![expect(clippy::expect_used, reason = "helpers of tests fail by panicking")]

use std::time::Duration;

use cache_core::{
    Backend,
    testing::conformance::{self, Harness},
};
use cache_redis::{Redis, RedisBuilder};
use integration_tests::{Cluster, Server};

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
    let seeds = cluster.seeds();
    let seed = seeds.split(',').next().expect("there is one");
    conformance::run(&Stores(Redis::builder().host(seed).cluster())).await;
}
