//! Calls that are dropped, or no longer polled, at each of their await points.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

use std::{future::Future, io, pin::Pin, sync::Arc, time::Duration};

use cache_core::{Cache, Engine, Error, ErrorKind, testing::Act};
use futures_util::{future::join_all, poll};
use tokio::{
    task::{JoinHandle, spawn_local},
    time::{sleep, timeout},
};

use self::support::{
    EVERY_CALL, Loads, Stage, assert_empty, is_leased, on_stage, settle, user_key, users,
};

/// The time between two polls, and half of what each call to the store takes.
const STEP: Duration = Duration::from_millis(5);

/// More polls than any call needs.
const MANY: usize = 100;

/// Longer than anything takes here, and shorter than a lease, so that none ends by itself.
const LONG: Duration = Duration::from_secs(10);

const HOLD: Duration = Duration::from_secs(60);

/// A call of the public API.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Call {
    Get,
    GetMany,
    GetOrLoad,
    /// `get_or_load` with a loader that fails.
    GetOrFail,
    Put,
    PutWithTtl,
    Invalidate,
    InvalidateMany,
    Clear,
    ShutDown,
}

/// What happens to a call that is not seen through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    /// It is dropped before others come.
    Dropped,
    /// It is dropped once others wait.
    DroppedLater,
    /// It is kept and not polled any more.
    Unpolled,
}

/// Under which circumstances a call is given up.
#[derive(Clone, Debug)]
struct Case {
    call: Call,
    fate: Fate,
    /// After how many polls.
    polls: usize,
    /// Whether `peek` knows nothing.
    asks: bool,
    /// What each call to the store does.
    act: Act,
    /// Whether the key has an entry, `old`.
    is_warm: bool,
    /// How many others wait for the key then.
    others: usize,
}

impl Call {
    /// This call, which must succeed if it is seen through.
    fn start(
        self,
        engine: &Engine,
        users: &Cache<u64, String>,
        loads: &Loads,
    ) -> Pin<Box<dyn Future<Output = ()>>> {
        let (engine, users) = (engine.clone(), users.clone());
        let loader = loads.value("loaded", 2 * STEP);
        Box::pin(async move {
            match self {
                Self::Get => drop(users.get(&1).await.unwrap()),
                Self::GetMany => {
                    let answers = users.get_many(&[1, 2, 1]).await;
                    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
                }
                Self::GetOrLoad => {
                    users.get_or_load(&1, loader).await.unwrap();
                }
                Self::GetOrFail => {
                    let failing = async || {
                        sleep(2 * STEP).await;
                        Err::<String, _>(io::Error::other("no"))
                    };
                    match users.get_or_load(&1, failing).await {
                        Ok(found) => assert_eq!(*found.unwrap(), "old"),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Loader),
                    }
                }
                Self::Put => {
                    users.put(&1, "new".to_owned()).await.unwrap();
                }
                Self::PutWithTtl => {
                    let ttl = Duration::from_secs(60);
                    let put = users.put_with_ttl(&1, "new".to_owned(), ttl);
                    put.await.unwrap();
                }
                Self::Invalidate => {
                    users.invalidate(&1).await;
                }
                Self::InvalidateMany => {
                    engine.invalidate([users.key(&2), users.key(&1)]).await;
                }
                Self::Clear => engine.clear().await.unwrap(),
                Self::ShutDown => {
                    engine.shutdown(LONG).await;
                }
            }
        })
    }
}

impl Case {
    /// An engine, with what is stored and what goes on when the call is made.
    async fn prepare(&self, stage: &Stage) -> (Engine, Cache<u64, String>) {
        let builder = stage.builder(stage.scripted());
        let engine = builder.lease_hold(HOLD).lease_wait(2 * HOLD).build();
        let engine = engine.unwrap();
        let users = users(&engine);
        if self.is_warm {
            users.put(&1, "old".to_owned()).await.unwrap();
        }
        for call in EVERY_CALL {
            stage.script.always(call, self.act.clone());
        }
        if self.asks {
            stage.script.ask();
        }

        if self.call == Call::ShutDown {
            // Something to wait for.
            let (users, loader) = (users.clone(), Loads::default().value("2", 4 * STEP));
            spawn_local(async move { users.get_or_load(&2, loader).await });
            settle().await;
        }
        (engine, users)
    }

    /// Gives the call up and checks what is left of it. `true` if it ended before.
    async fn run(&self, stage: Stage) -> bool {
        let (engine, users) = self.prepare(&stage).await;
        let loads = Loads::default();
        let mut call = self.call.start(&engine, &users, &loads);
        let mut has_ended = false;
        for polled in 0..self.polls {
            if polled > 0 {
                sleep(STEP).await;
            }
            has_ended = poll!(call.as_mut()).is_ready();
            if has_ended {
                break;
            }
        }
        let mut call = Some(call);
        if self.fate == Fate::Dropped {
            call = None;
        }
        let others = others(&users, &loads, self.others);
        if self.fate == Fate::DroppedLater {
            settle().await;
            call = None;
        }
        let answers = timeout(LONG, join_all(others)).await;
        assert!(answers.is_ok(), "others are answered: {self:?}");
        let answers = answers.unwrap().into_iter().map(Result::unwrap);
        // What is detached ends.
        sleep(40 * STEP).await;
        drop(call);

        assert_empty(&engine).await;
        let is_leased = is_leased(&stage.memory, &user_key(1)).await;
        assert!(!is_leased, "no lease is left: {self:?}");
        stage.script.reset();
        self.check_others(answers, &loads);
        self.check_effect(&stage, &engine, &users, &loads).await;
        has_ended
    }

