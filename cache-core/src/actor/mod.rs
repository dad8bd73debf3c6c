//! The actors: everything that happens to a key happens in the order of its shard's mailbox.
//!
//! # Model
//!
//! A key belongs to the shard its hash names ([`Shards`]); each shard is an actix actor
//! ([`shard`]) around one [`FlightTable`](crate::flight::FlightTable), and does nothing but
//! forward to it. Each flight has a driver ([`driver`]), a task on its shard's thread, which
//! posts the marks, talks to the backend and keeps the timers. Only the loader runs elsewhere: on
//! the runtime of the caller who brought it ([`load`]).
//!
//! A caller waits in a seat ([`seat`]). A seat that is dropped unanswered, because its actor died,
//! gives the loader back, and the caller takes a seat in the actor's successor.
//!
//! Puts, invalidations and clears are detached tasks on the same threads ([`writes`]): once polled
//! they take effect, whoever hangs up.
//!
//! This is the one module that names actix.

mod call;
mod discard;
mod driver;
mod load;
mod outbox;
mod placement;
mod seat;
mod shard;
mod shards;
mod writes;

pub(crate) use self::{
    load::inside,
    placement::Placement,
    seat::{
        Answer, Filling, Found, Loader, Loading, Origin, Outage, Report, Seat, Unreadable, ValueOps,
    },
    shards::Shards,
    writes::{clear, invalidate, put, wait},
};
