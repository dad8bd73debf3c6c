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

use cache_core::{Cache, Engine, Invalidation, Lookup, testing::Mutant};
use cache_memory::Memory;
use tokio::task::{JoinSet, yield_now};

const KEYS: usize = 4;
const READERS: u64 = 12;
const WRITERS: u64 = 4;
const OPERATIONS: u64 = 4_000;

/// A row: the version that is committed, and the newest that an invalidation was `Done` for.
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
}

impl World {
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
            if let Lookup::Value(version) = cache.get(&key).await.unwrap() {
                world.check(floor, *version);
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
        let version = cache.get_or_load(&key, load).await.unwrap().unwrap();
        world.check(floor, *version);
    }
}

async fn write(world: Arc<World>, cache: Cache<usize, u64>, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    for _ in 0..OPERATIONS {
        let key = rng.usize(0..KEYS);
        let row = &world.rows[key];
        let version = row.committed.fetch_add(1, Ordering::SeqCst) + 1;
        assert_eq!(cache.invalidate(&key).await, Invalidation::Done);
        row.floor.fetch_max(version, Ordering::SeqCst);
        pause(&mut rng).await;
    }
}

/// How many stale answers two engines on one store give.
async fn stale_answers(mutant: Option<Mutant>) -> usize {
    let memory = Memory::builder().max_entries(1_000).build().unwrap();
    let world = Arc::new(World::default());
    let mut tasks = JoinSet::new();
    let mut engines = Vec::new();
    for number in 0..2 {
        let mut builder = Engine::builder(memory.clone());
        if let Some(mutant) = mutant {
            builder = builder.mutant(mutant);
        }
        let engine = builder.build().unwrap();
        let cache: Cache<usize, u64> = engine
            .cache("row")
            .ttl(Duration::from_secs(3600))
            .build()
            .unwrap();
        for reader in 0..READERS / 2 {
            tasks.spawn(read(
                Arc::clone(&world),
                cache.clone(),
                100 * number + reader,
            ));
        }
        for writer in 0..WRITERS / 2 {
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
    for engine in engines {
        let report = engine.shutdown(Duration::from_secs(10)).await;
        assert_eq!(report.still_running, 0, "nothing is left behind");
        let census = engine.census().await;
        assert_eq!((census.flights, census.seats, census.waiting), (0, 0, 0));
    }
    world.stale.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_answer_is_older_than_an_invalidation_that_had_returned() {
    assert_eq!(stale_answers(None).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_the_fence_some_answers_are() {
    assert!(stale_answers(Some(Mutant::PlainSet)).await > 0);
}
