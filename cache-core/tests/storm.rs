//! Storms: many callers on many threads who miss one key at once.
//!
//! In real time, on the library's own threads. Nothing here depends on how long anything takes:
//! a load is held at a gate until everybody waits for it. Limits only end what would hang.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests fail by panicking"
)]

mod support;

use std::{future::pending, io, sync::Arc, time::Duration};

use cache_core::{
    BackendCall, Cache, Engine, Error, ErrorKind, Event, LoadOutcome,
    testing::{Act, Script, Scripted},
};
use cache_memory::Memory;
use futures_util::future::{BoxFuture, join_all};
use tokio::{
    sync::Semaphore,
    task::{JoinHandle, yield_now},
    time::timeout,
};

use self::support::{Events, Loads, until_empty, users};

const HANG: Duration = Duration::from_secs(30);

const SIZES: [usize; 3] = [10, 1_000, 10_000];

/// How the loader ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ending {
    Value,
    Absent,
    Failure,
    Panic,
    Never,
}

type Answer = Result<Option<Arc<String>>, Error>;

type Loading = BoxFuture<'static, Result<Option<String>, io::Error>>;

/// What the callers of a storm share.
#[derive(Clone)]
struct Storm {
    engine: Engine,
    users: Cache<u64, String>,
    loads: Loads,
    events: Events,
    /// Held until all callers have their seats.
    gate: Arc<Semaphore>,
}

impl Storm {
    /// A storm whose first call to the store passes the gate, and whose load does not.
    fn gated_at_acquire(load_timeout: Duration) -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let script = Script::default();
        script.once(BackendCall::Acquire, Act::GateAfter(Arc::clone(&gate)));
        let store = Memory::builder().max_entries(100).build().unwrap();
        let events = Events::default();
        let engine = Engine::builder(Scripted::new(store, &script))
            .recorder(events.clone())
            .backend_deadline(HANG)
            .load_timeout(load_timeout)
            .build()
            .unwrap();
        Self {
            users: users(&engine),
            engine,
            loads: Loads::default(),
            events,
            gate,
        }
    }

    /// A storm whose load passes the gate.
    fn gated_at_load() -> Self {
        let store = Memory::builder().max_entries(100).build().unwrap();
        let events = Events::default();
        let engine = Engine::builder(store)
            .recorder(events.clone())
            .load_timeout(2 * HANG)
            .build()
            .unwrap();
        Self {
            users: users(&engine),
            engine,
            loads: Loads::default(),
            events,
            gate: Arc::new(Semaphore::new(0)),
        }
    }

    /// Callers with loaders that pass the gate and then end as told.
    fn callers(&self, count: usize, ending: Ending) -> Vec<JoinHandle<Answer>> {
        let is_gated = ending != Ending::Never;
        let caller = |_| {
            let Self {
                users, loads, gate, ..
            } = self.clone();
            let loader = move || -> Loading {
                Box::pin(async move {
                    loads.begin();
                    if is_gated {
                        gate.acquire().await.unwrap().forget();
                    }
                    ending.end().await
                })
            };
            tokio::spawn(async move { users.get_or_load(&1, loader).await })
        };
        (0..count).map(caller).collect()
    }

    /// Waits until all callers sit: one in the flight's driver, which leads it.
    async fn all_seated(&self, callers: usize) {
        let seated = async {
            while self.engine.census().await.seats + 1 != callers {
                yield_now().await;
            }
        };
        timeout(HANG, seated).await.expect("all take their seats");
        assert_eq!(self.engine.census().await.waiting, callers);
    }

    fn open(&self) {
        self.gate.add_permits(1);
    }

    /// One load ran, and ended as told.
    fn assert_one_load(&self, ending: Ending) {
        let loads = self
            .events
            .count(|event| matches!(event, Event::Load { .. }));
        assert_eq!(loads, 1, "{ending:?}");
        let as_told = |event: &Event| matches!(event, Event::Load { outcome, .. } if *outcome == ending.outcome());
        assert_eq!(self.events.count(as_told), 1, "{ending:?}");
        // On a busy machine a short time is over before the loader's first poll.
        let begun = if ending == Ending::Never {
            0..=1
        } else {
            1..=1
        };
        assert!(begun.contains(&self.loads.count()), "{ending:?}");
    }

    async fn passed(&self) {
        let empty = timeout(HANG, until_empty(&self.engine)).await;
        empty.expect("nothing is left behind");
    }
}

