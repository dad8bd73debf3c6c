//! Counts what the caches do, for those who run them.
#![doc(test(attr(deny(warnings))))]

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
