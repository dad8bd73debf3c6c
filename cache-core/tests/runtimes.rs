//! Where the cache can be used, and what is left of it when that place ends.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests fail by panicking"
)]

mod support;

use std::{
    future::Future,
    io,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use cache_core::{
    BackendCall, BuildError, Cache, Engine, Error, ErrorKind, Invalidation, Lookup, Put,
    testing::{Act, Script, Scripted},
};
use cache_memory::Memory;
use futures_util::poll;
use tokio::{
    runtime::{Builder, Runtime},
    sync::{Semaphore, oneshot},
    task::{LocalSet, yield_now},
    time::timeout,
};

use self::support::{Loads, memory, settle, until_empty, users};

/// What anything here may take; it passes much earlier, or hangs.
const HANG: Duration = Duration::from_secs(30);

const NOW: Duration = Duration::ZERO;

fn store() -> Memory {
    Memory::builder().max_entries(100).build().unwrap()
}

fn multi_thread() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
}

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Runs `future` outside any runtime.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

fn kind<T>(answer: Result<T, Error>) -> Result<T, ErrorKind> {
    answer.map_err(|error| error.kind())
}

/// Everything a service does with a cache.
async fn serves(engine: &Engine) {
    let (users, loads) = (users(engine), Loads::default());
    let work = async {
        let load = users.get_or_load(&1, loads.value("loaded", NOW)).await;
        assert_eq!(*load.unwrap().unwrap(), "loaded");
        let hit = users.get_or_load(&1, loads.value("again", NOW)).await;
        assert_eq!(*hit.unwrap().unwrap(), "loaded");
        let put = users.put(&1, "put".to_owned()).await;
        assert_eq!(put.unwrap(), Put::Stored);
        let found = users.get(&1).await.unwrap().value();
        assert_eq!(found.as_deref().map(String::as_str), Some("put"));
        assert_eq!(users.invalidate(&1).await, Invalidation::Done);
        assert_eq!(users.get(&1).await.unwrap(), Lookup::Miss);
        engine.clear().await.unwrap();
    };
    timeout(HANG, work).await.expect("nothing hangs");
    assert_eq!(loads.count(), 1);
    timeout(HANG, until_empty(engine)).await.unwrap();
}

#[test]
fn it_works_on_a_multi_thread_runtime() {
    let engine = Engine::builder(store()).build().unwrap();
    multi_thread().block_on(serves(&engine));
    let runtime = multi_thread();
    let task = runtime.spawn(async move { serves(&engine).await });
    runtime
        .block_on(task)
        .expect("its futures travel between threads");
}

#[test]
fn it_works_on_a_current_thread_runtime() {
    let engine = Engine::builder(store()).build().unwrap();
    current_thread().block_on(serves(&engine));
}

#[test]
fn it_works_inside_an_actix_system_with_shards_on_its_own_threads() {
    actix_rt::System::new().block_on(async {
        let engine = Engine::builder(store()).build().unwrap();
        serves(&engine).await;
    });
}

#[test]
fn it_works_inside_an_actix_system_with_its_shards_on_that_system() {
    actix_rt::System::new().block_on(async {
        let engine = Engine::builder(store()).on_current_system().build();
        serves(&engine.unwrap()).await;
    });
}

#[test]
fn it_works_on_a_local_set() {
    let local = LocalSet::new();
    let engine = Engine::builder(store()).on_local_set(&local).build();
    local.block_on(&current_thread(), serves(&engine.unwrap()));
}

#[test]
fn without_an_actix_system_there_is_none_to_run_on() {
    let built = Engine::builder(store()).on_current_system().build();
    assert!(matches!(built.unwrap_err(), BuildError::NoSystem));
}

