//! Loads whose runtime is dropped, or driven by nobody.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

use std::{
    future::{Future, pending},
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use cache_core::{Cache, Engine, Error, ErrorKind};
use futures_util::{
    future::{BoxFuture, join_all},
    poll,
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
    task::{JoinHandle, spawn_blocking, spawn_local, yield_now},
    time::{Instant, timeout},
};

use self::support::{
    Loads, assert_empty, is_leased, memory, on_stage, settle, until_empty, user_key, users,
};

const LOAD: Duration = Duration::from_millis(50);

const LOAD_TIMEOUT: Duration = Duration::from_secs(30);

/// What a test may take that runs in real time; it passes much earlier, or hangs.
const HANG: Duration = Duration::from_secs(30);

type Loading = BoxFuture<'static, Result<String, io::Error>>;

type Answer = Result<Option<Arc<String>>, Error>;

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Polls `call` once, as a caller on `runtime` does.
fn poll_on<F: Future>(runtime: &Runtime, call: Pin<&mut F>) -> Poll<F::Output> {
    let _entered = runtime.enter();
    call.poll(&mut Context::from_waker(Waker::noop()))
}

/// A loader that never ends, and a sign that it began.
fn endless() -> (impl FnOnce() -> Loading, oneshot::Receiver<()>) {
    let (began, has_begun) = oneshot::channel();
    let loader = move || -> Loading {
        Box::pin(async move {
            began.send(()).unwrap();
            pending().await
        })
    };
    (loader, has_begun)
}

/// Drives `runtime` until a load on it has begun, then drops it.
///
/// On a thread that a paused clock waits for.
async fn drive_and_drop(runtime: Runtime, has_begun: oneshot::Receiver<()>) {
    let task = move || {
        runtime.block_on(has_begun).unwrap();
        drop(runtime);
    };
    spawn_blocking(task).await.unwrap();
}

/// Callers of key 1 on this stage.
fn waiters(users: &Cache<u64, String>, loads: &Loads, count: usize) -> Vec<JoinHandle<Answer>> {
    let call = |_| {
        let (users, loader) = (users.clone(), loads.value("next", LOAD));
        spawn_local(async move { users.get_or_load(&1, loader).await })
    };
    (0..count).map(call).collect()
}

async fn assert_loadable(engine: &Engine, users: &Cache<u64, String>) {
    let again = users.get_or_load(&1, Loads::default().value("again", LOAD));
    assert_eq!(*again.await.unwrap().unwrap(), "again");
    assert_empty(engine).await;
}

#[tokio::test(start_paused = true)]
async fn a_load_that_vanishes_with_its_runtime_passes_to_the_next_loader() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let (users, loads) = (users(&engine), Loads::default());
        let runtime = current_thread();
        let (loader, has_begun) = endless();
        let mut leader = Box::pin(users.get_or_load(&1, loader));
        assert!(poll_on(&runtime, leader.as_mut()).is_pending());
        settle().await;

        // The next in line is gone by then, the one behind it waits on the same runtime.
        let mut gone = Box::pin(users.get_or_load(&1, loads.value("gone", LOAD)));
        assert!(poll!(gone.as_mut()).is_pending());
        let mut lost = Box::pin(users.get_or_load(&1, loads.value("lost", LOAD)));
        assert!(poll_on(&runtime, lost.as_mut()).is_pending());
        let waiters = waiters(&users, &loads, 3);
        settle().await;
        drop(gone);

        let began = Instant::now();
        drive_and_drop(runtime, has_begun).await;
        for waiter in waiters {
            assert_eq!(*waiter.await.unwrap().unwrap().unwrap(), "next");
        }
        assert_eq!(began.elapsed(), LOAD, "the vanishing is noticed at once");
        assert_eq!(loads.count(), 1, "one load serves all");
        for caller in [leader.await, lost.await] {
            assert_eq!(
                *caller.unwrap().unwrap(),
                "next",
                "its runtime took its load only"
            );
        }
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_load_that_vanishes_with_the_last_loader_is_abandoned() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let (users, loads) = (users(&engine), Loads::default());
        let runtime = current_thread();
        let (loader, has_begun) = endless();
        let mut leader = Box::pin(users.get_or_load(&1, loader));
        assert!(poll_on(&runtime, leader.as_mut()).is_pending());
        let mut waiter = Box::pin(users.get_or_load(&1, loads.value("lost", LOAD)));
        assert!(poll_on(&runtime, waiter.as_mut()).is_pending());
        settle().await;

        drive_and_drop(runtime, has_begun).await;
        for caller in [leader.await, waiter.await] {
            let kind = caller.map_err(|error| error.kind());
            assert_eq!(kind, Err(ErrorKind::Abandoned));
        }
        assert_eq!(loads.count(), 0);
        settle().await;
        let is_leased = is_leased(&stage.memory, &user_key(1)).await;
        assert!(!is_leased, "the lease is released");
        assert_loadable(&engine, &users).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_load_on_a_runtime_that_is_gone_already_passes_to_the_next_loader() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let (users, loads) = (users(&engine), Loads::default());
        let runtime = current_thread();
        let mut leader = Box::pin(users.get_or_load(&1, loads.value("lost", LOAD)));
        assert!(poll_on(&runtime, leader.as_mut()).is_pending());
        runtime.shutdown_background();

        let waiters = waiters(&users, &loads, 2);
        for waiter in waiters {
            assert_eq!(*waiter.await.unwrap().unwrap().unwrap(), "next");
        }
        assert_eq!(*leader.await.unwrap().unwrap(), "next");
        assert_eq!(loads.count(), 1);
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_load_on_a_runtime_that_nobody_drives_times_out() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let (users, loads) = (users(&engine), Loads::default());
        let runtime = current_thread();
        let began = Instant::now();
        let mut leader = Box::pin(users.get_or_load(&1, loads.value("never", LOAD)));
        assert!(poll_on(&runtime, leader.as_mut()).is_pending());

        let waiters = waiters(&users, &loads, 2);
        for waiter in waiters {
            let kind = waiter.await.unwrap().map_err(|error| error.kind());
            assert_eq!(kind, Err(ErrorKind::LoadTimeout));
        }
        let kind = leader.await.map_err(|error| error.kind());
        assert_eq!(kind, Err(ErrorKind::LoadTimeout));
        assert_eq!(began.elapsed(), LOAD_TIMEOUT);
        assert_eq!(loads.count(), 0);

        settle().await;
        assert!(!is_leased(&stage.memory, &user_key(1)).await);
        assert_loadable(&engine, &users).await;
        runtime.shutdown_background();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_on_a_runtime_that_nobody_drives_holds_nobody_up() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let (users, loads) = (users(&engine), Loads::default());
        let runtime = current_thread();
        let leader = waiters(&users, &loads, 1);
        settle().await;
        // It waits for the load of another, and is not polled again.
        let mut idle = Box::pin(users.get_or_load(&1, loads.value("never", LOAD)));
        assert!(poll_on(&runtime, idle.as_mut()).is_pending());

        let began = Instant::now();
        for caller in leader.into_iter().chain(waiters(&users, &loads, 2)) {
            assert_eq!(*caller.await.unwrap().unwrap().unwrap(), "next");
        }
        assert_eq!(began.elapsed(), LOAD);
        drop(idle);
        assert_empty(&engine).await;
        runtime.shutdown_background();
    })
    .await;
}

