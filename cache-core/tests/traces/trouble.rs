//! What the log says of calls to the store that fail.

use std::time::Duration;

use cache_core::{BackendCall, BoxError, Cache, Error, ErrorKind, Invalidation, testing::Act};
use futures_util::{FutureExt, future::join_all};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{
    Event, Level, Metadata, Subscriber,
    span::{Attributes, Id, Record},
    subscriber::set_default,
};

use crate::{
    SECOND,
    listener::{Line, Listener},
    support::{Loads, Stage, on_stage, settle, users},
};

const MINUTE: Duration = Duration::from_secs(60);
const MILLI: Duration = Duration::from_millis(1);

/// Runs `test` on a stage whose store is asked for each read, with who listens.
async fn listening(test: impl AsyncFnOnce(&Stage, &Listener)) {
    let (listener, _in_force) = Listener::in_force(Level::INFO);
    on_stage(async |stage| {
        stage.script.ask();
        test(&stage, &listener).await;
    })
    .await;
}

/// The lines about calls that failed, each with the fields that are looked at.
fn lines(listener: &Listener) -> Vec<[String; 3]> {
    let lines = listener.take_lines();
    let lines = lines.iter().filter(|line| is_about_a_call(line));
    lines
        .map(|line| ["call", "error", "suppressed"].map(|name| line.fields[name].clone()))
        .collect()
}

