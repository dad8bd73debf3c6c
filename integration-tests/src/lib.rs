//! A real Redis for tests: a [`Server`], a [`Cluster`] or [`Sentinels`] with what they watch, each
//! for one test alone, and a [`Proxy`] before it that breaks the network.
//!
//! # Model
//!
//! A test asks for a [`Server`] and gets a node that no other test sees. Where it comes from is
//! decided anew for each, in this order:
//!
//! | way | when | what the test may do |
//! |---|---|---|
//! | [`Way::Url`] | `REDIS_URL` is set and the test asks for nothing special | use an empty database of that server; not stop or configure it |
//! | [`Way::Docker`] | Docker answers and has the image `redis:7.0` | everything |
//! | [`Way::Process`] | `redis-server` is on the `PATH` | everything |
//!
//! A [`Cluster`] and [`Sentinels`] come by the last two ways only, all of one in the same way.
//!
//! A [`Prometheus`] is the program `prometheus` on the `PATH`, with [`promtool()`] beside it.
//!
//! If there is none of these, the test fails with a text that says how to get one. It never skips.
//!
//! | variable | means | default |
//! |---|---|---|
//! | `REDIS_URL` | a running server to use | none |
//! | `REDIS_IMAGE` | the image for Docker, such as `valkey/valkey:8` | `redis:7.0` |
//! | `REDIS_WAY` | `url`, `docker` or `process`: only this way | any |
//!
//! # Examples
//!
//! ```
//! use integration_tests::{Direction, Proxy, Server};
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let server = Server::builder().args(["--maxmemory", "2mb"]).start().await;
//! let proxy = Proxy::before(&server).await;
//! let client = redis::Client::open(proxy.url())?;
//! let mut connection = client.get_multiplexed_async_connection().await?;
//!
//! proxy.hold(Direction::Replies);
//! let mut command = redis::cmd("SET");
//! command.arg("key").arg("value");
//! let (outcome, ()) = tokio::join!(
//!     command.query_async::<String>(&mut connection),
//!     async { proxy.cut() },
//! );
//!
//! assert!(outcome.unwrap_err().is_connection_dropped());
//! # Ok::<(), redis::RedisError>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Invariants
//!
//! 1. Two tests never share data, in whatever processes they run.
//! 2. What a test started ends with it, also if the test panics. What a killed run left behind is
//!    removed by the next one.
//! 3. A server keeps its port for as long as it lives, also while it is down.
//! 4. Nothing here waits without a limit, and nothing listens on another address than 127.0.0.1.
#![doc(test(attr(deny(warnings))))]
#![expect(
    clippy::panic,
    reason = "the harness is for tests: what it cannot do fails the test, with a text that says why"
)]

mod cluster;
mod error;
mod lock;
mod prometheus;
mod proxy;
mod sentinels;
mod server;
mod tls;
mod wait;

pub use self::{
    cluster::{Cluster, ClusterBuilder},
    error::Error,
    prometheus::{Prometheus, Sample, Verdict, promtool},
    proxy::{Direction, Proxy, Request},
    sentinels::{Sentinels, SentinelsBuilder},
    server::{Builder, Server, Way},
    tls::Tls,
    wait::{eventually, within},
};

#[cfg(doctest)]
#[doc = include_str!("../../docs/testing.md")]
struct Testing;
