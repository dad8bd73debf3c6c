//! How often a read of Redis allocates, and how much.
//!
//! Everything runs on one thread, so that the driver's tasks are counted with the caller. A lone
//! caller's reads go out alone; those of many are gathered, and share what a batch allocates. Apart
//! from [`redis_throughput`](../redis_throughput/index.html), since counting takes time.
//!
//! `--callers N,..`, `--size N,..`, `--only ROW,..`.
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a program that prints numbers, or fails"
)]

use std::{env, process::ExitCode};

use allocation_counter::{AllocationInfo, measure};
use benches::{Options, Row, Stage, workload};
use tokio::runtime::Builder;

/// How many hits all callers together have in the shorter of two runs, about.
const HITS: usize = 20_000;

fn main() -> ExitCode {
    match count() {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            println!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn count() -> Result<(), String> {
    let options =
        Options::default().parse(&["--callers", "--size", "--only"], env::args().skip(1))?;
    let runtime = Builder::new_current_thread().enable_all().build();
    let stage = Stage::new(runtime.expect("a runtime"));
    for line in stage.describe() {
        println!("{line}");
    }
    for &size in &options.sizes {
        let fixture = stage.fixture(size);
        for &callers in &options.callers {
            println!("\ncallers: {callers}, values: {size} B: allocations and bytes per hit");
            for row in options.rows(&Row::HITS) {
                let each = HITS.div_ceil(callers);
                let per_hit = |what: fn(&AllocationInfo) -> u64| {
                    workload::per_operation(callers, each, |each| {
                        let hits = workload::times(&fixture, row, callers, each);
                        what(&measure(|| stage.runtime().block_on(hits)))
                    })
                };
                let times = per_hit(|info| info.count_total);
                let bytes = per_hit(|info| info.bytes_total);
                println!("  {row:<34}{times:>9.2}{bytes:>10.0}");
            }
        }
    }
    Ok(())
}
