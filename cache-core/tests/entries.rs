//! What is stored, for how long, and what reads say of it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

#[path = "entries/lifetimes.rs"]
mod lifetimes;
mod support;

use std::{io, sync::Arc, time::Duration};

use cache_core::{
    BackendCall, Cache, ErrorKind, Event, Invalidation, Lookup, Put,
    codec::InProcess,
    testing::{Act, Script, Scripted},
};
use tokio::{sync::Semaphore, time::sleep};

use self::support::{Events, Loads, assert_empty, caller, on_stage, settle, users};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn value(text: &str) -> Lookup<String> {
    Lookup::Value(Arc::new(text.to_owned()))
}

#[tokio::test(start_paused = true)]
async fn a_put_takes_a_value_or_a_shared_value() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let users = users(&engine);
        assert_eq!(users.put(&1, "ann".to_owned()).await.unwrap(), Put::Stored);
        assert_eq!(users.get(&1).await.unwrap(), value("ann"));

        let bob = Arc::new("bob".to_owned());
        assert_eq!(users.put(&1, Arc::clone(&bob)).await.unwrap(), Put::Stored);
        let stored = users.get(&1).await.unwrap().value().unwrap();
        assert!(Arc::ptr_eq(&stored, &bob), "kept as it was given");
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_get_says_value_absent_or_miss_and_loads_nothing() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let users = users(&engine);
        users.put(&1, "ann".to_owned()).await.unwrap();
        let absent = users.get_or_load(&2, || async { Ok::<_, io::Error>(None) });
        assert_eq!(absent.await.unwrap(), None);
        assert_eq!(users.get(&1).await.unwrap(), value("ann"));
        assert_eq!(users.get(&2).await.unwrap(), Lookup::Absent);
        assert_eq!(users.get(&3).await.unwrap(), Lookup::Miss);
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn get_many_answers_each_key_in_its_place() {
    for asks in [false, true] {
        on_stage(async |stage| {
            let engine = stage.builder(stage.scripted()).max_key_len(16);
            let engine = engine.build().unwrap();
            let names: Cache<String, u64> = engine.cache("name").ttl(HOUR).build().unwrap();
            for (name, id) in [("ann", 1_u64), ("bob", 2)] {
                assert_eq!(names.put(name, id).await.unwrap(), Put::Stored);
            }
            let nobody = names.get_or_load("nobody", || async { Ok::<_, io::Error>(None) });
            assert_eq!(nobody.await.unwrap(), None);
            if asks {
                stage.script.ask();
            }
            let keys = ["bob", "new", "ann", "a name too long", "nobody", "bob"];
            let answers = names.get_many(keys).await;
            let answers = answers
                .into_iter()
                .map(|answer| answer.map_err(|e| e.kind()));
            let [ann, bob] = [1, 2].map(|id| Lookup::Value(Arc::new(id)));
            assert_eq!(
                answers.collect::<Vec<_>>(),
                [
                    Ok(bob.clone()),
                    Ok(Lookup::Miss),
                    Ok(ann),
                    Err(ErrorKind::InvalidInput),
                    Ok(Lookup::Absent),
                    Ok(bob)
                ]
            );
            let batches = usize::from(asks);
            assert_eq!(
                stage.script.calls(BackendCall::GetMany),
                batches,
                "one batch"
            );
            assert_eq!(stage.script.calls(BackendCall::Get), 0);
            assert_empty(&engine).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn get_many_of_no_keys_asks_nobody() {
    on_stage(async |stage| {
        let engine = stage.scripted_engine();
        stage.script.ask();
        let none: [&u64; 0] = [];
        assert!(users(&engine).get_many(none).await.is_empty());
        assert_eq!(stage.script.calls(BackendCall::GetMany), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn reads_that_must_ask_the_store_find_the_same() {
    on_stage(async |stage| {
        let engine = stage.scripted_engine();
        let (users, loads) = (users(&engine), Loads::default());
        stage.script.ask();
        users.put(&1, "ann".to_owned()).await.unwrap();
        let found = users.get_or_load(&1, loads.value("-", SECOND)).await;
        assert_eq!(*found.unwrap().unwrap(), "ann");
        assert_eq!(users.get(&1).await.unwrap(), value("ann"));
        assert_eq!(users.get(&2).await.unwrap(), Lookup::Miss);
        assert_eq!(stage.script.calls(BackendCall::Get), 3);
        assert_eq!(loads.count(), 0);
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_get_that_is_not_answered_is_unavailable() {
    on_stage(async |stage| {
        let engine = stage.scripted_engine();
        let users = users(&engine);
        stage.script.ask();
        for (call, act) in [(BackendCall::Get, Act::Fail), (BackendCall::Get, Act::Hang)] {
            stage.script.always(call, act);
            let error = users.get(&1).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
        }
        stage.script.always(BackendCall::GetMany, Act::Hang);
        for answer in users.get_many([&1, &2]).await {
            assert_eq!(answer.unwrap_err().kind(), ErrorKind::Unavailable);
        }
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_clear_empties_every_cache_and_keeps_running_loads_from_storing() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let (users, loads) = (users(&engine), Loads::default());
        let names: Cache<String, u64> = engine.cache("name").ttl(HOUR).build().unwrap();
        users.put(&1, "ann".to_owned()).await.unwrap();
        names.put("ann", 1).await.unwrap();
        let load = caller(&users, 2, loads.value("old", SECOND));
        settle().await;

        engine.clear().await.unwrap();
        assert_eq!(users.get(&1).await.unwrap(), Lookup::Miss);
        assert_eq!(names.get("ann").await.unwrap(), Lookup::Miss);
        assert_eq!(*load.await.unwrap().unwrap().unwrap(), "old");
        assert_eq!(users.get(&2).await.unwrap(), Lookup::Miss);
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_clear_that_is_not_confirmed_is_an_error() {
    on_stage(async |stage| {
        let engine = stage.scripted_engine();
        stage.script.always(BackendCall::Clear, Act::Fail);
        let error = engine.clear().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_invalidation_removes_keys_of_several_caches_in_one_step() {
    on_stage(async |stage| {
        let engine = stage.scripted_engine();
        let users = users(&engine);
        let names: Cache<String, u64> = engine.cache("name").ttl(HOUR).build().unwrap();
        for key in [1, 2] {
            users.put(&key, "ann".to_owned()).await.unwrap();
        }
        for name in ["ann", "bob"] {
            names.put(name, 1).await.unwrap();
        }
        let removes = stage.script.calls(BackendCall::Remove);
        let done = engine.invalidate([users.key(&1), names.key("bob")]).await;
        assert_eq!(done, Invalidation::Done);
        assert_eq!(stage.script.calls(BackendCall::Remove), removes + 1);
        assert_eq!(users.get(&1).await.unwrap(), Lookup::Miss);
        assert_eq!(names.get("bob").await.unwrap(), Lookup::Miss);
        assert_eq!(
            users.get(&2).await.unwrap(),
            value("ann"),
            "it was not named"
        );
        assert_eq!(names.get("ann").await.unwrap(), Lookup::Value(Arc::new(1)));
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_of_nothing_is_done() {
    on_stage(async |stage| {
        let engine = stage.scripted_engine();
        assert_eq!(engine.invalidate([]).await, Invalidation::Done);
        assert_eq!(stage.script.calls(BackendCall::Remove), 0);
        assert_empty(&engine).await;
    })
    .await;
}

/// Two puts of one key meet. The first is held up after its `seize`, the second before its own;
/// `first_ends_first` says which goes on first.
async fn two_puts_meet(first_ends_first: bool) {
    on_stage(async |stage| {
        let gates = [0, 1].map(|_| Arc::new(Semaphore::new(0)));
        let [after_first, before_second] = gates.clone();
        let second = Script::default();
        stage
            .script
            .once(BackendCall::Seize, Act::GateAfter(after_first));
        second.nth(BackendCall::Seize, 1, Act::GateBefore(before_second));
        let backend = Scripted::new(stage.scripted(), &second);
        let engine = stage.builder(backend).build().unwrap();
        let (users, loads) = (users(&engine), Loads::default());

        let mut puts = Vec::new();
        for value in ["earlier", "later"] {
            let users = users.clone();
            puts.push(tokio::spawn(async move {
                users.put(&1, value.to_owned()).await
            }));
            settle().await;
        }
        let [first, second] = gates;
        let order = if first_ends_first {
            [first, second]
        } else {
            [second, first]
        };
        for gate in order {
            gate.add_permits(1);
            settle().await;
        }
        for put in puts {
            assert_eq!(put.await.unwrap().unwrap(), Put::Superseded);
        }
        let found = users.get_or_load(&1, loads.value("loaded", SECOND)).await;
        assert_eq!(*found.unwrap().unwrap(), "loaded");
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn two_puts_that_meet_are_superseded_and_leave_the_key_to_the_next_load() {
    for first_ends_first in [true, false] {
        two_puts_meet(first_ends_first).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_is_dropped_frees_its_name_for_another_type() {
    on_stage(async |stage| {
        let events = Events::default();
        let engine = stage.builder(stage.memory.clone()).recorder(events.clone());
        let engine = engine.build().unwrap();
        let old = users(&engine);
        old.put(&1, "ann".to_owned()).await.unwrap();
        drop(old.clone());
        assert!(
            engine.cache::<u64, u64>("user").ttl(HOUR).build().is_err(),
            "one handle is left"
        );
        drop(old);

        let new: Cache<u64, u64> = engine.cache("user").ttl(HOUR).build().unwrap();
        assert_eq!(new.get(&1).await.unwrap(), Lookup::Miss);
        assert_eq!(events.of(Event::Undecodable), 1, "it holds another type");
        let found = new
            .get_or_load(&1, || async { Ok::<_, io::Error>(7_u64) })
            .await;
        assert_eq!(*found.unwrap().unwrap(), 7);
        assert_eq!(
            events.of(Event::Undecodable),
            2,
            "counted by the load again"
        );
        assert_eq!(new.get(&1).await.unwrap(), Lookup::Value(Arc::new(7)));
        assert_eq!(events.of(Event::Undecodable), 2, "replaced");
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_name_is_taken_until_the_last_load_of_its_cache_has_ended() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let users = users(&engine);
        let load = caller(&users, 1, Loads::default().value("ann", SECOND));
        settle().await;
        load.abort();
        load.await.unwrap_err();
        drop(users);
        assert!(engine.cache::<u64, u64>("user").ttl(HOUR).build().is_err());
        sleep(2 * SECOND).await;
        settle().await;
        engine.cache::<u64, u64>("user").ttl(HOUR).build().unwrap();
    })
    .await;
}

/// Neither `Serialize` nor `Clone`.
struct Connection(u64);

#[tokio::test(start_paused = true)]
async fn values_that_cannot_be_serialised_stay_in_the_process() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let cache = engine.cache("connection").ttl(HOUR).codec(InProcess);
        let connections: Cache<str, Connection> = cache.build().unwrap();
        let found = connections.get_or_load("db", || async { Ok::<_, io::Error>(Connection(7)) });
        let found = found.await.unwrap().unwrap();
        let again = connections.get("db").await.unwrap().value().unwrap();
        assert!(Arc::ptr_eq(&found, &again));
        assert_eq!(again.0, 7);
        assert_empty(&engine).await;
    })
    .await;
}
