//! Keys whose removal is queued: not read by this engine until it is delivered.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

#[path = "queued/delivery.rs"]
mod delivery;
#[path = "queued/full.rs"]
mod full;
#[path = "queued/moments.rs"]
mod moments;

use std::{sync::Arc, time::Duration};

use cache_core::{
    Backend, BackendCall, Cache, Engine, EngineBuilder, ErrorKind, Event, Invalidation, Lookup,
    OutagePolicy, Peek, Put,
    testing::{Act, Mutant},
};

use self::support::{
    Events, Loads, Stage, assert_empty, caller, on_stage, settle, user_key, users,
};

const SECOND: Duration = Duration::from_secs(1);

const LOAD: Duration = Duration::from_millis(100);

/// How often the store is asked for a sign of life while something is owed to it.
const PULSE: Duration = Duration::from_millis(500);

/// A store whose keys 1 and 2 hold `old`, an engine on it, and what that tells.
struct Scene {
    stage: Stage,
    engine: Engine,
    users: Cache<u64, String>,
    events: Events,
}

impl Scene {
    async fn new(stage: Stage, set: impl FnOnce(EngineBuilder) -> EngineBuilder) -> Self {
        let events = Events::default();
        let builder = stage.builder(stage.scripted()).recorder(events.clone());
        let engine = set(builder).build().unwrap();
        let users = users(&engine);
        for key in [1, 2] {
            assert_eq!(
                users.put(&key, "old".to_owned()).await.unwrap(),
                Put::Stored
            );
        }
        Self {
            stage,
            engine,
            users,
            events,
        }
    }

    /// A scene in which the removal of key 1 is queued, because removals fail.
    async fn queued(stage: Stage) -> Self {
        let scene = Self::new(stage, |builder| builder).await;
        scene.stage.script.always(BackendCall::Remove, Act::Fail);
        scene.queue([1]).await;
        scene
    }

    async fn queue<const N: usize>(&self, keys: [u64; N]) {
        let keys = keys.map(|key| self.users.key(&key));
        let invalidation = self.engine.invalidate(keys).await;
        assert_eq!(invalidation, Invalidation::Queued);
    }

    /// What the store itself holds under the key.
    fn is_stored(&self, key: u64) -> bool {
        let peek = self.stage.memory.peek(user_key(key).as_bytes());
        matches!(peek, Peek::Hit(_))
    }

    async fn get(&self, key: u64) -> Result<Lookup<String>, ErrorKind> {
        self.users.get(&key).await.map_err(|error| error.kind())
    }

    async fn load(&self, key: u64) -> Result<String, ErrorKind> {
        load(&self.users, key).await
    }

    async fn owed(&self) -> usize {
        self.engine.census().await.owed
    }
}

async fn load(users: &Cache<u64, String>, key: u64) -> Result<String, ErrorKind> {
    let answer = users.get_or_load(&key, Loads::default().value("new", LOAD));
    match answer.await {
        Ok(found) => Ok((*found.unwrap()).clone()),
        Err(error) => Err(error.kind()),
    }
}

