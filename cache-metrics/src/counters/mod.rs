//! What is counted, while it is counted.
//!
//! # Model
//!
//! [`CacheCounters`] counts the events of one cache, [`EngineCounters`] those of an engine and what
//! its backend does. They only ever grow, but for the gauges of the engine. Both are made of
//! [`Stripes`], where many cores write at once, and of plain atomics, where one event costs far more
//! than its counter does.
//!
//! # Invariants
//!
//! 1. An event changes a number once: sums are made when they are read.
//! 2. A counter that was seen is never seen smaller by the same reader.

mod cache;
mod engine;
mod histogram;
mod stripes;

use self::stripes::Stripes;
pub(crate) use self::{
    cache::{Answer, CacheCounters, CacheId},
    engine::EngineCounters,
    histogram::{BUCKETS, Histogram},
};
