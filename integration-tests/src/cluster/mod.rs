//! A Redis Cluster for one test.
//!
//! # Model
//!
//! [`ClusterBuilder`] says what the test wants, `form` makes a cluster of single nodes, and
//! [`Cluster`] is what the test holds. Its nodes are [`Server`](crate::Server)s with a number: first
//! the primaries in the order of their slots, then a first replica of each in the same order, then
//! a second of each.
//!
//! Nothing about the roles is remembered here. `view` reads what the nodes say, and `well` decides
//! whether that is a cluster that serves all; both are plain data. `moves` and `failover` change
//! who serves what.
//!
//! # Invariants
//!
//! 1. A node stays with the nodes that it began with: whoever leads them, they serve the same slots
//!    until a test moves some. Replicas do not migrate.
//! 2. Only nodes that the test left running are asked.

mod builder;
mod failover;
mod form;
mod handle;
mod moves;
mod slot;
mod view;
mod well;

pub use self::{builder::ClusterBuilder, handle::Cluster};
