//! The longest durations that are accepted work, and longer ones are refused.

use std::time::Duration;

use cache_core::{
    BackendCall, Cache, Engine, EngineBuilder, Invalidation, Lookup, Put, testing::Act,
};

use crate::{
    HOUR, SECOND, memory, naming,
    support::{Loads, Stage, assert_empty, on_stage, users},
};

const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

type Set = fn(EngineBuilder, Duration) -> EngineBuilder;

/// The settings of an engine that are durations and stand alone, by their names.
const SETTINGS: [(&str, Set); 4] = [
    ("load_timeout", EngineBuilder::load_timeout),
    ("lease_wait", EngineBuilder::lease_wait),
    ("backend_deadline", EngineBuilder::backend_deadline),
    ("longest_ttl", EngineBuilder::longest_ttl),
];

#[test]
fn no_duration_is_longer_than_ten_years() {
    let hold: (&str, Set) = ("lease_hold", EngineBuilder::lease_hold);
    for (setting, set) in SETTINGS.into_iter().chain([hold]) {
        for duration in [TEN_YEARS + Duration::from_nanos(1), Duration::MAX] {
            let error = set(Engine::builder(memory()), duration)
                .build()
                .unwrap_err();
            let setting = format!("`{setting}` is longer than ten years");
            naming(&error, &[&setting, "give a shorter one"]);
        }
    }
}

/// Loads, puts and invalidates through this engine, also when a removal has to be queued.
async fn works(stage: &Stage, engine: &Engine, ttl: Duration) {
    let users: Cache<u64, String> = engine.cache("user").ttl(ttl).build().unwrap();
    let loads = Loads::default();
    let found = users.get_or_load(&1, loads.value("ann", SECOND)).await;
    assert_eq!(found.unwrap().as_deref().map(String::as_str), Some("ann"));
    assert_eq!(users.put(&1, "bob".to_owned()).await.unwrap(), Put::Stored);
    let put = users.put_with_ttl(&1, "cid".to_owned(), ttl).await;
    assert_eq!(put.unwrap(), Put::Stored);
    assert!(users.get(&1).await.unwrap().value().is_some());
    assert_eq!(loads.count(), 1);

    stage.script.always(BackendCall::Remove, Act::Fail);
    assert_eq!(users.invalidate(&1).await, Invalidation::Queued);
    assert_eq!(engine.census().await.owed, 1);
    stage.script.reset();
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(users.get(&1).await.unwrap(), Lookup::Miss);
    assert_empty(engine).await;
}

#[tokio::test(start_paused = true)]
async fn each_duration_may_be_ten_years() {
    for (_, set) in SETTINGS {
        on_stage(async |stage| {
            let builder = set(stage.builder(stage.scripted()), TEN_YEARS);
            works(&stage, &builder.build().unwrap(), HOUR).await;
        })
        .await;
    }
    on_stage(async |stage| {
        let all = SETTINGS
            .into_iter()
            .fold(stage.builder(stage.scripted()), |builder, (_, set)| {
                set(builder, TEN_YEARS)
            });
        let engine = all.lease_hold(TEN_YEARS - SECOND).build().unwrap();
        works(&stage, &engine, TEN_YEARS).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_load_that_may_take_ten_years_is_not_cut_off() {
    on_stage(async |stage| {
        let engine = stage.builder(stage.memory.clone()).load_timeout(TEN_YEARS);
        let engine = engine.build().unwrap();
        let loader = Loads::default().value("ann", 24 * HOUR);
        let found = users(&engine).get_or_load(&1, loader).await;
        assert_eq!(found.unwrap().as_deref().map(String::as_str), Some("ann"));
        assert_empty(&engine).await;
    })
    .await;
}
