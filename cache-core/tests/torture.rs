//! A seeded storm of reads, writes, failures and cancellations, in minutes of virtual time: nobody
//! is answered with what was invalidated before they asked.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

#[path = "torture/database.rs"]
mod database;
mod support;
#[path = "torture/workload.rs"]
mod workload;

use cache_core::testing::Mutant;

use tokio::time::Instant;

use self::{
    database::{Database, Removal, Row},
    workload::{Workload, run},
};

const SEEDS: std::ops::RangeInclusive<u64> = 1..=3;

/// How many operations each run of the healthy cache does.
const OPERATIONS: usize = 25_000;

/// Within how many operations a broken rule is seen. Most are within 2,000, and none of 20 seeds
/// took more than 5,000.
const CAUGHT_WITHIN: usize = 20_000;

async fn nothing_old_is_seen(engines: u64) {
    for seed in SEEDS {
        let report = run(Workload {
            engines,
            seed,
            mutant: None,
            operations: OPERATIONS,
            outages: false,
        })
        .await;
        assert_eq!(report.violations, Vec::<String>::new(), "seed {seed}");
        assert!(report.operations >= OPERATIONS);
        assert!(
            report.fills >= 1_000 && report.removals >= 1_000,
            "{report:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn one_engine_never_answers_with_what_was_invalidated() {
    nothing_old_is_seen(1).await;
}

#[tokio::test(start_paused = true)]
async fn two_engines_never_answer_with_what_was_invalidated() {
    nothing_old_is_seen(2).await;
}

#[tokio::test(start_paused = true)]
async fn one_engine_never_answers_with_what_was_invalidated_while_its_store_is_out_now_and_then() {
    nothing_old_is_seen_in_outages(1).await;
}

#[tokio::test(start_paused = true)]
async fn two_engines_never_answer_with_what_was_invalidated_while_the_store_is_out_now_and_then() {
    nothing_old_is_seen_in_outages(2).await;
}

async fn nothing_old_is_seen_in_outages(engines: u64) {
    for seed in SEEDS {
        let report = run(Workload {
            engines,
            seed,
            mutant: None,
            operations: OPERATIONS,
            outages: true,
        })
        .await;
        assert_eq!(report.violations, Vec::<String>::new(), "seed {seed}");
        assert!(report.operations >= OPERATIONS);
        assert!(report.fills >= 500 && report.queued >= 50, "{report:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_mutant_is_caught_within_20_000_operations() {
    for mutant in [
        Mutant::PlainSet,
        Mutant::JoinReadInFlight,
        Mutant::JoinAfterFill,
        Mutant::ShareRefusedFill,
        Mutant::ReadQueued,
    ] {
        for seed in SEEDS {
            let report = run(Workload {
                engines: if mutant == Mutant::ReadQueued { 1 } else { 2 },
                seed,
                mutant: Some(mutant),
                operations: CAUGHT_WITHIN,
                outages: mutant == Mutant::ReadQueued,
            })
            .await;
            let is_caught = !report.violations.is_empty();
            assert!(is_caught, "{mutant:?} escaped with seed {seed}: {report:?}");
        }
    }
}

/// What the check says of an answer to a read of key 1 that began with version 5 confirmed, when
/// the newest is 9.
fn judged(answer: Option<&Row>) -> Vec<String> {
    let database = Database::new(1);
    while database.version(1) < 5 {
        database.commit(1, false);
    }
    let called = Instant::now();
    database.removed(1, Removal { version: 5, called });
    let floor = database.floor(1);
    while database.version(1) < 9 {
        database.commit(1, false);
    }
    database.check(floor, answer);
    database.violations()
}

#[tokio::test(start_paused = true)]
async fn the_check_accepts_what_was_true_at_some_time_since_the_read_began_and_nothing_else() {
    let row = |key, version| {
        let put = None;
        Some(Row { key, version, put })
    };
    for good in [row(1, 5), row(1, 9)] {
        assert_eq!(judged(good.as_ref()), Vec::<String>::new());
    }
    for bad in [row(1, 4), row(1, 10), row(2, 5), None] {
        assert_eq!(judged(bad.as_ref()).len(), 1, "{bad:?}");
    }
}
