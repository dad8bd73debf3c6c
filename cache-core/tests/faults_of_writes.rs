//! Writes while the store fails, hangs, takes its time or panics.
//!
//! A write that got no definite answer leaves nothing of before to be read: its removal is seen
//! to, now or as soon as the store is back.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

use std::{sync::Arc, time::Duration};

use cache_core::{BackendCall, Cache, Engine, ErrorKind, Invalidation, Lookup, Put, testing::Act};
use futures_util::poll;
use tokio::{
    sync::Semaphore,
    task::{LocalSet, spawn_local},
    time::{Instant, advance, sleep},
};

use self::support::{
    EVERY_CALL, Fault, Loads, Stage, assert_empty, is_leased, memory, on_stage, settle, user_key,
    users,
};

const DEADLINE: Duration = Duration::from_secs(1);

/// The first and the longest pause between two attempts to deliver a removal.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// An engine over the scripted store, whose key 1 holds `old`.
async fn warm(stage: &Stage) -> (Engine, Cache<u64, String>) {
    let engine = stage.scripted_engine();
    let users = users(&engine);
    let put = users.put(&1, "old".to_owned()).await;
    assert_eq!(put.unwrap(), Put::Stored);
    (engine, users)
}

/// What any other engine on the same store reads.
async fn stored(stage: &Stage) -> Option<String> {
    let found = users(&stage.engine()).get(&1).await.unwrap();
    assert_ne!(found, Lookup::Absent);
    found.value().map(|value| (*value).clone())
}

/// The key can be loaded and stored, and nothing is left of what happened to it.
async fn assert_loadable(stage: &Stage, engine: &Engine, users: &Cache<u64, String>, case: &str) {
    assert!(!is_leased(&stage.memory, &user_key(1)).await, "{case}");
    users.invalidate(&1).await;
    let again = users
        .get_or_load(&1, Loads::default().value("again", DEADLINE))
        .await;
    assert_eq!(*again.unwrap().unwrap(), "again", "{case}");
    assert_eq!(stored(stage).await.as_deref(), Some("again"), "{case}");
    assert_empty(engine).await;
}

