//! What changes with `EngineBuilder::compat`, for a store that is shared with go-zero.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod support;

use std::{
    fmt, io,
    sync::{Arc, Mutex},
    time::Duration,
};

use cache_core::{Backend, BuildError, Cache, Engine, Invalidation, Load, Lookup, Peek, Put};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep_until},
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::with_default,
};

use self::support::{Stage, assert_empty, on_stage, settle};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn compat(stage: &Stage) -> Engine {
    let builder = stage.builder(stage.memory.clone());
    builder.compat().build().unwrap()
}

/// Whether the store has something under `key`.
fn holds(stage: &Stage, key: &str) -> bool {
    matches!(stage.memory.peek(key.as_bytes()), Peek::Hit(_))
}

/// Asserts that what was just stored under `key` is there until `ttl` has passed, and no longer.
async fn lives(stage: &Stage, key: &str, ttl: Duration) {
    let since = Instant::now();
    sleep_until(since + ttl - MILLI).await;
    assert!(holds(stage, key), "just before {ttl:?}");
    sleep_until(since + ttl).await;
    assert!(!holds(stage, key), "the boundary is over: {ttl:?}");
}

#[tokio::test(start_paused = true)]
async fn each_way_to_store_gives_a_whole_number_of_seconds() {
    on_stage(async |stage| {
        let engine = compat(&stage);
        let users: Cache<u64, String> = engine
            .cache("user")
            .ttl(1_500 * MILLI)
            .negative_ttl(200 * MILLI)
            .jitter(0.0)
            .build()
            .unwrap();
        let ann = || "ann".to_owned();

        let load = async || Ok::<_, io::Error>("ann".to_owned());
        users.get_or_load(&1, load).await.unwrap();
        lives(&stage, "user:1", 2 * SECOND).await;

        let absent = async || Ok::<_, io::Error>(None);
        assert_eq!(users.get_or_load(&1, absent).await.unwrap(), None);
        assert_eq!(users.get(&1).await.unwrap(), Lookup::Absent);
        lives(&stage, "user:1", SECOND).await;

        for (wish, kept) in [
            (MILLI, SECOND),
            (SECOND, SECOND),
            (SECOND + MILLI, 2 * SECOND),
        ] {
            let load = move || async move {
                Ok::<_, io::Error>(Load::value("ann".to_owned()).with_ttl(wish))
            };
            users.get_or_load(&1, load).await.unwrap();
            lives(&stage, "user:1", kept).await;

            let put = users.put_with_ttl(&1, ann(), wish).await;
            assert_eq!(put.unwrap(), Put::Stored);
            lives(&stage, "user:1", kept).await;
        }

        assert_eq!(users.put(&1, ann()).await.unwrap(), Put::Stored);
        lives(&stage, "user:1", 2 * SECOND).await;
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn jitter_comes_first_and_the_longest_ttl_is_kept() {
    on_stage(async |stage| {
        let builder = stage.builder(stage.memory.clone()).compat();
        let engine = builder.longest_ttl(10_900 * MILLI).build().unwrap();
        let users: Cache<u64, u64> = engine
            .cache("user")
            .ttl(10_500 * MILLI)
            .jitter(0.05)
            .build()
            .unwrap();
        // 9.975 to 11.025 seconds, that is 10 to 12.
        for id in 0..500 {
            users.put(&id, id).await.unwrap();
        }
        let since = Instant::now();
        let held = || (0..500).filter(|id| holds(&stage, &format!("user:{id}")));
        sleep_until(since + 10 * SECOND - MILLI).await;
        assert_eq!(held().count(), 500);
        sleep_until(since + 10 * SECOND).await;
        assert_eq!(held().count(), 0);
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn with_jitter_lives_end_on_whole_seconds_of_its_range() {
    on_stage(async |stage| {
        let engine = compat(&stage);
        let users: Cache<u64, u64> = engine
            .cache("user")
            .ttl(10 * SECOND)
            .jitter(0.05)
            .build()
            .unwrap();
        for id in 0..500 {
            users.put(&id, id).await.unwrap();
        }
        let since = Instant::now();
        let held = || (0..500).filter(|id| holds(&stage, &format!("user:{id}")));
        // 9.5 to 10.5 seconds, as in go-zero: 10 or 11.
        sleep_until(since + 10 * SECOND - MILLI).await;
        assert_eq!(held().count(), 500);
        sleep_until(since + 10 * SECOND).await;
        let left = held().count();
        assert!((100..400).contains(&left), "about half: {left}");
        sleep_until(since + 11 * SECOND - MILLI).await;
        assert_eq!(held().count(), left, "nothing in between");
        sleep_until(since + 11 * SECOND).await;
        assert_eq!(held().count(), 0);
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn without_it_times_are_exact() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let users: Cache<u64, String> = engine
            .cache("user")
            .ttl(1_500 * MILLI)
            .jitter(0.0)
            .build()
            .unwrap();
        users.put(&1, "ann".to_owned()).await.unwrap();
        lives(&stage, "user:1", 1_500 * MILLI).await;
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_longest_ttl_must_have_room_for_a_second() {
    on_stage(async |stage| {
        for (longest, is_compat, accepted) in [
            (SECOND - MILLI, true, false),
            (SECOND, true, true),
            (SECOND - MILLI, false, true),
        ] {
            let builder = stage.builder(stage.memory.clone()).longest_ttl(longest);
            let builder = if is_compat { builder.compat() } else { builder };
            match builder.build() {
                Ok(_) => assert!(accepted, "{longest:?} {is_compat}"),
                Err(error) => {
                    assert!(matches!(error, BuildError::NoWholeSecond), "{error}");
                    assert!(!accepted, "{longest:?} {is_compat}");
                }
            }
        }
    })
    .await;
}

/// The keys that goctl's models use, as its templates print them.
#[tokio::test(start_paused = true)]
async fn the_key_texts_of_goctl_can_be_written() {
    on_stage(async |stage| {
        let engine = compat(&stage);
        let by_id: Cache<u64, String> = engine
            .cache("user")
            .prefix("cache:goZero:user:id:")
            .ttl(HOUR)
            .build()
            .unwrap();
        let by_name: Cache<String, u64> = engine
            .cache("user by class and name")
            .prefix("cache:goZero:user:class:name:")
            .ttl(HOUR)
            .build()
            .unwrap();
        let signed: Cache<i64, String> = engine
            .cache("account")
            .prefix("cache:account:id:")
            .ttl(HOUR)
            .build()
            .unwrap();
        by_id.put(&42, "ann".to_owned()).await.unwrap();
        by_name.put("1:kevin", 42_u64).await.unwrap();
        by_name.put("a:b:50%:{abc true}", 43_u64).await.unwrap();
        signed.put(&-7, "bob".to_owned()).await.unwrap();
        for key in [
            "cache:goZero:user:id:42",
            "cache:goZero:user:class:name:1:kevin",
            "cache:goZero:user:class:name:a:b:50%:{abc true}",
            "cache:account:id:-7",
        ] {
            assert!(holds(&stage, key), "{key}");
        }
        assert_empty(&engine).await;
    })
    .await;
}

/// Collects the warnings that are logged, each with its fields.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        fmt::write(self.0, format_args!("{field}={value:?} ")).unwrap();
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() == Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = String::new();
        event.record(&mut Text(&mut text));
        self.0.lock().unwrap().push(text);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn build(engine: &Engine, name: &str, prefix: &str) -> Result<Cache<String, String>, BuildError> {
    engine.cache(name).prefix(prefix).ttl(HOUR).build()
}

#[tokio::test(start_paused = true)]
async fn prefixes_that_overlap_are_logged_instead_of_refused() {
    const ID: &str = "cache:user:id:";
    const ID_NAME: &str = "cache:user:id:name:";
    on_stage(async |stage| {
        for (first, second, overlap) in [
            (ID, ID_NAME, true),
            (ID_NAME, ID, true),
            (ID, ID, true),
            (ID, "cache:user:name:", false),
            ("cache:user:", "cache:users:", false),
        ] {
            let strict = stage.engine();
            let _kept = build(&strict, "one", first).unwrap();
            let refused = build(&strict, "two", second);
            let is_refused = matches!(refused, Err(BuildError::PrefixTaken { .. }));
            assert_eq!(is_refused, overlap, "{first} {second}");

            let engine = compat(&stage);
            let warnings = Warnings::default();
            with_default(warnings.clone(), || {
                let _one = build(&engine, "one", first).unwrap();
                let _two = build(&engine, "two", second).unwrap();
            });
            let logged = warnings.0.lock().unwrap().clone();
            assert_eq!(logged.len(), usize::from(overlap), "{logged:?}");
            for line in logged {
                for part in ["\"one\"", "\"two\"", first, second] {
                    assert!(line.contains(part), "{line} lacks {part}");
                }
            }
        }
    })
    .await;
}

/// Prefixes may overlap, so two caches may write one key.
#[tokio::test(start_paused = true)]
async fn an_invalidation_ends_a_load_of_another_cache_that_shares_the_key() {
    on_stage(async |stage| {
        let engine = compat(&stage);
        let one = build(&engine, "one", "cache:user:").unwrap();
        let two = build(&engine, "two", "cache:user:id:").unwrap();
        let gate = Arc::new(Semaphore::new(0));
        let load = {
            let (two, gate) = (two.clone(), Arc::clone(&gate));
            let load = move || async move {
                gate.acquire().await.unwrap().forget();
                Ok::<_, io::Error>("old".to_owned())
            };
            tokio::task::spawn_local(async move { two.get_or_load("7", load).await })
        };
        settle().await;
        assert_eq!(one.invalidate("id:7").await, Invalidation::Done);
        gate.add_permits(1);
        let old = load.await.unwrap().unwrap();
        assert_eq!(old.as_deref().map(String::as_str), Some("old"));
        settle().await;
        assert!(!holds(&stage, "cache:user:id:7"), "the fill is refused");

        assert_eq!(two.put("7", "new".to_owned()).await.unwrap(), Put::Stored);
        let seen = one.get("id:7").await.unwrap();
        assert_eq!(seen, Lookup::Value("new".to_owned().into()), "one entry");
        assert_empty(&engine).await;
    })
    .await;
}
