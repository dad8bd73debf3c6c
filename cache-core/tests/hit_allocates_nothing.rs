//! A hit allocates nothing and sends no message.
//!
//! One test alone in its process, which is fresh then. Counted is what its thread allocates: the
//! one that runs the tests of a process has its own work to do.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::{
    convert::Infallible,
    future::{Ready, ready},
    mem::size_of_val,
    time::Duration,
};

use allocation_counter::{AllocationInfo, measure};
use cache_core::{Cache, Engine, Lookup};
use cache_memory::Memory;
use futures_util::FutureExt;
use tokio::{runtime::Builder, task::LocalSet};

/// How many hits are counted together.
const HITS: u64 = 200;

/// The largest future of `get_or_load`: what only a miss needs is boxed. A loader's own size comes
/// on top, and is none here.
const SMALL: usize = 128;

/// The largest future of `get`, which allocates nothing on the way of a miss either.
const MEDIUM: usize = 512;

/// How often `hit` allocates, [`HITS`] times over.
///
/// A hit is there at the first poll.
fn allocations<F: Future<Output = ()>>(hit: impl Fn() -> F) -> u64 {
    let AllocationInfo { count_total, .. } = measure(|| {
        for _ in 0..HITS {
            hit().now_or_never().unwrap();
        }
    });
    count_total
}

fn no_such_user() -> Ready<Result<Option<u64>, Infallible>> {
    ready(Ok(None))
}

fn user() -> Ready<Result<Option<u64>, Infallible>> {
    ready(Ok(Some(7)))
}

fn cache<K: ?Sized>(engine: &Engine, name: &str) -> Cache<K, u64> {
    let ttl = Duration::from_secs(3600);
    engine.cache(name).ttl(ttl).build().unwrap()
}

#[test]
fn a_hit_allocates_nothing_and_sends_no_message() {
    let memory = Memory::builder().max_entries(100).build().unwrap();
    let local = LocalSet::new();
    let engine = Engine::builder(memory).on_local_set(&local).build();
    let engine = engine.unwrap();
    let by_id: Cache<u64, u64> = cache(&engine, "id");
    let by_name: Cache<String, u64> = cache(&engine, "name");
    let by_both: Cache<(u64, String), u64> = cache(&engine, "both");
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    local.block_on(&runtime, async {
        by_id.get_or_load(&42, user).await.unwrap();
        by_id.get_or_load(&43, no_such_user).await.unwrap();
        by_name.get_or_load("bob", user).await.unwrap();
        by_both.get_or_load(&(1, "bob"), user).await.unwrap();
    });
    let hit = || async {
        let found = by_id.get_or_load(&42, no_such_user).await.unwrap();
        assert_eq!(found.as_deref(), Some(&7));
    };
    // What the store sets up once is not the hits'.
    allocations(hit);
    let messages = engine.messages();
    assert!(messages > 0, "misses do send messages");

    assert_eq!(allocations(hit), 0, "`get_or_load`, an integer key");
    let absent = || async {
        assert_eq!(by_id.get_or_load(&43, user).await.unwrap(), None);
    };
    assert_eq!(allocations(absent), 0, "`get_or_load`, a negative entry");
    let get = || async {
        assert!(matches!(by_id.get(&42).await, Ok(Lookup::Value(_))));
        assert!(matches!(by_id.get(&43).await, Ok(Lookup::Absent)));
    };
    assert_eq!(allocations(get), 0, "`get`");
    let borrowed = || async {
        let found = by_name.get_or_load("bob", no_such_user).await.unwrap();
        assert_eq!(found.as_deref(), Some(&7));
        let found = by_both.get_or_load(&(1, "bob"), no_such_user).await;
        assert_eq!(found.unwrap().as_deref(), Some(&7));
    };
    assert_eq!(allocations(borrowed), 0, "`get_or_load`, borrowed keys");
    assert_eq!(engine.messages(), messages, "a hit sends no message");

    // The count does count.
    let owned = || async {
        let found = by_name.get_or_load(&"bob".to_owned(), no_such_user).await;
        assert_eq!(found.unwrap().as_deref(), Some(&7));
    };
    assert_eq!(allocations(owned), HITS, "one string for each key");

    let size = size_of_val(&by_id.get_or_load(&42, user));
    assert!(size <= SMALL, "the future of `get_or_load`: {size} bytes");
    let size = size_of_val(&by_id.get(&42));
    assert!(size <= MEDIUM, "the future of `get`: {size} bytes");
}
