//! In which span a loader runs.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use cache_core::Engine;
use futures_util::future::BoxFuture;
use tokio::{runtime::Builder, time::sleep};
use tracing::{Instrument, Level, info_span};

use crate::{
    SECOND,
    listener::Listener,
    support::{Answer, Loads, assert_empty, caller, memory, on_stage, settle, users},
};

/// The spans that a loader saw itself in: when it was called, at its begin, and behind an await.
type Seen = Arc<Mutex<Vec<Option<String>>>>;

type Loading = BoxFuture<'static, Result<String, io::Error>>;

/// A loader that looks around, takes `time`, and looks again; and what it sees.
fn looks(
    listener: &Listener,
    time: Duration,
) -> (impl FnOnce() -> Loading + Send + 'static + use<>, Seen) {
    let seen = Seen::default();
    let look = {
        let (listener, seen) = (listener.clone(), Arc::clone(&seen));
        move || seen.lock().unwrap().push(listener.here())
    };
    let loader = move || -> Loading {
        look();
        Box::pin(async move {
            look();
            sleep(time).await;
            look();
            Ok("ann".to_owned())
        })
    };
    (loader, seen)
}

/// Calls for a key in the span `leader`, while another waits for the same in the span `waiter`.
async fn call(listener: &Listener) -> Seen {
    let (loader, seen) = looks(listener, SECOND);
    on_stage(async |stage| {
        let engine = stage.engine();
        let users = users(&engine);
        let waiter = tokio::task::spawn_local({
            let users = users.clone();
            let waits = async move {
                settle().await;
                let loader = Loads::default().value("unused", SECOND);
                users.get_or_load(&1, loader).await
            };
            waits.instrument(info_span!("waiter"))
        });
        let led: Answer<String> = users
            .get_or_load(&1, loader)
            .instrument(info_span!("leader"))
            .await;
        assert_eq!(*led.unwrap().unwrap(), "ann");
        assert_eq!(*waiter.await.unwrap().unwrap().unwrap(), "ann");
        assert_empty(&engine).await;
    })
    .await;
    listener.assert_closed();
    seen
}

#[tokio::test(start_paused = true)]
async fn a_loader_runs_inside_the_span_of_the_caller_who_brought_it() {
    let (listener, _in_force) = Listener::in_force(Level::DEBUG);
    let seen = call(&listener).await;
    let inside = "leader > cache.get_or_load > cache.load{cache=user}".to_owned();
    assert_eq!(
        *seen.lock().unwrap(),
        [(); 3].map(|()| Some(inside.clone()))
    );
}

#[tokio::test(start_paused = true)]
async fn where_nobody_listens_to_the_cache_a_loader_runs_in_the_span_of_its_caller() {
    let (listener, _in_force) = Listener::in_force(Level::INFO);
    let seen = call(&listener).await;
    let inside = "leader".to_owned();
    assert_eq!(
        *seen.lock().unwrap(),
        [(); 3].map(|()| Some(inside.clone()))
    );
    let mut spans = listener.spans();
    spans.sort_unstable();
    assert_eq!(spans, ["leader", "waiter"]);
}

#[tokio::test(start_paused = true)]
async fn a_loader_outside_any_span_runs_in_those_of_the_cache_alone() {
    for (level, inside) in [
        (Level::INFO, None),
        (
            Level::DEBUG,
            Some("cache.get_or_load > cache.load{cache=user}".to_owned()),
        ),
    ] {
        let (listener, _in_force) = Listener::in_force(level);
        let (loader, seen) = looks(&listener, SECOND);
        on_stage(async |stage| {
            let engine = stage.engine();
            let call = caller(&users(&engine), 1, loader);
            call.await.unwrap().unwrap();
            assert_empty(&engine).await;
        })
        .await;
        assert_eq!(*seen.lock().unwrap(), [(); 3].map(|()| inside.clone()));
        listener.assert_closed();
    }
}

/// The shards run on threads of their own here, on which nobody listens.
#[test]
fn a_load_is_told_to_the_subscriber_of_its_caller() {
    let (listener, _in_force) = Listener::in_force(Level::DEBUG);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (loader, seen) = looks(&listener, Duration::from_millis(1));
    runtime.block_on(async {
        let engine = Engine::builder(memory()).build().unwrap();
        let users = users(&engine);
        let found = users
            .get_or_load(&1, loader)
            .instrument(info_span!("leader"));
        assert_eq!(*found.await.unwrap().unwrap(), "ann");
        engine.shutdown(SECOND).await;
    });
    let inside = "leader > cache.get_or_load > cache.load{cache=user}".to_owned();
    assert_eq!(
        *seen.lock().unwrap(),
        [(); 3].map(|()| Some(inside.clone()))
    );
    assert_eq!(
        listener.spans()[2],
        "leader > cache.get_or_load > cache.load{cache=user outcome=value}"
    );
    listener.assert_closed();
}