fn is_about_a_call(line: &Line) -> bool {
    line.field("message") == Some("a call to the backend failed")
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_failures_is_one_line_a_minute_that_counts_them() {
    listening(async |stage, listener| {
        let engine = stage.scripted_engine();
        let users = users(&engine);
        stage.script.always(BackendCall::Get, Act::Fail);
        let began = Instant::now();
        let storm = async || {
            let ids: Vec<u64> = (0..10_000).collect();
            let answers = join_all(ids.iter().map(|id| users.get(id))).await;
            assert!(answers.iter().all(Result::is_err));
        };
        storm().await;
        let says = |suppressed: &str| ["get", "the script says so", suppressed].map(str::to_owned);
        assert_eq!(lines(listener), [says("0")]);

        sleep_until(began + MINUTE - MILLI).await;
        storm().await;
        assert_eq!(lines(listener), Vec::<[String; 3]>::new());
        sleep_until(began + MINUTE).await;
        storm().await;
        assert_eq!(lines(listener), [says("19999")]);

        // Answers are no news, and a minute without failures has none to count.
        stage.script.reset();
        stage.script.ask();
        users.get(&1).await.unwrap();
        sleep(MINUTE).await;
        users.get(&1).await.unwrap();
        assert_eq!(lines(listener), Vec::<[String; 3]>::new());
        stage.script.once(BackendCall::Get, Act::Fail);
        users.get(&1).await.unwrap_err();
        assert_eq!(lines(listener), [says("9999")]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn each_cause_has_a_line_of_its_own_whichever_call_meets_it() {
    listening(async |stage, listener| {
        let builder = stage.builder(stage.scripted());
        let engine = builder.backend_deadline(SECOND).build().unwrap();
        let users = users(&engine);
        for act in [
            Act::Fail,
            Act::FailAs(ErrorKind::Rejected),
            Act::Hang,
            Act::Panic,
        ] {
            for _ in 0..3 {
                stage.script.once(BackendCall::Get, act.clone());
                users.get(&1).await.unwrap_err();
                stage.script.once(BackendCall::Acquire, act.clone());
                let loader = Loads::default().value("ann", MILLI);
                stage.script.once(BackendCall::Clear, act.clone());
                engine.clear().await.unwrap_err();
                users.get_or_load(&1, loader).await.unwrap();
            }
        }
        let kinds_and_errors: Vec<_> = listener
            .take_lines()
            .into_iter()
            .map(|line| {
                assert_eq!(line.level, Level::WARN, "{line:?}");
                assert_eq!(line.field("backend"), Some("memory"), "{line:?}");
                assert_eq!(line.field("cause"), None, "{line:?}");
                ["kind", "error"].map(|name| line.fields[name].clone())
            })
            .collect();
        assert_eq!(
            kinds_and_errors,
            [
                ["unavailable", "the script says so"],
                ["rejected", "the script says so"],
                [
                    "unavailable",
                    "the backend did not answer within the engine's `backend_deadline`"
                ],
                ["unavailable", "the backend panicked"],
            ]
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_call_about_many_keys_of_which_some_fail_is_one_that_failed() {
    listening(async |stage, listener| {
        let engine = stage.scripted_engine();
        let users = users(&engine);
        let says = |call: &str, suppressed: &str| {
            [call, "the script says so", suppressed].map(str::to_owned)
        };
        stage.script.once(BackendCall::GetMany, Act::Fail);
        users.get_many(&[1, 2, 3]).await;
        assert_eq!(lines(listener), [says("get_many", "0")]);

        sleep(MINUTE).await;
        stage.script.lose(|key| key == b"user:2");
        let keys = [1, 2, 3].map(|id| users.key(&id));
        assert_eq!(engine.invalidate(keys).await, Invalidation::Queued);
        assert_eq!(lines(listener), [says("remove", "0")]);
        stage.script.reset();
        engine.shutdown(SECOND).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_a_caller_did_wrong_is_no_trouble() {
    listening(async |stage, listener| {
        let engine = stage.scripted_engine();
        let users = users(&engine);
        let wrong = Act::FailAs(ErrorKind::InvalidInput);
        stage.script.once(BackendCall::Get, wrong.clone());
        users.get(&1).await.unwrap_err();
        stage.script.once(BackendCall::GetMany, wrong);
        users.get_many(&[1, 2]).await;

        // Outside any runtime, where the store cannot be awaited.
        stage.script.once(BackendCall::Get, Act::Hang);
        std::thread::scope(|scope| {
            let outside = scope.spawn(|| users.get(&1).now_or_never());
            let error = outside.join().unwrap().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NoRuntime);
        });
        engine.shutdown(SECOND).await;
        let error = users.put(&1, "ann".to_owned()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Shutdown);
        settle().await;
        assert_eq!(lines(listener), Vec::<[String; 3]>::new());
    })
    .await;
}

#[derive(Debug, thiserror::Error)]
#[error("a socket was closed")]
struct Closed(#[source] Option<BoxError>);

#[tokio::test(start_paused = true)]
async fn a_line_says_what_is_behind_an_error_level_by_level() {
    listening(async |stage, listener| {
        let engine = stage.scripted_engine();
        let users = users(&engine);
        let reset: BoxError = "reset by peer".into();
        let error = Error::with_source(
            ErrorKind::Unavailable,
            "the store is away",
            Closed(Some(reset)),
        );
        stage.script.once(BackendCall::Get, Act::FailWith(error));
        users.get(&1).await.unwrap_err();
        let lines = listener.take_lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0].field("error"), Some("the store is away"));
        let cause = "a socket was closed: reset by peer";
        assert_eq!(lines[0].field("cause"), Some(cause));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn engines_speak_for_themselves() {
    listening(async |stage, listener| {
        stage.script.always(BackendCall::Get, Act::Fail);
        let engines = [(); 2].map(|()| stage.scripted_engine());
        for engine in &engines {
            users(engine).get(&1).await.unwrap_err();
            users(engine).get(&1).await.unwrap_err();
        }
        assert_eq!(lines(listener).len(), 2);
    })
    .await;
}

/// Reads from a store that fails whenever it is told something.
struct ReadsAgain(Cache<u64, String>);

impl Subscriber for ReadsAgain {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        let read = self.0.get(&1).now_or_never();
        assert!(read.is_some_and(|answer| answer.is_err()));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test(start_paused = true)]
async fn who_is_told_may_use_the_cache() {
    on_stage(async |stage| {
        stage.script.ask();
        stage.script.always(BackendCall::Get, Act::Fail);
        let users = users(&stage.scripted_engine());
        let _in_force = set_default(ReadsAgain(users.clone()));
        users.get(&1).await.unwrap_err();
    })
    .await;
}
