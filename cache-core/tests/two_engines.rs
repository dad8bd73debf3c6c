//! Several engines on one store behave like several processes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod support;

use std::{io, sync::Arc, time::Duration};

use cache_core::{
    Acquire, Backend, BackendCall, Cache, Engine, Entry, Error, ErrorKind, Fill, Lease, Lookup,
    Ttl,
    testing::{Act, Script, Scripted},
};
use futures_util::{future::BoxFuture, poll};
use parking_lot::Mutex;
use tokio::{
    runtime,
    task::{JoinHandle, spawn_local},
    time::{Instant, sleep},
};

use self::support::{Stage, assert_empty, is_leased, on_stage, settle, user_key, users};

const MS: Duration = Duration::from_millis(1);
const HOLD: Duration = Duration::from_secs(3);
const LEASE_WAIT: Duration = Duration::from_secs(5);

/// The longest pause between two attempts to get a lease, as the timer rounds it.
const STEP: Duration = Duration::from_millis(17);

/// An engine that is like a process of its own, with a script of its own.
#[derive(Clone)]
struct Process {
    engine: Engine,
    users: Cache<u64, String>,
    script: Script,
}

/// When loads began, counted from the making of this.
#[derive(Clone, Debug)]
struct Loads {
    start: Instant,
    began: Arc<Mutex<Vec<Duration>>>,
}

type Loaded = Result<String, io::Error>;

impl Process {
    fn new(stage: &Stage) -> Self {
        Self::with_deadline(stage, Duration::from_secs(1))
    }

    fn with_deadline(stage: &Stage, backend_deadline: Duration) -> Self {
        let script = Script::default();
        let store = Scripted::new(stage.memory.clone(), &script);
        let builder = stage.builder(store).lease_hold(HOLD);
        let builder = builder.backend_deadline(backend_deadline);
        let engine = builder.lease_wait(LEASE_WAIT).build().unwrap();
        let users = users(&engine);
        Self {
            engine,
            users,
            script,
        }
    }

    /// Two processes on the store of `stage`.
    fn two(stage: &Stage) -> (Self, Self) {
        (Self::new(stage), Self::new(stage))
    }

    /// Starts a call for user 1.
    fn call(
        &self,
        loader: impl FnOnce() -> BoxFuture<'static, Loaded> + Send + 'static,
    ) -> JoinHandle<Result<String, ErrorKind>> {
        let users = self.users.clone();
        spawn_local(async move {
            let user = users.get_or_load(&1, loader).await;
            let user = user.map_err(|error: Error| error.kind())?;
            Ok(String::clone(&user.unwrap()))
        })
    }

    async fn get(&self) -> Option<String> {
        match self.users.get(&1).await.unwrap() {
            Lookup::Value(user) => Some(String::clone(&user)),
            Lookup::Absent | Lookup::Miss => None,
        }
    }
}

impl Loads {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            began: Arc::default(),
        }
    }

    /// A loader that takes `time` and then answers.
    fn load(
        &self,
        time: Duration,
        answer: Loaded,
    ) -> impl FnOnce() -> BoxFuture<'static, Loaded> + Send + 'static + use<> {
        let loads = self.clone();
        move || {
            loads.began.lock().push(loads.start.elapsed());
            Box::pin(async move {
                sleep(time).await;
                answer
            })
        }
    }

    fn value(
        &self,
        time: Duration,
        user: &str,
    ) -> impl FnOnce() -> BoxFuture<'static, Loaded> + Send + 'static + use<> {
        self.load(time, Ok(user.to_owned()))
    }

    fn began(&self) -> Vec<Duration> {
        self.began.lock().clone()
    }
}

/// Takes the lease of user 1 like a process that does nothing else.
async fn take_lease(stage: &Stage, hold: Duration) -> Lease {
    let acquired = stage.memory.acquire(&user_key(1), hold).await.unwrap();
    let Acquire::Granted(lease) = acquired else {
        panic!("nobody has it: {acquired:?}");
    };
    lease
}

fn entry(user: &str) -> Entry {
    Entry::Decoded {
        value: Arc::new(user.to_owned()),
        weight: 0,
    }
}

fn within_a_step(began: Duration, of: Duration) {
    assert!((of..=of + STEP).contains(&began), "began at {began:?}");
}

async fn assert_rest(stage: &Stage, processes: &[&Process]) {
    for process in processes {
        assert_empty(&process.engine).await;
    }
    assert!(
        !is_leased(&stage.memory, &user_key(1)).await,
        "no lease is left"
    );
}