#[test]
fn a_caller_on_one_runtime_waits_for_the_load_of_another() {
    let engine = Engine::builder(store()).build().unwrap();
    let (users, loads) = (users(&engine), Loads::default());
    let gate = Arc::new(Semaphore::new(0));
    let (ours, theirs) = (current_thread(), multi_thread());
    let (began, has_begun) = oneshot::channel();
    let leader = {
        let (users, gate) = (users.clone(), Arc::clone(&gate));
        let loader = move || async move {
            began.send(()).unwrap();
            gate.acquire().await.unwrap().forget();
            Ok::<_, io::Error>("theirs".to_owned())
        };
        theirs.spawn(async move { users.get_or_load(&1, loader).await })
    };
    let work = async {
        has_begun.await.unwrap();
        let mut waiter = pin!(users.get_or_load(&1, loads.value("ours", NOW)));
        assert!(poll!(waiter.as_mut()).is_pending());
        while engine.census().await.seats == 0 {
            yield_now().await;
        }
        gate.add_permits(1);
        assert_eq!(*waiter.await.unwrap().unwrap(), "theirs");
        assert_eq!(*leader.await.unwrap().unwrap().unwrap(), "theirs");
        assert_eq!(loads.count(), 0, "one load for both");
    };
    ours.block_on(async { timeout(HANG, work).await.expect("nobody hangs") });
}

#[test]
fn outside_any_runtime_there_is_nowhere_to_load_but_all_else_works() {
    let engine = Engine::builder(store()).build().unwrap();
    let (users, loads) = (users(&engine), Loads::default());
    block_on(async {
        let miss = users.get_or_load(&1, loads.value("loaded", NOW)).await;
        assert_eq!(kind(miss), Err(ErrorKind::NoRuntime));
        assert_eq!(loads.count(), 0);
        assert_eq!(users.get(&1).await.unwrap(), Lookup::Miss);
        assert_eq!(users.put(&1, "put".to_owned()).await.unwrap(), Put::Stored);
        let hit = users.get_or_load(&1, loads.value("loaded", NOW)).await;
        assert_eq!(*hit.unwrap().unwrap(), "put");
        assert_eq!(users.get_many(&[1, 2]).await.len(), 2);
        assert_eq!(users.invalidate(&1).await, Invalidation::Done);
        assert_eq!(users.get(&1).await.unwrap(), Lookup::Miss);
        engine.clear().await.unwrap();
        let report = engine.shutdown(HANG).await;
        assert_eq!((report.still_running, report.undelivered), (0, 0));
    });
}

/// An engine over a store that never answers a read.
fn silent() -> Engine {
    let (script, gate) = (Script::default(), Arc::new(Semaphore::new(0)));
    let engine = Engine::builder(Scripted::new(store(), &script)).build();
    script.ask();
    script.always(BackendCall::Get, Act::GateBefore(Arc::clone(&gate)));
    script.always(BackendCall::GetMany, Act::GateBefore(gate));
    engine.unwrap()
}

/// Reads that would have to wait, where there are no timers to limit that.
async fn reads_answer_that_there_is_no_runtime(users: &Cache<u64, String>) {
    assert_eq!(kind(users.get(&1).await), Err(ErrorKind::NoRuntime));
    for answer in users.get_many(&[1, 2]).await {
        assert_eq!(kind(answer), Err(ErrorKind::NoRuntime));
    }
}

#[test]
fn outside_any_runtime_a_read_that_would_have_to_wait_is_an_error() {
    let users = users(&silent());
    block_on(async {
        reads_answer_that_there_is_no_runtime(&users).await;
        let miss = users.get_or_load(&1, Loads::default().value("loaded", NOW));
        assert_eq!(kind(miss.await), Err(ErrorKind::NoRuntime));
    });
}

#[test]
fn on_a_runtime_without_timers_a_read_that_would_have_to_wait_is_an_error_and_a_load_runs() {
    let engine = silent();
    let users = users(&engine);
    let runtime = Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        reads_answer_that_there_is_no_runtime(&users).await;
        let loader = async || Ok::<_, io::Error>("loaded".to_owned());
        let load = users.get_or_load(&1, loader).await;
        assert_eq!(*load.unwrap().unwrap(), "loaded");
        until_empty(&engine).await;
    });
}

