//! Connections to one node, and the commands on them.
//!
//! # Model
//!
//! A *lane* ([`Lane`]) is one multiplexed connection that carries the commands of many callers at
//! once. deadpool-redis creates it, checks it and caps how many there are; it is taken out of the
//! pool for its whole life, since asking the pool for each command costs a round trip of its own.
//! A [`LaneSet`] is a node: a few lanes, the [`Breaker`](crate::breaker::Breaker) in front of them
//! and the tasks ([`keeper`]) that replace lanes and probe.
//!
//! # Invariants
//!
//! 1. A caller never waits for a connection: without one, or with the breaker open, it is told so
//!    at once.
//! 2. Whatever was sent is answered, or given up at its deadline.
//! 3. Only the keepers connect, each one at a time and with a pause that grows, so an outage makes
//!    no storm of connections.
//! 4. The answer to a command is for those who asked before it was sent ([`gather`]).
//!
//! Everything runs on the runtime that the backend was connected on.

mod again;
mod failed;
mod gather;
mod keeper;
mod one;
mod reads;
mod set;

pub(crate) use self::{
    failed::Failed,
    one::{Deadlines, Lane},
    reads::{Answer, Reading, read, reading},
    set::{Keeping, LaneSet, Part},
};
