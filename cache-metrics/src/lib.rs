//! Counts what the caches do, for those who run them.
//!
//! [`Stats`] is a [`Recorder`](cache_core::Recorder): given to an engine it counts every event of
//! its caches, and a [`Snapshot`] of it says what was counted. Total, Hit, Miss and DbFails are
//! [`total`](CacheSnapshot::total), [`hit`](CacheSnapshot::hit), [`miss`](CacheSnapshot::miss) and
//! [`db_fails`](CacheSnapshot::db_fails).
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{convert::Infallible, time::Duration};
//!
//! use cache_core::{Cache, Engine};
//! use cache_memory::Memory;
//! use cache_metrics::Stats;
//!
//! let stats = Stats::new();
//! let memory = Memory::builder().max_entries(100_000).build()?;
//! let engine = Engine::builder(memory).recorder(stats.clone()).build()?;
//! let hour = Duration::from_secs(3600);
//! let names: Cache<u64, String> = engine.cache("name").ttl(hour).build()?;
//!
//! let load = async || Ok::<_, Infallible>("Ada".to_owned());
//! names.get_or_load(&42, load).await?;
//! names.get_or_load(&42, load).await?;
//!
//! let snapshot = stats.snapshot();
//! let name = snapshot.cache("name").ok_or("it is counted")?;
//! assert_eq!((name.total(), name.hit(), name.miss(), name.db_fails()), (2, 1, 1, 0));
//! # Ok(())
//! # }
//! ```
//!
//! From there the counts go where they are looked at:
//!
//! | to | by |
//! |---|---|
//! | Prometheus | [`Exporter`], whose [`text`](Exporter::text) a service mounts at `/metrics` |
//! | the same, where there is no HTTP | [`Exporter::listen`] |
//! | the exporter of the `metrics` facade, and OpenTelemetry through it | [`Facade`] |
//! | the log, as go-zero does it | [`Stats::log_every`] |
//! | anything else | the [`catalogue`] of all series |
//!
//! `docs/metrics.md` in the repository has the table of all series, and what to look at. A
//! dashboard for Grafana and alerts for Prometheus are in `dashboard/` of this crate.
//!
//! # Features
//!
//! | feature | enables |
//! |---|---|
//! | `prometheus` (default) | [`Exporter`] |
//! | `listener` | [`Exporter::listen`] |
//! | `metrics` | [`Facade`] |
#![doc(test(attr(deny(warnings))))]
// Items behind features are linked above; without all of them there is nothing to link to.
#![cfg_attr(
    not(all(feature = "listener", feature = "metrics")),
    allow(
        rustdoc::broken_intra_doc_links,
        reason = "what a feature adds is only there with it"
    )
)]

pub mod catalogue;

mod counters;
mod distribution;
mod error;
mod log_line;
mod snapshot;
mod stats;
mod ticker;

#[cfg(feature = "prometheus")]
mod exporter;
#[cfg(feature = "metrics")]
mod facade;
#[cfg(feature = "listener")]
mod listener;

#[cfg(feature = "prometheus")]
pub use self::exporter::Exporter;
#[cfg(feature = "metrics")]
pub use self::facade::Facade;
#[cfg(feature = "listener")]
pub use self::listener::Listener;
pub use self::{
    distribution::Distribution,
    error::SetupError,
    snapshot::{CacheSnapshot, CallSnapshot, EngineSnapshot, Snapshot},
    stats::Stats,
};

#[cfg(all(doctest, feature = "listener", feature = "metrics"))]
#[doc = include_str!("../../docs/metrics.md")]
struct Metrics;