#[tokio::test(start_paused = true)]
async fn a_storm_over_both_is_one_load() {
    on_stage(async |stage| {
        let (left, right) = Process::two(&stage);
        let loads = Loads::new();
        let mut callers = Vec::new();
        for n in 0..200 {
            if n == 100 {
                sleep(100 * MS).await;
            }
            for process in [&left, &right] {
                callers.push(process.call(loads.value(1000 * MS, "ann")));
            }
        }
        for caller in callers {
            assert_eq!(caller.await.unwrap(), Ok("ann".to_owned()));
        }
        assert_eq!(loads.began().len(), 1);
        let asked = left.script.calls(BackendCall::Acquire);
        assert_eq!(
            asked, 1,
            "who came before the fill was sent shares its answer"
        );
        assert!(
            loads.start.elapsed() <= 1000 * MS + STEP,
            "and nobody waited in vain"
        );
        assert_rest(&stage, &[&left, &right]).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn if_the_holder_fails_the_other_loads_at_once() {
    on_stage(async |stage| {
        let (left, right) = Process::two(&stage);
        let loads = Loads::new();
        let failure = Err(io::ErrorKind::Other.into());
        let holder = left.call(loads.load(1000 * MS, failure));
        settle().await;
        let other = right.call(loads.value(MS, "ann"));

        assert_eq!(holder.await.unwrap(), Err(ErrorKind::Loader));
        assert_eq!(other.await.unwrap(), Ok("ann".to_owned()));
        let [first, second] = loads.began()[..] else {
            panic!("two loads: {loads:?}");
        };
        assert_eq!(first, Duration::ZERO);
        within_a_step(second, 1000 * MS);
        assert_eq!(left.get().await.as_deref(), Some("ann"), "it is stored");
        assert_rest(&stage, &[&left, &right]).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn if_the_holders_runtime_is_dropped_the_other_loads_at_once() {
    on_stage(async |stage| {
        let (left, right) = Process::two(&stage);
        let loads = Loads::new();
        let elsewhere = runtime::Builder::new_current_thread().build().unwrap();
        let users = left.users.clone();
        let load = loads.value(1000 * MS, "lost");
        let mut holder = Box::pin(users.get_or_load(&1, load));
        {
            let _inside = elsewhere.enter();
            assert!(poll!(&mut holder).is_pending());
        }
        settle().await;
        let other = right.call(loads.value(MS, "ann"));
        sleep(500 * MS).await;
        assert_eq!(loads.began(), [], "the other waits for the lease");

        elsewhere.shutdown_background();
        let lost = holder.await.map_err(|error| error.kind());
        assert_eq!(lost, Err(ErrorKind::Abandoned));
        assert_eq!(other.await.unwrap(), Ok("ann".to_owned()));
        assert_eq!(loads.began().len(), 1);
        within_a_step(loads.began()[0], 500 * MS);
        assert_rest(&stage, &[&left, &right]).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn if_the_holder_vanishes_the_other_loads_when_its_hold_has_run_out() {
    on_stage(async |stage| {
        let process = Process::new(&stage);
        let loads = Loads::new();
        take_lease(&stage, HOLD).await;
        let caller = process.call(loads.value(MS, "ann"));

        assert_eq!(caller.await.unwrap(), Ok("ann".to_owned()));
        within_a_step(loads.began()[0], HOLD);
        assert_eq!(process.get().await.as_deref(), Some("ann"), "it is stored");
        assert_rest(&stage, &[&process]).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_load_longer_than_the_hold_keeps_its_lease() {
    on_stage(async |stage| {
        let (left, right) = Process::two(&stage);
        let loads = Loads::new();
        let time = HOLD + 1500 * MS;
        let holder = left.call(loads.value(time, "ann"));
        settle().await;
        let other = right.call(loads.value(MS, "bob"));

        assert_eq!(holder.await.unwrap(), Ok("ann".to_owned()));
        assert_eq!(other.await.unwrap(), Ok("ann".to_owned()));
        assert_eq!(loads.began(), [Duration::ZERO], "one load");
        assert_eq!(left.script.calls(BackendCall::Extend), 4, "at each third");
        assert_rest(&stage, &[&left, &right]).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_beyond_the_lease_wait_is_waited_for_no_longer_and_nothing_is_stored() {
    on_stage(async |stage| {
        let process = Process::new(&stage);
        let loads = Loads::new();
        let foreign = take_lease(&stage, 60_000 * MS).await;
        let caller = process.call(loads.value(MS, "ann"));

        assert_eq!(caller.await.unwrap(), Ok("ann".to_owned()));
        within_a_step(loads.began()[0], LEASE_WAIT);
        assert_eq!(process.script.calls(BackendCall::Fill), 0);
        assert_eq!(process.get().await, None, "it is not stored");
        assert!(
            is_leased(&stage.memory, &user_key(1)).await,
            "the lease is still the other's"
        );
        stage.memory.release(&user_key(1), foreign).await.unwrap();
        assert_rest(&stage, &[&process]).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_late_fill_of_a_process_that_was_thought_dead_is_refused() {
    on_stage(async |stage| {
        let process = Process::new(&stage);
        let loads = Loads::new();
        let foreign = take_lease(&stage, HOLD).await;
        let caller = process.call(loads.value(MS, "ann"));
        assert_eq!(caller.await.unwrap(), Ok("ann".to_owned()));

        let day = Duration::from_secs(24 * 3600);
        let ttl = Ttl::new(day, day).unwrap();
        let key = user_key(1);
        let late = stage.memory.fill(&key, foreign, entry("old"), ttl).await;
        assert_eq!(late.unwrap(), Fill::Superseded);
        assert_eq!(process.get().await.as_deref(), Some("ann"));
        assert_rest(&stage, &[&process]).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_load_that_could_not_keep_its_lease_does_not_overwrite_the_next() {
    on_stage(async |stage| {
        let (left, right) = Process::two(&stage);
        let loads = Loads::new();
        left.script.always(BackendCall::Extend, Act::Hang);
        let slow = left.call(loads.value(4000 * MS, "old"));
        settle().await;
        let other = right.call(loads.value(MS, "new"));

        assert_eq!(other.await.unwrap(), Ok("new".to_owned()));
        within_a_step(loads.began()[1], HOLD);
        assert_eq!(
            slow.await.unwrap(),
            Ok("old".to_owned()),
            "its callers came before"
        );
        assert_eq!(
            left.script.calls(BackendCall::Fill),
            1,
            "it was tried, and refused"
        );
        assert_eq!(left.get().await.as_deref(), Some("new"));
        assert_rest(&stage, &[&left, &right]).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn after_a_lost_lease_nothing_is_stored_and_who_comes_later_gets_a_load_of_their_own() {
    on_stage(async |stage| {
        let process = Process::new(&stage);
        let loads = Loads::new();
        let first = process.call(loads.value(2000 * MS, "old"));
        sleep(500 * MS).await;
        // As another process does that invalidates the key.
        let removed = stage.memory.remove(&[user_key(1)]).await;
        assert!(removed.iter().all(Result::is_ok), "{removed:?}");
        sleep(600 * MS).await;
        assert_eq!(process.script.calls(BackendCall::Extend), 1);

        let second = process.call(loads.value(2000 * MS, "new"));
        settle().await;
        assert_eq!(
            loads.began(),
            [Duration::ZERO, 1100 * MS],
            "it waits for nobody"
        );
        assert_eq!(first.await.unwrap(), Ok("old".to_owned()));
        assert_eq!(process.script.calls(BackendCall::Fill), 0);
        assert_eq!(process.get().await, None);
        assert_eq!(second.await.unwrap(), Ok("new".to_owned()));
        assert_eq!(process.script.calls(BackendCall::Fill), 1);
        assert_eq!(process.get().await.as_deref(), Some("new"));
        assert_rest(&stage, &[&process]).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_extension_that_failed_is_tried_again_at_the_next_third() {
    for act in [Act::Fail, Act::Hang] {
        // One that is waited for beyond its third would use up the lease.
        for deadline in [HOLD / 3, 2 * HOLD] {
            one_extension_does(act.clone(), deadline).await;
        }
    }
}

async fn one_extension_does(act: Act, deadline: Duration) {
    on_stage(async |stage| {
        let [left, right] = [0, 1].map(|_| Process::with_deadline(&stage, deadline));
        let loads = Loads::new();
        left.script.once(BackendCall::Extend, act);
        let holder = left.call(loads.value(HOLD + 500 * MS, "ann"));
        settle().await;
        let other = right.call(loads.value(MS, "bob"));

        assert_eq!(holder.await.unwrap(), Ok("ann".to_owned()));
        assert_eq!(other.await.unwrap(), Ok("ann".to_owned()));
        assert_eq!(
            loads.began(),
            [Duration::ZERO],
            "the lease was kept: one load"
        );
        assert_eq!(left.script.calls(BackendCall::Extend), 3);
        assert_rest(&stage, &[&left, &right]).await;
    })
    .await;
}
