//! Once its last handle is dropped and what ran has ended, nothing of an engine is left.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests fail by panicking"
)]

mod support;

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use cache_core::{
    BackendCall, Engine, EngineBuilder, Invalidation,
    testing::{Act, Script, Scripted},
};
use cache_memory::{Clock, Memory, TokioClock};
use futures_util::poll;
use tokio::{
    task::{LocalSet, yield_now},
    time::timeout,
};

use self::support::{Loads, settle, users};

/// What anything here may take; it passes much earlier, or hangs.
const HANG: Duration = Duration::from_secs(30);

const LOAD: Duration = Duration::from_secs(1);

/// A clock that is dropped with its store.
#[derive(Debug)]
struct Watched {
    clock: TokioClock,
    _alive: Arc<()>,
}

impl Clock for Watched {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn is_real_time(&self) -> bool {
        false
    }
}

/// A store, and a sign of its life.
fn watched() -> (Memory, Weak<()>) {
    let alive = Arc::new(());
    let sign = Arc::downgrade(&alive);
    let clock = Watched {
        clock: TokioClock,
        _alive: alive,
    };
    let memory = Memory::builder().max_entries(100).clock(clock).build();
    (memory.unwrap(), sign)
}

/// Uses an engine for all that starts tasks, and drops it.
async fn use_and_drop(builder: EngineBuilder) {
    let engine = builder.build().unwrap();
    let users = users(&engine);
    for key in 0..100 {
        let load = users.get_or_load(&key, Loads::default().value("1", Duration::ZERO));
        assert_eq!(*load.await.unwrap().unwrap(), "1");
    }
    users.put(&1, "2".to_owned()).await.unwrap();
    assert_eq!(users.invalidate(&1).await, Invalidation::Done);
    engine.clear().await.unwrap();
}

async fn is_gone(store: Weak<()>) {
    let gone = async {
        while store.strong_count() > 0 {
            yield_now().await;
        }
    };
    timeout(HANG, gone).await.expect("the store is dropped");
}

#[tokio::test(start_paused = true)]
async fn no_task_is_left_on_a_local_set() {
    let (memory, store) = watched();
    let local = LocalSet::new();
    let builder = Engine::builder(memory).on_local_set(&local);
    local.run_until(use_and_drop(builder)).await;
    assert_eq!(timeout(HANG, local).await, Ok(()), "the set has ended");
    assert_eq!(store.strong_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_clone_and_a_cache_keep_an_engine_alive() {
    let (memory, store) = watched();
    let local = LocalSet::new();
    let engine = Engine::builder(memory).on_local_set(&local).build();
    let engine = engine.unwrap();
    let users = users(&engine.clone());
    drop(engine);
    let load = users.get_or_load(&1, Loads::default().value("1", LOAD));
    assert_eq!(*local.run_until(load).await.unwrap().unwrap(), "1");
    assert_eq!(store.strong_count(), 1);
    drop(users);
    assert_eq!(timeout(HANG, local).await, Ok(()), "the set has ended");
    assert_eq!(store.strong_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_runs_when_the_last_handle_is_dropped_is_seen_through() {
    let (memory, store) = watched();
    let (script, loads, local) = (Script::default(), Loads::default(), LocalSet::new());
    let engine = Engine::builder(Scripted::new(memory, &script)).on_local_set(&local);
    let users = users(&engine.build().unwrap());
    let work = async {
        let mut call = Box::pin(users.get_or_load(&1, loads.value("1", LOAD)));
        assert!(poll!(call.as_mut()).is_pending());
        settle().await;
        assert_eq!(loads.count(), 1);
    };
    local.run_until(work).await;
    drop(users);
    assert!(store.strong_count() > 0);
    assert_eq!(timeout(HANG, local).await, Ok(()), "the set has ended");
    assert_eq!(script.calls(BackendCall::Fill), 1, "it was stored");
    assert_eq!(store.strong_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_owed_removal_is_tried_once_more_when_the_last_handle_is_dropped() {
    let (memory, store) = watched();
    let (script, local) = (Script::default(), LocalSet::new());
    let engine = Engine::builder(Scripted::new(memory, &script)).on_local_set(&local);
    let users = users(&engine.build().unwrap());
    script.always(BackendCall::Remove, Act::Fail);
    let invalidation = local.run_until(users.invalidate(&1)).await;
    assert_eq!(invalidation, Invalidation::Queued);
    drop(users);
    // Long before the first pause between two attempts is over.
    let soon = timeout(Duration::from_millis(1), local).await;
    assert_eq!(soon, Ok(()), "the set has ended");
    assert_eq!(script.calls(BackendCall::Remove), 2);
    assert_eq!(store.strong_count(), 0);
}

#[tokio::test]
async fn nothing_is_left_on_threads_of_the_librarys_own() {
    let (memory, store) = watched();
    use_and_drop(Engine::builder(memory)).await;
    is_gone(store).await;
}

#[test]
fn nothing_is_left_on_an_actix_system() {
    actix_rt::System::new().block_on(async {
        let (memory, store) = watched();
        use_and_drop(Engine::builder(memory).on_current_system()).await;
        is_gone(store).await;
    });
}
