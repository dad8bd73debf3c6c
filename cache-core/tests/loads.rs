//! What happens to a load, and to those who wait for it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

#[path = "loads/admission.rs"]
mod admission;
#[path = "loads/dead_shards.rs"]
mod dead_shards;
#[path = "loads/shutdown.rs"]
mod shutdown;
mod support;

use std::{
    error::Error as StdError,
    future::{Future, Ready, ready},
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cache_core::{BackendCall, BoxError, Cache, Engine, Error, ErrorKind, Lookup, testing::Act};
use tokio::time::{Instant, sleep};

use self::support::{Answer, Loads, assert_empty, caller, on_stage, settle, users};

const SECOND: Duration = Duration::from_secs(1);

type Users = Cache<u64, String>;

fn kind(answer: &Answer<String>) -> Option<ErrorKind> {
    answer.as_ref().err().map(Error::kind)
}

fn text(answer: Answer<String>) -> String {
    answer.unwrap().unwrap().to_string()
}

/// Asserts that the next caller of key 1 loads anew, and that nothing is left behind.
async fn assert_free(engine: &Engine, users: &Users) {
    let loads = Loads::default();
    let began = Instant::now();
    let answer = users.get_or_load(&1, loads.value("anew", SECOND)).await;
    assert_eq!(text(answer), "anew");
    assert_eq!(loads.count(), 1);
    assert_eq!(began.elapsed(), SECOND, "no lease was left to wait for");
    assert_empty(engine).await;
}

/// Sets a flag when it is dropped.
#[derive(Clone, Default)]
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_outlives_its_caller() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let (users, loads) = (users(&engine), Loads::default());
        let leader = caller(&users, 1, loads.value("ann", SECOND));
        settle().await;
        leader.abort();
        assert!(leader.await.unwrap_err().is_cancelled());

        sleep(SECOND).await;
        settle().await;
        assert_eq!(
            users.get(&1).await.unwrap(),
            Lookup::Value(Arc::new("ann".to_owned()))
        );
        assert_eq!(loads.count(), 1);
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_served_by_the_load_of_a_caller_who_left() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let (users, loads) = (users(&engine), Loads::default());
        let leader = caller(&users, 1, loads.value("ann", SECOND));
        settle().await;
        let waiter = caller(&users, 1, loads.value("bob", SECOND));
        settle().await;
        leader.abort();

        assert_eq!(text(waiter.await.unwrap()), "ann");
        assert_eq!(loads.count(), 1);
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_load_that_takes_too_long_times_out_for_all_and_is_dropped() {
    on_stage(async |stage| {
        let builder = stage.builder(stage.memory.clone());
        let engine = builder.load_timeout(2 * SECOND).build().unwrap();
        let (users, loads) = (users(&engine), Loads::default());
        let dropped = Dropped::default();
        let flag = Arc::clone(&dropped.0);
        let began = Instant::now();
        let leader = caller(&users, 1, || async move {
            sleep(3600 * SECOND).await;
            drop(dropped);
            Ok::<_, io::Error>("late".to_owned())
        });
        settle().await;
        let waiter = caller(&users, 1, loads.value("unused", SECOND));

        for call in [leader, waiter] {
            assert_eq!(kind(&call.await.unwrap()), Some(ErrorKind::LoadTimeout));
        }
        assert_eq!(began.elapsed(), 2 * SECOND);
        assert_eq!(loads.count(), 0, "one load for all who waited");
        settle().await;
        assert!(flag.load(Ordering::SeqCst), "the loader was dropped");
        assert_free(&engine, &users).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_load_that_ends_just_before_the_timeout_succeeds() {
    on_stage(async |stage| {
        let builder = stage.builder(stage.memory.clone());
        let engine = builder.load_timeout(2 * SECOND).build().unwrap();
        let loads = Loads::default();
        let loader = loads.value("in time", 2 * SECOND - Duration::from_millis(1));
        assert_eq!(
            text(users(&engine).get_or_load(&1, loader).await),
            "in time"
        );
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_loaders_error_is_one_for_all_who_wait() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let (users, loads) = (users(&engine), Loads::default());
        let fails = |loads: Loads| {
            || async move {
                loads.begin();
                sleep(SECOND).await;
                Err::<String, _>(io::Error::other("down"))
            }
        };
        let leader = caller(&users, 1, fails(loads.clone()));
        settle().await;
        let waiters = [(); 3].map(|()| caller(&users, 1, fails(loads.clone())));

        let led = leader.await.unwrap().unwrap_err();
        let cause = led.loader_error::<io::Error>().unwrap();
        assert_eq!(
            (led.kind(), cause.to_string()),
            (ErrorKind::Loader, "down".into())
        );
        for waiter in waiters {
            let shared = waiter.await.unwrap().unwrap_err();
            assert_eq!(shared.kind(), ErrorKind::Loader);
            let same = shared.loader_error::<io::Error>().unwrap();
            assert!(std::ptr::eq(cause, same), "the very error of the loader");
        }
        assert_eq!(loads.count(), 1);
        assert_free(&engine, &users).await;
    })
    .await;
}

/// Asserts that a panic of this loader is answered to all who wait, and that the key is free.
async fn panics_to_all<F, Fut, E>(loader: F)
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = Result<String, E>> + Send + 'static,
    E: Into<BoxError> + 'static,
{
    on_stage(async |stage| {
        let engine = stage.scripted_engine();
        let (users, loads) = (users(&engine), Loads::default());
        // Held up before its load, so that the others join it whenever the loader panics.
        stage.script.once(BackendCall::Acquire, Act::Late(SECOND));
        let leader = caller(&users, 1, loader);
        settle().await;
        let waiters = [(); 2].map(|()| caller(&users, 1, loads.value("unused", SECOND)));

        for call in std::iter::once(leader).chain(waiters) {
            assert_eq!(kind(&call.await.unwrap()), Some(ErrorKind::Panicked));
        }
        assert_eq!(loads.count(), 0, "one load for all who waited");
        assert_free(&engine, &users).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_call_of_the_loader_is_answered_to_all() {
    panics_to_all(|| -> Ready<Result<String, io::Error>> { panic!("in the call") }).await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_behind_an_await_of_the_loader_is_answered_to_all() {
    async fn panics() -> Result<String, io::Error> {
        sleep(SECOND).await;
        panic!("behind an await")
    }
    panics_to_all(panics).await;
}

struct Unspeakable;

impl From<Unspeakable> for Box<dyn StdError + Send + Sync> {
    fn from(_: Unspeakable) -> Self {
        panic!("in the conversion of the error")
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_conversion_of_the_loaders_error_is_answered_to_all() {
    panics_to_all(|| ready(Err(Unspeakable))).await;
}

struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("in drop");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_drop_of_what_the_loader_captured_is_answered_to_all() {
    let captured = PanicsOnDrop;
    panics_to_all(move || {
        let _captured = &captured;
        ready(Ok::<_, io::Error>("by the closure".to_owned()))
    })
    .await;
    let captured = PanicsOnDrop;
    panics_to_all(|| async move {
        sleep(SECOND).await;
        let _captured = &captured;
        Ok::<_, io::Error>("by the future".to_owned())
    })
    .await;
}
