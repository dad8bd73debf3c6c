//! Bad input is refused with a text that names the setting and the remedy.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

#[path = "bad_input/extremes.rs"]
mod extremes;
#[path = "bad_input/secrets.rs"]
mod secrets;
mod support;

use std::time::Duration;

use cache_core::{
    BuildError, Cache, CacheBuilder, Engine, EngineBuilder, Error, ErrorKind, Invalidation, Lookup,
    codec::{InProcess, Json},
};
use cache_memory::Memory;
use tokio::task::LocalSet;

use self::support::{Loads, assert_empty, on_stage};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

fn memory() -> Memory {
    Memory::builder().max_entries(100).build().unwrap()
}

fn engine_over(memory: Memory) -> Engine {
    // Nothing here runs: any placement will do.
    Engine::builder(memory).build().unwrap()
}

fn cache(engine: &Engine, name: &str) -> CacheBuilder<u64, String, Json> {
    engine.cache(name).ttl(HOUR)
}

/// The text of an error, after a check that it names each of `names`.
fn naming(error: &impl ToString, names: &[&str]) -> String {
    let text = error.to_string();
    for name in names {
        assert!(text.contains(name), "{name} is not in: {text}");
    }
    text
}

/// Asserts that these settings of a cache are refused with a text that names `names`.
fn refused(
    set: impl FnOnce(CacheBuilder<u64, String, Json>) -> CacheBuilder<u64, String, Json>,
    names: &[&str],
) -> BuildError {
    let engine = engine_over(memory());
    let error = set(cache(&engine, "user")).build().unwrap_err();
    naming(&error, names);
    error
}

#[test]
fn a_ttl_is_at_least_a_millisecond() {
    for ttl in [Duration::ZERO, Duration::from_nanos(999_999)] {
        refused(
            |cache| cache.ttl(ttl),
            &["`ttl`", "too short", "at least 1 ms"],
        );
        refused(
            |cache| cache.negative_ttl(ttl),
            &["`negative_ttl`", "at least 1 ms"],
        );
    }
    let engine = engine_over(memory());
    let shortest = Duration::from_millis(1);
    cache(&engine, "user")
        .ttl(shortest)
        .negative_ttl(shortest)
        .build()
        .unwrap();
}

#[test]
fn a_ttl_is_at_most_the_longest() {
    let longer = WEEK + Duration::from_nanos(1);
    let names = ["too long", "raise the engine's `longest_ttl`", "604800s"];
    let text = refused(|cache| cache.ttl(longer), &names).to_string();
    assert!(text.starts_with("`ttl`: "), "{text}");
    let text = refused(|cache| cache.negative_ttl(longer), &names).to_string();
    assert!(text.starts_with("`negative_ttl`: "), "{text}");
    let engine = engine_over(memory());
    cache(&engine, "user")
        .ttl(WEEK)
        .negative_ttl(WEEK)
        .build()
        .unwrap();

    let engine = Engine::builder(memory())
        .longest_ttl(2 * WEEK)
        .build()
        .unwrap();
    cache(&engine, "user").ttl(2 * WEEK).build().unwrap();
}

#[test]
fn a_ttl_must_be_given() {
    let engine = engine_over(memory());
    let error = engine.cache::<u64, String>("user").build().unwrap_err();
    naming(&error, &["`ttl` is not set", "say how long"]);
}

#[test]
fn jitter_is_a_fraction_up_to_one_half() {
    for jitter in [
        -0.01,
        0.500_001,
        10.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ] {
        refused(
            |cache| cache.jitter(jitter),
            &["`jitter`", "from 0.0 to 0.5"],
        );
    }
    let engine = engine_over(memory());
    for jitter in [0.0, 0.5] {
        drop(cache(&engine, "user").jitter(jitter).build().unwrap());
    }
}

