//! What the tests of public behaviour share: a stage on a paused clock.
#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

use std::{
    io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cache_core::{
    Backend, Cache, Census, Engine, EngineBuilder,
    testing::{Script, Scripted},
};
use cache_memory::{Memory, TokioClock};
use tokio::task::{LocalSet, yield_now};

/// One thread with one clock, which a test pauses, and everything on it: callers, shards, store.
#[derive(Clone)]
pub(crate) struct Stage {
    local: Rc<LocalSet>,
    /// The store of this stage.
    pub(crate) memory: Memory,
    /// What the scripted backends of this stage do.
    pub(crate) script: Script,
}

impl Stage {
    /// Starts building an engine over `backend` on this stage.
    pub(crate) fn builder(&self, backend: impl Backend) -> EngineBuilder {
        Engine::builder(backend).on_local_set(&self.local)
    }

    /// An engine over the memory of this stage.
    pub(crate) fn engine(&self) -> Engine {
        self.builder(self.memory.clone()).build().unwrap()
    }

    /// The memory of this stage behind its script.
    pub(crate) fn scripted(&self) -> Scripted<Memory> {
        Scripted::new(self.memory.clone(), &self.script)
    }

    /// An engine over the scripted memory of this stage.
    pub(crate) fn scripted_engine(&self) -> Engine {
        self.builder(self.scripted()).build().unwrap()
    }
}

/// Runs `test` on a stage; to be called on a paused clock (`#[tokio::test(start_paused = true)]`).
pub(crate) async fn on_stage<T>(test: impl AsyncFnOnce(Stage) -> T) -> T {
    let local = Rc::new(LocalSet::new());
    let stage = Stage {
        local: Rc::clone(&local),
        memory: memory(),
        script: Script::default(),
    };
    local.run_until(test(stage)).await
}

/// A store by tokio's clock.
pub(crate) fn memory() -> Memory {
    Memory::builder()
        .max_entries(10_000)
        .clock(TokioClock::default())
        .build()
        .unwrap()
}

/// A cache of `engine` with strings under numbers, for an hour.
pub(crate) fn users(engine: &Engine) -> Cache<u64, String> {
    engine
        .cache("user")
        .ttl(Duration::from_secs(3600))
        .build()
        .unwrap()
}

/// Counts loads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loads(Arc<AtomicUsize>);

impl Loads {
    /// How many loads began.
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// A loader that counts, takes `time`, and answers `value`.
    pub(crate) fn value(
        &self,
        value: &str,
        time: Duration,
    ) -> impl FnOnce() -> futures_util::future::BoxFuture<'static, Result<String, io::Error>>
    + Send
    + 'static
    + use<> {
        let (loads, value) = (self.clone(), value.to_owned());
        move || {
            Box::pin(async move {
                loads.begin();
                tokio::time::sleep(time).await;
                Ok(value)
            })
        }
    }

    /// Counts a load that begins.
    pub(crate) fn begin(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Lets everything that can run without the clock do so.
pub(crate) async fn settle() {
    for _ in 0..200 {
        yield_now().await;
    }
}

/// Asserts that `engine` holds nothing for calls that have ended.
pub(crate) async fn assert_empty(engine: &Engine) {
    settle().await;
    assert_eq!(
        engine.census().await,
        Census::default(),
        "nothing is left behind"
    );
}
