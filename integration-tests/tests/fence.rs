//! A write in one engine wins over a load of another at each step of that, on a real server whose
//! replies come late.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod nodes;
#[path = "fence/scene.rs"]
mod scene;

use cache_core::testing::Mutant;
use integration_tests::Server;

use self::{
    nodes::{Broken, no_lease_is_left},
    scene::{After, Before, By, POINTS, Point, Stage, WRITES, Write},
};

/// Within how many meetings a broken rule is seen: replies are late by chance.
const CAUGHT_WITHIN: usize = 20;

async fn wins_at_each_step(write: Write) {
    let server = Server::builder().owned().start().await;
    let stage = Stage::new(&server, Broken::default()).await;
    for point in POINTS {
        for by in [By::Other, By::Same] {
            for crowd in [false, true] {
                let seen = stage.meet(point, write, by, crowd).await;
                assert!(
                    !seen.something_old(),
                    "{write:?} {point:?} {by:?} {crowd}: {seen:?}"
                );
                assert!(seen.len() >= 2, "everybody was answered");
            }
        }
    }
    no_lease_is_left(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalidation_at_each_step_of_a_load_wins() {
    wins_at_each_step(WRITES[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_at_each_step_of_a_load_wins() {
    wins_at_each_step(WRITES[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clear_at_each_step_of_a_load_wins() {
    wins_at_each_step(WRITES[2]).await;
}

/// How many meetings it takes until something old is seen, and `None` if it never is.
async fn caught_after(server: &Server, broken: Broken, point: Point, by: By) -> Option<usize> {
    let stage = Stage::new(server, broken).await;
    for met in 1..=CAUGHT_WITHIN {
        let seen = stage.meet(point, Write::Invalidate, by, false).await;
        if seen.something_old() {
            return Some(met);
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_rule_an_old_value_gets_through_within_20_meetings() {
    let server = Server::builder().owned().start().await;
    let core = |mutant: Mutant| Broken::from(mutant);
    let redis = |mutant: cache_redis::Mutant| Broken::from(mutant);
    for (broken, point, by) in [
        (core(Mutant::PlainSet), Point::Load, By::Other),
        (core(Mutant::PlainSet), Point::Sent("fill"), By::Other),
        (
            core(Mutant::JoinReadInFlight),
            Point::AcquireHit(After),
            By::Other,
        ),
        (core(Mutant::JoinAfterFill), Point::Fill(After), By::Other),
        (core(Mutant::ShareRefusedFill), Point::Load, By::Other),
        (
            core(Mutant::ShareRefusedFill),
            Point::Fill(Before),
            By::Other,
        ),
        (
            redis(cache_redis::Mutant::UncheckedFill),
            Point::Load,
            By::Other,
        ),
        (
            redis(cache_redis::Mutant::UncheckedFill),
            Point::Sent("fill"),
            By::Other,
        ),
        (
            redis(cache_redis::Mutant::RemoveKeepsLease),
            Point::Load,
            By::Other,
        ),
        (
            redis(cache_redis::Mutant::RemoveKeepsLease),
            Point::Sent("fill"),
            By::Other,
        ),
    ] {
        let caught = caught_after(&server, broken, point, by).await;
        assert!(caught.is_some(), "{broken:?} {point:?} {by:?} escaped");
    }
}
