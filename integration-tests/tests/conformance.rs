//! The contract of a backend, kept by `Redis` on a real server.

#![expect(clippy::expect_used, reason = "helpers of tests fail by panicking")]

use std::time::Duration;

use cache_core::{
    Backend,
    testing::conformance::{self, Harness},
};
use cache_redis::Redis;
use integration_tests::Server;

/// Stores of one server, one after the other, in real time.
struct Node(Server);

impl Harness for Node {
    type Backend = Redis;

    async fn empty(&self) -> Redis {
        let redis = Redis::connect(&self.0.url())
            .await
            .expect("the server runs");
        redis.clear().await.expect("the server can be emptied");
        redis
    }

    async fn advance(&self, by: Duration) {
        tokio::time::sleep(by).await;
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(2)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_keeps_the_contract() {
    let server = Server::start().await;
    conformance::run(&Node(server)).await;
}
