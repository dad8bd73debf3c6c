//! The events besides the answers.

use std::{io, sync::Arc, time::Duration};

use cache_core::{
    Acquire, Backend, BackendCall, CacheRecorder, ErrorKind, Event, Invalidation, Key, Lease,
    LoadOutcome, Lookup, Put, Recorder, testing::Act,
};
use tokio::time::{Instant, sleep};

use crate::{
    Counted, SECOND, counted,
    support::{Loads, Stage, assert_empty, caller, on_stage, settle, users},
};

/// Takes the lease of key 1, as another process would.
async fn foreign_lease(stage: &Stage, hold: Duration) -> (Key, Lease) {
    let key = Key::new(b"user:1");
    match stage.memory.acquire(&key, hold).await.unwrap() {
        Acquire::Granted(lease) => (key, lease),
        other @ (Acquire::Hit(_) | Acquire::Held { .. }) => panic!("nobody else had it: {other:?}"),
    }
}

impl Counted {
    /// Loads key 1 in half a second; how long it took.
    async fn load(&self) -> Duration {
        let began = Instant::now();
        let loader = Loads::default().value("ann", SECOND / 2);
        self.users.get_or_load(&1, loader).await.unwrap();
        began.elapsed()
    }

    fn of(&self, event: Event) -> usize {
        self.events.of(event)
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_that_is_stored_says_so() {
    on_stage(async |stage| {
        let counted = counted(&stage);
        assert_eq!(counted.load().await, SECOND / 2);
        assert_eq!(counted.of(Event::FillStored), 1);
        let load = Event::Load {
            outcome: LoadOutcome::Value,
            took: SECOND / 2,
        };
        assert_eq!(counted.of(load), 1, "with the time it took");
        for event in [Event::FillSuperseded, Event::LeaseHeld, Event::LeaseLost] {
            assert_eq!(counted.of(event), 0, "{event:?}");
        }
        assert_empty(&counted.engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn each_load_says_how_it_ended() {
    on_stage(async |stage| {
        let counted = counted(&stage);
        let users = &counted.users;
        let absent = users.get_or_load(&1, || async { Ok::<_, io::Error>(None) });
        absent.await.unwrap();
        users.get_or_load(&2, crate::fails).await.unwrap_err();
        users.get_or_load(&3, crate::panics).await.unwrap_err();
        let hangs = Loads::default().value("late", 3600 * SECOND);
        users.get_or_load(&4, hangs).await.unwrap_err();
        for (ended, ran) in [
            (LoadOutcome::Absent, Duration::ZERO),
            (LoadOutcome::Failed, SECOND),
            (LoadOutcome::Panicked, SECOND),
            (LoadOutcome::TimedOut, 30 * SECOND),
        ] {
            let load = Event::Load {
                outcome: ended,
                took: ran,
            };
            assert_eq!(counted.of(load), 1, "{ended:?}");
        }
        assert_eq!(
            counted
                .events
                .count(|event| matches!(event, Event::Load { .. })),
            4
        );
        assert_empty(&counted.engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_load_that_an_invalidation_overtook_is_superseded() {
    on_stage(async |stage| {
        let counted = counted(&stage);
        // Shorter than the time until the lease is renewed, so that the fence has to refuse it.
        let load = caller(&counted.users, 1, Loads::default().value("old", SECOND / 2));
        settle().await;
        counted.users.invalidate(&1).await;
        load.await.unwrap().unwrap();
        assert_eq!(counted.of(Event::FillSuperseded), 1);
        assert_eq!(counted.of(Event::FillStored), 0);
        assert_empty(&counted.engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_fill_without_an_answer_failed() {
    on_stage(async |stage| {
        let counted = counted(&stage);
        stage.script.once(BackendCall::Fill, Act::Fail);
        counted.load().await;
        assert_eq!(counted.of(Event::FillFailed(ErrorKind::Unavailable)), 1);
        assert_eq!(counted.of(Event::FillStored), 0);
        assert_empty(&counted.engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_put_says_what_became_of_it() {
    on_stage(async |stage| {
        let counted = counted(&stage);
        let put = || counted.users.put(&1, "ann".to_owned());
        assert_eq!(put().await.unwrap(), Put::Stored);
        assert_eq!(counted.of(Event::FillStored), 1);

        stage.script.once(BackendCall::Seize, Act::Late(SECOND / 2));
        let (earlier, later) = tokio::join!(put(), put());
        assert_eq!(earlier.unwrap(), Put::Superseded);
        assert_eq!(later.unwrap(), Put::Superseded);
        assert_eq!(counted.of(Event::FillSuperseded), 2);
        assert_eq!(counted.of(Event::FillStored), 1);

        stage.script.once(BackendCall::Seize, Act::Fail);
        put().await.unwrap_err();
        assert_eq!(counted.of(Event::FillFailed(ErrorKind::Unavailable)), 1);
        assert_empty(&counted.engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_another_holds_is_told_of_at_each_attempt() {
    on_stage(async |stage| {
        let counted = counted(&stage);
        let (key, lease) = foreign_lease(&stage, 4 * SECOND).await;
        let load = async { counted.load().await };
        let release = async {
            sleep(SECOND).await;
            stage.memory.release(&key, lease).await.unwrap();
        };
        let (took, ()) = tokio::join!(load, release);
        let least = SECOND + SECOND / 2;
        assert!(took >= least, "it waited for the lease");
        assert!(
            took <= least + Duration::from_millis(17),
            "and one pause at most"
        );
        let attempts = stage.script.calls(BackendCall::Acquire);
        assert_eq!(
            counted.of(Event::LeaseHeld),
            attempts - 1,
            "all but the last"
        );
        assert!(attempts > 60, "no pause is longer than 16 ms: {attempts}");
        assert_eq!(counted.of(Event::LeaseWaitExceeded), 0);
        assert_eq!(counted.of(Event::FillStored), 1);
        assert_empty(&counted.engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_outlives_the_wait_is_told_of_once_and_nothing_is_filled() {
    on_stage(async |stage| {
        let counted = counted(&stage);
        foreign_lease(&stage, 3600 * SECOND).await;
        assert_eq!(
            counted.load().await,
            5 * SECOND + SECOND / 2,
            "the wait and the load"
        );
        assert_eq!(counted.of(Event::LeaseWaitExceeded), 1);
        assert_eq!(stage.script.calls(BackendCall::Fill), 0);
        assert_empty(&counted.engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_lost_is_told_of_once_and_nothing_is_filled() {
    on_stage(async |stage| {
        let counted = counted(&stage);
        let load = caller(&counted.users, 1, Loads::default().value("old", 5 * SECOND));
        settle().await;
        // Another process invalidates.
        stage.memory.remove(&[Key::new(b"user:1")]).await;
        load.await.unwrap().unwrap();
        assert_eq!(counted.of(Event::LeaseLost), 1);
        assert_eq!(stage.script.calls(BackendCall::Fill), 0);
        assert_empty(&counted.engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn each_call_to_the_backend_is_told_of_with_its_time_and_its_error() {
    on_stage(async |stage| {
        let counted = counted(&stage);
        stage
            .script
            .once(BackendCall::Acquire, Act::AnswerLate(SECOND / 4));
        stage.script.once(BackendCall::Fill, Act::Hang);
        counted.load().await;
        for (call, took, error) in [
            (BackendCall::Acquire, SECOND / 4, None),
            (BackendCall::Fill, SECOND, Some(ErrorKind::Unavailable)),
            (BackendCall::Release, Duration::ZERO, None),
        ] {
            let told = Event::Backend { call, took, error };
            assert_eq!(counted.of(told), 1, "{told:?}");
        }
        assert_eq!(
            counted
                .events
                .count(|event| matches!(event, Event::Backend { .. })),
            3
        );
        assert_empty(&counted.engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_call_about_many_keys_of_which_some_fail_is_told_with_an_error() {
    on_stage(async |stage| {
        let counted = counted(&stage);
        stage.script.ask();
        stage.script.once(BackendCall::GetMany, Act::Fail);
        counted.users.get_many([&1, &2]).await;
        stage.script.once(BackendCall::Remove, Act::Fail);
        counted.users.invalidate(&1).await;
        for call in [BackendCall::GetMany, BackendCall::Remove] {
            let told = Event::Backend {
                call,
                took: Duration::ZERO,
                error: Some(ErrorKind::Unavailable),
            };
            assert_eq!(counted.of(told), 1, "{told:?}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_concerns_no_single_cache_is_told_to_the_engines_recorder() {
    on_stage(async |stage| {
        let counted = counted(&stage);
        counted.users.invalidate(&1).await;
        counted.engine.clear().await.unwrap();
        for call in [BackendCall::Remove, BackendCall::Clear] {
            let told = Event::Backend {
                call,
                took: Duration::ZERO,
                error: None,
            };
            assert_eq!(counted.of(told), 1, "{told:?}");
        }
    })
    .await;
}

/// A recorder that is broken.
#[derive(Debug)]
struct Broken;

impl Recorder for Broken {
    fn cache(&self, _name: &str) -> Arc<dyn CacheRecorder> {
        Arc::new(Self)
    }

    fn record(&self, event: Event) {
        panic!("the recorder is broken: {event:?}");
    }
}

impl CacheRecorder for Broken {
    fn record(&self, event: Event) {
        panic!("the recorder is broken: {event:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_recorder_that_panics_harms_nobody() {
    on_stage(async |stage| {
        let engine = stage.builder(stage.scripted()).recorder(Broken);
        let engine = engine.build().unwrap();
        let (users, loads) = (users(&engine), Loads::default());
        let waiter = caller(&users, 1, loads.value("ann", SECOND));
        let user = users.get_or_load(&1, loads.value("ann", SECOND)).await;
        assert_eq!(user.unwrap().unwrap().as_str(), "ann");
        assert_eq!(waiter.await.unwrap().unwrap().unwrap().as_str(), "ann");
        assert_eq!(loads.count(), 1);
        assert_eq!(users.put(&1, "bob".to_owned()).await.unwrap(), Put::Stored);
        stage.script.once(BackendCall::Remove, Act::Fail);
        assert_eq!(users.invalidate(&1).await, Invalidation::Queued);
        sleep(2 * SECOND).await;
        assert_eq!(users.get(&1).await.unwrap(), Lookup::Miss, "delivered");
        sleep(2 * SECOND).await;
        assert_empty(&engine).await;
    })
    .await;
}
