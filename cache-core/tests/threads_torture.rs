//! The fence on real threads: shards on their own, callers on others, and no clock to order them.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use cache_core::{
    BackendCall, Cache, Engine, Error, ErrorKind, Invalidation, Lookup,
    testing::{Act, Mutant, Script, Scripted},
};
use cache_memory::Memory;
use tokio::task::{JoinSet, yield_now};

const KEYS: usize = 4;
const READERS: u64 = 12;
const WRITERS: u64 = 4;
const OPERATIONS: u64 = 4_000;

/// A row: the version that is committed, and the newest whose invalidation has returned.
#[derive(Debug, Default)]
struct Row {
    committed: AtomicU64,
    floor: AtomicU64,
}

/// The rows, and how many answers were older than an invalidation that had returned.
#[derive(Debug, Default)]
struct World {
    rows: [Row; KEYS],
    stale: AtomicUsize,
    /// How many invalidations were queued.
    queued: AtomicUsize,
    /// Whether the store does not confirm every removal.
    is_flaky: bool,
}

impl World {
    fn excuse(&self, error: &Error) {
        let kinds = [ErrorKind::Unavailable, ErrorKind::Overloaded];
        assert!(self.is_flaky && kinds.contains(&error.kind()), "{error:?}");
    }

    fn check(&self, floor: u64, version: u64) {
        if version < floor {
            self.stale.fetch_add(1, Ordering::SeqCst);
        }
    }
}

async fn pause(rng: &mut fastrand::Rng) {
    for _ in 0..rng.u32(0..6) {
        yield_now().await;
    }
}

async fn read(world: Arc<World>, cache: Cache<usize, u64>, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    for _ in 0..OPERATIONS {
        let key = rng.usize(0..KEYS);
        let floor = world.rows[key].floor.load(Ordering::SeqCst);
        if rng.u8(0..4) == 0 {
            match cache.get(&key).await {
                Ok(Lookup::Value(version)) => world.check(floor, *version),
                Ok(Lookup::Absent | Lookup::Miss) => {}
                Err(error) => world.excuse(&error),
            }
            continue;
        }
        let mut inner = rng.fork();
        let database = Arc::clone(&world);
        let load = move || async move {
            pause(&mut inner).await;
            let version = database.rows[key].committed.load(Ordering::SeqCst);
            pause(&mut inner).await;
            Ok::<_, Infallible>(version)
        };
        match cache.get_or_load(&key, load).await {
            Ok(version) => world.check(floor, *version.unwrap()),
            Err(error) => world.excuse(&error),
        }
    }
}

async fn write(world: Arc<World>, cache: Cache<usize, u64>, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    for _ in 0..OPERATIONS {
        let key = rng.usize(0..KEYS);
        let row = &world.rows[key];
        let version = row.committed.fetch_add(1, Ordering::SeqCst) + 1;
        // For the readers of one engine, what is queued is as good as what is done.
        let is_done = cache.invalidate(&key).await == Invalidation::Done;
        assert!(is_done || world.is_flaky, "it had to be done");
        world
            .queued
            .fetch_add(usize::from(!is_done), Ordering::Relaxed);
        row.floor.fetch_max(version, Ordering::SeqCst);
        pause(&mut rng).await;
    }
}

/// Lets removals fail now and then, for ever.
async fn refuse_removals(script: Script) {
    let mut rng = fastrand::Rng::with_seed(1);
    loop {
        script.always(BackendCall::Remove, Act::Fail);
        pause(&mut rng).await;
        script.reset();
        pause(&mut rng).await;
    }
}

/// How many stale answers so many engines on one store give.
async fn stale_answers(engines: u64, is_flaky: bool, mutant: Option<Mutant>) -> usize {
    let memory = Memory::builder().max_entries(1_000).build().unwrap();
    let world = Arc::new(World {
        is_flaky,
        ..World::default()
    });
    let script = Script::default();
    let weather = is_flaky.then(|| tokio::spawn(refuse_removals(script.clone())));
    let mut tasks = JoinSet::new();
    let numbers = 0..engines;
    let mut engines = Vec::new();
    for number in numbers.clone() {
        let mut builder = Engine::builder(Scripted::new(memory.clone(), &script));
        if let Some(mutant) = mutant {
            builder = builder.mutant(mutant);
        }
        let engine = builder.build().unwrap();
        let cache: Cache<usize, u64> = engine
            .cache("row")
            .ttl(Duration::from_secs(3600))
            .build()
            .unwrap();
        for reader in 0..READERS / numbers.end {
            tasks.spawn(read(
                Arc::clone(&world),
                cache.clone(),
                100 * number + reader,
            ));
        }
        for writer in 0..WRITERS / numbers.end {
            tasks.spawn(write(
                Arc::clone(&world),
                cache.clone(),
                100 * number + 50 + writer,
            ));
        }
        engines.push(engine);
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    if let Some(weather) = weather {
        weather.abort();
        weather.await.unwrap_err();
        script.reset();
    }
    for engine in engines {
        let report = engine.shutdown(Duration::from_secs(10)).await;
        assert_eq!(report.still_running, 0, "nothing is left behind");
        let census = engine.census().await;
        assert_eq!((census.flights, census.seats, census.waiting), (0, 0, 0));
        assert_eq!((census.outage_loads, census.owed), (0, 0));
    }
    let queued = world.queued.load(Ordering::Relaxed);
    assert_eq!(queued > 0, is_flaky, "{queued} were queued");
    world.stale.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_answer_is_older_than_an_invalidation_that_had_returned() {
    assert_eq!(stale_answers(2, false, None).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_the_fence_some_answers_are() {
    assert!(stale_answers(2, false, Some(Mutant::PlainSet)).await > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_answer_is_older_than_an_invalidation_that_was_queued() {
    assert_eq!(stale_answers(1, true, None).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn some_are_where_queued_keys_are_read() {
    assert!(stale_answers(1, true, Some(Mutant::ReadQueued)).await > 0);
}