#[test]
fn a_memory_has_exactly_one_limit() {
    let none = Memory::builder().build().unwrap_err();
    naming(&none, &["no limit", "set `max_entries` or `max_bytes`"]);
    let two = Memory::builder().max_entries(1).max_bytes(1 << 20).build();
    naming(
        &two.unwrap_err(),
        &["two limits", "`max_entries` or `max_bytes`, not both"],
    );
}

#[test]
fn a_cache_has_a_name() {
    let engine = engine_over(memory());
    let error = cache(&engine, "").build().unwrap_err();
    naming(&error, &["name is empty", "name it"]);
    let error = cache(&engine, "").prefix("user:").build().unwrap_err();
    naming(&error, &["name is empty"]);
}

#[test]
fn no_cache_writes_under_the_keys_of_another() {
    let engine = engine_over(memory());
    let _users = cache(&engine, "user").build().unwrap();
    for (name, prefix) in [
        ("user", None),
        ("other", Some("user:")),
        ("other", Some("user:admin:")),
        ("other", Some("us")),
        ("other", Some("")),
    ] {
        let builder = cache(&engine, name);
        let builder = match prefix {
            Some(prefix) => builder.prefix(prefix),
            None => builder,
        };
        let quoted = format!("`{}`", prefix.unwrap_or("user:"));
        naming(
            &builder.build().unwrap_err(),
            &[
                "key prefix",
                &quoted,
                "the cache `user`",
                "another `prefix` or name",
            ],
        );
    }
    let _other = cache(&engine, "user").prefix("other:").build().unwrap();
    let elsewhere = engine_over(memory());
    let _users = cache(&elsewhere, "user").build().unwrap();
}

#[test]
fn a_prefix_leaves_room_for_a_key() {
    let engine = Engine::builder(memory()).max_key_len(8).build().unwrap();
    let error = cache(&engine, "eightish")
        .prefix("12345678")
        .build()
        .unwrap_err();
    naming(
        &error,
        &[
            "8 bytes long",
            "`max_key_len` is 8",
            "shorten the prefix or raise",
        ],
    );
    cache(&engine, "sevenish")
        .prefix("1234567")
        .build()
        .unwrap();
}

/// A cache whose prefix is five bytes long.
fn by_name(engine: &Engine) -> Cache<String, String> {
    engine.cache("name").ttl(HOUR).build().unwrap()
}