#[tokio::test(start_paused = true)]
async fn a_put_is_stored_or_its_key_is_removed() {
    for call in [BackendCall::Seize, BackendCall::Fill] {
        for fault in Fault::all(DEADLINE) {
            on_stage(async |stage| {
                let case = format!("{call:?}, {fault:?}");
                let (engine, users) = warm(&stage).await;
                stage.script.once(call, fault.act.clone());

                let began = Instant::now();
                let put = users.put(&1, "new".to_owned()).await;
                let put = put.map_err(|error| error.kind());
                assert_eq!(put, fault.answer(Put::Stored), "{case}");
                let longest = fault.delay.min(DEADLINE) + Duration::from_millis(1);
                assert!(began.elapsed() <= longest, "{case}: {:?}", began.elapsed());
                let expected = fault.is_answered.then_some("new");
                assert_eq!(stored(&stage).await.as_deref(), expected, "{case}");

                assert_empty(&engine).await;
                assert_loadable(&stage, &engine, &users, &case).await;
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_removal_that_a_failed_put_owes_is_delivered_when_the_store_is_back() {
    for fault in Fault::all(DEADLINE) {
        on_stage(async |stage| {
            let case = format!("{fault:?}");
            let (engine, users) = warm(&stage).await;
            stage.script.always(BackendCall::Seize, Act::Fail);
            stage.script.always(BackendCall::Remove, fault.act.clone());

            let began = Instant::now();
            let put = users.put(&1, "new".to_owned()).await;
            assert_eq!(
                put.map_err(|error| error.kind()),
                Err(ErrorKind::Unavailable),
                "{case}"
            );
            assert!(
                began.elapsed() <= DEADLINE + Duration::from_millis(1),
                "{case}"
            );
            let owed = usize::from(!fault.is_answered);
            assert_eq!(engine.census().await.owed, owed, "{case}");

            stage.script.reset();
            sleep(BACKOFF.0 + DEADLINE).await;
            assert_eq!(stored(&stage).await, None, "{case}");
            assert_empty(&engine).await;
            assert_loadable(&stage, &engine, &users, &case).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_put_that_meets_another_write_is_superseded_whatever_becomes_of_its_release() {
    for fault in Fault::all(DEADLINE) {
        on_stage(async |stage| {
            let case = format!("{fault:?}");
            let (engine, users) = warm(&stage).await;
            let gate = Arc::new(Semaphore::new(0));
            stage
                .script
                .once(BackendCall::Seize, Act::GateAfter(Arc::clone(&gate)));
            stage.script.once(BackendCall::Release, fault.act.clone());

            let put = {
                let users = users.clone();
                spawn_local(async move { users.put(&1, "new".to_owned()).await })
            };
            settle().await;
            assert_eq!(users.invalidate(&1).await, Invalidation::Done, "{case}");
            let began = Instant::now();
            gate.add_permits(1);
            assert_eq!(put.await.unwrap().unwrap(), Put::Superseded, "{case}");
            let longest = fault.delay.min(DEADLINE) + Duration::from_millis(1);
            assert!(began.elapsed() <= longest, "{case}: {:?}", began.elapsed());
            assert_eq!(stored(&stage).await, None, "{case}");
            assert_empty(&engine).await;
            assert_loadable(&stage, &engine, &users, &case).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_is_done_or_queued_and_then_delivered() {
    for fault in Fault::all(DEADLINE) {
        on_stage(async |stage| {
            let case = format!("{fault:?}");
            let (engine, users) = warm(&stage).await;
            stage.script.once(BackendCall::Remove, fault.act.clone());

            let began = Instant::now();
            let invalidation = engine.invalidate([users.key(&1), users.key(&2)]).await;
            let (expected, owed) = if fault.is_answered {
                (Invalidation::Done, 0)
            } else {
                (Invalidation::Queued, 2)
            };
            assert_eq!(invalidation, expected, "{case}");
            let longest = fault.delay.min(DEADLINE) + Duration::from_millis(1);
            assert!(began.elapsed() <= longest, "{case}: {:?}", began.elapsed());
            assert_eq!(engine.census().await.owed, owed, "{case}");
            let left = (!fault.takes_effect).then_some("old");
            assert_eq!(stored(&stage).await.as_deref(), left, "{case}");

            sleep(BACKOFF.0).await;
            settle().await;
            assert_eq!(engine.census().await.owed, 0, "{case}");
            assert_eq!(stored(&stage).await, None, "{case}");
            assert_empty(&engine).await;
            assert_loadable(&stage, &engine, &users, &case).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_removal_is_delivered_a_minute_after_a_long_outage_ends_at_the_latest() {
    for fault in Fault::all(DEADLINE)
        .into_iter()
        .filter(|fault| !fault.is_answered)
    {
        on_stage(async |stage| {
            let case = format!("{fault:?}");
            let (engine, users) = warm(&stage).await;
            stage.script.always(BackendCall::Remove, fault.act.clone());
            assert_eq!(users.invalidate(&1).await, Invalidation::Queued, "{case}");
            // Again, while it is queued: one key is owed once.
            assert_eq!(users.invalidate(&1).await, Invalidation::Queued, "{case}");

            sleep(Duration::from_secs(3600)).await;
            assert_eq!(engine.census().await.owed, 1, "never given up: {case}");
            let attempts = stage.script.calls(BackendCall::Remove);
            assert!(
                (60..80).contains(&attempts),
                "neither idle nor busy: {case}, {attempts}"
            );

            stage.script.reset();
            sleep(BACKOFF.1 + DEADLINE).await;
            assert_empty(&engine).await;
            assert_eq!(stored(&stage).await, None, "{case}");
            assert_loadable(&stage, &engine, &users, &case).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_clear_says_whether_the_store_confirmed() {
    for fault in Fault::all(DEADLINE) {
        on_stage(async |stage| {
            let case = format!("{fault:?}");
            let (engine, users) = warm(&stage).await;
            stage.script.once(BackendCall::Clear, fault.act.clone());

            let began = Instant::now();
            let cleared = engine.clear().await.map_err(|error| error.kind());
            assert_eq!(cleared, fault.answer(()), "{case}");
            let longest = fault.delay.min(DEADLINE) + Duration::from_millis(1);
            assert!(began.elapsed() <= longest, "{case}: {:?}", began.elapsed());
            let left = (!fault.takes_effect).then_some("old");
            assert_eq!(stored(&stage).await.as_deref(), left, "{case}");

            assert_eq!(
                engine.clear().await.map_err(|error| error.kind()),
                Ok(()),
                "{case}"
            );
            assert_eq!(stored(&stage).await, None, "{case}");
            assert_empty(&engine).await;
            assert_loadable(&stage, &engine, &users, &case).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_at_its_deadline_and_says_what_is_left() {
    for fault in Fault::all(DEADLINE)
        .into_iter()
        .filter(|fault| !fault.is_answered)
    {
        on_stage(async |stage| {
            let case = format!("{fault:?}");
            let (engine, users) = warm(&stage).await;
            for call in EVERY_CALL {
                stage.script.always(call, fault.act.clone());
            }
            assert_eq!(users.invalidate(&1).await, Invalidation::Queued, "{case}");

            let began = Instant::now();
            let report = engine.shutdown(2 * DEADLINE).await;
            assert!(
                began.elapsed() <= 2 * DEADLINE,
                "{case}: {:?}",
                began.elapsed()
            );
            assert_eq!((report.still_running, report.undelivered), (0, 1), "{case}");
            // What is asked for afterwards is tried once.
            let tried = stage.script.calls(BackendCall::Remove);
            stage.script.reset();
            assert_eq!(users.invalidate(&1).await, Invalidation::Done, "{case}");
            assert_eq!(stage.script.calls(BackendCall::Remove), tried + 1, "{case}");
            assert_eq!(stored(&stage).await, None, "{case}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_put_whose_seize_is_late_after_its_call_is_not_stored() {
    let local = LocalSet::new();
    let engine = Engine::builder(memory()).on_local_set(&local).build();
    let users = users(&engine.unwrap());
    for (held_up, is_stored) in [
        (DEADLINE, true),
        (DEADLINE + Duration::from_millis(1), false),
    ] {
        // Called now; the thread that is to send the `seize` has no time for it until later.
        let mut put = Box::pin(users.put(&1, "new".to_owned()));
        assert!(poll!(put.as_mut()).is_pending());
        advance(held_up).await;
        let put = local.run_until(put).await;
        if is_stored {
            assert_eq!(put.unwrap(), Put::Stored);
        } else {
            assert_eq!(put.unwrap_err().kind(), ErrorKind::Unavailable);
            let lookup = users.get(&1).await.unwrap();
            assert_eq!(lookup, Lookup::Miss, "the one before is gone too");
        }
    }
}
