//! What the tests of public behaviour share: a stage on a paused clock.
#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

use std::{
    future::Future,
    io,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cache_core::{
    Backend, BoxError, Cache, CacheRecorder, Census, Engine, EngineBuilder, Error, Event, Load,
    Recorder,
    testing::{Act, Script, Scripted},
};
use cache_memory::{Memory, TokioClock};
use tokio::task::{JoinHandle, LocalSet, yield_now};

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
        .clock(TokioClock)
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

/// Keeps every event, of caches and of the engine alike. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<Event>>>);

impl Events {
    /// How many events satisfy `is_meant`.
    pub(crate) fn count(&self, is_meant: impl Fn(&Event) -> bool) -> usize {
        let events = self.0.lock().unwrap();
        events.iter().filter(|event| is_meant(event)).count()
    }

    /// How often exactly `event` was recorded.
    pub(crate) fn of(&self, event: Event) -> usize {
        self.count(|other| *other == event)
    }

    /// What the events so far add to total, hit, miss and failed loads; begins anew.
    pub(crate) fn take_sums(&self) -> (u64, u64, u64, u64) {
        let events = std::mem::take(&mut *self.0.lock().unwrap());
        events.iter().fold((0, 0, 0, 0), |sums, event| {
            (
                sums.0 + event.total(),
                sums.1 + event.hit(),
                sums.2 + event.miss(),
                sums.3 + event.db_fails(),
            )
        })
    }
}

impl Recorder for Events {
    fn cache(&self, _name: &str) -> Arc<dyn CacheRecorder> {
        Arc::new(self.clone())
    }

    fn record(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl CacheRecorder for Events {
    fn record(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

/// The text of a key of [`users`].
pub(crate) fn user_key(id: u64) -> cache_core::Key {
    cache_core::Key::new(format!("user:{id}").as_bytes())
}

/// Whether somebody holds the lease of `key`.
pub(crate) async fn is_leased(store: &impl Backend, key: &cache_core::Key) -> bool {
    match store.acquire(key, Duration::from_millis(1)).await.unwrap() {
        cache_core::Acquire::Held { .. } => true,
        cache_core::Acquire::Hit(_) => false,
        cache_core::Acquire::Granted(lease) => {
            store.release(key, lease).await.unwrap();
            false
        }
    }
}

/// Waits until `engine`, whose shards run on other threads, holds nothing for calls any more.
pub(crate) async fn until_empty(engine: &Engine) {
    while engine.census().await != Census::default() {
        yield_now().await;
    }
}

/// What a `get_or_load` answers.
pub(crate) type Answer<V> = Result<Option<Arc<V>>, Error>;

/// A caller in a task of its own, who has not been polled yet.
pub(crate) fn caller<V, F, Fut, L, E>(
    cache: &Cache<u64, V>,
    key: u64,
    loader: F,
) -> JoinHandle<Answer<V>>
where
    V: Send + Sync + 'static,
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = Result<L, E>> + Send + 'static,
    L: Into<Load<V>> + 'static,
    E: Into<BoxError> + 'static,
{
    let cache = cache.clone();
    tokio::spawn(async move { cache.get_or_load(&key, loader).await })
}

/// Every awaited method of a store.
pub(crate) const EVERY_CALL: [cache_core::BackendCall; 10] = [
    cache_core::BackendCall::Get,
    cache_core::BackendCall::GetMany,
    cache_core::BackendCall::Acquire,
    cache_core::BackendCall::Seize,
    cache_core::BackendCall::Fill,
    cache_core::BackendCall::Extend,
    cache_core::BackendCall::Release,
    cache_core::BackendCall::Remove,
    cache_core::BackendCall::Clear,
    cache_core::BackendCall::Ping,
];

/// One way in which a call to a store goes wrong, or just takes its time.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) act: Act,
    /// Whether the answer comes before the deadline.
    pub(crate) is_answered: bool,
    /// Whether the store does what it was asked to, if it is waited for until the deadline.
    pub(crate) takes_effect: bool,
    /// How long it would take to answer.
    pub(crate) delay: Duration,
}

impl Fault {
    /// Every way, for a store that is given `deadline` to answer.
    pub(crate) fn all(deadline: Duration) -> [Self; 9] {
        let (short, long) = (deadline / 2, deadline * 3 / 2);
        let at_once = Duration::ZERO;
        [
            (Act::Fail, false, false, at_once),
            (Act::FailAfter, false, true, at_once),
            (Act::Hang, false, false, Duration::MAX),
            (Act::HangAfter, false, true, Duration::MAX),
            (Act::Late(short), true, true, short),
            (Act::Late(long), false, false, long),
            (Act::AnswerLate(short), true, true, short),
            (Act::AnswerLate(long), false, true, long),
            (Act::Panic, false, false, at_once),
        ]
        .map(|(act, is_answered, takes_effect, delay)| Self {
            act,
            is_answered,
            takes_effect,
            delay,
        })
    }

    /// `answer`, or that the store is unavailable.
    pub(crate) fn answer<T>(&self, answer: T) -> Result<T, cache_core::ErrorKind> {
        if self.is_answered {
            Ok(answer)
        } else {
            Err(cache_core::ErrorKind::Unavailable)
        }
    }
}
