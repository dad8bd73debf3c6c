//! The spans of calls: one for each that this process could not answer, and one for its load.

use std::{future::pending, io};

use cache_core::{BackendCall, BoxError, Cache, Error, ErrorKind, Load, testing::Act};
use futures_util::{FutureExt, future::BoxFuture};
use tokio::{
    runtime::Builder,
    sync::oneshot,
    task::{JoinHandle, spawn_blocking, spawn_local},
    time::sleep,
};
use tracing::{Instrument, Level, Span, info_span};

use crate::{
    SECOND,
    listener::Listener,
    support::{Answer, Loads, Stage, assert_empty, caller, on_stage, settle, users},
};

type Users = Cache<u64, String>;

/// A caller of key 1 inside `span`.
fn in_span<F, L>(users: &Users, span: Span, loader: F) -> JoinHandle<Answer<String>>
where
    F: FnOnce() -> BoxFuture<'static, Result<L, io::Error>> + Send + 'static,
    L: Into<Load<String>> + 'static,
{
    let users = users.clone();
    let call = async move { users.get_or_load(&1, loader).await };
    spawn_local(call.instrument(span))
}

/// Asserts that these and no other spans were opened, and are closed, but for those of the test.
fn assert_spans(listener: &Listener, mut expected: Vec<&str>) {
    let mut spans = listener.spans();
    spans.retain(|span| span.contains("cache."));
    spans.sort_unstable();
    expected.sort_unstable();
    assert_eq!(spans, expected);
    listener.assert_closed();
}

/// Runs `test` on a stage, and asserts that these spans were opened.
async fn opens(expected: Vec<&str>, test: impl AsyncFnOnce(&Stage)) {
    let (listener, _in_force) = Listener::in_force(Level::DEBUG);
    on_stage(async |stage| {
        test(&stage).await;
        settle().await;
    })
    .await;
    assert_spans(&listener, expected);
}

