//! Callers who leave: their seats lead no load, and do not pile up.

mod support;

use std::{sync::Arc, time::Duration};

use cache_core::Invalidation;
use tokio::sync::Semaphore;

use self::support::{Loads, assert_empty, on_stage, settle, users};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn one_who_left_before_the_flight_began_does_not_lead_it() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let users = users(&engine);
        let join = |loads: &Loads, value: &str| {
            let (users, loader) = (users.clone(), loads.value(value, SECOND));
            tokio::task::spawn_local(async move { users.get_or_load(&1, loader).await })
        };
        let early = Loads::default();
        let mut doomed = Vec::new();
        for _ in 0..2 {
            // Two loads run, each doomed: who comes now has to wait.
            doomed.push(join(&early, "old"));
            settle().await;
            assert_eq!(users.invalidate(&1).await, Invalidation::Done);
        }
        assert_eq!(early.count(), 2);

        let (left, stayed) = (Loads::default(), Loads::default());
        let leaver = join(&left, "left");
        settle().await;
        leaver.abort();
        settle().await;
        let stayer = join(&stayed, "new");
        let user = stayer.await.unwrap().unwrap().unwrap();

        assert_eq!(user.as_str(), "new");
        assert_eq!((left.count(), stayed.count()), (0, 1));
        for caller in doomed {
            assert_eq!(caller.await.unwrap().unwrap().unwrap().as_str(), "old");
        }
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_flight_that_everybody_left_before_it_began_loads_nothing() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let users = users(&engine);
        let loads = Loads::default();
        for _ in 0..2 {
            let (caller, loader) = (users.clone(), loads.value("old", SECOND));
            tokio::task::spawn_local(async move { caller.get_or_load(&1, loader).await });
            settle().await;
            assert_eq!(users.invalidate(&1).await, Invalidation::Done);
        }
        let left = Loads::default();
        let leaver = tokio::task::spawn_local({
            let (users, loader) = (users.clone(), left.value("left", SECOND));
            async move { users.get_or_load(&1, loader).await }
        });
        settle().await;
        assert_eq!(engine.census().await.flights, 3);
        leaver.abort();

        tokio::time::sleep(2 * SECOND).await;
        assert_eq!(left.count(), 0);
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_seats_of_those_who_left_do_not_pile_up() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let users = users(&engine);
        let gate = Arc::new(Semaphore::new(0));
        let first = tokio::task::spawn_local({
            let (users, gate) = (users.clone(), Arc::clone(&gate));
            async move {
                let load = move || async move {
                    drop(gate.acquire().await);
                    Ok::<_, std::io::Error>("slow".to_owned())
                };
                users.get_or_load(&1, load).await
            }
        });
        settle().await;
        let impatient: Vec<_> = (0..2_000)
            .map(|_| {
                let (users, loader) = (users.clone(), Loads::default().value("-", SECOND));
                tokio::task::spawn_local(async move { users.get_or_load(&1, loader).await })
            })
            .collect();
        settle().await;
        assert_eq!(engine.census().await.seats, 2_000, "all are seated");
        for caller in impatient {
            caller.abort();
        }
        settle().await;

        // Those who come next find the seats that were left, before the flight has twice as many.
        let next: Vec<_> = (0..100)
            .map(|_| {
                let (users, loader) = (users.clone(), Loads::default().value("-", SECOND));
                tokio::task::spawn_local(async move { users.get_or_load(&1, loader).await })
            })
            .collect();
        settle().await;
        assert_eq!(engine.census().await.seats, 100, "none but theirs");

        gate.add_permits(1);
        for caller in next.into_iter().chain([first]) {
            assert_eq!(caller.await.unwrap().unwrap().unwrap().as_str(), "slow");
        }
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn those_who_left_take_no_place_from_others() {
    on_stage(async |stage| {
        let engine = stage.builder(stage.memory.clone()).max_waiting(50);
        let engine = engine.build().unwrap();
        let users = users(&engine);
        let mut impatient = Vec::new();
        for _ in 0..50 {
            let (users, loader) = (users.clone(), Loads::default().value("-", SECOND));
            impatient.push(tokio::task::spawn_local(async move {
                users.get_or_load(&1, loader).await
            }));
        }
        settle().await;
        assert_eq!(engine.census().await.waiting, 50);
        for caller in impatient {
            caller.abort();
        }
        settle().await;
        assert_eq!(engine.census().await.waiting, 1, "that of the load");

        let other = users.get_or_load(&2, Loads::default().value("other", SECOND));
        assert_eq!(other.await.unwrap().unwrap().as_str(), "other");
        assert_empty(&engine).await;
    })
    .await;
}
