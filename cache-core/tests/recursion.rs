//! Loads that would wait for themselves are told so at once; others never are.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

#[path = "recursion/doomed.rs"]
mod doomed;
mod support;

use std::{io, sync::Arc, time::Duration};

use cache_core::{Cache, Error, ErrorKind};
use futures_util::{FutureExt, future::BoxFuture};
use tokio::time::{Instant, sleep, timeout};

use self::support::{Answer, Loads, assert_empty, caller, on_stage, settle, users};

const SECOND: Duration = Duration::from_secs(1);

type Users = Cache<u64, String>;

/// A loader that takes `time`, then asks `users` for the first of `chain` with a loader that asks
/// for the next, and so on. The last is a plain value.
fn asks_for(
    users: &Users,
    chain: &'static [u64],
    time: Duration,
    loads: &Loads,
) -> impl FnOnce() -> BoxFuture<'static, Result<String, Error>> + Send + 'static + use<> {
    let (users, loads) = (users.clone(), loads.clone());
    move || {
        let load = async move {
            loads.begin();
            sleep(time).await;
            let Some((first, rest)) = chain.split_first() else {
                return Ok("the end".to_owned());
            };
            let next = asks_for(&users, rest, time, &loads);
            let found = users.get_or_load(first, next).await?;
            Ok(format!("{first} {}", found.unwrap()))
        };
        load.boxed()
    }
}

/// The kind of the error at the bottom of an answer: the one that a loader passed on.
fn root(answer: &Answer<String>) -> Option<ErrorKind> {
    let mut error = answer.as_ref().err()?;
    while let Some(cause) = error.loader_error::<Error>() {
        error = cause;
    }
    Some(error.kind())
}

fn text(answer: Answer<String>) -> String {
    answer.unwrap().unwrap().to_string()
}