#[tokio::test(start_paused = true)]
async fn a_hit_in_this_process_is_no_span() {
    let expected = vec![
        "cache.get_or_load{backend=memory cache=user coalesced=false outcome=value}",
        "cache.get_or_load > cache.load{cache=user outcome=value}",
        "cache.get_or_load{backend=memory cache=user coalesced=false outcome=absent}",
        "cache.get_or_load > cache.load{cache=user outcome=absent}",
    ];
    opens(expected, async |stage| {
        let engine = stage.engine();
        let users = users(&engine);
        let loads = Loads::default();
        for _ in 0..3 {
            let loader = loads.value("ann", SECOND);
            users.get_or_load(&1, loader).await.unwrap();
            let nobody = || async { Ok::<_, io::Error>(Load::absent()) };
            users.get_or_load(&2, nobody).await.unwrap();
        }
        assert_eq!(loads.count(), 1);
        users.get(&1).await.unwrap();
        users.get(&3).await.unwrap();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_hit_of_the_store_is_a_span_without_a_load() {
    let expected = vec![
        "cache.get_or_load{backend=memory cache=user coalesced=false outcome=absent}",
        "cache.get_or_load > cache.load{cache=user outcome=absent}",
        "cache.get_or_load{backend=memory cache=user coalesced=false outcome=hit}",
        "cache.get_or_load{backend=memory cache=user coalesced=false outcome=negative_hit}",
        // By the driver, which asked for the lease.
        "cache.get_or_load{backend=memory cache=user coalesced=false outcome=hit}",
    ];
    opens(expected, async |stage| {
        let engine = stage.scripted_engine();
        let users = users(&engine);
        users.put(&1, "ann".to_owned()).await.unwrap();
        let nobody = || async { Ok::<_, io::Error>(Load::absent()) };
        users.get_or_load(&2, nobody).await.unwrap();
        stage.script.ask();
        let unused = || Loads::default().value("unused", SECOND);
        users.get_or_load(&1, unused()).await.unwrap();
        users.get_or_load(&2, unused()).await.unwrap();

        let passed_over = Act::FailAs(ErrorKind::InvalidInput);
        stage.script.once(BackendCall::Get, passed_over);
        users.get_or_load(&1, unused()).await.unwrap();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_is_answered_by_the_load_of_another_is_told_apart() {
    let expected = vec![
        "a > cache.get_or_load{backend=memory cache=user coalesced=false outcome=value}",
        "a > cache.get_or_load > cache.load{cache=user outcome=value}",
        "b > cache.get_or_load{backend=memory cache=user coalesced=true outcome=value}",
    ];
    opens(expected, async |stage| {
        let engine = stage.engine();
        let (users, loads) = (users(&engine), Loads::default());
        let leader = in_span(&users, info_span!("a"), loads.value("ann", SECOND));
        settle().await;
        let waiter = in_span(&users, info_span!("b"), loads.value("unused", SECOND));
        for call in [leader, waiter] {
            assert_eq!(*call.await.unwrap().unwrap().unwrap(), "ann");
        }
        assert_empty(&engine).await;
    })
    .await;
}

/// Asserts what the spans say of a load that fails: its own, that of its caller, and that of who
/// waits for it.
async fn fails<E>(
    loader: impl FnOnce() -> BoxFuture<'static, Result<String, E>> + Send + 'static,
    kind: ErrorKind,
    outcome: &str,
) where
    E: Into<BoxError> + 'static,
{
    let call = |coalesced| {
        let fields = format!("backend=memory cache=user coalesced={coalesced}");
        format!("cache.get_or_load{{{fields} outcome={}}}", kind.as_str())
    };
    let load = format!("cache.get_or_load > cache.load{{cache=user outcome={outcome}}}");
    let (led, waited) = (call(false), call(true));
    opens(vec![&led, &load, &waited], async |stage| {
        let engine = stage.scripted_engine();
        let users = users(&engine);
        // Held up before its load, so that the other joins it whenever the loader fails.
        stage.script.once(BackendCall::Acquire, Act::Late(SECOND));
        let leader = caller(&users, 1, loader);
        settle().await;
        let waiter = caller(&users, 1, Loads::default().value("unused", SECOND));
        for call in [leader, waiter] {
            let error = call.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), kind);
        }
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_load_that_fails_says_how_and_who_waited_for_it_is_told_apart() {
    let down = || async { Err(io::Error::other("down")) }.boxed();
    fails(down, ErrorKind::Loader, "failed").await;
    let panics = || async { panic!("by the test") }.boxed();
    fails::<io::Error>(panics, ErrorKind::Panicked, "panicked").await;
    let hangs = || pending().boxed();
    fails::<io::Error>(hangs, ErrorKind::LoadTimeout, "timed_out").await;
}

#[tokio::test(start_paused = true)]
async fn who_is_turned_away_waited_for_no_load() {
    let expected = vec![
        "cache.get_or_load{backend=memory cache=user coalesced=false outcome=overloaded}",
        "cache.get_or_load{backend=memory cache=user coalesced=false outcome=value}",
        "cache.get_or_load > cache.load{cache=user outcome=value}",
        "cache.get_or_load{backend=memory cache=user coalesced=false outcome=shutdown}",
    ];
    opens(expected, async |stage| {
        let builder = stage.builder(stage.memory.clone());
        let engine = builder.max_waiting(1).build().unwrap();
        let (users, loads) = (users(&engine), Loads::default());
        let first = caller(&users, 1, loads.value("ann", SECOND));
        settle().await;
        let kind = |answer: Answer<String>| answer.as_ref().err().map(Error::kind);
        let second = users.get_or_load(&1, loads.value("unused", SECOND));
        assert_eq!(kind(second.await), Some(ErrorKind::Overloaded));
        first.await.unwrap().unwrap();
        engine.shutdown(SECOND).await;
        let third = users.get_or_load(&2, loads.value("unused", SECOND));
        assert_eq!(kind(third.await), Some(ErrorKind::Shutdown));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_has_no_outcome_and_its_load_has() {
    let expected = vec![
        "cache.get_or_load{backend=memory cache=user}",
        "cache.get_or_load > cache.load{cache=user outcome=value}",
    ];
    opens(expected, async |stage| {
        let engine = stage.engine();
        let users = users(&engine);
        let call = caller(&users, 1, Loads::default().value("ann", SECOND));
        settle().await;
        call.abort();
        sleep(SECOND).await;
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_call_inside_a_load_is_inside_its_span() {
    let expected = vec![
        "cache.get_or_load{backend=memory cache=user coalesced=false outcome=value}",
        "cache.get_or_load > cache.load{cache=user outcome=value}",
        "cache.get_or_load > cache.load > \
         cache.get_or_load{backend=memory cache=user coalesced=false outcome=value}",
        "cache.get_or_load > cache.load > \
         cache.get_or_load > cache.load{cache=user outcome=value}",
        "cache.get_or_load > cache.load > cache.get_or_load > cache.load > \
         cache.get_or_load{backend=memory cache=user coalesced=false outcome=recursive}",
    ];
    opens(expected, async |stage| {
        let engine = stage.engine();
        let users = users(&engine);
        let inner = users.clone();
        let found = users.get_or_load(&1, move || async move {
            let innermost = inner.clone();
            let found = inner.get_or_load(&2, move || async move {
                let unused = Loads::default().value("unused", SECOND);
                let error = innermost.get_or_load(&1, unused).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Recursive);
                Ok::<_, io::Error>("ann".to_owned())
            });
            found.await.map(|found| (*found.unwrap()).clone())
        });
        assert_eq!(*found.await.unwrap().unwrap(), "ann");
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_loader_that_takes_over_runs_in_the_span_of_its_own_caller() {
    let expected = vec![
        "cache.get_or_load{backend=memory cache=user coalesced=true outcome=value}",
        "cache.get_or_load > cache.load{cache=user outcome=vanished}",
        "b > cache.get_or_load{backend=memory cache=user coalesced=false outcome=value}",
        "b > cache.get_or_load > cache.load{cache=user outcome=value}",
    ];
    opens(expected, async |stage| {
        let engine = stage.engine();
        let users = users(&engine);
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (began, has_begun) = oneshot::channel();
        let mut leader = Box::pin(users.get_or_load(&1, || async move {
            began.send(()).unwrap();
            pending::<Result<String, io::Error>>().await
        }));
        {
            let _entered = runtime.enter();
            assert!(futures_util::poll!(leader.as_mut()).is_pending());
        }
        settle().await;
        let waiter = in_span(
            &users,
            info_span!("b"),
            Loads::default().value("bob", SECOND),
        );
        settle().await;
        // On a thread that the paused clock waits for.
        let drops = move || {
            runtime.block_on(has_begun).unwrap();
            drop(runtime);
        };
        spawn_blocking(drops).await.unwrap();
        for answer in [leader.await, waiter.await.unwrap()] {
            assert_eq!(*answer.unwrap().unwrap(), "bob");
        }
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_is_moved_to_another_flight_loads_in_its_own_span() {
    let expected = vec![
        "a > cache.get_or_load{backend=memory cache=user coalesced=false outcome=value}",
        "a > cache.get_or_load > cache.load{cache=user outcome=value}",
        "b > cache.get_or_load{backend=memory cache=user coalesced=false outcome=value}",
        "b > cache.get_or_load > cache.load{cache=user outcome=value}",
    ];
    opens(expected, async |stage| {
        let engine = stage.engine();
        let users = users(&engine);
        let passing = || {
            async {
                sleep(SECOND).await;
                Ok(Load::value("ann".to_owned()).no_store())
            }
            .boxed()
        };
        let leader = in_span(&users, info_span!("a"), passing);
        settle().await;
        // Behind the begin of a load whose answer is not stored: it is not good for this caller.
        let moved = in_span(
            &users,
            info_span!("b"),
            Loads::default().value("bob", SECOND),
        );
        assert_eq!(*leader.await.unwrap().unwrap().unwrap(), "ann");
        assert_eq!(*moved.await.unwrap().unwrap().unwrap(), "bob");
        assert_empty(&engine).await;
    })
    .await;
}