/// Asserts that the longest key of `engine` has `limit` bytes, and what calls with a longer say.
async fn longest_key_is(engine: &Engine, limit: usize) {
    let names = by_name(engine);
    let fits = "k".repeat(limit - "name:".len());
    let long = format!("{fits}k");

    names.put(&fits, "ann".to_owned()).await.unwrap();
    assert!(names.get(&fits).await.unwrap().value().is_some());

    let remedy = [
        "key is too long",
        "shorten it",
        "the engine's `max_key_len`",
    ];
    let refused = |error: Error| {
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        naming(&error, &remedy);
    };
    let loads = Loads::default();
    refused(names.get(&long).await.unwrap_err());
    refused(
        names
            .get_or_load(&long, loads.value("-", SECOND))
            .await
            .unwrap_err(),
    );
    refused(names.put(&long, "ann".to_owned()).await.unwrap_err());
    refused(
        names
            .put_with_ttl(&long, "ann".to_owned(), HOUR)
            .await
            .unwrap_err(),
    );
    let [short, long_one] = <[_; 2]>::try_from(names.get_many([&fits, &long]).await).unwrap();
    assert!(
        matches!(short, Ok(Lookup::Value(_))),
        "each key has an answer of its own"
    );
    refused(long_one.unwrap_err());
    assert_eq!(loads.count(), 0);

    assert_eq!(
        names.invalidate(&long).await,
        Invalidation::Done,
        "nothing can be there"
    );
    let both = engine
        .invalidate([names.key(&long), names.key(&fits)])
        .await;
    assert_eq!(both, Invalidation::Done);
    assert_eq!(names.get(&fits).await.unwrap(), Lookup::Miss);
    assert_empty(engine).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_is_at_most_as_long_as_the_limit() {
    on_stage(async |stage| {
        longest_key_is(&stage.engine(), 512).await;
        let longer = stage.builder(support::memory()).max_key_len(1000);
        longest_key_is(&longer.build().unwrap(), 1000).await;
        let shorter = stage.builder(support::memory()).max_key_len(6);
        longest_key_is(&shorter.build().unwrap(), 6).await;
    })
    .await;
}

#[test]
fn a_lease_is_waited_for_longer_than_it_holds() {
    let build = |hold, wait| {
        Engine::builder(memory())
            .lease_hold(hold)
            .lease_wait(wait)
            .build()
    };
    for wait in [Duration::ZERO, SECOND, 3 * SECOND] {
        let error = build(3 * SECOND, wait).unwrap_err();
        naming(
            &error,
            &[
                "`lease_wait` must be longer than `lease_hold`",
                "raise `lease_wait`",
            ],
        );
    }
    build(3 * SECOND, 3 * SECOND + Duration::from_nanos(1)).unwrap();
}

#[test]
fn no_setting_of_an_engine_is_zero() {
    type Set = fn(EngineBuilder) -> EngineBuilder;
    let settings: [(&str, Set); 7] = [
        ("load_timeout", |engine| engine.load_timeout(Duration::ZERO)),
        ("lease_hold", |engine| engine.lease_hold(Duration::ZERO)),
        ("backend_deadline", |engine| {
            engine.backend_deadline(Duration::ZERO)
        }),
        ("longest_ttl", |engine| engine.longest_ttl(Duration::ZERO)),
        ("max_key_len", |engine| engine.max_key_len(0)),
        ("max_waiting", |engine| engine.max_waiting(0)),
        ("shards", |engine| engine.shards(0)),
    ];
    for (setting, set) in settings {
        let error = set(Engine::builder(memory())).build().unwrap_err();
        naming(
            &error,
            &[&format!("`{setting}` is zero"), "give a positive value"],
        );
    }
}

#[test]
fn a_codec_that_makes_no_bytes_needs_a_store_that_keeps_objects() {
    let encoded = Memory::builder().max_entries(100).keep_encoded();
    let engine = engine_over(encoded.build().unwrap());
    let error = cache(&engine, "user").codec(InProcess).build().unwrap_err();
    naming(
        &error,
        &[
            "`memory` keeps encoded entries",
            "`InProcess`",
            "another `codec`",
        ],
    );

    let engine = engine_over(memory());
    cache(&engine, "user").codec(InProcess).build().unwrap();
}

#[test]
fn a_limit_by_bytes_needs_a_measure() {
    let engine = engine_over(Memory::builder().max_bytes(1 << 20).build().unwrap());
    let in_process = || cache(&engine, "user").codec(InProcess);
    let error = in_process().build().unwrap_err();
    naming(
        &error,
        &[
            "`memory` is limited by bytes",
            "`InProcess`",
            "set `weigher`",
        ],
    );

    drop(in_process().weigher(String::len).build().unwrap());
    cache(&engine, "user").build().unwrap();
}

#[test]
fn the_current_actix_system_must_be_there() {
    let error = Engine::builder(memory())
        .on_current_system()
        .build()
        .unwrap_err();
    naming(
        &error,
        &[
            "no actix system on this thread",
            "leave out `on_current_system`",
        ],
    );
}

#[test]
fn a_refused_cache_does_not_take_its_name() {
    let local = LocalSet::new();
    let engine = Engine::builder(memory())
        .on_local_set(&local)
        .build()
        .unwrap();
    cache(&engine, "user").jitter(2.0).build().unwrap_err();
    cache(&engine, "user")
        .ttl(Duration::ZERO)
        .build()
        .unwrap_err();
    cache(&engine, "user").build().unwrap();
}
