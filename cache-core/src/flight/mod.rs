//! Single-flight with marks: who waits for which load, and who may accept its outcome.
//!
//! # Model
//!
//! A *flight* answers the callers who miss on one key of one cache. It first asks the backend for
//! the lease of the key (`acquire`), then runs one caller's loader, then stores what was loaded
//! (`fill`). Callers who miss meanwhile take a *seat* in it.
//!
//! Simply sharing the outcome would be wrong: a caller who arrives after an invalidation has
//! returned can join a load that began before it. So each outcome is good only for those who had
//! arrived by a certain moment. Arrivals are numbered in the order of the shard's mailbox, and
//! before the driver of a flight sends a command, it posts a *mark*, which takes the next number
//! as well: who stands before the mark is covered.
//!
//! | outcome | good for those who arrived before |
//! |---|---|
//! | `acquire` answered a hit | the last `acquire` was sent |
//! | `fill` answered `Stored` | the `fill` was sent |
//! | loaded, but not stored for any reason | the load began |
//! | an error | everybody: it carries no stale data |
//!
//! On landing, those who are not covered move to the key's open flight.
//!
//! An invalidation *dooms* the flights of its key whose load has begun: those in them stay, later
//! arrivals go to the key's one open flight. Two loads of a key may run at once; beyond that the
//! open flight waits for one of them to land.
//!
//! # Invariants
//!
//! 1. For each key and cache at most one flight is *open*, that is, takes seats.
//! 2. For each key at most two flights run; a flight waits only while two others run.
//! 3. Every seat is either in a flight, or was handed out exactly once.
//! 4. Nobody is handed an outcome whose mark stands before their arrival, and nobody moves twice.
//!
//! All of this is plain data: no clock, lock, runtime or actor. The shard actor owns one
//! [`FlightTable`] and forwards to it. [`WaitGraph`], which finds loads that wait for themselves,
//! is plain data too.

#[cfg(test)]
mod history;
mod marks;
mod puts;
mod table;
mod wait_graph;

pub(crate) use self::{
    marks::{Landing, Mark, Rules},
    puts::PutId,
    table::{CacheId, FlightId, FlightTable, Occupied, Seated, TakeOff},
    wait_graph::{SeatId, WaitGraph},
};
