//! No key and no value is ever written where somebody else might read it.

use std::{
    error::Error as StdError,
    fmt::{Debug, Write},
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use cache_core::{BackendCall, Cache, Engine, Error, ErrorKind, testing::Act};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::set_default,
};

use crate::{
    HOUR, SECOND,
    support::{Loads, assert_empty, on_stage, settle},
};

/// In every key and every value of these tests.
const SECRET: &str = "hunter2";

fn tells_nothing(shown: &str) {
    assert!(!shown.contains(SECRET), "it is told: {shown}");
    let bytes = format!("{:?}", SECRET.as_bytes());
    let bytes = bytes.trim_matches(['[', ']']);
    assert!(!shown.contains(bytes), "it is told as bytes: {shown}");
}

/// Looks at an error and at what caused it, as text and as `Debug`.
fn error_tells_nothing(error: &Error, kind: ErrorKind) {
    assert_eq!(error.kind(), kind);
    tells_nothing(&format!("{error:?} {error:#?}"));
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        tells_nothing(&error.to_string());
        next = error.source();
    }
}

fn names(engine: &Engine) -> Cache<String, String> {
    engine.cache("name").ttl(HOUR).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn handles_and_builders_show_no_key_and_no_value() {
    on_stage(async |stage| {
        let engine = stage.scripted_engine();
        let names = names(&engine);
        names.put(SECRET, SECRET.to_owned()).await.unwrap();
        let shown: [&dyn Debug; 6] = [
            &engine,
            &names,
            &names.key(SECRET),
            &stage.memory,
            &stage.script,
            &engine.cache::<u64, String>("other"),
        ];
        for shown in shown {
            tells_nothing(&format!("{shown:?} {shown:#?}"));
        }
        tells_nothing(&format!("{:?}", stage.builder(stage.scripted())));
    })
    .await;
}

async fn panics() -> Result<String, io::Error> {
    panic!("{SECRET}")
}

#[tokio::test(start_paused = true)]
async fn errors_show_no_key_and_no_value() {
    on_stage(async |stage| {
        let engine = stage.builder(stage.scripted()).max_waiting(1);
        let engine = engine.load_timeout(SECOND).build().unwrap();
        let names = names(&engine);
        let value = || SECRET.to_owned();
        let slow = || Loads::default().value(SECRET, 2 * SECOND);
        let long = SECRET.repeat(100);

        let error = names.get(&long).await.unwrap_err();
        error_tells_nothing(&error, ErrorKind::InvalidInput);
        let error = names.put(&long, value()).await.unwrap_err();
        error_tells_nothing(&error, ErrorKind::InvalidInput);
        let error = names
            .put_with_ttl(SECRET, value(), Duration::ZERO)
            .await
            .unwrap_err();
        error_tells_nothing(&error, ErrorKind::InvalidInput);

        let first = tokio::spawn({
            let (names, slow) = (names.clone(), slow());
            async move { names.get_or_load(SECRET, slow).await }
        });
        settle().await;
        let error = names.get_or_load(SECRET, slow()).await.unwrap_err();
        error_tells_nothing(&error, ErrorKind::Overloaded);
        let error = first.await.unwrap().unwrap_err();
        error_tells_nothing(&error, ErrorKind::LoadTimeout);

        let error = names.get_or_load(SECRET, panics).await.unwrap_err();
        error_tells_nothing(&error, ErrorKind::Panicked);

        stage.script.always(BackendCall::Seize, Act::Fail);
        let error = names.put(SECRET, value()).await.unwrap_err();
        error_tells_nothing(&error, ErrorKind::Unavailable);
        engine.shutdown(SECOND).await;
        let error = names.put(SECRET, value()).await.unwrap_err();
        error_tells_nothing(&error, ErrorKind::Shutdown);
        assert_empty(&engine).await;
    })
    .await;
}

/// Keeps all that is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Visit for Log {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        writeln!(self.0.lock().unwrap(), "{field}={value:?}").unwrap();
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("cache_")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut self.clone());
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test(start_paused = true)]
async fn what_is_logged_shows_no_key_and_no_value() {
    let log = Log::default();
    let _in_force = set_default(log.clone());
    on_stage(async |stage| {
        let engine = stage.scripted_engine();
        let old = names(&engine);
        old.put(SECRET, SECRET.to_owned()).await.unwrap();
        drop(old);

        // An entry of another type, a removal that is queued, a release that fails.
        let new: Cache<String, u64> = engine.cache("name").ttl(HOUR).build().unwrap();
        stage.script.always(BackendCall::Remove, Act::Fail);
        stage.script.always(BackendCall::Release, Act::Hang);
        let found = new.get_or_load(SECRET, || async { Ok::<_, io::Error>(1) });
        assert_eq!(*found.await.unwrap().unwrap(), 1);
        new.invalidate(SECRET).await;
        let failed = new.get_or_load("other", || async {
            Err::<u64, _>(io::Error::other(SECRET))
        });
        assert_eq!(failed.await.unwrap_err().kind(), ErrorKind::Loader);
        tokio::time::sleep(10 * SECOND).await;
        stage.script.reset();
        engine.shutdown(SECOND).await;
    })
    .await;

    let log = log.0.lock().unwrap();
    for said in [
        "could not be decoded",
        "is queued",
        "could not be released",
        "a call to the backend failed",
        "coalesced=",
    ] {
        assert!(log.contains(said), "{said} is not in: {log}");
    }
    tells_nothing(&log);
}
