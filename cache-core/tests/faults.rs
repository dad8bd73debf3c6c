//! Reads while the store fails, hangs, takes its time or panics, at each point of a flight.
//!
//! A fault of one call to the store costs a reader one backend deadline at most, and never an
//! answer that its loader has.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

use std::{io, sync::Arc, time::Duration};

use cache_core::{Acquire, Backend, BackendCall, Cache, Engine, Error, ErrorKind, Load, Lookup};
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep};

use self::support::{
    EVERY_CALL, Fault, Stage, assert_empty, is_leased, on_stage, settle, user_key, users,
};

const DEADLINE: Duration = Duration::from_secs(1);

const HOLD: Duration = Duration::from_secs(3);

const LOAD: Duration = Duration::from_millis(100);

/// Long enough that a lease is renewed, or lost if it is not.
const LONG_LOAD: Duration = Duration::from_secs(5);

/// For how long another holds the lease, and then the longest pause between two attempts.
const HELD: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(16));

/// Where in a flight a fault strikes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// The read before it.
    Read,
    FirstAcquire,
    /// After another was seen to hold the lease.
    SecondAcquire,
    /// The removal of an entry that cannot be decoded.
    Remove,
    /// While the loader runs.
    Load,
    Fill,
    Release,
}

impl Phase {
    const ALL: [Self; 7] = [
        Self::Read,
        Self::FirstAcquire,
        Self::SecondAcquire,
        Self::Remove,
        Self::Load,
        Self::Fill,
        Self::Release,
    ];

    const fn call(self) -> BackendCall {
        match self {
            Self::Read => BackendCall::Get,
            Self::FirstAcquire | Self::SecondAcquire => BackendCall::Acquire,
            Self::Remove => BackendCall::Remove,
            Self::Load => BackendCall::Extend,
            Self::Fill => BackendCall::Fill,
            Self::Release => BackendCall::Release,
        }
    }

    fn load(self) -> Duration {
        if self == Self::Load { LONG_LOAD } else { LOAD }
    }

    /// Prepares the store, and lets `fault` strike; how long that other makes the flight wait.
    async fn prepare(self, stage: &Stage, fault: &Fault) -> Duration {
        let key = user_key(1);
        match self {
            Self::SecondAcquire => {
                let held = stage.memory.acquire(&key, HELD.0).await.unwrap();
                assert!(matches!(held, Acquire::Granted(_)));
                stage.script.nth(self.call(), 1, fault.act.clone());
                return HELD.0 + HELD.1;
            }
            Self::Read => stage.script.ask(),
            Self::Remove => {
                let other = stage.engine();
                let other: Cache<u64, u8> = other.cache("user").ttl(HOLD * 9).build().unwrap();
                other.put(&1, 7).await.unwrap();
            }
            Self::FirstAcquire | Self::Load | Self::Fill | Self::Release => {}
        }
        stage.script.once(self.call(), fault.act.clone());
        Duration::ZERO
    }

    /// Whether what is loaded is stored; `None` if that is not for this test to say.
    fn stores(self, fault: &Fault) -> Option<bool> {
        match self {
            Self::Release => Some(true),
            // Where a read is not answered, no lease is asked for; without one, or without the
            // removal of what is there, nothing is stored.
            Self::Read | Self::FirstAcquire | Self::SecondAcquire | Self::Remove => {
                Some(fault.is_answered)
            }
            Self::Load => None,
            Self::Fill => Some(fault.takes_effect),
        }
    }

    /// Whether a load that ends like this comes to this phase.
    fn is_met_by(self, ending: Ending) -> bool {
        match self {
            Self::Fill => matches!(ending, Ending::Value | Ending::Absent),
            Self::Release => matches!(ending, Ending::NotStored | Ending::Failure),
            Self::Read | Self::FirstAcquire | Self::SecondAcquire | Self::Remove | Self::Load => {
                true
            }
        }
    }

    /// Whether a lease may be left until it runs out.
    fn may_leave_lease(self) -> bool {
        matches!(
            self,
            Self::FirstAcquire | Self::SecondAcquire | Self::Release
        )
    }
}

/// How a loader ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ending {
    Value,
    Absent,
    NotStored,
    Failure,
}

type Loading = BoxFuture<'static, Result<Load<String>, io::Error>>;

impl Ending {
    const ALL: [Self; 4] = [Self::Value, Self::Absent, Self::NotStored, Self::Failure];

    fn loader(self, time: Duration) -> impl FnOnce() -> Loading {
        move || {
            Box::pin(async move {
                sleep(time).await;
                match self {
                    Self::Value => Ok(Load::value("loaded".to_owned())),
                    Self::Absent => Ok(Load::absent()),
                    Self::NotStored => Ok(Load::value("loaded".to_owned()).no_store()),
                    Self::Failure => Err(io::Error::other("no")),
                }
            })
        }
    }

    fn assert_answered(self, answer: Result<Option<Arc<String>>, Error>, case: &str) {
        let answer = answer
            .map(|found| found.map(|value| (*value).clone()))
            .map_err(|error| error.kind());
        let expected = match self {
            Self::Value | Self::NotStored => Ok(Some("loaded".to_owned())),
            Self::Absent => Ok(None),
            Self::Failure => Err(ErrorKind::Loader),
        };
        assert_eq!(answer, expected, "{case}");
    }
}

