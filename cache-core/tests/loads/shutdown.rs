//! The end of an engine: by a shutdown, or because its last handle is dropped.

use std::{
    io,
    sync::{Arc, Weak},
    time::Duration,
};

use cache_core::{
    BackendCall, CacheRecorder, ErrorKind, Event, Invalidation, Lookup, Put, Recorder, testing::Act,
};
use tokio::time::{Instant, sleep};

use crate::{
    SECOND, kind,
    support::{Loads, assert_empty, caller, on_stage, settle, users},
    text,
};

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_running_loads() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let users = users(&engine);
        let load = caller(&users, 1, Loads::default().value("ann", SECOND));
        settle().await;
        let began = Instant::now();
        let report = engine.shutdown(5 * SECOND).await;
        assert_eq!(
            began.elapsed(),
            SECOND,
            "as long as the load, and no longer"
        );
        assert_eq!((report.still_running, report.undelivered), (0, 0));
        assert_eq!(text(load.await.unwrap()), "ann");
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_load_that_a_shutdown_waits_for_may_still_load_what_it_needs() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let users = users(&engine);
        let load = caller(&users, 1, {
            let users = users.clone();
            move || async move {
                sleep(SECOND).await;
                let inner = Loads::default().value("inner", SECOND);
                let inner = users.get_or_load(&2, inner).await?;
                Ok::<_, cache_core::Error>(inner.map(|inner| format!("outer of {inner}")))
            }
        });
        settle().await;
        let report = engine.shutdown(5 * SECOND).await;
        assert_eq!((report.still_running, report.undelivered), (0, 0));
        assert_eq!(text(load.await.unwrap()), "outer of inner");
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_reports_what_still_runs_at_its_deadline() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let users = users(&engine);
        let loads =
            [1, 2].map(|key| caller(&users, key, Loads::default().value("ann", 3 * SECOND)));
        settle().await;
        let began = Instant::now();
        let report = engine.shutdown(SECOND).await;
        assert_eq!(began.elapsed(), SECOND);
        assert_eq!((report.still_running, report.undelivered), (2, 0));
        for load in loads {
            assert_eq!(text(load.await.unwrap()), "ann", "it was not cut off");
        }
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_tries_queued_removals_once_more_and_reports_the_rest() {
    for (is_back, undelivered) in [(true, 0), (false, 2)] {
        on_stage(async |stage| {
            let engine = stage.scripted_engine();
            let users = users(&engine);
            users.put(&1, "old".to_owned()).await.unwrap();
            stage.script.always(BackendCall::Remove, Act::Fail);
            for key in [1, 2] {
                assert_eq!(users.invalidate(&key).await, Invalidation::Queued);
            }
            if is_back {
                stage.script.reset();
            }
            let tried = stage.script.calls(BackendCall::Remove);
            let report = engine.shutdown(SECOND).await;
            assert_eq!((report.still_running, report.undelivered), (0, undelivered));
            assert_eq!(stage.script.calls(BackendCall::Remove), tried + 1);
            assert!(!report.overflowed, "none was lost track of");
            let found = users.get(&1).await.map_err(|error| error.kind());
            let expected = if is_back {
                Ok(Lookup::Miss)
            } else {
                // It is still there, and not to be read.
                Err(ErrorKind::Unavailable)
            };
            assert_eq!(found, expected);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_that_is_under_way_at_a_shutdown_is_tried_once_more() {
    for is_back in [true, false] {
        on_stage(async |stage| {
            let engine = stage.scripted_engine();
            let users = users(&engine);
            users.put(&1, "old".to_owned()).await.unwrap();
            let act = Act::Hang;
            if is_back {
                stage.script.once(BackendCall::Remove, act);
            } else {
                stage.script.always(BackendCall::Remove, act);
            }
            let invalidation = tokio::task::spawn_local({
                let users = users.clone();
                async move { users.invalidate(&1).await }
            });
            settle().await;
            // One deadline for the removal that hangs, and one for the next.
            let report = engine.shutdown(3 * SECOND).await;
            assert_eq!(invalidation.await.unwrap(), Invalidation::Queued);
            assert_eq!(stage.script.calls(BackendCall::Remove), 2);
            let undelivered = usize::from(!is_back);
            assert_eq!((report.still_running, report.undelivered), (0, undelivered));
            if is_back {
                assert_eq!(users.get(&1).await.unwrap(), Lookup::Miss);
                assert_empty(&engine).await;
            }
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_shutdown_an_invalidation_that_is_not_confirmed_is_tried_once_more() {
    on_stage(async |stage| {
        let engine = stage.scripted_engine();
        let users = users(&engine);
        engine.shutdown(SECOND).await;
        for tries in [2, 4] {
            stage.script.always(BackendCall::Remove, Act::Fail);
            assert_eq!(users.invalidate(&1).await, Invalidation::Queued);
            settle().await;
            assert_eq!(stage.script.calls(BackendCall::Remove), tries);
            let census = engine.census().await;
            assert_eq!((census.owed, census.running), (1, 0));
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn after_a_shutdown_hits_answer_and_misses_and_puts_do_not() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let (users, loads) = (users(&engine), Loads::default());
        for key in [1, 2] {
            users.put(&key, "ann".to_owned()).await.unwrap();
        }
        engine.shutdown(SECOND).await;

        let hit = users.get_or_load(&1, loads.value("-", SECOND)).await;
        assert_eq!(text(hit), "ann");
        let miss = users.get_or_load(&3, loads.value("-", SECOND)).await;
        assert_eq!(kind(&miss), Some(ErrorKind::Shutdown));
        assert_eq!(loads.count(), 0);
        let put = users.put(&2, "new".to_owned()).await;
        assert_eq!(put.unwrap_err().kind(), ErrorKind::Shutdown);
        assert_eq!(
            users.get(&2).await.unwrap(),
            Lookup::Miss,
            "a put that is refused removes its key: the database has the new value"
        );
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn after_a_shutdown_an_invalidation_still_takes_effect() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let users = users(&engine);
        assert_eq!(users.put(&1, "ann".to_owned()).await.unwrap(), Put::Stored);
        engine.shutdown(SECOND).await;
        assert_eq!(users.invalidate(&1).await, Invalidation::Done);
        assert_eq!(users.get(&1).await.unwrap(), Lookup::Miss);
        assert_empty(&engine).await;
    })
    .await;
}

/// Is alive as long as anything of its engine is.
#[derive(Debug)]
struct Witness(Arc<()>);

impl Recorder for Witness {
    fn cache(&self, _name: &str) -> Arc<dyn CacheRecorder> {
        Arc::new(Self(Arc::clone(&self.0)))
    }

    fn record(&self, _event: Event) {}
}

impl CacheRecorder for Witness {
    fn record(&self, _event: Event) {}
}

#[tokio::test(start_paused = true)]
async fn the_last_engine_ends_with_its_last_load_and_leaves_nothing_behind() {
    on_stage(async |stage| {
        let alive = Arc::new(());
        let witness: Weak<()> = Arc::downgrade(&alive);
        let builder = stage.builder(stage.memory.clone());
        let engine = builder.recorder(Witness(alive)).build().unwrap();
        let users = users(&engine);
        let (ended, mut has_ended) = tokio::sync::oneshot::channel();
        let load = caller(&users, 1, || async move {
            sleep(SECOND).await;
            ended.send(()).ok();
            Ok::<_, io::Error>("ann".to_owned())
        });
        settle().await;
        load.abort();
        load.await.unwrap_err();
        drop((users, engine));

        sleep(SECOND / 2).await;
        assert!(
            witness.upgrade().is_some(),
            "the load goes on without its engine"
        );
        sleep(SECOND).await;
        settle().await;
        assert_eq!(has_ended.try_recv(), Ok(()), "the load came to its end");
        assert!(witness.upgrade().is_none(), "nothing is left of the engine");

        let again = stage.engine();
        let users = crate::users(&again);
        let began = Instant::now();
        let found = users.get_or_load(&1, Loads::default().value("-", SECOND));
        assert_eq!(text(found.await), "ann", "the store has what was loaded");
        assert_eq!(began.elapsed(), Duration::ZERO);
    })
    .await;
}
