//! Latency of many keys at once, read by one lone caller.
//!
//! Compare `get_many` with `mget`, the raw command for as many keys: the rest is what this library
//! adds per key. `pipeline` is as many raw `GET`s in one pipeline, which who has no `MGET` would
//! write. With `get_many/1` beside `redis_hit` one sees what the detour for one key costs. Values
//! of 100 B that are copied and not decoded, as the raw commands do; divide by the number of keys,
//! or read the elements per second.
#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a benchmark measures by the real clock, and fails with what it measures"
)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use benches::{Fixture, Stage};
use cache_core::Lookup;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;

const SIZE: usize = 100;

#[derive(Clone, Copy, Debug)]
enum Way {
    Mget,
    Pipeline,
    GetMany,
}

async fn once(fixture: &Fixture, way: Way, ids: &[u64]) {
    let found = match way {
        Way::Mget => {
            let mut mget = redis::cmd("MGET");
            for &id in ids {
                mget.arg(Fixture::text(id));
            }
            let values: Result<Vec<Option<Vec<u8>>>, _> =
                mget.query_async(&mut fixture.raw(0)).await;
            values.expect("they are read").iter().flatten().count()
        }
        Way::Pipeline => {
            let mut pipeline = redis::pipe();
            for &id in ids {
                pipeline.cmd("GET").arg(Fixture::text(id));
            }
            let values: Result<Vec<Option<Vec<u8>>>, _> =
                pipeline.query_async(&mut fixture.raw(0)).await;
            values.expect("they are read").iter().flatten().count()
        }
        Way::GetMany => {
            let lookups = fixture.bytes().get_many(ids).await;
            let is_value = |lookup: &&Result<_, _>| matches!(lookup, Ok(Lookup::Value(_)));
            lookups.iter().filter(is_value).count()
        }
    };
    assert_eq!(found, ids.len(), "the keys are there");
}

fn get_many(c: &mut Criterion) {
    let stage = Stage::new(Runtime::new().expect("a runtime"));
    let fixture = stage.fixture(SIZE);
    let mut group = c.benchmark_group("redis_get_many");
    for keys in [1, 16, 64, 512] {
        group.throughput(Throughput::Elements(keys));
        for (name, way) in [
            ("mget", Way::Mget),
            ("pipeline", Way::Pipeline),
            ("get_many", Way::GetMany),
        ] {
            group.bench_with_input(BenchmarkId::new(name, keys), &keys, |b, &keys| {
                b.iter_custom(|times| {
                    let fixture = Arc::clone(&fixture);
                    stage.caller(async move {
                        let ids: Vec<u64> = (0..keys).collect();
                        let begin = Instant::now();
                        for _ in 0..times {
                            once(&fixture, way, &ids).await;
                        }
                        begin.elapsed()
                    })
                });
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_millis(1500));
    targets = get_many
}
criterion_main!(benches);
