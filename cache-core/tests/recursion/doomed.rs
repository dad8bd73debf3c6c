//! Recursion through flights that wait for their turn, and through callers who are moved.

use std::{io, sync::Arc, time::Duration};

use cache_core::{Engine, ErrorKind, Load};
use tokio::{
    sync::Semaphore,
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::{
    SECOND, Users, asks_for, root,
    support::{Answer, Loads, Stage, assert_empty, caller, on_stage, settle, users},
    text,
};

/// A loader that waits for a permit, then asks for the key `next`, and answers what it is told.
fn asks_behind(
    gate: &Arc<Semaphore>,
    users: &Users,
    next: u64,
) -> impl FnOnce() -> futures_util::future::BoxFuture<'static, Result<String, io::Error>>
+ Send
+ 'static
+ use<> {
    let (gate, users) = (Arc::clone(gate), users.clone());
    move || {
        Box::pin(async move {
            gate.acquire().await.unwrap().forget();
            let answer = users.get_or_load(&next, Loads::default().value("its own", SECOND));
            Ok(match answer.await {
                Ok(found) => found.unwrap().to_string(),
                Err(error) => format!("{:?}", error.kind()),
            })
        })
    }
}

/// Two doomed loads of key 1: the first asks for the key `next` behind the gate, the second ends
/// after ten seconds.
struct Doomed {
    engine: Engine,
    users: Users,
    gate: Arc<Semaphore>,
    first: JoinHandle<Answer<String>>,
    second: JoinHandle<Answer<String>>,
}

async fn two_doomed_loads(stage: &Stage, next: u64) -> Doomed {
    let engine = stage.engine();
    let users = users(&engine);
    let gate = Arc::new(Semaphore::new(0));
    let first = caller(&users, 1, asks_behind(&gate, &users, next));
    settle().await;
    users.invalidate(&1).await;
    let second = caller(&users, 1, Loads::default().value("second", 10 * SECOND));
    settle().await;
    users.invalidate(&1).await;
    assert_eq!(engine.census().await.flights, 2);
    Doomed {
        engine,
        users,
        gate,
        first,
        second,
    }
}

#[tokio::test(start_paused = true)]
async fn a_doomed_load_that_would_wait_for_its_own_place_is_recursive() {
    on_stage(async |stage| {
        let doomed = two_doomed_loads(&stage, 1).await;
        let began = Instant::now();
        doomed.gate.add_permits(1);
        assert_eq!(text(doomed.first.await.unwrap()), "Recursive");
        assert_eq!(began.elapsed(), Duration::ZERO, "at once");
        assert_eq!(text(doomed.second.await.unwrap()), "second");
        assert_empty(&doomed.engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_circle_through_a_flight_that_waits_for_its_turn_is_found_from_either_end() {
    // The load of 2 takes a seat behind both loads of 1, and the first of them asks for 2.
    for asks_first in [2, 1] {
        on_stage(async |stage| {
            let doomed = two_doomed_loads(&stage, 2).await;
            let (users, gate) = (&doomed.users, Arc::new(Semaphore::new(0)));
            let other = caller(users, 2, asks_behind(&gate, users, 1));
            settle().await;
            let began = Instant::now();
            if asks_first == 2 {
                gate.add_permits(1);
                settle().await;
                assert_eq!(doomed.engine.census().await.flights, 4, "one waits");
                doomed.gate.add_permits(1);
                assert_eq!(text(doomed.first.await.unwrap()), "Recursive");
                assert_eq!(began.elapsed(), Duration::ZERO, "at once");
                assert_eq!(text(other.await.unwrap()), "its own");
            } else {
                doomed.gate.add_permits(1);
                settle().await;
                gate.add_permits(1);
                assert_eq!(text(other.await.unwrap()), "Recursive");
                assert_eq!(
                    text(doomed.first.await.unwrap()),
                    "Recursive",
                    "what 2 said"
                );
                assert_eq!(began.elapsed(), Duration::ZERO, "at once");
            }
            assert_eq!(text(doomed.second.await.unwrap()), "second");
            assert_empty(&doomed.engine).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_that_waits_behind_two_others_is_no_recursion_by_itself() {
    on_stage(async |stage| {
        let doomed = two_doomed_loads(&stage, 3).await;
        let users = &doomed.users;
        let other = caller(
            users,
            2,
            asks_for(users, &[1], Duration::ZERO, &Loads::default()),
        );
        settle().await;
        doomed.gate.add_permits(1);
        assert_eq!(text(doomed.first.await.unwrap()), "its own");
        assert_eq!(text(other.await.unwrap()), "1 the end");
        assert_eq!(text(doomed.second.await.unwrap()), "second");
        assert_empty(&doomed.engine).await;
    })
    .await;
}

/// The load of 2 takes a late seat in the first load of 1, which an invalidation then dooms. A
/// second load of 1 begins, which asks for 2 if `closes`. When the first lands, the seat moves
/// to the second.
async fn moves(stage: &Stage, closes: bool) -> (Answer<String>, Answer<String>, Duration) {
    let engine = stage.engine();
    let users = users(&engine);
    let began = Instant::now();
    let first = caller(&users, 1, Loads::default().value("old", SECOND));
    settle().await;
    let second = caller(
        &users,
        2,
        asks_for(&users, &[1], Duration::ZERO, &Loads::default()),
    );
    settle().await;
    users.invalidate(&1).await;
    let next: &[u64] = if closes { &[2] } else { &[3] };
    let third = caller(
        &users,
        1,
        asks_for(&users, next, SECOND / 2, &Loads::default()),
    );

    assert_eq!(text(first.await.unwrap()), "old");
    let second = second.await.unwrap();
    let took = began.elapsed();
    let third = third.await.unwrap();
    assert_empty(&engine).await;
    (second, third, took)
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_is_moved_to_a_load_that_waits_for_it_is_recursive() {
    on_stage(async |stage| {
        let (second, third, took) = moves(&stage, true).await;
        assert_eq!(root(&second), Some(ErrorKind::Recursive));
        assert_eq!(root(&third), Some(ErrorKind::Recursive));
        assert_eq!(took, SECOND, "when it is moved");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_is_moved_to_a_load_that_does_not_wait_for_it_is_served() {
    on_stage(async |stage| {
        let (second, third, took) = moves(&stage, false).await;
        assert_eq!(text(second), "1 3 the end");
        assert_eq!(text(third), "3 the end");
        assert_eq!(took, SECOND);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_is_moved_to_a_flight_of_its_own_is_served() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let (users, loads) = (users(&engine), Loads::default());
        // An answer that is not stored covers nobody who came after its load began.
        let first = caller(&users, 1, || async {
            sleep(SECOND).await;
            Ok::<_, io::Error>(Load::value("passing".to_owned()).no_store())
        });
        settle().await;
        let second = caller(&users, 2, asks_for(&users, &[1], Duration::ZERO, &loads));
        settle().await;
        assert_eq!(engine.census().await.wait_edges, 1);

        assert_eq!(text(first.await.unwrap()), "passing");
        assert_eq!(text(second.await.unwrap()), "1 the end");
        assert_eq!(loads.count(), 2);
        assert_empty(&engine).await;
    })
    .await;
}
