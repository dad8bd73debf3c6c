//! Callers who give up while the store and the loader fail, take their time, or never answer.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

use std::{future::pending, io, time::Duration};

use cache_core::{Cache, Engine, ErrorKind, testing::Act};
use futures_util::{
    future::{BoxFuture, join_all},
    poll,
};
use tokio::time::{Instant, sleep};

use self::support::{EVERY_CALL, Loads, Stage, assert_empty, is_leased, on_stage, user_key, users};

/// How a store, or a loader, does its work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    Ok,
    Err,
    Slow,
    Never,
}

impl Way {
    const ALL: [Self; 4] = [Self::Ok, Self::Err, Self::Slow, Self::Never];

    fn act(self) -> Option<Act> {
        match self {
            Self::Ok => None,
            Self::Err => Some(Act::Fail),
            Self::Slow => Some(Act::AnswerLate(SLOW)),
            Self::Never => Some(Act::Hang),
        }
    }

    fn loader(self, loads: &Loads) -> impl FnOnce() -> BoxFuture<'static, LoaderResult> + use<> {
        let loads = loads.clone();
        move || {
            Box::pin(async move {
                loads.begin();
                match self {
                    Self::Ok => Ok("loaded".to_owned()),
                    Self::Err => Err(io::Error::other("no")),
                    Self::Slow => {
                        sleep(SLOW).await;
                        Ok("loaded".to_owned())
                    }
                    Self::Never => pending().await,
                }
            })
        }
    }
}

type LoaderResult = Result<String, io::Error>;

const SLOW: Duration = Duration::from_millis(300);

const DEADLINE: Duration = Duration::from_secs(1);

const LOAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Of four callers of one key one is dropped and one no longer polled.
async fn whatever_happens(store: Way, loader: Way, asks: bool, stage: Stage) {
    let engine = stage.scripted_engine();
    let users = users(&engine);
    for call in EVERY_CALL {
        if let Some(act) = store.act() {
            stage.script.always(call, act);
        }
    }
    if asks {
        stage.script.ask();
    }
    let loads = Loads::default();
    let began = Instant::now();
    let mut dropped = Box::pin(users.get_or_load(&1, loader.loader(&loads)));
    assert!(poll!(dropped.as_mut()).is_pending());
    let mut unpolled = Box::pin(users.get_or_load(&1, loader.loader(&loads)));
    assert!(poll!(unpolled.as_mut()).is_pending());
    drop(dropped);

    let waiters = (0..2).map(|_| users.get_or_load(&1, loader.loader(&loads)));
    for answer in join_all(waiters).await {
        let kind = answer
            .map(|found| (*found.unwrap()).clone())
            .map_err(|error| error.kind());
        let expected = match loader {
            Way::Ok | Way::Slow => Ok("loaded".to_owned()),
            Way::Err => Err(ErrorKind::Loader),
            Way::Never => Err(ErrorKind::LoadTimeout),
        };
        assert_eq!(kind, expected, "store {store:?}, loader {loader:?}");
    }
    let load = match loader {
        Way::Ok | Way::Err => Duration::ZERO,
        Way::Slow => SLOW,
        Way::Never => LOAD_TIMEOUT,
    };
    // One `get`, one `acquire` and one `fill` at most.
    assert!(
        began.elapsed() <= 3 * DEADLINE + load,
        "store {store:?}, loader {loader:?}: {:?}",
        began.elapsed()
    );
    assert_eq!(loads.count(), 1, "store {store:?}, loader {loader:?}");

    drop(unpolled);
    assert_recovered(&engine, &users, &stage).await;
}

/// Nothing is left behind once the store is back.
async fn assert_recovered(engine: &Engine, users: &Cache<u64, String>, stage: &Stage) {
    stage.script.reset();
    // What could not be released runs out.
    sleep(Duration::from_secs(3)).await;
    assert_empty(engine).await;
    assert!(!is_leased(&stage.memory, &user_key(1)).await);
    users.invalidate(&1).await;
    let again = users
        .get_or_load(&1, Loads::default().value("again", SLOW))
        .await;
    assert_eq!(*again.unwrap().unwrap(), "again", "the key is loadable");
}

#[tokio::test(start_paused = true)]
async fn every_caller_is_answered_whatever_the_store_and_the_loader_do() {
    for store in Way::ALL {
        for loader in Way::ALL {
            for asks in [false, true] {
                on_stage(async |stage| whatever_happens(store, loader, asks, stage).await).await;
            }
        }
    }
}
