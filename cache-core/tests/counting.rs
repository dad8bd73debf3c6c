//! What a recorder is told: each call once, by its answer, and what happened besides.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

#[path = "counting/events.rs"]
mod events;
mod support;

use std::{io, sync::Arc, time::Duration};

use cache_core::{BackendCall, Cache, Engine, Error, ErrorKind, Event, testing::Act};
use cache_memory::Memory;
use futures_util::FutureExt;
use tokio::{sync::Semaphore, time::sleep};

use self::support::{Events, Loads, Stage, assert_empty, caller, on_stage, settle, users};

const SECOND: Duration = Duration::from_secs(1);

type Users = Cache<u64, String>;

/// An engine over a scripted store, with one cache and what is recorded of it.
struct Counted {
    engine: Engine,
    users: Users,
    events: Events,
}

fn counted(stage: &Stage) -> Counted {
    let events = Events::default();
    let builder = stage.builder(stage.scripted()).recorder(events.clone());
    let engine = builder.max_waiting(8).build().unwrap();
    let users = users(&engine);
    Counted {
        engine,
        users,
        events,
    }
}

impl Counted {
    /// Puts a value under 1 and an absence under 2, and forgets what was recorded of that.
    async fn furnished(stage: &Stage) -> Self {
        let counted = counted(stage);
        counted.users.put(&1, "ann".to_owned()).await.unwrap();
        let absent = counted
            .users
            .get_or_load(&2, || async { Ok::<_, io::Error>(None) });
        absent.await.unwrap();
        counted.events.take_sums();
        counted
    }

    /// Asserts that since the last time so much was added to total, hit, miss and failed loads.
    fn adds(&self, total: u64, hit: u64, miss: u64, db_fails: u64) {
        assert_eq!(total, hit + miss, "what the test expects makes sense");
        assert_eq!(self.events.take_sums(), (total, hit, miss, db_fails));
    }

    /// Asserts that `event` was recorded so often since the last time, and nothing else that
    /// counts.
    fn told(&self, event: Event, times: usize) {
        assert_eq!(self.events.of(event), times, "{event:?}");
        let all = self.events.count(|event| event.total() == 1);
        assert_eq!(all, times, "each call once");
        self.events.take_sums();
    }
}

async fn fails() -> Result<String, io::Error> {
    sleep(SECOND).await;
    Err(io::Error::other("down"))
}

async fn panics() -> Result<String, io::Error> {
    sleep(SECOND).await;
    panic!("the loader panics")
}