/// What an engine answers whose shards have nowhere to run any more.
async fn answers_without_shards(engine: &Engine, key: u64) {
    let users = users(engine);
    let calls = async {
        let miss = users.get_or_load(&key, Loads::default().value("loaded", NOW));
        assert_eq!(kind(miss.await), Err(ErrorKind::Shutdown));
        let put = users.put(&key, "put".to_owned()).await;
        assert_eq!(kind(put), Err(ErrorKind::Shutdown));
        assert_eq!(users.invalidate(&key).await, Invalidation::Done);
        assert_eq!(kind(engine.clear().await), Err(ErrorKind::Shutdown));
        let report = engine.shutdown(NOW).await;
        assert_eq!((report.still_running, report.undelivered), (0, 0));
    };
    timeout(HANG, calls).await.expect("nothing hangs");
}

#[test]
fn a_miss_after_the_end_of_its_actix_system_answers_shutdown() {
    let system = actix_rt::System::new();
    let engine = system.block_on(async {
        let engine = Engine::builder(store()).on_current_system().build();
        let engine = engine.unwrap();
        serves(&engine).await;
        engine
    });
    drop(system);
    current_thread().block_on(async {
        // A key whose shard has run, and keys of shards that never did.
        for key in 1..100 {
            answers_without_shards(&engine.clone(), key).await;
        }
    });
}

#[tokio::test(start_paused = true)]
async fn a_miss_after_the_end_of_its_local_set_answers_shutdown() {
    let local = LocalSet::new();
    let engine = Engine::builder(memory()).on_local_set(&local).build();
    let engine = engine.unwrap();
    local.run_until(serves(&engine)).await;
    drop(local);
    for key in 1..100 {
        answers_without_shards(&engine, key).await;
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_end_of_its_local_set_a_write_leaves_no_old_value_and_owes_what_it_cannot() {
    let (local, script) = (LocalSet::new(), Script::default());
    let backend = Scripted::new(memory(), &script);
    let engine = Engine::builder(backend).on_local_set(&local).build();
    let engine = engine.unwrap();
    let users = users(&engine);
    local
        .run_until(async { users.put(&1, "old".to_owned()).await.unwrap() })
        .await;
    drop(local);

    let put = users.put(&1, "new".to_owned()).await;
    assert_eq!(kind(put), Err(ErrorKind::Shutdown));
    assert_eq!(
        users.get(&1).await.unwrap(),
        Lookup::Miss,
        "not the old one"
    );

    script.once(BackendCall::Remove, Act::Fail);
    assert_eq!(users.invalidate(&1).await, Invalidation::Queued);
    let report = engine.shutdown(NOW).await;
    assert_eq!(report.undelivered, 1, "nobody is left to deliver it");
}

#[tokio::test(start_paused = true)]
async fn callers_who_wait_when_their_local_set_ends_do_not_hang() {
    let local = LocalSet::new();
    let engine = Engine::builder(memory()).on_local_set(&local).build();
    let users = users(&engine.unwrap());
    let loads = Loads::default();
    let mut leader = Box::pin(users.get_or_load(&1, loads.value("1", HANG)));
    let mut waiter = Box::pin(users.get_or_load(&1, loads.value("2", HANG)));
    let mut put = Box::pin(users.put(&2, "put".to_owned()));
    local
        .run_until(async {
            assert!(poll!(leader.as_mut()).is_pending());
            settle().await;
            assert!(poll!(waiter.as_mut()).is_pending());
            settle().await;
        })
        .await;
    assert_eq!(loads.count(), 1);
    assert!(poll!(put.as_mut()).is_pending());
    drop(local);
    let leader = timeout(HANG / 2, leader).await.expect("no hang");
    assert_eq!(kind(leader), Err(ErrorKind::Abandoned));
    let waiter = timeout(HANG / 2, waiter).await.expect("no hang");
    assert_eq!(kind(waiter), Err(ErrorKind::Shutdown));
    let put = timeout(HANG / 2, put).await.expect("no hang");
    assert_eq!(kind(put), Err(ErrorKind::Shutdown));
}
