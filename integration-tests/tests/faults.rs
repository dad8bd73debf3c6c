//! Each thing that can go wrong, at each place, during each operation: `docs/faults.md` has the table
//! that this holds the cache to.
//!
//! A test is one fault at one place, and goes through the four operations. Which run by default is in
//! `table`; with `FAULTS=all` all do.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking, and what is left out is said"
)]

mod nodes;
#[path = "faults/page.rs"]
mod page;
#[path = "faults/place.rs"]
mod place;
#[path = "faults/scene.rs"]
mod scene;
mod support;
#[path = "faults/table.rs"]
mod table;

use std::{env, panic::AssertUnwindSafe};

use cache_core::testing;
use cache_redis::Mutant;
use futures_util::FutureExt;
use tokio::task::LocalSet;

use self::{
    nodes::Broken,
    scene::Scene,
    table::{Cached, Expected, Fault, Invalidated, Place, Read, expected, is_default},
};

/// With the value `all`, what is left out by default runs too.
const VARIABLE: &str = "FAULTS";

fn is_chosen(place: Place, fault: Fault) -> bool {
    is_default(place, fault) || env::var(VARIABLE).is_ok_and(|value| value == "all")
}

async fn cell(place: Place, fault: Fault) {
    let expected = match expected(place, fault) {
        Ok(expected) => expected,
        Err(reason) => {
            println!("{place:?}, {fault:?}: cannot be: {reason}");
            return;
        }
    };
    if !is_chosen(place, fault) {
        println!("{place:?}, {fault:?}: not run by choice");
        return;
    }
    let scene = Scene::new(place, fault, Broken::default(), None).await;
    scene.play(expected).await;
}

/// Tokio's clock can be moved where all that goes by it is on one thread.
async fn cell_on_one_thread(place: Place, fault: Fault) {
    if !is_chosen(place, fault) {
        println!("{place:?}, {fault:?}: not run by choice");
        return;
    }
    let local = LocalSet::new();
    let play = async {
        let scene = Scene::new(place, fault, Broken::default(), Some(&local)).await;
        scene.play(expected(place, fault).unwrap()).await;
    };
    local.run_until(play).await;
}

macro_rules! cells {
    ($($name:ident: $fault:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::cell(PLACE, super::Fault::$fault).await;
            }
        )*

        #[tokio::test]
        async fn clock_jump_of_the_client() {
            super::cell_on_one_thread(PLACE, super::Fault::ClockJump).await;
        }
    };
}

macro_rules! places {
    ($($name:ident: $place:ident,)*) => {
        $(
            mod $name {
                const PLACE: super::Place = super::Place::$place;

                cells! {
                    killed: Killed,
                    restarted_empty: Restarted,
                    paused: Paused,
                    cut_off: CutOff,
                    slow: Slow,
                    half_open: HalfOpen,
                    failed_over: FailedOver,
                    out_of_memory: OutOfMemory,
                    became_a_replica: BecameReplica,
                    refuses_writes: RefusesWrites,
                    scripts_flushed: ScriptsFlushed,
                    data_flushed: DataFlushed,
                    password_changed: PasswordChanged,
                    rubbish_values: Rubbish,
                }
            }
        )*
    };
}

places! {
    node: Node,
    cluster: Cluster,
    ring: Ring,
}

/// nextest is told to show what this prints.
#[test]
fn what_is_not_run_by_choice_is_said() {
    let mut left_out = Vec::new();
    for place in Place::ALL {
        for fault in Fault::ALL {
            if expected(place, fault).is_ok() && !is_chosen(place, fault) {
                left_out.push(format!("  {}: {}", place.words(), fault.words()));
            }
        }
    }
    if !left_out.is_empty() {
        let (count, list) = (left_out.len(), left_out.join("\n"));
        println!("{count} cells not run by choice; {VARIABLE}=all runs them:\n{list}");
    }
}

/// Why a cell of the node fails with this rule off, or this expectation.
async fn failure(fault: Fault, broken: impl Into<Broken>, expected: Expected) -> String {
    let broken = broken.into();
    let play = async move {
        let scene = Scene::new(Place::Node, fault, broken, None).await;
        scene.play(expected).await;
    };
    let panic = AssertUnwindSafe(play).catch_unwind().await.unwrap_err();
    *panic.downcast::<String>().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_what_is_queued_is_found_out() {
    let fault = Fault::RefusesWrites;
    let expected = expected(Place::Node, fault).unwrap();
    let why = failure(fault, testing::Mutant::ReadQueued, expected).await;
    assert!(why.contains("`get` after an invalidation"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn storing_what_was_overtaken_is_found_out() {
    for mutant in [Mutant::UncheckedFill, Mutant::RemoveKeepsLease] {
        let fault = Fault::ScriptsFlushed;
        let expected = expected(Place::Node, fault).unwrap();
        let why = failure(fault, mutant, expected).await;
        assert!(
            why.contains("`get` after an invalidation"),
            "{mutant:?}: {why}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_expectation_is_found_out() {
    let fault = Fault::OutOfMemory;
    let right = expected(Place::Node, fault).unwrap();
    let wrong = [
        Expected {
            read: Read::Miss,
            ..right
        },
        Expected {
            invalidate: Invalidated::Queued,
            ..right
        },
        Expected {
            cached: Cached::Gone,
            ..right
        },
    ];
    for (expected, what) in wrong.into_iter().zip([
        "read of a cached key",
        "invalidation",
        "what was cached before the fault",
    ]) {
        let why = failure(fault, Broken::default(), expected).await;
        assert!(why.contains(what), "{why}");
    }
}