#[tokio::test(start_paused = true)]
async fn each_answer_of_a_get_counts_once() {
    for asks in [false, true] {
        on_stage(async |stage| {
            let counted = Counted::furnished(&stage).await;
            let Counted { engine, users, .. } = &counted;
            if asks {
                stage.script.ask();
            }
            users.get(&1).await.unwrap();
            counted.told(Event::Hit, 1);
            users.get(&2).await.unwrap();
            counted.told(Event::NegativeHit, 1);
            users.get(&3).await.unwrap();
            counted.told(Event::NotFound, 1);
            if asks {
                stage.script.once(BackendCall::Get, Act::Fail);
                users.get(&1).await.unwrap_err();
                counted.told(Event::Failed(ErrorKind::Unavailable), 1);
            }
            assert_empty(engine).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn each_key_of_a_get_many_counts_once() {
    for asks in [false, true] {
        on_stage(async |stage| {
            let counted = Counted::furnished(&stage).await;
            if asks {
                stage.script.ask();
            }
            counted.users.get_many([&1, &2, &3, &1, &3, &1]).await;
            assert_eq!(counted.events.of(Event::Hit), 3);
            assert_eq!(counted.events.of(Event::NegativeHit), 1);
            assert_eq!(counted.events.of(Event::NotFound), 2);
            counted.adds(6, 4, 2, 0);
            if asks {
                stage.script.once(BackendCall::GetMany, Act::Fail);
                counted.users.get_many([&1, &2]).await;
                counted.told(Event::Failed(ErrorKind::Unavailable), 2);
            }
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_of_a_key_that_is_too_long_counts_once() {
    on_stage(async |stage| {
        let counted = counted(&stage);
        let names: Cache<String, String> =
            counted.engine.cache("name").ttl(SECOND).build().unwrap();
        let long = "k".repeat(600);
        names.get(&long).await.unwrap_err();
        names
            .get_or_load(&long, Loads::default().value("-", SECOND))
            .await
            .unwrap_err();
        names.get_many([&long]).await[0].as_ref().unwrap_err();
        counted.told(Event::Failed(ErrorKind::InvalidInput), 3);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_hit_of_get_or_load_counts_once() {
    for asks in [false, true] {
        on_stage(async |stage| {
            let counted = Counted::furnished(&stage).await;
            if asks {
                stage.script.ask();
            }
            for (key, event) in [(1, Event::Hit), (2, Event::NegativeHit)] {
                let loader = Loads::default().value("-", SECOND);
                counted.users.get_or_load(&key, loader).await.unwrap();
                counted.told(event, 1);
            }
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_led_a_load_missed_and_who_shared_it_hit() {
    on_stage(async |stage| {
        let counted = counted(&stage);
        let calls =
            [(); 5].map(|()| caller(&counted.users, 1, Loads::default().value("ann", SECOND)));
        for call in calls {
            call.await.unwrap().unwrap();
        }
        assert_eq!(counted.events.of(Event::Led), 1);
        assert_eq!(counted.events.of(Event::Coalesced), 4);
        counted.adds(5, 4, 1, 0);

        let absent = || async {
            sleep(SECOND).await;
            Ok::<_, io::Error>(None)
        };
        for call in [(); 5].map(|()| caller(&counted.users, 2, absent)) {
            call.await.unwrap().unwrap();
        }
        assert_eq!(counted.events.of(Event::Led), 1);
        assert_eq!(
            counted.events.of(Event::Coalesced),
            4,
            "an absence is an answer"
        );
        counted.adds(5, 4, 1, 0);
        assert_empty(&counted.engine).await;
    })
    .await;
}

/// Asserts what five callers of a load that fails add, each of whom brings a loader like it.
async fn a_failure_adds<F, Fut>(loader: F, kind: ErrorKind)
where
    F: Fn() -> Fut + Copy + Send + 'static,
    Fut: Future<Output = Result<String, io::Error>> + Send + 'static,
{
    on_stage(async |stage| {
        let counted = counted(&stage);
        for call in [(); 5].map(|()| caller(&counted.users, 1, loader)) {
            assert_eq!(call.await.unwrap().unwrap_err().kind(), kind);
        }
        assert_eq!(counted.events.of(Event::Led), 1);
        assert_eq!(counted.events.of(Event::Failed(kind)), 4);
        counted.adds(5, 0, 5, 1);
        assert_empty(&counted.engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_load_is_one_failure_and_a_miss_for_each_who_waited() {
    a_failure_adds(fails, ErrorKind::Loader).await;
    a_failure_adds(panics, ErrorKind::Panicked).await;
    a_failure_adds(std::future::pending, ErrorKind::LoadTimeout).await;
}

#[tokio::test(start_paused = true)]
async fn an_acquire_that_hits_is_a_hit_for_its_leader_too() {
    on_stage(async |stage| {
        let counted = counted(&stage);
        let gate = Arc::new(Semaphore::new(0));
        stage
            .script
            .once(BackendCall::Acquire, Act::GateBefore(Arc::clone(&gate)));
        let loads = Loads::default();
        let leader = caller(&counted.users, 1, loads.value("-", SECOND));
        settle().await;
        counted.users.put(&1, "ann".to_owned()).await.unwrap();
        gate.add_permits(1);
        assert_eq!(*leader.await.unwrap().unwrap().unwrap(), "ann");
        assert_eq!(loads.count(), 0);
        counted.told(Event::Hit, 1);
        assert_empty(&counted.engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_is_overloaded_missed() {
    on_stage(async |stage| {
        let counted = counted(&stage);
        let calls =
            [(); 8].map(|()| caller(&counted.users, 1, Loads::default().value("ann", SECOND)));
        settle().await;
        let ninth = counted
            .users
            .get_or_load(&1, Loads::default().value("-", SECOND));
        assert_eq!(ninth.await.unwrap_err().kind(), ErrorKind::Overloaded);
        counted.told(Event::Failed(ErrorKind::Overloaded), 1);
        for call in calls {
            call.await.unwrap().unwrap();
        }
        counted.adds(8, 7, 1, 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_recursive_call_missed_and_the_load_around_it_counts_by_its_own_answer() {
    on_stage(async |stage| {
        let counted = counted(&stage);
        let inner = counted.users.clone();
        let outer = counted.users.get_or_load(&1, || async move {
            let loader = Loads::default().value("-", SECOND);
            inner
                .get_or_load(&1, loader)
                .await
                .map(|_| "never".to_owned())
        });
        let error: Error = outer.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Loader);
        assert_eq!(counted.events.of(Event::Failed(ErrorKind::Recursive)), 1);
        assert_eq!(counted.events.of(Event::Led), 1);
        counted.adds(2, 0, 2, 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_miss_after_a_shutdown_counts_once() {
    on_stage(async |stage| {
        let counted = Counted::furnished(&stage).await;
        counted.engine.shutdown(SECOND).await;
        let miss = counted
            .users
            .get_or_load(&3, Loads::default().value("-", SECOND));
        assert_eq!(miss.await.unwrap_err().kind(), ErrorKind::Shutdown);
        counted.told(Event::Failed(ErrorKind::Shutdown), 1);
        let hit = counted
            .users
            .get_or_load(&1, Loads::default().value("-", SECOND));
        hit.await.unwrap();
        counted.told(Event::Hit, 1);
    })
    .await;
}

#[test]
fn a_miss_outside_any_runtime_counts_once() {
    let events = Events::default();
    let memory = Memory::builder().max_entries(10).build().unwrap();
    let builder = Engine::builder(memory).recorder(events.clone());
    let engine = builder.build().unwrap();
    let answer = users(&engine)
        .get_or_load(&1, Loads::default().value("-", SECOND))
        .now_or_never();
    assert_eq!(answer.unwrap().unwrap_err().kind(), ErrorKind::NoRuntime);
    assert_eq!(events.of(Event::Failed(ErrorKind::NoRuntime)), 1);
    assert_eq!(events.take_sums(), (1, 0, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn writes_and_invalidations_are_no_reads() {
    on_stage(async |stage| {
        let counted = counted(&stage);
        let users = &counted.users;
        users.put(&1, "ann".to_owned()).await.unwrap();
        users
            .put_with_ttl(&1, "ann".to_owned(), Duration::ZERO)
            .await
            .unwrap_err();
        users.invalidate(&1).await;
        counted.engine.clear().await.unwrap();
        counted.adds(0, 0, 0, 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_is_not_counted_and_its_load_is() {
    on_stage(async |stage| {
        let counted = counted(&stage);
        let calls = [(); 3].map(|()| caller(&counted.users, 1, fails));
        settle().await;
        for call in calls {
            call.abort();
        }
        sleep(2 * SECOND).await;
        counted.adds(0, 0, 0, 1);

        // One who reads is dropped as well while the store has not answered.
        stage.script.ask();
        stage.script.always(BackendCall::Get, Act::Late(SECOND));
        stage.script.always(BackendCall::GetMany, Act::Late(SECOND));
        let brief = Duration::from_millis(1);
        let dropped = tokio::time::timeout(brief, counted.users.get(&1)).await;
        dropped.unwrap_err();
        let dropped = tokio::time::timeout(brief, counted.users.get_many([&1, &2])).await;
        dropped.unwrap_err();
        drop(counted.users.get(&1));
        counted.adds(0, 0, 0, 0);
        assert_empty(&counted.engine).await;
    })
    .await;
}
