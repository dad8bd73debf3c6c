//! Calls that are under way when a key's removal becomes queued.

use std::sync::Arc;

use cache_core::{
    Acquire, Backend, BackendCall, EngineBuilder, Lookup,
    testing::{Act, Mutant},
};
use tokio::{sync::Semaphore, time::sleep};

use crate::{
    LOAD, SECOND, Scene,
    support::{Loads, assert_empty, caller, on_stage, settle, user_key},
};

const HOLD: std::time::Duration = std::time::Duration::from_secs(60);

fn text(answer: crate::support::Answer<String>) -> String {
    (*answer.unwrap().unwrap()).clone()
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_was_asked_for_before_is_not_given_to_who_comes_after() {
    on_stage(async |stage| {
        let scene = Scene::new(stage, |builder| builder).await;
        scene.stage.script.always(BackendCall::Remove, Act::Fail);
        // Reads find nothing, so that there is a flight; its `acquire` finds the old entry.
        scene.stage.script.ask();
        let (hit, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        scene.stage.memory.remove(&[user_key(1)]).await;
        let act = Act::GateAfter(Arc::clone(&hit));
        scene.stage.script.once(BackendCall::Get, act);
        let before = caller(&scene.users, 1, Loads::default().value("new", LOAD));
        settle().await;
        let other = crate::users(&scene.stage.engine());
        other.put(&1, "old".to_owned()).await.unwrap();
        let act = Act::GateAfter(Arc::clone(&gate));
        scene.stage.script.once(BackendCall::Acquire, act);
        hit.add_permits(1);
        settle().await;

        scene.queue([1]).await;
        let after = caller(&scene.users, 1, Loads::default().value("new", LOAD));
        settle().await;
        gate.add_permits(1);
        assert_eq!(text(before.await.unwrap()), "old", "asked before");
        assert_eq!(text(after.await.unwrap()), "new", "asked after");
        assert!(scene.is_stored(1), "the old entry is there");
    })
    .await;
}

/// Whether a caller who came after the key was queued is given the old entry, which another put
/// when the flight had just begun.
async fn is_given_old(mutant: Option<Mutant>) -> bool {
    on_stage(async |stage| {
        let set = |builder: EngineBuilder| match mutant {
            Some(mutant) => builder.mutant(mutant),
            None => builder,
        };
        let scene = Scene::new(stage, set).await;
        scene.stage.script.always(BackendCall::Remove, Act::Fail);
        let before = caller(&scene.users, 3, Loads::default().value("new", LOAD));
        settle().await;
        let other = crate::users(&scene.stage.engine());
        other.put(&3, "old".to_owned()).await.unwrap();
        scene.queue([3]).await;
        let after = caller(&scene.users, 3, Loads::default().value("new", LOAD));
        before.await.unwrap().unwrap();
        text(after.await.unwrap()) == "old"
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn who_comes_while_a_flight_is_about_to_ask_is_given_nothing_old() {
    assert!(!is_given_old(None).await);
}

#[tokio::test(start_paused = true)]
async fn with_the_look_before_the_mark_they_are() {
    assert!(is_given_old(Some(Mutant::LookBeforeMark)).await);
}

#[tokio::test(start_paused = true)]
async fn each_acquire_of_a_flight_that_waits_for_a_lease_looks_whether_the_key_is_queued() {
    on_stage(async |stage| {
        let scene = Scene::new(stage, |builder| builder).await;
        scene.stage.script.always(BackendCall::Remove, Act::Fail);
        let key = user_key(1);
        scene.stage.memory.remove(std::slice::from_ref(&key)).await;
        let held = scene.stage.memory.acquire(&key, HOLD).await.unwrap();
        assert!(matches!(held, Acquire::Granted(_)));
        let loads = Loads::default();
        let before = caller(&scene.users, 1, loads.value("new", LOAD));
        sleep(SECOND).await;
        assert_eq!(loads.count(), 0, "it waits for the lease");

        scene.queue([1]).await;
        // The other stores what it loaded before.
        let other = crate::users(&scene.stage.engine());
        other.put(&1, "old".to_owned()).await.unwrap();
        let after = caller(&scene.users, 1, loads.value("new", LOAD));
        assert_eq!(text(after.await.unwrap()), "new");
        assert_eq!(text(before.await.unwrap()), "new");
        assert_eq!(loads.count(), 1, "one load for both");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_comes_after_waits_for_no_load_of_before_and_what_that_stores_is_not_read() {
    on_stage(async |stage| {
        let scene = Scene::new(stage, |builder| builder).await;
        assert_eq!(scene.users.get(&3).await.unwrap(), Lookup::Miss);
        let before = caller(&scene.users, 3, Loads::default().value("old", SECOND));
        settle().await;
        scene.stage.script.always(BackendCall::Remove, Act::Fail);
        scene.queue([3]).await;
        assert_eq!(scene.load(3).await, Ok("new".to_owned()));
        assert_eq!(text(before.await.unwrap()), "old", "asked before");
        assert!(scene.is_stored(3), "its lease was not ended");
        assert_eq!(scene.load(3).await, Ok("new".to_owned()));

        scene.stage.script.reset();
        sleep(2 * SECOND).await;
        assert!(!scene.is_stored(3), "delivered");
        assert_empty(&scene.engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn loads_of_a_queued_key_that_are_given_up_leave_nothing_behind() {
    on_stage(async |stage| {
        let scene = Scene::queued(stage).await;
        for polls in 0..5 {
            let call = caller(&scene.users, 1, Loads::default().value("new", LOAD));
            for _ in 0..polls {
                tokio::task::yield_now().await;
            }
            call.abort();
            sleep(2 * LOAD).await;
            let census = scene.engine.census().await;
            assert_eq!(
                (census.outage_loads, census.flights, census.waiting),
                (0, 0, 0)
            );
        }
        scene.stage.script.reset();
        assert_eq!(
            scene.users.invalidate(&1).await,
            cache_core::Invalidation::Done
        );
        assert_empty(&scene.engine).await;
    })
    .await;
}