    fn check_others(
        &self,
        answers: impl Iterator<Item = Result<Option<Arc<String>>, Error>>,
        loads: &Loads,
    ) {
        let mut values = Vec::new();
        for answer in answers {
            match answer {
                Ok(value) => values.push(value.unwrap()),
                Err(error) => {
                    let expected = if self.call == Call::ShutDown {
                        ErrorKind::Shutdown
                    } else {
                        assert_eq!(self.call, Call::GetOrFail, "{self:?}");
                        ErrorKind::Loader
                    };
                    assert_eq!(error.kind(), expected, "{self:?}");
                }
            }
        }
        if matches!(self.call, Call::Get | Call::GetMany | Call::GetOrLoad) {
            values.dedup();
            assert!(
                values.len() <= 1,
                "all share one answer: {self:?} {values:?}"
            );
            let expected = match (self.is_warm, self.others > 0) {
                (true, _) => 0..=0,
                (false, true) => 1..=1,
                (false, false) => 0..=1,
            };
            assert!(expected.contains(&loads.count()), "{self:?}");
        }
    }

    async fn check_effect(
        &self,
        stage: &Stage,
        engine: &Engine,
        users: &Cache<u64, String>,
        loads: &Loads,
    ) {
        let reader = stage.engine();
        let found = self::users(&reader).get(&1).await.unwrap().value();
        let found = found.as_deref().map(String::as_str);
        match self.call {
            _ if self.polls == 0 && self.is_warm => assert_eq!(found, Some("old"), "{self:?}"),
            _ if self.polls == 0 => assert_eq!(found.is_some(), self.others > 0, "{self:?}"),
            Call::Put | Call::PutWithTtl => assert_eq!(found, Some("new"), "{self:?}"),
            Call::Invalidate | Call::InvalidateMany | Call::Clear => {
                assert_ne!(found, Some("old"), "{self:?}");
                assert!(found.is_none() || self.others > 0, "{self:?}");
            }
            Call::GetOrLoad if loads.count() == 1 => assert!(found.is_some(), "{self:?}"),
            Call::Get | Call::GetMany | Call::GetOrLoad | Call::GetOrFail | Call::ShutDown => {}
        }
        if self.call == Call::ShutDown && self.polls > 0 {
            let miss = users.get_or_load(&3, loads.value("3", STEP)).await;
            assert_eq!(miss.map_err(|error| error.kind()), Err(ErrorKind::Shutdown));
            return;
        }
        users.invalidate(&1).await;
        let again = users.get_or_load(&1, loads.value("again", STEP)).await;
        assert_eq!(
            *again.unwrap().unwrap(),
            "again",
            "the key is loadable: {self:?}"
        );
        assert_empty(engine).await;
    }
}

type Answer = Result<Option<Arc<String>>, Error>;

/// Callers who miss key 1, each with a loader.
fn others(users: &Cache<u64, String>, loads: &Loads, count: usize) -> Vec<JoinHandle<Answer>> {
    let call = |_| {
        let (users, loader) = (users.clone(), loads.value("other", 2 * STEP));
        spawn_local(async move { users.get_or_load(&1, loader).await })
    };
    (0..count).map(call).collect()
}

/// Gives `call` up after each number of polls until it ends, under all circumstances.
async fn give_up_everywhere(call: Call) {
    let mut most_polls = 0;
    for fate in [Fate::Dropped, Fate::DroppedLater, Fate::Unpolled] {
        for act in [Act::Late(2 * STEP), Act::AnswerLate(2 * STEP)] {
            for bits in 0..8 {
                let mut case = Case {
                    call,
                    fate,
                    polls: 0,
                    asks: bits & 1 > 0,
                    act: act.clone(),
                    is_warm: bits & 2 > 0,
                    others: if bits & 4 > 0 { 3 } else { 0 },
                };
                while !on_stage(async |stage| case.run(stage).await).await {
                    case.polls += 1;
                    assert!(case.polls < MANY, "the call ends: {case:?}");
                }
                most_polls = most_polls.max(case.polls);
            }
        }
    }
    assert!(most_polls > 2, "the call does await: {most_polls}");
}

#[tokio::test(start_paused = true)]
async fn a_get_may_be_given_up_at_any_point() {
    give_up_everywhere(Call::Get).await;
}

#[tokio::test(start_paused = true)]
async fn a_get_many_may_be_given_up_at_any_point() {
    give_up_everywhere(Call::GetMany).await;
}

#[tokio::test(start_paused = true)]
async fn a_get_or_load_may_be_given_up_at_any_point() {
    give_up_everywhere(Call::GetOrLoad).await;
}

#[tokio::test(start_paused = true)]
async fn a_get_or_load_that_will_fail_may_be_given_up_at_any_point() {
    give_up_everywhere(Call::GetOrFail).await;
}

#[tokio::test(start_paused = true)]
async fn a_put_given_up_after_its_first_poll_still_takes_effect() {
    give_up_everywhere(Call::Put).await;
}

#[tokio::test(start_paused = true)]
async fn a_put_with_a_ttl_given_up_after_its_first_poll_still_takes_effect() {
    give_up_everywhere(Call::PutWithTtl).await;
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_given_up_after_its_first_poll_still_takes_effect() {
    give_up_everywhere(Call::Invalidate).await;
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_of_many_given_up_after_its_first_poll_still_takes_effect() {
    give_up_everywhere(Call::InvalidateMany).await;
}

#[tokio::test(start_paused = true)]
async fn a_clear_given_up_after_its_first_poll_still_takes_effect() {
    give_up_everywhere(Call::Clear).await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_given_up_after_its_first_poll_still_takes_effect() {
    give_up_everywhere(Call::ShutDown).await;
}
