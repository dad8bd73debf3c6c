//! What the benchmarks share: the things that are compared, the work that is done with them, and
//! how it is told.
//!
//! # Model
//!
//! A [`Row`] is one way to do a thing, and [`Row::Raw`] is what the others are measured against. A
//! [`Fixture`] has everything that the rows need, on one server. Programs drive it by the functions
//! of [`workload`], judge by [`aims`] and say where their numbers come from by
//! [`surroundings`].
//!
//! `docs/benchmarks.md` says how to run them and how to read them.
#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a step that fails would invalidate the measurement, so it ends it"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark measures by the real clock"
)]
#![expect(
    clippy::cast_precision_loss,
    reason = "no count here comes near the 2^53 that a float holds exactly"
)]

pub mod aims;
mod blob;
mod fixture;
mod options;
mod owners;
mod row;
mod sample;
mod stage;
pub mod surroundings;
mod table;
pub mod workload;

pub use self::{
    blob::{Blob, Bytewise},
    fixture::{Fixture, KEYS, MANY},
    options::Options,
    row::Row,
    sample::{Ratio, Sample, median},
    stage::Stage,
    table::Table,
};
