//! A write in one engine wins over a load of another at each step of that, on a real server and on a
//! real cluster whose replies come late.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod nodes;
#[path = "fence/scene.rs"]
mod scene;

use cache_core::{Lookup, testing::Mutant};
use integration_tests::{Cluster, eventually};

use self::{
    nodes::{Broken, DAY, Node, keys, place::Place},
    scene::{After, Before, By, MOVES, Move, POINTS, Point, Stage, WRITES, Write},
};

/// Within how many meetings a broken rule is seen: replies are late by chance.
const CAUGHT_WITHIN: usize = 20;

async fn wins_at_each_step(place: &Place, write: Write, crowds: &[bool]) {
    let stage = Stage::new(place, Broken::default()).await;
    for point in POINTS {
        for by in [By::Other, By::Same] {
            for &crowd in crowds {
                let seen = stage.meet(point, write, by, crowd).await;
                assert!(
                    !seen.something_old(),
                    "{write:?} {point:?} {by:?} {crowd}: {seen:?}"
                );
                assert!(seen.len() >= 2, "everybody was answered");
            }
        }
    }
    place.no_lease_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalidation_at_each_step_of_a_load_wins() {
    wins_at_each_step(&Place::server().await, WRITES[0], &[false, true]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_at_each_step_of_a_load_wins() {
    wins_at_each_step(&Place::server().await, WRITES[1], &[false, true]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clear_at_each_step_of_a_load_wins() {
    wins_at_each_step(&Place::server().await, WRITES[2], &[false, true]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_write_at_each_step_of_a_load_wins_on_a_cluster() {
    let place = Place::cluster().await;
    for write in WRITES {
        wins_at_each_step(&place, write, &[true]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalidation_at_each_step_of_a_load_wins_while_its_slot_moves_in_a_cluster() {
    let place = Place::cluster().await;
    let stage = Stage::new(&place, Broken::default()).await;
    for (number, point) in POINTS.into_iter().enumerate() {
        for step in MOVES {
            let crowd = number % 2 == 0;
            let seen = stage.meet_while_moving(point, step, crowd).await;
            assert!(!seen.something_old(), "{point:?} {step:?}: {seen:?}");
            assert!(seen.len() >= 2, "everybody was answered");
        }
    }
    place.no_lease_is_left().await;
}

/// A clear that one server is slow to get, and a row that moves from there in the meantime, to a server
/// that is empty already.
#[tokio::test(flavor = "multi_thread")]
async fn a_clear_removes_a_row_that_moves_meanwhile_in_a_cluster() {
    const ROW: u64 = 1;
    let place = Place::cluster().await;
    let cluster = place.as_cluster().unwrap();
    let node = Node::new(&place, 1, Broken::default(), DAY).await;
    node.rows.put(&ROW, 1).await.unwrap();

    let slot = Cluster::slot_of(&keys(ROW).0);
    let from = cluster.primary_of_slot(slot).await;
    let to = (from + 1) % cluster.nodes().len();
    let flushed = async || -> String { cluster.node(to).query(&["INFO", "commandstats"]).await };
    cluster
        .proxy(from)
        .hold_matching(|request| request.is("FLUSHDB"));
    let engine = node.engine.clone();
    let clear = tokio::spawn(async move { engine.clear().await });
    cluster.proxy(from).until_held(1).await;
    eventually("the other is empty", async || {
        flushed().await.contains("cmdstat_flushdb").then_some(())
    })
    .await;
    cluster.move_slot(slot, to).await;
    cluster.proxy(from).release_held();
    clear.await.unwrap().unwrap();
    assert_eq!(node.rows.get(&ROW).await.unwrap(), Lookup::Miss);
}

/// How many meetings it takes until something old is seen, and `None` if it never is.
async fn caught_after(
    place: &Place,
    broken: Broken,
    point: Point,
    by: By,
    step: Option<Move>,
) -> Option<usize> {
    let stage = Stage::new(place, broken).await;
    for met in 1..=CAUGHT_WITHIN {
        let seen = match step {
            None => stage.meet(point, Write::Invalidate, by, false).await,
            Some(step) => stage.meet_while_moving(point, step, false).await,
        };
        if seen.something_old() {
            return Some(met);
        }
    }
    None
}

/// Rules that are switched off, and a step of a load at which that is seen.
fn breaches() -> [(Broken, Point); 10] {
    let core = |mutant: Mutant| Broken::from(mutant);
    let redis = |mutant: cache_redis::Mutant| Broken::from(mutant);
    [
        (core(Mutant::PlainSet), Point::Load),
        (core(Mutant::PlainSet), Point::Sent("fill")),
        (core(Mutant::JoinReadInFlight), Point::AcquireHit(After)),
        (core(Mutant::JoinAfterFill), Point::Fill(After)),
        (core(Mutant::ShareRefusedFill), Point::Load),
        (core(Mutant::ShareRefusedFill), Point::Fill(Before)),
        (redis(cache_redis::Mutant::UncheckedFill), Point::Load),
        (
            redis(cache_redis::Mutant::UncheckedFill),
            Point::Sent("fill"),
        ),
        (redis(cache_redis::Mutant::RemoveKeepsLease), Point::Load),
        (
            redis(cache_redis::Mutant::RemoveKeepsLease),
            Point::Sent("fill"),
        ),
    ]
}

async fn are_caught(place: &Place) {
    for (broken, point) in breaches() {
        let caught = caught_after(place, broken, point, By::Other, None).await;
        assert!(caught.is_some(), "{broken:?} {point:?} escaped");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_rule_an_old_value_gets_through_within_20_meetings() {
    are_caught(&Place::server().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_rule_an_old_value_gets_through_on_a_cluster_within_20_meetings() {
    let place = Place::cluster().await;
    are_caught(&place).await;
    // The same when the slot has moved between the grant and the removal: to the server that it is
    // granted by no lease means nothing, and where the slot is now it does.
    for mutant in [
        cache_redis::Mutant::UncheckedFill,
        cache_redis::Mutant::RemoveKeepsLease,
    ] {
        let (point, step) = (Point::Load, Some(Move::Ended));
        let caught = caught_after(&place, mutant.into(), point, By::Other, step).await;
        assert!(caught.is_some(), "{mutant:?} {step:?} escaped");
    }
}
