//! A TCP proxy before a server, which does to the traffic what a test tells it to.
//!
//! # Model
//!
//! `listener` takes connections and pairs each with one to the server. Two `pump`s per pair move
//! the bytes, one per [`Direction`], and look at the same `faults` before they pass anything on.
//! Requests are passed on whole, so that `request` can be asked about each; replies are passed on
//! in the chunks in which they come.
//!
//! # Invariants
//!
//! 1. Within a connection and a direction, order is kept and nothing is left out, except what is
//!    swallowed or lost in a cut.
//! 2. What holds one connection up does not hold up another.

mod faults;
mod handle;
mod held;
mod listener;
mod pump;
mod request;

pub use self::{faults::Direction, handle::Proxy, request::Request};
