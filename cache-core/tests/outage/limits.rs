//! How many loads run at once during an outage, and who is told what.

use std::{
    error::Error as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cache_core::{
    BackendCall, BuildError, Cache, Engine, Error, ErrorKind, Event, OutagePolicy, testing::Act,
};
use futures_util::{future::join_all, poll};
use tokio::{
    runtime::Builder,
    time::{Instant, sleep},
};

use crate::{
    DEADLINE, LOAD, POLICIES, engine, plain,
    support::{Events, Loads, Stage, assert_empty, caller, on_stage, settle, users},
};

/// Loads that know how many of them run, and how many did at most.
#[derive(Clone, Default)]
struct Gauge(Arc<(AtomicUsize, AtomicUsize)>);

impl Gauge {
    async fn load(self) -> Result<String, Error> {
        let (running, most) = &*self.0;
        most.fetch_max(1 + running.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
        sleep(LOAD).await;
        running.fetch_sub(1, Ordering::SeqCst);
        Ok("ann".to_owned())
    }

    fn most(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }
}

/// An engine that lets at most `max_concurrent` loads through, over a store that is out.
fn out(stage: &Stage, max_concurrent: usize) -> (Engine, Cache<u64, String>) {
    stage.script.always(BackendCall::Acquire, Act::Fail);
    let engine = engine(stage, OutagePolicy::LoadThrough { max_concurrent });
    let users = users(&engine);
    (engine, users)
}

#[tokio::test(start_paused = true)]
async fn of_many_keys_only_so_many_are_loaded_at_once_and_the_rest_is_refused() {
    for (policy, most) in [
        (OutagePolicy::default(), 64),
        (OutagePolicy::LoadThrough { max_concurrent: 3 }, 3),
        (OutagePolicy::FailFast, 0),
    ] {
        for call in [BackendCall::Get, BackendCall::Acquire] {
            on_stage(async |stage| {
                let engine = engine(&stage, policy);
                let users = users(&engine);
                stage.script.ask();
                stage.script.always(call, Act::Hang);
                let gauge = Gauge::default();
                let callers = (0..200).map(|key| {
                    let gauge = gauge.clone();
                    caller(&users, key, move || gauge.load())
                });
                let callers: Vec<_> = callers.collect();
                let began = Instant::now();
                let (mut loaded, mut refused) = (0, 0);
                for answer in join_all(callers).await {
                    match plain(answer.unwrap()) {
                        Ok(_) => loaded += 1,
                        Err(ErrorKind::Overloaded) if most > 0 => refused += 1,
                        Err(ErrorKind::Unavailable) if most == 0 => refused += 1,
                        Err(kind) => panic!("{policy:?}, {call:?}: {kind:?}"),
                    }
                }
                assert_eq!(
                    (loaded, refused),
                    (most, 200 - most),
                    "{policy:?}, {call:?}"
                );
                assert_eq!(gauge.most(), most, "{policy:?}, {call:?}");
                let longest = DEADLINE + LOAD + crate::SLACK;
                assert!(began.elapsed() <= longest, "nobody waits for a permit");
                assert_empty(&engine).await;
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_of_one_key_run_one_load_and_the_late_another() {
    // Who comes after the load began gets the next: nothing would show that the first is fresh
    // enough for them. A read that hangs until its deadline gathers those who come meanwhile.
    for (call, act, most) in [
        (BackendCall::Get, Act::Fail, 2),
        (BackendCall::Get, Act::Hang, 2),
        (BackendCall::Acquire, Act::Fail, 2),
        (BackendCall::Acquire, Act::Hang, 1),
    ] {
        on_stage(async |stage| {
            let engine = engine(&stage, OutagePolicy::LoadThrough { max_concurrent: 1 });
            let users = users(&engine);
            stage.script.ask();
            stage.script.always(call, act.clone());
            let loads = Loads::default();
            let callers: Vec<_> = (0..1000)
                .map(|_| caller(&users, 1, loads.value("ann", LOAD)))
                .collect();
            for answer in join_all(callers).await {
                assert_eq!(plain(answer.unwrap()), Ok("ann".to_owned()), "{call:?}");
            }
            assert!(
                loads.count() <= most,
                "{call:?}, {act:?}: {} loads",
                loads.count()
            );
            assert_empty(&engine).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_refusal_names_the_setting_and_keeps_what_the_store_said() {
    for policy in [
        OutagePolicy::LoadThrough { max_concurrent: 1 },
        OutagePolicy::FailFast,
    ] {
        on_stage(async |stage| {
            stage.script.always(BackendCall::Acquire, Act::Fail);
            let users = users(&engine(&stage, policy));
            let first = caller(&users, 1, Loads::default().value("ann", LOAD));
            settle().await;
            let loader = Loads::default().value("bob", LOAD);
            let refused = users.get_or_load(&2, loader).await.unwrap_err();
            let setting = if policy == OutagePolicy::FailFast {
                "`outage`"
            } else {
                "`max_concurrent`"
            };
            assert!(refused.to_string().contains(setting), "{refused}");
            let said = refused.source().unwrap().to_string();
            assert_eq!(said, "the script says so");
            drop(first.await);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_zero_is_no_limit_one_can_set() {
    on_stage(async |stage| {
        let builder = stage.builder(stage.scripted());
        let policy = OutagePolicy::LoadThrough { max_concurrent: 0 };
        let error = builder.outage(policy).build().unwrap_err();
        assert!(matches!(error, BuildError::NoOutageLoads));
        let text = error.to_string();
        for part in ["`outage`", "`max_concurrent`", "`OutagePolicy::FailFast`"] {
            assert!(text.contains(part), "{text}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_load_inside_a_load_takes_a_permit_of_its_own_and_waits_for_none() {
    for (max_concurrent, expected) in [(1, Err(ErrorKind::Overloaded)), (2, Ok("bob".to_owned()))] {
        on_stage(async |stage| {
            let (engine, users) = out(&stage, max_concurrent);
            let inner = users.clone();
            let loader = Loads::default().value("bob", LOAD);
            let began = Instant::now();
            let answer = users.get_or_load(&1, move || async move {
                let found = inner.get_or_load(&2, loader).await?;
                Ok::<_, Error>((*found.unwrap()).clone())
            });
            let answer = answer.await.map_err(|error| {
                let inner = error.loader_error::<Error>().unwrap();
                Error::new(inner.kind(), "what was inside")
            });
            assert_eq!(plain(answer), expected);
            assert!(began.elapsed() <= LOAD, "nobody waits for a permit");
            assert_empty(&engine).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_permit_is_held_until_the_load_ends_whoever_left() {
    on_stage(async |stage| {
        let (engine, users) = out(&stage, 1);
        let loads = Loads::default();
        let mut dropped = Box::pin(users.get_or_load(&1, loads.value("ann", LOAD)));
        assert!(poll!(dropped.as_mut()).is_pending());
        settle().await;
        drop(dropped);
        settle().await;
        assert_eq!(engine.census().await.outage_loads, 1);
        let refused = users.get_or_load(&2, loads.value("bob", LOAD)).await;
        assert_eq!(plain(refused), Err(ErrorKind::Overloaded));

        sleep(LOAD).await;
        assert_empty(&engine).await;
        let loaded = users.get_or_load(&2, loads.value("bob", LOAD)).await;
        assert_eq!(plain(loaded), Ok("bob".to_owned()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_load_that_fails_panics_or_hangs_gives_its_permit_back() {
    on_stage(async |stage| {
        let (engine, users) = out(&stage, 1);
        let fails = || async { Err::<String, _>(Error::new(ErrorKind::Rejected, "no")) };
        let answer = users.get_or_load(&1, fails).await;
        assert_eq!(plain(answer), Err(ErrorKind::Loader));
        let panics = || async { panic!("no") as Result<String, Error> };
        let answer = users.get_or_load(&1, panics).await;
        assert_eq!(plain(answer), Err(ErrorKind::Panicked));
        let hangs = Loads::default().value("late", Duration::from_secs(3600));
        let answer = users.get_or_load(&1, hangs).await;
        assert_eq!(plain(answer), Err(ErrorKind::LoadTimeout));
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_load_that_vanishes_keeps_its_permit_for_the_next_loader() {
    on_stage(async |stage| {
        let (engine, users) = out(&stage, 1);
        let doomed = Builder::new_current_thread().build().unwrap();
        let vanishing = {
            let users = users.clone();
            doomed.spawn(async move {
                let loader = || async { std::future::pending::<Result<String, Error>>().await };
                users.get_or_load(&1, loader).await
            })
        };
        // The first poll of a task on a runtime of its own, without driving it any further.
        let drive = std::thread::spawn(move || {
            doomed.block_on(tokio::task::yield_now());
            doomed
        });
        let doomed = drive.join().unwrap();
        settle().await;
        let next = caller(&users, 1, Loads::default().value("ann", LOAD));
        settle().await;
        assert_eq!(engine.census().await.outage_loads, 1);
        std::thread::spawn(move || drop(doomed)).join().unwrap();
        settle().await;
        assert_eq!(
            engine.census().await.outage_loads,
            1,
            "one load, one permit"
        );
        assert_eq!(plain(next.await.unwrap()), Ok("ann".to_owned()));
        drop(vanishing);
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn each_caller_counts_once_and_each_load_that_is_let_through_is_told_of() {
    for policy in POLICIES {
        on_stage(async |stage| {
            let events = Events::default();
            let builder = stage.builder(stage.scripted()).recorder(events.clone());
            let engine = builder.outage(policy).build().unwrap();
            let users = users(&engine);
            stage.script.always(BackendCall::Acquire, Act::Fail);
            let callers: Vec<_> = (0..10)
                .map(|key| caller(&users, key % 5, Loads::default().value("ann", LOAD)))
                .collect();
            join_all(callers).await;
            let loads = if policy == OutagePolicy::FailFast {
                0
            } else {
                3
            };
            assert_eq!(events.of(Event::OutageLoad), loads, "{policy:?}");
            assert_eq!(events.of(Event::Led), loads, "{policy:?}");
            assert_eq!(events.of(Event::Coalesced), loads, "{policy:?}");
            let kind = if policy == OutagePolicy::FailFast {
                ErrorKind::Unavailable
            } else {
                ErrorKind::Overloaded
            };
            let refused = 10 - 2 * loads;
            assert_eq!(events.of(Event::Failed(kind)), refused, "{policy:?}");
            let hits = loads as u64;
            assert_eq!(events.take_sums(), (10, hits, 10 - hits, 0), "{policy:?}");
        })
        .await;
    }
}