#[tokio::test]
async fn waiters_of_another_runtime_take_over_when_that_of_the_leader_is_dropped() {
    // Everything on threads of its own: the shards, the leader, the waiters.
    let engine = Engine::builder(memory()).build().unwrap();
    let (users, loads) = (users(&engine), Loads::default());
    let theirs = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (loader, has_begun) = endless();
    let leader = {
        let users = users.clone();
        theirs.spawn(async move { users.get_or_load(&1, loader).await })
    };
    has_begun.await.unwrap();

    let waiters = (0..3).map(|_| users.get_or_load(&1, loads.value("next", Duration::ZERO)));
    let mut waiters = Box::pin(join_all(waiters));
    assert!(poll!(waiters.as_mut()).is_pending());
    let seated = async {
        while engine.census().await.seats < 3 {
            yield_now().await;
        }
    };
    timeout(HANG, seated).await.expect("all take their seats");
    theirs.shutdown_background();

    let answers = timeout(HANG, waiters).await.expect("nobody hangs");
    for answer in answers {
        assert_eq!(*answer.unwrap().unwrap(), "next");
    }
    assert_eq!(loads.count(), 1, "one load serves all");
    assert!(leader.await.unwrap_err().is_cancelled());
    timeout(HANG, until_empty(&engine)).await.unwrap();
}
