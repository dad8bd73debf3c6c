//! Latency of a miss, in its parts: what one lone caller waits beyond the loader.
//!
//! A miss looks the key up (`get_nil`), asks for a lease (`acquire`), runs the loader and fills
//! (`fill`): compare `miss`, whose loader answers at once, with the sum of the three, and the rest
//! is what messages and tasks cost. `aside` is what plain cache-aside pays, a `GET` that finds
//! nothing and a `SET`, without a fence. `raw` is a `GET` that finds its key: the unit of the aim.
//! `release` is what a load that is not stored pays instead of `fill`; `remove` is an
//! invalidation's. What a part needs before, such as a lease, is not measured with it.
#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a benchmark measures by the real clock, and fails with what it measures"
)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use benches::{Fixture, Row, Stage};
use bytes::Bytes;
use cache_core::{Acquire, Backend, Entry, Fill, Key, Lease, Ttl};
use criterion::{Criterion, criterion_group, criterion_main};
use tokio::runtime::Runtime;

/// As the engine holds a lease by default.
const HOLD: Duration = Duration::from_secs(3);
const TTL: Duration = Duration::from_secs(3600);
const SIZE: usize = 100;

#[derive(Clone, Copy, Debug)]
enum Part {
    Row(Row),
    GetNil,
    Acquire,
    Fill,
    Release,
    Remove,
}

/// The parts in the order in which they are to be read.
const PARTS: [(&str, Part); 8] = [
    ("raw", Part::Row(Row::Raw)),
    ("aside", Part::Row(Row::Aside)),
    ("miss", Part::Row(Row::Miss)),
    ("get_nil", Part::GetNil),
    ("acquire", Part::Acquire),
    ("fill", Part::Fill),
    ("release", Part::Release),
    ("remove", Part::Remove),
];

/// Does a part once, and says how long that took, without what it needs before.
async fn once(fixture: &Fixture, part: Part) -> Duration {
    let backend = fixture.backend();
    let key = Key::new(Fixture::text(Fixture::fresh()).as_bytes());
    match part {
        Part::Row(row) => {
            let begin = Instant::now();
            fixture.run(row, 0).await;
            begin.elapsed()
        }
        Part::GetNil => {
            let begin = Instant::now();
            let found = backend.get(&key).await;
            let took = begin.elapsed();
            assert!(found.expect("it is read").is_none(), "the key is new");
            took
        }
        Part::Acquire => {
            let begin = Instant::now();
            lease(fixture, &key).await;
            begin.elapsed()
        }
        Part::Fill => {
            let lease = lease(fixture, &key).await;
            let begin = Instant::now();
            fill(fixture, &key, lease).await;
            begin.elapsed()
        }
        Part::Release => {
            let lease = lease(fixture, &key).await;
            let begin = Instant::now();
            let released = backend.release(&key, lease).await;
            let took = begin.elapsed();
            released.expect("it is released");
            took
        }
        Part::Remove => {
            let lease = lease(fixture, &key).await;
            fill(fixture, &key, lease).await;
            let begin = Instant::now();
            let removed = backend.remove(std::slice::from_ref(&key)).await;
            let took = begin.elapsed();
            assert!(removed.iter().all(Result::is_ok), "it is removed");
            took
        }
    }
}

async fn lease(fixture: &Fixture, key: &Key) -> Lease {
    let answer = fixture.backend().acquire(key, HOLD).await;
    let Ok(Acquire::Granted(lease)) = answer else {
        unreachable!("nobody else wants the lease: {answer:?}");
    };
    lease
}

async fn fill(fixture: &Fixture, key: &Key, lease: Lease) {
    let entry = Entry::Encoded(Bytes::from(vec![b'x'; SIZE]));
    let ttl = Ttl::clamp(TTL, TTL);
    let filled = fixture.backend().fill(key, lease, entry, ttl).await;
    assert_eq!(filled.expect("it is filled"), Fill::Stored);
}

fn miss(c: &mut Criterion) {
    let stage = Stage::new(Runtime::new().expect("a runtime"));
    let fixture = stage.fixture(SIZE);
    let mut group = c.benchmark_group("redis_miss");
    for (name, part) in PARTS {
        group.bench_function(name, |b| {
            b.iter_custom(|times| {
                let fixture = Arc::clone(&fixture);
                stage.caller(async move {
                    let mut total = Duration::ZERO;
                    for _ in 0..times {
                        total += once(&fixture, part).await;
                    }
                    total
                })
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_millis(1500));
    targets = miss
}
criterion_main!(benches);
