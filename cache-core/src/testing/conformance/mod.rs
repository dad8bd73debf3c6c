//! The contract of [`Backend`] in executable form.
//!
//! # Model
//!
//! A backend's tests implement [`Harness`], which makes empty stores and moves their time, and
//! call [`run`]. Each check is a function whose name is the rule it checks. A check that fails
//! does not keep the others from running; in the end `run` panics with the names of those that
//! failed.
//!
//! The checks assume nothing but the contract: no clock of their own, no order between calls that
//! are under way together, no entry that outlives its store's limits. Boundaries are checked from
//! both sides: half of a time before it is over, and when it is exactly over.
//!
//! # Examples
//!
//! With a backend of your own in place of `Memory`:
//!
//! ```
//! use cache_core::testing::conformance::{self, Harness};
//! use cache_memory::{ManualClock, Memory};
//! use std::time::Duration;
//!
//! struct Mine(ManualClock);
//!
//! impl Harness for Mine {
//!     type Backend = Memory;
//!
//!     async fn empty(&self) -> Memory {
//!         let builder = Memory::builder().max_entries(10_000);
//!         builder.clock(self.0.clone()).build().expect("a limit is set")
//!     }
//!
//!     async fn advance(&self, by: Duration) {
//!         self.0.advance(by); // or wait, if its time cannot be moved
//!     }
//!
//!     fn deadline(&self) -> Duration {
//!         Duration::from_secs(5)
//!     }
//! }
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! conformance::run(&Mine(ManualClock::default())).await;
//! # });
//! # Ok::<(), std::io::Error>(())
//! ```
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a check that fails is a panic, as in any test"
)]

use std::time::Duration;

use self::report::Report;
use crate::Backend;

mod basics;
mod clears;
mod deadlines;
mod fills;
mod leases;
mod puts;
mod races;
mod reads;
mod removes;
mod report;
mod samples;
mod store;

/// Gives the suite empty stores and control over their clock.
pub trait Harness {
    /// The backend under test.
    type Backend: Backend;

    /// Returns a store that holds no entries and no leases. Each check asks for one or more of
    /// its own, one after the other; an earlier one is not used again.
    fn empty(&self) -> impl Future<Output = Self::Backend> + Send;

    /// Lets `by` elapse for the store: by a clock it was given where there is one, by waiting
    /// otherwise.
    fn advance(&self, by: Duration) -> impl Future<Output = ()> + Send;

    /// The time within which the backend answers every call.
    fn deadline(&self) -> Duration;
}

/// Runs every check against the stores of `harness`.
///
/// Has to be called inside a tokio runtime with its timers enabled; on one with several threads
/// the checks of calls at the same time prove more.
///
/// # Panics
///
/// If any check fails, with the rules that are broken.
///
/// # Cancel safety
///
/// Cancel safe: dropping the future ends the checks and leaves the store as it happens to be.
pub async fn run(harness: &impl Harness) {
    let mut report = Report::default();
    basics::run(harness, &mut report).await;
    reads::run(harness, &mut report).await;
    leases::run(harness, &mut report).await;
    fills::run(harness, &mut report).await;
    puts::run(harness, &mut report).await;
    removes::run(harness, &mut report).await;
    clears::run(harness, &mut report).await;
    deadlines::run(harness, &mut report).await;
    races::run(harness, &mut report).await;
    report.conclude();
}
