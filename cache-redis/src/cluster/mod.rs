//! A Redis cluster: which server has which key, and a node for each primary.
//!
//! # Model
//!
//! [`Slots`] says which primary owns each of the 16,384 slots; a [`Table`](table::Table) adds the
//! [`LaneSet`](crate::lane::LaneSet) of each. One task ([`refresh`]) keeps it: it asks the primaries, or, if none
//! answers, every server that was ever heard of, and puts a new table in place. Commands go to the
//! owner by the table, and where the servers say otherwise they are followed ([`route`]).
//!
//! # Invariants
//!
//! 1. A table is replaced as a whole. What one command needs it takes from one table.
//! 2. Only the task asks for slots, once at a time and with pauses, whatever the callers meet.
//! 3. Each primary has a breaker of its own, so one that is dead or hangs holds up nobody else's
//!    keys.
//! 4. A redirection is proof that the command did not run, so it may be sent once more as it is,
//!    token included.

mod address;
mod batch;
mod node;
mod refresh;
mod route;
mod servers;
mod slots;
mod table;

pub(crate) use self::{
    address::Address, node::Cluster, route::Hop, servers::Servers, slots::Slots,
};
