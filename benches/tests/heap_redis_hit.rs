//! How much more often a read of Redis allocates than a raw `GET`.
//!
//! Everything runs on one thread, whose allocations are counted: the driver's with the caller's.
//! One test alone in its process, so that no other shares the harness' thread.
#![expect(
    clippy::print_stdout,
    reason = "a test that fails shows what it counted"
)]

use std::sync::Arc;

use allocation_counter::measure;
use benches::{Fixture, Row, Stage, workload};
use tokio::runtime::Builder;

/// How many hits all callers together have in the shorter of two runs.
const HITS: usize = 2_560;

fn allocations(stage: &Stage, fixture: &Arc<Fixture>, row: Row, callers: usize) -> f64 {
    workload::per_operation(callers, HITS / callers, |each| {
        let hits = workload::times(fixture, row, callers, each);
        measure(|| stage.runtime().block_on(hits)).count_total
    })
}

/// What is allocated over a raw `GET` at most: by a lone caller, whose reads go out alone, and by
/// 256, whose reads are gathered and share what a batch allocates. The former is exact but for the
/// half; the latter depends a little on how full batches are.
const BOUNDS: [(Row, f64, f64); 4] = [
    (Row::Backend, 0.5, -2.0),
    (Row::Get, 1.5, -1.0),
    (Row::GetOrLoad, 3.5, 1.0),
    (Row::Bytes, 3.5, 1.0),
];

#[test]
fn a_hit_allocates_little_more_than_a_raw_get() {
    let runtime = Builder::new_current_thread().enable_all().build();
    let stage = Stage::new(runtime.unwrap());
    let fixture = stage.fixture(100);
    let raw = [1, 256].map(|callers| allocations(&stage, &fixture, Row::Raw, callers));
    assert!(raw.iter().all(|&count| count >= 1.0), "it counts: {raw:?}");
    let mut too_many = Vec::new();
    for (row, alone, gathered) in BOUNDS {
        for (callers, raw, bound) in [(1, raw[0], alone), (256, raw[1], gathered)] {
            let count = allocations(&stage, &fixture, row, callers);
            let told = format!("{row}, {callers} callers: {count:.2}, a raw GET {raw:.2}");
            println!("{told}");
            if count - raw > bound {
                too_many.push(format!("{told}, and {bound} more are allowed"));
            }
        }
    }
    assert!(too_many.is_empty(), "allocations per hit: {too_many:#?}");
}
