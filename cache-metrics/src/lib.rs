//! Counts what the caches do, for those who run them.
#![doc(test(attr(deny(warnings))))]

pub mod catalogue;

mod counters;
mod distribution;
mod error;
mod log_line;
mod snapshot;
mod stats;

#[cfg(feature = "prometheus")]
mod exporter;

#[cfg(feature = "prometheus")]
pub use self::exporter::Exporter;
pub use self::{
    distribution::Distribution,
    error::SetupError,
    snapshot::{CacheSnapshot, CallSnapshot, EngineSnapshot, Snapshot},
    stats::Stats,
};
