//! A store that does not answer reads: what callers get, at what cost, and how many loads run.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

#[path = "outage/comeback.rs"]
mod comeback;
#[path = "outage/limits.rs"]
mod limits;

use std::time::Duration;

use cache_core::{
    Acquire, Backend, BackendCall, Cache, Engine, ErrorKind, OutagePolicy, testing::Act,
};
use tokio::time::Instant;

use self::support::{Answer, EVERY_CALL, Fault, Loads, Stage, on_stage, user_key, users};

const DEADLINE: Duration = Duration::from_secs(1);

/// Long enough that a lease would be renewed.
const LOAD: Duration = Duration::from_secs(2);

/// For how long another holds the lease, and then the longest pause between two attempts.
const HELD: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(32));

/// Timers are good for a millisecond.
const SLACK: Duration = Duration::from_millis(5);

const POLICIES: [OutagePolicy; 2] = [
    OutagePolicy::LoadThrough { max_concurrent: 3 },
    OutagePolicy::FailFast,
];

/// An engine over the scripted store, with this policy.
fn engine(stage: &Stage, policy: OutagePolicy) -> Engine {
    let builder = stage.builder(stage.scripted());
    builder.outage(policy).build().unwrap()
}

/// An answer without what is behind it.
fn plain(answer: Answer<String>) -> Result<String, ErrorKind> {
    match answer {
        Ok(found) => Ok((*found.unwrap()).clone()),
        Err(error) => Err(error.kind()),
    }
}

/// How often the store was called in all.
fn calls(stage: &Stage) -> usize {
    let called = EVERY_CALL.map(|call| stage.script.calls(call));
    called.iter().sum()
}

/// Which read of a `get_or_load` is not answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Get,
    FirstAcquire,
    /// After another was seen to hold the lease.
    SecondAcquire,
    /// The removal of an entry that cannot be decoded: without it the key cannot be read.
    Remove,
}

impl Phase {
    const ALL: [Self; 4] = [
        Self::Get,
        Self::FirstAcquire,
        Self::SecondAcquire,
        Self::Remove,
    ];

