//! A primary with its replica, and the sentinels that watch them.
//!
//! # Model
//!
//! [`SentinelsBuilder`] says what the test wants, `config` what each sentinel is told, and
//! [`Sentinels`] is what the test holds. `reply` reads what a sentinel answers.
//!
//! A sentinel tells clients the address by which it reaches a server itself. Containers therefore
//! share one network, that of a container which does nothing else: there 127.0.0.1 and the ports
//! mean the same as outside, where they are published.

mod builder;
mod config;
mod handle;
mod reply;

pub use self::{builder::SentinelsBuilder, handle::Sentinels};