impl Ending {
    #[expect(clippy::panic, reason = "a loader that panics is what is tested")]
    async fn end(self) -> Result<Option<String>, io::Error> {
        match self {
            Self::Value => Ok(Some("loaded".to_owned())),
            Self::Absent => Ok(None),
            Self::Failure => Err(io::Error::other("no")),
            Self::Panic => panic!("a test asked this loader to panic"),
            Self::Never => pending().await,
        }
    }

    fn outcome(self) -> LoadOutcome {
        match self {
            Self::Value => LoadOutcome::Value,
            Self::Absent => LoadOutcome::Absent,
            Self::Failure => LoadOutcome::Failed,
            Self::Panic => LoadOutcome::Panicked,
            Self::Never => LoadOutcome::TimedOut,
        }
    }

    fn answer(self) -> Result<Option<&'static str>, ErrorKind> {
        match self {
            Self::Value => Ok(Some("loaded")),
            Self::Absent => Ok(None),
            Self::Failure => Err(ErrorKind::Loader),
            Self::Panic => Err(ErrorKind::Panicked),
            Self::Never => Err(ErrorKind::LoadTimeout),
        }
    }
}

fn seen(answer: &Answer) -> Result<Option<&str>, ErrorKind> {
    match answer {
        Ok(found) => Ok(found.as_deref().map(String::as_str)),
        Err(error) => Err(error.kind()),
    }
}

/// All of `callers` miss at once; one load answers them all.
async fn one_load_answers_all(storm: &Storm, callers: usize, ending: Ending) {
    let tasks = storm.callers(callers, ending);
    storm.all_seated(callers).await;
    storm.open();
    let answers = timeout(HANG, join_all(tasks)).await.expect("nobody hangs");
    assert_eq!(answers.len(), callers);
    for answer in answers {
        assert_eq!(
            seen(&answer.unwrap()),
            ending.answer(),
            "{callers}, {ending:?}"
        );
    }
    storm.assert_one_load(ending);
    storm.passed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_on_one_key_runs_one_load() {
    for callers in SIZES {
        for ending in [Ending::Value, Ending::Absent] {
            one_load_answers_all(&Storm::gated_at_load(), callers, ending).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_shares_one_failure() {
    for callers in SIZES {
        for ending in [Ending::Failure, Ending::Panic] {
            one_load_answers_all(&Storm::gated_at_load(), callers, ending).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_shares_one_timeout() {
    for callers in SIZES {
        // The gate is before the load, whose time begins when everybody waits.
        let storm = Storm::gated_at_acquire(Duration::from_millis(10));
        one_load_answers_all(&storm, callers, Ending::Never).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_is_served_by_the_load_of_a_leader_that_was_aborted() {
    let storm = Storm::gated_at_load();
    let leader = storm.callers(1, Ending::Value).remove(0);
    let begun = async {
        while storm.loads.count() == 0 {
            yield_now().await;
        }
    };
    timeout(HANG, begun).await.expect("the load begins");
    let waiters = storm.callers(100, Ending::Value);
    storm.all_seated(101).await;

    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    // Time for the shards to do something about it, which they must not.
    for _ in 0..1_000 {
        assert_eq!(storm.engine.census().await.seats, 100);
    }
    storm.open();
    let answers = timeout(HANG, join_all(waiters))
        .await
        .expect("nobody hangs");
    for answer in answers {
        assert_eq!(seen(&answer.unwrap()), Ok(Some("loaded")));
    }
    storm.assert_one_load(Ending::Value);
    storm.passed().await;
}
