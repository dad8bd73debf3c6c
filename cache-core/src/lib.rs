//! A read-through, write-through and cache-aside cache for Rust services.
//!
//! This crate holds the contracts, the single-flight protocol and the typed front; it knows no
//! store. A service adds a backend crate: `cache-memory` for one process, `cache-redis` for many.
//!
//! - [`Engine`] is one backend with the actors that order what happens to its keys.
//! - [`Cache`] is a typed view of it, with a name, a codec and time-to-live settings.
//! - [`Backend`] is the contract with the store.
//!
//! What it promises: a storm of callers on one cold key runs one loader; what does not exist is
//! remembered as such; entries do not expire together; and once an invalidation has returned, no
//! read that begins then is answered with what was loaded before it.
//!
//! # Example
//!
//! ```
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use cache_core::{Cache, Engine};
//! use cache_memory::Memory;
//! use std::{convert::Infallible, time::Duration};
//!
//! let engine = Engine::builder(Memory::builder().max_entries(100_000).build()?).build()?;
//! let names: Cache<u64, String> = engine
//!     .cache("name")
//!     .ttl(Duration::from_secs(3600))
//!     .build()?;
//!
//! // Read-through: of all who miss the key at once, one runs their loader.
//! let load = async || Ok::<_, Infallible>(Some("Ada".to_owned()));
//! let name = names.get_or_load(&42, load).await?;
//! assert_eq!(name.as_deref().map(String::as_str), Some("Ada"));
//!
//! // After a write to the database: the next read loads anew.
//! names.invalidate(&42).await;
//! # Ok(())
//! # }
//! # tokio::runtime::Runtime::new()?.block_on(example())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! | feature | enables |
//! |---|---|
//! | `actor` (default) | [`Engine`] and [`Cache`]; backends do without |
//! | `bincode` | [`codec::Bincode`] |
//! | `postcard` | [`codec::Postcard`] |
//! | `uuid` | `Uuid` as a key |
//! | `testing` | [`testing`]: the conformance suite for backends, and what tests need; outside semver |
#![doc(test(attr(deny(warnings))))]

pub mod codec;
#[cfg(feature = "testing")]
pub mod testing;

mod backend;
mod entry;
mod error;
mod key;
mod policy;
mod recorder;

#[cfg(feature = "actor")]
mod actor;
#[cfg(feature = "actor")]
mod cache;
#[cfg(feature = "actor")]
mod engine;
#[cfg(feature = "actor")]
mod flight;
#[cfg(feature = "actor")]
mod load;
#[cfg(feature = "actor")]
mod observer;

#[cfg(all(feature = "actor", feature = "testing"))]
pub use self::engine::Census;
pub use self::{
    backend::{Acquire, Backend, Extend, Fill, Lease, Peek},
    entry::{Entry, Form, Object},
    error::{BoxError, Error, ErrorKind},
    key::{Key, KeyBuf, KeyFor},
    policy::{InvalidJitter, InvalidTtl, Jitter, Ttl},
    recorder::{BackendCall, BreakerState, CacheRecorder, Event, Guarantee, LoadOutcome, Recorder},
};
#[cfg(feature = "actor")]
pub use self::{
    cache::{Cache, CacheBuilder, Lookup, Put},
    engine::{BuildError, Engine, EngineBuilder, Invalidation, OutagePolicy, ShutdownReport},
    key::CacheKey,
    load::Load,
    policy::Policy,
};

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../docs/go-zero.md")]
struct SideBySideWithGoZero;
