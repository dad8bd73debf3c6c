//! The Redis backend of the cache: one load per key and no stale fill, across processes.
//!
//! A service gives [`Redis`] to its engine in place of another backend; its caches stay as they
//! are. It speaks to Redis 7 or newer, or Valkey: to one primary, at an address or behind sentinels; to
//! a cluster; or to a ring of several of these. Which of them is a matter of configuration.
//!
//! # Model
//!
//! - A hit is one plain `GET`. Under load, reads that wait at the same time go together in an
//!   `MGET`.
//! - A lease is a key beside the value's, in the same cluster slot. What takes, keeps, uses or ends
//!   one is a script, and so one atomic step; the value's key holds the payload, or `*` for "there
//!   is no such thing", and nothing else, so other programs can read it.
//! - A removal is one `DEL` of both keys. It ends the lease, so a load that began before it cannot
//!   store what it read, in whatever process it runs.
//! - A few multiplexed connections to each primary carry all commands. A caller never waits for one: when there is
//!   none, or the server stopped answering, calls fail at once and the engine's outage policy
//!   decides.
//! - What the guarantee rests on is looked at whenever a connection is opened: see
//!   [`Redis::guarantee`].
//!
//! # Example
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use cache_redis::Redis;
//!
//! let redis = Redis::connect("redis://127.0.0.1:6379").await?;
//! let report = redis.guarantee().expect("it is connected");
//! for finding in &report.findings {
//!     println!("{finding}");
//! }
//! // Engine::builder(redis).build()?
//! # Ok(())
//! # }
//! # tokio::runtime::Runtime::new()?.block_on(example())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Clusters
//!
//! With [`RedisBuilder::cluster`], or `type: cluster`, some members are named, and the others are
//! learnt of. Each primary has connections and a breaker of its own, so one that is down or hangs
//! holds up nobody else's keys. Keys of one call are grouped by primary, and asked for in parallel.
//!
//! Redirections are followed within the deadline of the command. A slot that moves to another primary
//! costs its keys this: while it moves, what misses is loaded and not stored, and a `put` removes the
//! key and answers an error; hits and invalidations go on. After a failover the new primary is used as
//! soon as the others know of it, and what was removed in the 30 s before is removed there once more
//! before anybody reads. Replicas are never read.
//!
//! # Rings
//!
//! Several entries of a configuration are a ring, on which keys are placed as go-zero places them, by
//! `host` and `weight`. Each entry is a server, a cluster, or a primary behind sentinels. An entry that is
//! down takes nobody's place and nobody takes its: its keys are loaded from the database meanwhile.
//!
//! Programs with different entries, or in another order where two hosts share points, look for some
//! keys in different places, and miss each other's removals there.
//!
//! # Sentinels
//!
//! With [`RedisBuilder::sentinel`], or `type: sentinel` in a [`NodeConfig`], the sentinels are asked
//! for the primary whenever a connection is made: all at once, and what more than half of them
//! answered is enough, of which the latest failover counts. A connection is made anew when it breaks,
//! when its server says that it is a replica now, which it is asked once a second, and after three
//! timeouts in a row; so a failover is followed without a restart. What was removed in the 30 s before
//! is removed at the new primary once more, since that may not have heard of it.
//!
//! A primary that is cut off from the sentinels and not from this process is used for as long as it
//! takes itself for one: `min-replicas-to-write 1` at the servers ends its writes.
//!
//! # Permissions
//!
//! A user of its own needs these commands, and the keys `~PREFIX*` for each cache's prefix and `~{*`
//! for leases:
//!
//! ```text
//! +get +mget +set +del +pttl +pexpire +eval +evalsha +ping +info +config|get +client|setinfo
//! ```
//!
//! In a cluster it needs `+cluster|slots +asking` too, and `+cluster|info`, by which an old answer is told
//! from a new one. For a database other than 0 it needs `+select`, for `wait_for_replicas` `+wait +unwatch`, and for
//! `clear` `+flushdb`. Without `+eval +evalsha` it runs, loudly, without the fence. Without `+info` or
//! `+config|get` it cannot tell whether the guarantee holds, and says so; then allow `+role`, by which
//! a replica is known. A user of the sentinels needs `+sentinel|get-master-addr-by-name
//! +sentinel|master`. Categories such as `+@write` allow more than it needs, `FLUSHALL` included.
//!
//! # Features
//!
//! | feature | enables |
//! |---|---|
//! | `tls` (default) | `rediss://` and [`Tls`] |
//! | `testing` | protection switches for tests; outside semver |
#![doc(test(attr(deny(warnings))))]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the driver's enums are open, and what is not expected is treated alike"
)]

mod address;
mod backend;
mod breaker;
mod builder;
mod checkup;
mod cluster;
mod config;
mod connect;
mod error;
mod health;
mod journal;
mod key;
mod lane;
mod members;
mod mutant;
mod plan;
mod replicas;
mod ring;
mod scripts;
mod secret;
mod sentinel;
mod steps;
#[cfg(feature = "tls")]
mod tls;
mod token;
mod topology;
mod unfenced;

#[cfg(feature = "testing")]
pub use self::mutant::Mutant;
#[cfg(feature = "tls")]
pub use self::tls::Tls;
pub use self::{
    backend::{GuaranteeReport, Redis},
    builder::RedisBuilder,
    checkup::Finding,
    config::NodeConfig,
    connect::ConnectError,
};