/// Asserts that callers who ask, all at once, for the first of each chain with loaders that go
/// along it, are all answered `Recursive` after `time`, when the circle closes.
async fn is_recursive(chains: &[&'static [u64]], time: Duration) {
    on_stage(async |stage| {
        let engine = stage.engine();
        let (users, loads) = (users(&engine), Loads::default());
        let began = Instant::now();
        let calls: Vec<_> = chains
            .iter()
            .map(|chain| {
                caller(
                    &users,
                    chain[0],
                    asks_for(&users, &chain[1..], time, &loads),
                )
            })
            .collect();
        for call in calls {
            let answer = call.await.unwrap();
            assert_eq!(root(&answer), Some(ErrorKind::Recursive));
            assert_eq!(
                answer.unwrap_err().kind(),
                ErrorKind::Loader,
                "its loader failed"
            );
        }
        assert_eq!(began.elapsed(), time, "at once");
        assert_empty(&engine).await;

        let anew = users.get_or_load(&1, Loads::default().value("anew", SECOND));
        assert_eq!(text(anew.await), "anew", "the key is free");
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_load_that_asks_for_its_own_key_is_recursive() {
    is_recursive(&[&[1, 1]], Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_load_that_asks_for_its_own_key_through_others_is_recursive() {
    is_recursive(&[&[1, 2, 1]], Duration::ZERO).await;
    is_recursive(&[&[1, 2, 3, 4, 2]], Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn two_callers_whose_loads_wait_for_each_other_are_recursive() {
    is_recursive(&[&[1, 2], &[2, 1]], SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn three_callers_whose_loads_wait_in_a_circle_are_recursive() {
    is_recursive(&[&[1, 2], &[2, 3], &[3, 1]], SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn who_has_another_answer_to_a_recursion_frees_the_circle() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let users = users(&engine);
        let inner = users.clone();
        let outer = users.get_or_load(&1, || async move {
            let own = inner
                .get_or_load(&1, Loads::default().value("-", SECOND))
                .await;
            Ok::<_, io::Error>(format!("after {:?}", own.unwrap_err().kind()))
        });
        assert_eq!(text(outer.await), "after Recursive");
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_recursion_is_found_in_a_join_and_its_other_branch_goes_on() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let users = users(&engine);
        let inner = users.clone();
        let outer = users.get_or_load(&1, || async move {
            let began = Instant::now();
            let other = inner.get_or_load(&2, Loads::default().value("bob", SECOND));
            let own = async {
                let own = inner
                    .get_or_load(&1, Loads::default().value("-", SECOND))
                    .await;
                (own.unwrap_err().kind(), began.elapsed())
            };
            let (other, own) = tokio::join!(other, own);
            assert_eq!(own, (ErrorKind::Recursive, Duration::ZERO));
            Ok::<_, io::Error>(format!("of {}", text(other)))
        });
        assert_eq!(text(outer.await), "of bob");
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_recursion_is_found_in_a_select() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let users = users(&engine);
        let inner = users.clone();
        let outer = users.get_or_load(&1, || async move {
            tokio::select! {
                own = inner.get_or_load(&1, Loads::default().value("-", SECOND)) => {
                    Ok::<_, io::Error>(format!("{:?}", own.unwrap_err().kind()))
                }
                () = sleep(Duration::from_millis(1)) => Ok("it waited".to_owned()),
            }
        });
        assert_eq!(text(outer.await), "Recursive");
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_dropped_is_no_longer_waited_for() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let (users, loads) = (users(&engine), Loads::default());
        // The load of 1 gives its call for 2 up after a second, and ends after five. The load
        // of 2 asks for 1 after two.
        let inner = users.clone();
        let asks_back = asks_for(&users, &[1], 2 * SECOND, &loads);
        let began = Instant::now();
        let first = caller(&users, 1, || async move {
            timeout(SECOND, inner.get_or_load(&2, asks_back))
                .await
                .unwrap_err();
            sleep(4 * SECOND).await;
            Ok::<_, io::Error>("ann".to_owned())
        });
        settle().await;
        assert_eq!(engine.census().await.wait_edges, 1);
        sleep(SECOND + Duration::from_millis(1)).await;
        settle().await;
        assert_eq!(engine.census().await.wait_edges, 0);

        let second = users.get_or_load(&2, loads.value("-", SECOND)).await;
        assert_eq!(text(second), "1 ann");
        assert_eq!(text(first.await.unwrap()), "ann");
        assert_eq!(began.elapsed(), 5 * SECOND);
        assert_eq!(loads.count(), 1, "one load of 2");
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn two_calls_for_one_key_in_one_load_are_no_recursion() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let (users, loads) = (users(&engine), Loads::default());
        let (inner, inner_loads) = (users.clone(), loads.clone());
        let outer = users.get_or_load(&1, || async move {
            let calls = [(); 2].map(|()| inner.get_or_load(&2, inner_loads.value("bob", SECOND)));
            let [left, right] = calls;
            let (left, right) = tokio::join!(left, right);
            Ok::<_, io::Error>(format!("{} {}", text(left), text(right)))
        });
        assert_eq!(text(outer.await), "bob bob");
        assert_eq!(loads.count(), 1);
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn two_loads_that_join_a_third_are_no_recursion() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let (users, loads) = (users(&engine), Loads::default());
        let calls = [1, 2].map(|key| caller(&users, key, asks_for(&users, &[3], SECOND, &loads)));
        for call in calls {
            assert_eq!(text(call.await.unwrap()), "3 the end");
        }
        assert_eq!(loads.count(), 3);
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_load_may_ask_another_engine_for_the_same_key() {
    on_stage(async |stage| {
        let (near, far) = (
            stage.engine(),
            stage.builder(support::memory()).build().unwrap(),
        );
        let (users, others) = (users(&near), users(&far));
        // The flights of both have the same place in their engines.
        let running = caller(&others, 1, Loads::default().value("ann", SECOND));
        settle().await;
        let inner = others.clone();
        let found = users.get_or_load(&1, || async move {
            let far = inner.get_or_load(&1, Loads::default().value("-", SECOND));
            far.await.map(|far| far.map(|far| format!("far {far}")))
        });
        assert_eq!(text(found.await), "far ann");
        assert_eq!(text(running.await.unwrap()), "ann");
        assert_eq!(
            others.get(&1).await.unwrap().value(),
            Some(Arc::new("ann".to_owned()))
        );
        assert_empty(&near).await;
        assert_empty(&far).await;
    })
    .await;
}