/// One fault in one phase of one load.
async fn one_fault(phase: Phase, fault: Fault, ending: Ending, stage: Stage) {
    let case = format!("{phase:?}, {fault:?}, {ending:?}");
    let engine = stage.scripted_engine();
    let users = users(&engine);
    let waits = phase.prepare(&stage, &fault).await;

    let began = Instant::now();
    let answer = users.get_or_load(&1, ending.loader(phase.load())).await;
    ending.assert_answered(answer, &case);
    let took = began.elapsed();
    let longest = phase.load() + waits + fault.delay.min(DEADLINE);
    // Timers are good for a millisecond.
    assert!(
        took <= longest + Duration::from_millis(5),
        "{case}: {took:?}"
    );

    if phase.may_leave_lease() {
        // What a command without an answer left behind runs out.
        sleep(HOLD).await;
    } else {
        settle().await;
        assert!(!is_leased(&stage.memory, &user_key(1)).await, "{case}");
        // A background call that hangs is given up.
        sleep(DEADLINE).await;
    }
    let is_met = stage.script.calls(phase.call()) > 0;
    assert!(is_met || !phase.is_met_by(ending), "{case}");
    let found = users.get(&1).await.unwrap();
    let expected = match (ending, phase.stores(&fault)) {
        (_, None) => found.clone(),
        (Ending::Value, Some(true)) => Lookup::Value(Arc::new("loaded".to_owned())),
        (Ending::Absent, Some(true)) => Lookup::Absent,
        (_, Some(_)) => Lookup::Miss,
    };
    assert_eq!(found, expected, "{case}");
    assert_recovered(&engine, &users, &stage, &case).await;
}

/// Nothing is left behind, and the key is loadable.
async fn assert_recovered(engine: &Engine, users: &Cache<u64, String>, stage: &Stage, case: &str) {
    assert_empty(engine).await;
    assert!(!is_leased(&stage.memory, &user_key(1)).await, "{case}");
    users.invalidate(&1).await;
    let again = users.get_or_load(&1, Ending::Value.loader(LOAD)).await;
    Ending::Value.assert_answered(again, case);
    assert_empty(engine).await;
}

#[tokio::test(start_paused = true)]
async fn a_fault_costs_a_load_one_deadline_at_most_and_never_its_answer() {
    for phase in Phase::ALL {
        for fault in Fault::all(DEADLINE) {
            for ending in Ending::ALL {
                on_stage(async |stage| one_fault(phase, fault.clone(), ending, stage).await).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_out_costs_a_load_one_read() {
    for fault in Fault::all(DEADLINE) {
        for ending in Ending::ALL {
            on_stage(async |stage| {
                let case = format!("{fault:?}, {ending:?}");
                let engine = stage.scripted_engine();
                let users = users(&engine);
                stage.script.ask();
                for call in EVERY_CALL {
                    stage.script.always(call, fault.act.clone());
                }
                let began = Instant::now();
                let answer = users.get_or_load(&1, ending.loader(LOAD)).await;
                ending.assert_answered(answer, &case);
                // And an `acquire` and a `fill`, if the store answers at all.
                let calls = if fault.is_answered { 3 } else { 1 };
                let longest = LOAD + calls * fault.delay.min(DEADLINE);
                let took = began.elapsed();
                assert!(
                    took <= longest + Duration::from_millis(5),
                    "{case}: {took:?}"
                );
                if !fault.is_answered {
                    let called = EVERY_CALL.map(|call| stage.script.calls(call));
                    assert_eq!(
                        called.iter().sum::<usize>(),
                        1,
                        "nothing but the read: {case}"
                    );
                }

                stage.script.reset();
                sleep(HOLD).await;
                assert_recovered(&engine, &users, &stage, &case).await;
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_get_answers_what_the_store_does_or_that_it_is_unavailable() {
    for fault in Fault::all(DEADLINE) {
        on_stage(async |stage| {
            let engine = stage.scripted_engine();
            let users = users(&engine);
            users.put(&1, "stored".to_owned()).await.unwrap();
            stage.script.ask();
            stage.script.once(BackendCall::Get, fault.act.clone());

            let began = Instant::now();
            let answer = users.get(&1).await.map_err(|error| error.kind());
            let stored = Lookup::Value(Arc::new("stored".to_owned()));
            let expected = fault.answer(stored.clone());
            assert_eq!(answer, expected, "{fault:?}");
            assert!(began.elapsed() <= DEADLINE, "{fault:?}");

            assert_eq!(users.get(&1).await.unwrap(), stored, "{fault:?}");
            assert_empty(&engine).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_get_many_answers_each_key_what_the_store_does_or_that_it_is_unavailable() {
    for fault in Fault::all(DEADLINE) {
        on_stage(async |stage| {
            let engine = stage.scripted_engine();
            let users = users(&engine);
            users.put(&1, "stored".to_owned()).await.unwrap();
            stage.script.ask();
            stage.script.once(BackendCall::GetMany, fault.act.clone());

            let began = Instant::now();
            let answers = users.get_many(&[1, 2, 1]).await;
            let stored = Lookup::Value(Arc::new("stored".to_owned()));
            let expected = [stored.clone(), Lookup::Miss, stored];
            assert_eq!(answers.len(), expected.len(), "{fault:?}");
            for (answer, expected) in answers.into_iter().zip(expected) {
                let answer = answer.map_err(|error| error.kind());
                assert_eq!(answer, fault.answer(expected), "{fault:?}");
            }
            assert!(began.elapsed() <= DEADLINE, "{fault:?}");
            assert_empty(&engine).await;
        })
        .await;
    }
}
