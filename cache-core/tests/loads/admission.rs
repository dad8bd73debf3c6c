//! How many callers may wait at once.

use std::{future::Future, time::Duration};

use cache_core::{Engine, Error, ErrorKind, Invalidation, Lookup, Put};
use tokio::time::{Instant, sleep};

use crate::{
    SECOND, Users,
    support::{Loads, Stage, assert_empty, caller, on_stage, settle, users},
    text,
};

/// An engine that lets one caller wait, and that caller, held up for a second.
fn full(stage: &Stage) -> (Engine, Users, impl Future<Output = String> + use<>) {
    let engine = stage.builder(stage.memory.clone()).max_waiting(1);
    let engine = engine.build().unwrap();
    let users = users(&engine);
    let first = caller(&users, 1, Loads::default().value("ann", SECOND));
    (engine, users, async move { text(first.await.unwrap()) })
}

#[tokio::test(start_paused = true)]
async fn a_caller_too_many_is_overloaded_until_a_place_is_given_back() {
    on_stage(async |stage| {
        let (engine, users, first) = full(&stage);
        settle().await;
        let loads = Loads::default();
        for key in [1, 2] {
            let began = Instant::now();
            let error = users.get_or_load(&key, loads.value("-", SECOND)).await;
            let error = error.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Overloaded);
            assert_eq!(
                error.to_string(),
                "too many callers wait for loads already: shed load, or raise the engine's \
                 `max_waiting`"
            );
            assert_eq!(began.elapsed(), Duration::ZERO, "at once");
        }
        assert_eq!(first.await, "ann");
        assert_eq!(loads.count(), 0);

        // One who leaves gives the place back too, when the load they began has ended.
        let second = caller(&users, 2, loads.value("bob", SECOND));
        settle().await;
        assert_eq!(engine.census().await.waiting, 1);
        second.abort();
        sleep(SECOND).await;
        settle().await;
        let third = users.get_or_load(&3, loads.value("cid", SECOND)).await;
        assert_eq!(text(third), "cid");
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn hits_writes_and_invalidations_pass_a_full_admission() {
    on_stage(async |stage| {
        let (engine, users, first) = full(&stage);
        settle().await;
        assert_eq!(engine.census().await.waiting, 1);
        assert_eq!(users.put(&2, "bob".to_owned()).await.unwrap(), Put::Stored);
        let hit = users.get_or_load(&2, Loads::default().value("-", SECOND));
        assert_eq!(text(hit.await), "bob");
        assert_eq!(users.invalidate(&2).await, Invalidation::Done);
        assert_eq!(users.get(&2).await.unwrap(), Lookup::Miss);
        assert_eq!(first.await, "ann");
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn calls_inside_a_load_wait_under_the_permit_of_the_call_they_serve() {
    on_stage(async |stage| {
        let engine = stage.builder(stage.memory.clone()).max_waiting(1);
        let engine = engine.build().unwrap();
        let users = users(&engine);
        let inner = users.clone();
        let outer = users.get_or_load(&1, || async move {
            let manager = inner.get_or_load(&2, Loads::default().value("bob", SECOND));
            Ok::<_, Error>(format!("of {}", text(manager.await)))
        });
        assert_eq!(text(outer.await), "of bob");
        assert_empty(&engine).await;
    })
    .await;
}