fn old() -> Result<Lookup<String>, ErrorKind> {
    Ok(Lookup::Value(Arc::new("old".to_owned())))
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_removal_is_queued_is_not_read() {
    for asks in [false, true] {
        on_stage(async |stage| {
            let scene = Scene::queued(stage).await;
            if asks {
                scene.stage.script.ask();
            }
            assert!(scene.is_stored(1), "the old entry is there");
            let reads = [BackendCall::Get, BackendCall::GetMany, BackendCall::Acquire];
            let before = reads.map(|call| scene.stage.script.calls(call));

            assert_eq!(scene.get(1).await, Err(ErrorKind::Unavailable));
            for answer in scene.users.get_many(&[1, 1]).await {
                assert_eq!(answer.unwrap_err().kind(), ErrorKind::Unavailable);
            }
            assert_eq!(scene.load(1).await, Ok("new".to_owned()));
            let other: Cache<u64, String> = scene.users.clone();
            assert_eq!(load(&other, 1).await, Ok("new".to_owned()));
            let after = reads.map(|call| scene.stage.script.calls(call));
            assert_eq!(before, after, "the store is not asked");
            assert_eq!(scene.events.of(Event::OutageLoad), 2);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn with_the_rule_off_the_old_entry_is_read() {
    for asks in [false, true] {
        on_stage(async |stage| {
            let scene = Scene::new(stage, |builder| builder.mutant(Mutant::ReadQueued)).await;
            scene.stage.script.always(BackendCall::Remove, Act::Fail);
            scene.queue([1]).await;
            if asks {
                scene.stage.script.ask();
            }
            assert_eq!(scene.get(1).await, old());
            assert_eq!(scene.load(1).await, Ok("old".to_owned()));
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn other_keys_are_read_as_ever() {
    on_stage(async |stage| {
        let scene = Scene::queued(stage).await;
        assert_eq!(scene.get(2).await, old());
        assert_eq!(scene.load(2).await, Ok("old".to_owned()));
        let mut answers = scene.users.get_many(&[1, 2, 3]).await.into_iter();
        let kind = answers.next().unwrap().map_err(|error| error.kind());
        assert_eq!(kind, Err(ErrorKind::Unavailable));
        assert_eq!(answers.next().unwrap().map_err(|error| error.kind()), old());
        assert_eq!(answers.next().unwrap().unwrap(), Lookup::Miss);
        // And stored.
        assert_eq!(scene.load(3).await, Ok("new".to_owned()));
        assert!(scene.is_stored(3));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn all_caches_of_the_engine_go_round_the_key() {
    on_stage(async |stage| {
        let scene = Scene::new(stage, |builder| builder).await;
        let engine = &scene.engine;
        let orders: Cache<u64, String> = engine.cache("order").ttl(SECOND).build().unwrap();
        orders.put(&1, "old".to_owned()).await.unwrap();
        scene.stage.script.always(BackendCall::Remove, Act::Fail);
        // By way of the engine, and read by way of another handle of the cache.
        let queued = engine.invalidate([orders.key(&1)]).await;
        assert_eq!(queued, Invalidation::Queued);
        let other = orders.clone();
        drop(orders);
        let error = other.get(&1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(scene.get(1).await, old(), "the same key of another cache");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_put_does_not_end_the_bypass() {
    on_stage(async |stage| {
        let scene = Scene::queued(stage).await;
        let put = scene.users.put(&1, "put".to_owned()).await;
        assert_eq!(put.unwrap(), Put::Stored);
        assert_eq!(scene.get(1).await, Err(ErrorKind::Unavailable));
        assert_eq!(scene.load(1).await, Ok("new".to_owned()));
        assert_eq!(scene.owed().await, 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_put_queues_its_key_which_is_then_not_read() {
    on_stage(async |stage| {
        let scene = Scene::new(stage, |builder| builder).await;
        for call in [BackendCall::Seize, BackendCall::Remove] {
            scene.stage.script.always(call, Act::Fail);
        }
        let error = scene.users.put(&1, "put".to_owned()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(scene.is_stored(1), "the old entry is there");
        assert_eq!(scene.get(1).await, Err(ErrorKind::Unavailable));
        assert_eq!(scene.load(1).await, Ok("new".to_owned()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_that_is_done_settles_one_that_was_queued() {
    on_stage(async |stage| {
        let scene = Scene::queued(stage).await;
        scene.stage.script.reset();
        assert_eq!(scene.users.invalidate(&1).await, Invalidation::Done);
        assert_eq!(scene.owed().await, 0);
        assert_eq!(scene.get(1).await, Ok(Lookup::Miss));
        assert_eq!(scene.load(1).await, Ok("new".to_owned()));
        assert!(scene.is_stored(1), "the cache is used again");
        assert_empty(&scene.engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_is_to_fail_fast_does_so_for_a_queued_key_too() {
    on_stage(async |stage| {
        let scene = Scene::new(stage, |builder| builder.outage(OutagePolicy::FailFast)).await;
        scene.stage.script.always(BackendCall::Remove, Act::Fail);
        scene.queue([1]).await;
        assert_eq!(scene.load(1).await, Err(ErrorKind::Unavailable));
        assert_eq!(scene.load(2).await, Ok("old".to_owned()));
        assert_empty_but_owed(&scene.engine, 1).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn loads_of_queued_keys_take_permits() {
    on_stage(async |stage| {
        let policy = OutagePolicy::LoadThrough { max_concurrent: 1 };
        let scene = Scene::new(stage, |builder| builder.outage(policy)).await;
        scene.stage.script.always(BackendCall::Remove, Act::Fail);
        scene.queue([1, 2]).await;
        let first = caller(&scene.users, 1, Loads::default().value("new", LOAD));
        settle().await;
        assert_eq!(scene.load(2).await, Err(ErrorKind::Overloaded));
        assert_eq!(*first.await.unwrap().unwrap().unwrap(), "new");
        assert_eq!(scene.load(2).await, Ok("new".to_owned()));
        assert_empty_but_owed(&scene.engine, 2).await;
    })
    .await;
}

/// Nothing is held for calls that have ended, and the task that delivers runs.
async fn assert_empty_but_owed(engine: &Engine, owed: usize) {
    settle().await;
    let census = engine.census().await;
    assert_eq!((census.outage_loads, census.flights), (0, 0));
    assert_eq!((census.owed, census.running), (owed, 1));
}
