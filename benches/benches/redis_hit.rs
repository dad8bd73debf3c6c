//! Latency of a hit: what one lone caller waits for a value that Redis has.
//!
//! Compare each row with `raw` of the same size: the rest is what this library adds. `backend` is
//! the protocol alone. `get` and `get_or_load` decode JSON, which `raw` does not; `bytes` copies
//! the value as `raw` does, so it is the one to compare. The rows are measured one after the
//! other, so on a busy machine trust the ratios of `redis_throughput --callers 1`, which takes
//! turns.
#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a benchmark measures by the real clock, and fails with what it measures"
)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use benches::{KEYS, Row, Stage};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use fastrand::Rng;
use tokio::runtime::Runtime;

fn hit(c: &mut Criterion) {
    let stage = Stage::new(Runtime::new().expect("a runtime"));
    let mut group = c.benchmark_group("redis_hit");
    for size in [100, 4096] {
        let fixture = stage.fixture(size);
        for row in Row::HITS {
            let id = BenchmarkId::new(row.name(), size);
            group.bench_with_input(id, &row, |b, &row| {
                b.iter_custom(|times| {
                    let fixture = Arc::clone(&fixture);
                    stage.caller(async move {
                        let mut draws = Rng::with_seed(1);
                        let begin = Instant::now();
                        for _ in 0..times {
                            fixture.run(row, draws.u64(0..KEYS)).await;
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
    targets = hit
}
criterion_main!(benches);
