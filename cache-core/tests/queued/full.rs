//! More removals than can be queued: nothing is read for as long as what is lost can exist.

use std::time::Duration;

use cache_core::{
    BackendCall, BuildError, EngineBuilder, ErrorKind, Event, Invalidation, Lookup, Put,
    testing::Act,
};
use tokio::time::sleep;

use crate::{
    SECOND, Scene, Stage, old,
    support::{assert_empty, on_stage},
};

const LONGEST: Duration = Duration::from_secs(3600);

/// How long what was loaded before can exist: a load, its lease, and its TTL.
const OLDEST: Duration = Duration::from_secs(30 + 3 + 3600);

/// A scene whose queue holds two keys, and was given three: the third is lost.
async fn overflown(stage: Stage) -> Scene {
    let scene = Scene::new(stage, |builder| {
        builder.max_queued_invalidations(2).longest_ttl(LONGEST)
    })
    .await;
    scene.stage.script.always(BackendCall::Remove, Act::Fail);
    scene.queue([3, 4]).await;
    assert_eq!(scene.get(2).await, old(), "as many as fit");
    scene.queue([1]).await;
    scene
}

impl Scene {
    async fn assert_bypasses_all(&self, case: &str) {
        for key in [1, 2, 9] {
            assert_eq!(self.get(key).await, Err(ErrorKind::Unavailable), "{case}");
            assert_eq!(self.load(key).await, Ok("new".to_owned()), "{case}");
        }
    }

    /// How often it was told that all is bypassed, and that it no longer is.
    fn told(&self) -> (usize, usize) {
        let of = |all| self.events.of(Event::BypassesAll(all));
        (of(true), of(false))
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_bypasses_all() {
    on_stage(async |stage| {
        let scene = overflown(stage).await;
        let reads = [BackendCall::Get, BackendCall::GetMany, BackendCall::Acquire];
        let before = reads.map(|call| scene.stage.script.calls(call));
        scene.assert_bypasses_all("full").await;
        for answer in scene.users.get_many(&[2, 9]).await {
            assert_eq!(answer.unwrap_err().kind(), ErrorKind::Unavailable);
        }
        let after = reads.map(|call| scene.stage.script.calls(call));
        assert_eq!(before, after, "the store is not asked");
        assert_eq!(scene.owed().await, 2);
        assert_eq!(scene.told(), (1, 0));
        scene.queue([5, 6]).await;
        assert_eq!(scene.told(), (1, 0), "once");
        let put = scene.users.put(&9, "put".to_owned()).await;
        assert_eq!(put.unwrap(), Put::Stored, "writes still go to the store");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_delivery_of_what_was_queued_does_not_end_it() {
    on_stage(async |stage| {
        let scene = overflown(stage).await;
        scene.stage.script.reset();
        sleep(2 * SECOND).await;
        assert_eq!(scene.owed().await, 0);
        scene.assert_bypasses_all("the third was lost").await;
        assert_eq!(scene.told(), (1, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_the_last_that_was_lost_cannot_exist_any_more() {
    on_stage(async |stage| {
        let scene = overflown(stage).await;
        sleep(10 * SECOND).await;
        scene.queue([1]).await;
        scene.stage.script.reset();
        sleep(OLDEST - Duration::from_millis(1)).await;
        assert_eq!(scene.get(9).await, Err(ErrorKind::Unavailable));
        assert_eq!(scene.told(), (1, 0));
        sleep(Duration::from_millis(1)).await;
        assert_eq!(scene.get(9).await, Ok(Lookup::Miss), "to the moment");
        // Timers are good for a millisecond.
        sleep(Duration::from_millis(2)).await;
        assert_eq!(scene.told(), (1, 1));
        assert_eq!(scene.load(1).await, Ok("new".to_owned()));
        assert!(scene.is_stored(1), "the cache is used again");
        assert_empty(&scene.engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_clear_that_succeeds_ends_it_and_settles_what_was_queued() {
    on_stage(async |stage| {
        let scene = overflown(stage).await;
        scene.stage.script.always(BackendCall::Clear, Act::Fail);
        let error = scene.engine.clear().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        scene.assert_bypasses_all("not confirmed").await;

        scene
            .stage
            .script
            .always(BackendCall::Clear, Act::Late(SECOND / 2));
        scene.engine.clear().await.unwrap();
        assert_eq!(scene.told(), (1, 1));
        assert_eq!(scene.owed().await, 0);
        for key in [1, 2, 3] {
            assert_eq!(scene.get(key).await, Ok(Lookup::Miss));
        }
        assert_eq!(scene.load(1).await, Ok("new".to_owned()));
        assert!(scene.is_stored(1), "the cache is used again");
        assert_empty(&scene.engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_clear_does_not_settle_what_is_queued_or_lost_while_it_runs() {
    for (meanwhile, still) in [(vec![2], vec![2]), (vec![2, 5, 6], vec![1, 2, 5, 6, 9])] {
        on_stage(async |stage| {
            let set = |builder: EngineBuilder| builder.max_queued_invalidations(2);
            let scene = Scene::new(stage, set).await;
            scene.stage.script.always(BackendCall::Remove, Act::Fail);
            scene.queue([1]).await;
            let late = Act::AnswerLate(SECOND / 2);
            scene.stage.script.always(BackendCall::Clear, late);
            let keys: Vec<_> = meanwhile.iter().map(|key| scene.users.key(key)).collect();
            let (cleared, queued) = tokio::join!(scene.engine.clear(), async {
                sleep(SECOND / 4).await;
                scene.engine.invalidate(keys).await
            });
            cleared.unwrap();
            assert_eq!(queued, Invalidation::Queued);
            for key in [1, 2, 5, 6, 9] {
                let expected = if still.contains(&key) {
                    Err(ErrorKind::Unavailable)
                } else {
                    Ok(Lookup::Miss)
                };
                assert_eq!(scene.get(key).await, expected, "{meanwhile:?}, {key}");
            }
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_says_that_more_was_lost() {
    on_stage(async |stage| {
        let scene = overflown(stage).await;
        let report = scene.engine.shutdown(SECOND).await;
        assert_eq!((report.undelivered, report.overflowed), (2, true));
        assert_eq!(scene.get(2).await, Err(ErrorKind::Unavailable));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_without_a_place_is_none_one_can_set() {
    on_stage(async |stage| {
        let builder = stage.builder(stage.scripted());
        let error = builder.max_queued_invalidations(0).build().unwrap_err();
        assert!(matches!(
            error,
            BuildError::Zero {
                setting: "max_queued_invalidations"
            }
        ));
    })
    .await;
}
