//! A shard actor that dies is replaced, and nobody is answered an error for it.

use std::{sync::Arc, time::Duration};

use cache_core::{BackendCall, Cache, Engine, Invalidation, Lookup, Put, testing::Act};
use tokio::{sync::Semaphore, time::sleep};

use crate::{
    SECOND, Users, assert_free,
    support::{Loads, assert_empty, caller, on_stage, settle, users},
    text,
};

async fn kill(engine: &Engine, users: &Users) {
    engine.kill_shard(&users.key(&1));
    settle().await;
}

/// Asserts that a leader and seven waiters of one load get its answer, and run it once, although
/// their shard dies `deaths` times, a tenth of the load's time apart. With each death one of them
/// is not seated again, but leads the flight that waits for the lease.
async fn load_survives(deaths: u32) {
    on_stage(async |stage| {
        let engine = stage.engine();
        let (users, loads) = (users(&engine), Loads::default());
        let leader = caller(&users, 1, loads.value("ann", SECOND));
        settle().await;
        let waiters = [(); 7].map(|()| caller(&users, 1, loads.value("another load", SECOND)));
        settle().await;
        assert_eq!(
            engine.census().await.seats,
            7,
            "they sit in the table that dies"
        );

        for _ in 0..deaths {
            kill(&engine, &users).await;
            sleep(SECOND / 10).await;
        }
        for call in std::iter::once(leader).chain(waiters) {
            assert_eq!(text(call.await.unwrap()), "ann");
        }
        assert_eq!(loads.count(), 1);
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_load_and_its_waiters_survive_the_death_of_their_shard() {
    load_survives(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_load_and_its_waiters_survive_several_deaths_in_a_row() {
    load_survives(7).await;
}

#[tokio::test(start_paused = true)]
async fn joins_that_wait_behind_the_death_in_the_mailbox_are_seated_by_the_successor() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let (users, loads) = (users(&engine), Loads::default());
        // The first call starts the shard.
        users
            .get_or_load(&1, loads.value("ann", SECOND))
            .await
            .unwrap();
        users.invalidate(&1).await;

        engine.kill_shard(&users.key(&1));
        let calls = [(); 3].map(|()| caller(&users, 1, loads.value("bob", SECOND)));
        for call in calls {
            assert_eq!(text(call.await.unwrap()), "bob");
        }
        assert_eq!(loads.count(), 2);
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_shard_died_before_the_lease_came_still_loads() {
    on_stage(async |stage| {
        let engine = stage.scripted_engine();
        let (users, loads) = (users(&engine), Loads::default());
        let gate = Arc::new(Semaphore::new(0));
        stage
            .script
            .once(BackendCall::Acquire, Act::GateAfter(Arc::clone(&gate)));
        let leader = caller(&users, 1, loads.value("ann", SECOND));
        settle().await;
        kill(&engine, &users).await;
        gate.add_permits(1);

        assert_eq!(text(leader.await.unwrap()), "ann");
        assert_eq!(loads.count(), 1);
        assert_eq!(
            users.get(&1).await.unwrap(),
            Lookup::Value(Arc::new("ann".to_owned())),
            "the fence let its fill pass"
        );
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_put_whose_shard_died_leaves_the_key_to_the_next_load() {
    on_stage(async |stage| {
        let engine = stage.scripted_engine();
        let users = users(&engine);
        let gate = Arc::new(Semaphore::new(0));
        stage
            .script
            .once(BackendCall::Seize, Act::GateAfter(Arc::clone(&gate)));
        let put = tokio::spawn({
            let users: Cache<_, _> = users.clone();
            async move { users.put(&1, "ann".to_owned()).await }
        });
        settle().await;
        assert_eq!(engine.census().await.puts, 1);
        kill(&engine, &users).await;
        gate.add_permits(1);

        assert_eq!(put.await.unwrap().unwrap(), Put::Superseded);
        assert_eq!(users.get(&1).await.unwrap(), Lookup::Miss);
        assert_free(&engine, &users).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_put_that_waits_behind_the_death_in_the_mailbox_leaves_the_key_to_the_next_load() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let users = users(&engine);
        users.put(&1, "old".to_owned()).await.unwrap();
        engine.kill_shard(&users.key(&1));
        let put = users.put(&1, "new".to_owned()).await;
        assert_eq!(put.unwrap(), Put::Superseded);
        assert_eq!(users.get(&1).await.unwrap(), Lookup::Miss);
        assert_free(&engine, &users).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn puts_after_a_death_are_stored() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let users = users(&engine);
        assert_eq!(users.put(&1, "ann".to_owned()).await.unwrap(), Put::Stored);
        kill(&engine, &users).await;
        assert_eq!(users.put(&1, "bob".to_owned()).await.unwrap(), Put::Stored);
        assert_eq!(
            users.get(&1).await.unwrap(),
            Lookup::Value(Arc::new("bob".to_owned()))
        );
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_takes_effect_although_its_shard_dies() {
    on_stage(async |stage| {
        let engine = stage.scripted_engine();
        let users = users(&engine);
        let gate = Arc::new(Semaphore::new(0));
        let invalidate = || {
            let users = users.clone();
            tokio::spawn(async move { users.invalidate(&1).await })
        };

        // It dies while the removal is under way.
        users.put(&1, "old".to_owned()).await.unwrap();
        stage
            .script
            .once(BackendCall::Remove, Act::GateBefore(Arc::clone(&gate)));
        let under_way = invalidate();
        settle().await;
        kill(&engine, &users).await;
        gate.add_permits(1);
        assert_eq!(under_way.await.unwrap(), Invalidation::Done);
        assert_eq!(users.get(&1).await.unwrap(), Lookup::Miss);

        // It dies with the word of it in its mailbox.
        users.put(&1, "old".to_owned()).await.unwrap();
        engine.kill_shard(&users.key(&1));
        assert_eq!(invalidate().await.unwrap(), Invalidation::Done);
        assert_eq!(users.get(&1).await.unwrap(), Lookup::Miss);
        assert_free(&engine, &users).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_load_that_outlives_its_shard_does_not_undo_an_invalidation() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let (users, loads) = (users(&engine), Loads::default());
        let leader = caller(&users, 1, loads.value("old", SECOND));
        settle().await;
        kill(&engine, &users).await;
        assert_eq!(users.invalidate(&1).await, Invalidation::Done);
        let after = caller(&users, 1, loads.value("new", 2 * SECOND));

        assert_eq!(text(leader.await.unwrap()), "old", "it was there before");
        assert_eq!(users.get(&1).await.unwrap(), Lookup::Miss);
        assert_eq!(text(after.await.unwrap()), "new");
        assert_eq!(loads.count(), 2);
        assert_eq!(
            users.get(&1).await.unwrap(),
            Lookup::Value(Arc::new("new".to_owned()))
        );
        sleep(Duration::from_secs(10)).await;
        assert_empty(&engine).await;
    })
    .await;
}
