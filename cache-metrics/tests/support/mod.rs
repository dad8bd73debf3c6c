//! What the tests share: an engine on a paused clock, over a store that does what it is told.
#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

use std::{io, time::Duration};

use cache_core::{
    Cache, Engine, Recorder,
    testing::{Script, Scripted},
};
use cache_memory::{Memory, TokioClock};
use cache_metrics::{CacheSnapshot, Stats};
use tokio::{
    task::{LocalSet, yield_now},
    time::sleep,
};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// An engine with one cache, what was counted of it, and what its store does.
pub(crate) struct Scene {
    pub(crate) engine: Engine,
    pub(crate) users: Cache<u64, String>,
    pub(crate) stats: Stats,
    pub(crate) script: Script,
    pub(crate) memory: Memory,
}

/// Runs `test` with an engine on the current, paused clock, whose events `recorder` is told of.
pub(crate) async fn on_scene<R: Recorder, T>(
    recorder: impl FnOnce(&Stats) -> R,
    test: impl AsyncFnOnce(Scene) -> T,
) -> T {
    let shards = LocalSet::new();
    let (stats, script) = (Stats::new(), Script::default());
    // Bytes, so that something else can be there than what is expected.
    let memory = Memory::builder().max_entries(10_000).clock(TokioClock);
    let memory = memory.keep_encoded().build().unwrap();
    let engine = Engine::builder(Scripted::new(memory.clone(), &script))
        .on_local_set(&shards)
        .recorder(recorder(&stats))
        .max_waiting(10)
        .build()
        .unwrap();
    let users = cache(&engine, "user");
    let scene = Scene {
        engine,
        users,
        stats,
        script,
        memory,
    };
    shards.run_until(test(scene)).await
}

pub(crate) fn cache(engine: &Engine, name: &str) -> Cache<u64, String> {
    engine.cache(name).ttl(3600 * SECOND).build().unwrap()
}

impl Scene {
    pub(crate) fn counts(&self) -> CacheSnapshot {
        self.stats.snapshot().cache("user").unwrap().clone()
    }
}

/// Total, Hit, Miss and DbFails.
pub(crate) fn four(counts: &CacheSnapshot) -> [u64; 4] {
    [
        counts.total(),
        counts.hit(),
        counts.miss(),
        counts.db_fails(),
    ]
}

pub(crate) async fn loads() -> Result<String, io::Error> {
    sleep(SECOND).await;
    Ok("ann".to_owned())
}

pub(crate) async fn fails() -> Result<String, io::Error> {
    sleep(SECOND).await;
    Err(io::Error::other("down"))
}

pub(crate) async fn panics() -> Result<String, io::Error> {
    sleep(SECOND).await;
    panic!("the loader panics")
}

pub(crate) async fn hangs() -> Result<String, io::Error> {
    std::future::pending().await
}

pub(crate) async fn finds_nothing() -> Result<Option<String>, io::Error> {
    sleep(SECOND).await;
    Ok(None)
}

/// Lets everything that can run without the clock do so.
pub(crate) async fn settle() {
    for _ in 0..200 {
        yield_now().await;
    }
}
