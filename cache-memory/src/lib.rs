//! In-process backend of the cache: [`Memory`], over [`moka`].
//!
//! # Model
//!
//! A [`Memory`] keeps entries in one moka cache and leases in maps beside it. Reads ask moka
//! alone and take no lock of ours. Everything that writes a key, or grants, keeps or ends a
//! lease on it, does so under one lock for that key, so that the check of a lease and the write
//! it allows are one step.
//!
//! Several engines built on clones of one `Memory` behave like several processes on one shared
//! store: one loads, the others wait for it, and an invalidation by one is seen by all.
//!
//! # Time
//!
//! The [`Clock`] given to the builder decides when an entry or a lease is over; moka's own
//! expiry only frees the memory. Tests drive a [`ManualClock`], or tokio's paused clock with
//! `TokioClock` (feature `tokio`).
//!
//! # Features
//!
//! | feature | enables |
//! |---|---|
//! | `tokio` | `TokioClock` |
//!
//! # Examples
//!
//! ```
//! use cache_core::{Backend, Peek};
//! use cache_memory::Memory;
//!
//! let memory = Memory::builder().max_entries(100_000).build()?;
//!
//! assert!(matches!(memory.peek(b"user:42"), Peek::Miss));
//! # Ok::<(), cache_memory::BuildError>(())
//! ```
#![doc(test(attr(deny(warnings))))]

mod builder;
mod clock;
mod expiry;
mod leases;
mod memory;
mod slot;
mod store;
mod weight;

#[cfg(feature = "tokio")]
pub use self::clock::TokioClock;
pub use self::{
    builder::{BuildError, MemoryBuilder},
    clock::{Clock, ManualClock, SystemClock},
    memory::Memory,
};