    /// Lets `fault` strike; how many calls come before it, and how long they take.
    async fn prepare(self, stage: &Stage, fault: &Fault) -> (usize, Duration) {
        let act = fault.act.clone();
        match self {
            Self::Get => {
                stage.script.ask();
                stage.script.always(BackendCall::Get, act);
                (0, Duration::ZERO)
            }
            Self::FirstAcquire => {
                stage.script.always(BackendCall::Acquire, act);
                (0, Duration::ZERO)
            }
            Self::SecondAcquire => {
                let held = stage.memory.acquire(&user_key(1), HELD.0).await.unwrap();
                assert!(matches!(held, Acquire::Granted(_)));
                stage.script.nth(BackendCall::Acquire, 1, act);
                (1, HELD.0 + HELD.1)
            }
            Self::Remove => {
                let other = stage.engine();
                let other: Cache<u64, u8> = other.cache("user").ttl(9 * LOAD).build().unwrap();
                other.put(&1, 7).await.unwrap();
                stage.script.always(BackendCall::Remove, act);
                (1, Duration::ZERO)
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_one_read_without_an_answer_nothing_else_is_asked() {
    for policy in POLICIES {
        for phase in Phase::ALL {
            for fault in Fault::all(DEADLINE) {
                on_stage(async |stage| {
                    let case = format!("{policy:?}, {phase:?}, {fault:?}");
                    let engine = engine(&stage, policy);
                    let users = users(&engine);
                    let (before, waits) = phase.prepare(&stage, &fault).await;

                    let loads = Loads::default();
                    let began = Instant::now();
                    let answer = users.get_or_load(&1, loads.value("ann", LOAD)).await;
                    let took = began.elapsed();
                    let fails = policy == OutagePolicy::FailFast && !fault.is_answered;
                    let (expected, load) = if fails {
                        (Err(ErrorKind::Unavailable), Duration::ZERO)
                    } else {
                        (Ok("ann".to_owned()), LOAD)
                    };
                    assert_eq!(plain(answer), expected, "{case}");
                    assert_eq!(loads.count(), usize::from(!fails), "{case}");
                    if !fault.is_answered {
                        assert_eq!(calls(&stage), before + 1, "nothing but the read: {case}");
                        let longest = waits + DEADLINE + load + SLACK;
                        assert!(took <= longest, "{case}: {took:?}");
                    }
                    assert_eq!(engine.census().await.outage_loads, 0, "{case}");
                })
                .await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_get_loads_nothing_and_says_that_the_store_is_out() {
    for policy in POLICIES {
        on_stage(async |stage| {
            let users = users(&engine(&stage, policy));
            stage.script.ask();
            stage.script.always(BackendCall::Get, Act::Fail);
            stage.script.always(BackendCall::GetMany, Act::Fail);
            let error = users.get(&1).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            for answer in users.get_many(&[1, 2]).await {
                assert_eq!(answer.unwrap_err().kind(), ErrorKind::Unavailable);
            }
            assert_eq!(calls(&stage), 2, "{policy:?}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_that_is_rejected_is_an_outage() {
    for policy in [
        OutagePolicy::LoadThrough { max_concurrent: 1 },
        OutagePolicy::FailFast,
    ] {
        on_stage(async |stage| {
            let engine = engine(&stage, policy);
            let users = users(&engine);
            stage.script.ask();
            let refused = Act::FailAs(ErrorKind::Rejected);
            stage.script.always(BackendCall::Get, refused);
            let loads = Loads::default();
            let callers: Vec<_> = (0..20)
                .map(|key| support::caller(&users, key, loads.value("ann", LOAD)))
                .collect();
            let (permits, refusal) = if policy == OutagePolicy::FailFast {
                (0, ErrorKind::Unavailable)
            } else {
                (1, ErrorKind::Overloaded)
            };
            let mut loaded = 0;
            for caller in callers {
                match plain(caller.await.unwrap()) {
                    Ok(_) => loaded += 1,
                    Err(kind) => assert_eq!(kind, refusal, "{policy:?}"),
                }
            }
            assert_eq!((loaded, loads.count()), (permits, permits), "{policy:?}");
            assert_eq!(calls(&stage), 20, "nothing but the reads: {policy:?}");
            let error = users.get(&1).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Rejected, "a `get` says why");
            support::assert_empty(&engine).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_the_store_can_never_take_is_loaded_without_it() {
    for phase in [BackendCall::Get, BackendCall::Acquire] {
        for policy in [
            OutagePolicy::LoadThrough { max_concurrent: 1 },
            OutagePolicy::FailFast,
        ] {
            on_stage(async |stage| {
                let case = format!("{phase:?}, {policy:?}");
                let engine = engine(&stage, policy);
                let users = users(&engine);
                if phase == BackendCall::Get {
                    stage.script.ask();
                }
                let never = Act::FailAs(ErrorKind::InvalidInput);
                for call in [phase, BackendCall::Acquire] {
                    stage.script.always(call, never.clone());
                }
                let loads = Loads::default();
                let callers: Vec<_> = (0..20)
                    .map(|key| support::caller(&users, key, loads.value("ann", LOAD)))
                    .collect();
                support::settle().await;
                assert_eq!(engine.census().await.outage_loads, 0, "{case}");
                for caller in callers {
                    let answer = plain(caller.await.unwrap());
                    assert_eq!(answer, Ok("ann".to_owned()), "{case}");
                }
                assert_eq!(loads.count(), 20, "{case}");
                assert_eq!(stage.script.calls(BackendCall::Fill), 0, "{case}");
                support::assert_empty(&engine).await;
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_cannot_be_decoded_and_whose_removal_is_rejected_is_no_outage() {
    for policy in POLICIES {
        on_stage(async |stage| {
            let engine = engine(&stage, policy);
            let users = users(&engine);
            let other = stage.engine();
            let other: Cache<u64, u8> = other.cache("user").ttl(9 * LOAD).build().unwrap();
            other.put(&1, 7).await.unwrap();
            let rejected = Act::FailAs(ErrorKind::Rejected);
            stage.script.always(BackendCall::Remove, rejected);
            let loads = Loads::default();
            let answer = users.get_or_load(&1, loads.value("ann", LOAD)).await;
            assert_eq!(plain(answer), Ok("ann".to_owned()), "{policy:?}");
            assert_eq!(loads.count(), 1);
            assert_eq!(calls(&stage), 2, "no fill without a lease: {policy:?}");
            support::assert_empty(&engine).await;
        })
        .await;
    }
}

/// A call to the store that is no read.
#[derive(Clone, Copy, Debug)]
enum Write {
    Fill,
    Extend,
    Release,
    Seize,
    Remove,
    Clear,
}

impl Write {
    const ALL: [Self; 6] = [
        Self::Fill,
        Self::Extend,
        Self::Release,
        Self::Seize,
        Self::Remove,
        Self::Clear,
    ];

    fn call(self) -> BackendCall {
        match self {
            Self::Fill => BackendCall::Fill,
            Self::Extend => BackendCall::Extend,
            Self::Release => BackendCall::Release,
            Self::Seize => BackendCall::Seize,
            Self::Remove => BackendCall::Remove,
            Self::Clear => BackendCall::Clear,
        }
    }

    /// Makes a call that comes to this; what it is answered.
    async fn make(self, engine: &Engine, users: &Cache<u64, String>) -> String {
        match self {
            Self::Fill | Self::Extend => {
                let answer = users.get_or_load(&1, Loads::default().value("ann", LOAD));
                format!("{:?}", plain(answer.await))
            }
            Self::Release => {
                let fails = || async { Err::<String, _>(std::fmt::Error) };
                let answer = users.get_or_load(&1, fails).await;
                format!("{:?}", plain(answer))
            }
            Self::Seize => {
                let put = users.put(&1, "ann".to_owned()).await;
                format!("{:?}", put.map_err(|error| error.kind()))
            }
            Self::Remove => format!("{:?}", users.invalidate(&1).await),
            Self::Clear => {
                let cleared = engine.clear().await;
                format!("{:?}", cleared.map_err(|error| error.kind()))
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn faults_of_writes_are_no_outage_whatever_the_policy() {
    for write in Write::ALL {
        for fault in Fault::all(DEADLINE) {
            let mut seen = Vec::new();
            for policy in POLICIES {
                let outcome = on_stage(async |stage| {
                    let engine = engine(&stage, policy);
                    let users = users(&engine);
                    stage.script.always(write.call(), fault.act.clone());
                    let began = Instant::now();
                    let answer = write.make(&engine, &users).await;
                    let took = began.elapsed();
                    let called = stage.script.calls(write.call());
                    assert!(called > 0, "{write:?}, {fault:?}");
                    // Another key, meanwhile.
                    let other = users.get_or_load(&2, Loads::default().value("bob", LOAD));
                    assert_eq!(
                        plain(other.await),
                        Ok("bob".to_owned()),
                        "{write:?}, {fault:?}"
                    );
                    assert_eq!(engine.census().await.outage_loads, 0);
                    (answer, took, called)
                })
                .await;
                seen.push(outcome);
            }
            assert_eq!(seen[0], seen[1], "{write:?}, {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_answers_but_grants_no_lease_is_not_out() {
    for policy in [
        OutagePolicy::LoadThrough { max_concurrent: 1 },
        OutagePolicy::FailFast,
    ] {
        on_stage(async |stage| {
            let engine = engine(&stage, policy);
            let users = users(&engine);
            let full = Act::FailAs(ErrorKind::Rejected);
            stage.script.always(BackendCall::Acquire, full);
            let loads = Loads::default();
            let callers: Vec<_> = (0..20)
                .map(|key| support::caller(&users, key, loads.value("ann", LOAD)))
                .collect();
            support::settle().await;
            assert_eq!(engine.census().await.outage_loads, 0, "{policy:?}");
            for caller in callers {
                assert_eq!(plain(caller.await.unwrap()), Ok("ann".to_owned()));
            }
            assert_eq!(loads.count(), 20, "{policy:?}");
            assert_eq!(calls(&stage), 20, "no fill without a lease: {policy:?}");
        })
        .await;
    }
}
