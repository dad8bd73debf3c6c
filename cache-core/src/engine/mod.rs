//! The engine: one backend, the shard actors over it, and what all caches share.

mod admission;
mod builder;
mod busy;
mod config;
mod core;
mod error;
mod handle;
mod names;
mod outage;
mod outbox;
#[cfg(feature = "testing")]
mod probe;
mod pulse;
mod queue;
mod trouble;

#[cfg(feature = "testing")]
pub use self::probe::Census;
pub(crate) use self::{
    admission::Admitted,
    busy::Busy,
    config::Config,
    core::Core,
    names::{Name, Names},
    outage::OutageLoads,
    outbox::Outbox,
    queue::{Chunk, Ticket},
    trouble::is_trouble,
};
pub use self::{
    builder::EngineBuilder,
    error::BuildError,
    handle::{Engine, Invalidation, ShutdownReport},
    outage::OutagePolicy,
};
