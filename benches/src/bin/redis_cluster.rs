//! How many reads a service gets through a Redis Cluster, how fast, and for how much processor time.
//!
//! It starts a cluster of three primaries without replicas, which take no part in a read. The base is
//! what a service could write without a cluster client: a raw connection to each primary, of which
//! the caller picks the owner of the key. Measured and printed as by `redis_throughput`.
//!
//! `--rounds N`, `--round-ms M`, `--callers N,..`, `--size N,..`, `--only ROW,..`, `--csv FILE`.
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a program that prints numbers, or fails"
)]

use std::{env, fmt::Write, fs, process::ExitCode};

use benches::{Fixture, MANY, Options, Row, Table, aims::Aim, surroundings};
use integration_tests::Cluster;
use tokio::runtime::Runtime;

const KNOWN: &[&str] = &[
    "--rounds",
    "--round-ms",
    "--callers",
    "--size",
    "--only",
    "--csv",
];

/// Up to how many callers read many keys at once.
const CALLERS_OF_MANY: usize = 16;

const EXPLANATION: &str = "\
Rows of JSON decode a string; `bytes` copies the value, as a raw GET does. Each row makes its keys of
integers, 1,000 keys evenly drawn. us: microseconds. cpu: of this process, not of the servers.
x raw: throughput, p50 and p99 by those of the raw row beside it. See docs/benchmarks.md.";

fn main() -> ExitCode {
    let defaults = ["--callers", "1,16,256"].map(Into::into);
    let done = Options::default()
        .parse(KNOWN, defaults)
        .and_then(|defaults| defaults.parse(KNOWN, env::args().skip(1)))
        .and_then(|options| {
            let runtime = Runtime::new().expect("a runtime");
            // Callers are tasks on the workers, as those of a service are.
            runtime.block_on(run(&options))
        });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            println!("{text}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<(), String> {
    let cluster = Cluster::builder().replicas(0).prefer_process();
    let cluster = cluster.start().await;
    let mut rounds = String::new();
    let mut about = surroundings::describe(cluster.node(0)).await;
    about.push(format!(
        "cluster  {} primaries without replicas",
        cluster.nodes().len()
    ));
    for line in about {
        println!("{line}");
        writeln!(rounds, "# {line}").expect("a string takes it");
    }
    rounds.push_str("size,callers,row,round,ops_per_s,p50_us,p99_us,cpu_us\n");
    println!(
        "rounds   {} x {:?}, medians\n\n{EXPLANATION}",
        options.rounds, options.round
    );

    let mut verdicts = Vec::new();
    for &size in &options.sizes {
        let fixture = Fixture::connect_cluster(&cluster, size).await;
        fixture.store().await;
        for (rows, most) in [
            (options.rows(&Row::CLUSTER), usize::MAX),
            (options.rows(&Row::MANY), CALLERS_OF_MANY),
        ] {
            if rows.is_empty() {
                continue;
            }
            if most == CALLERS_OF_MANY {
                println!("\n{MANY} keys at once, which count as one operation:");
            }
            for callers in options.callers.iter().filter(|callers| **callers <= most) {
                let table = Table::measure(&fixture, options, *callers, &rows).await;
                print!("\n{table}");
                table.write(&mut rounds);
                verdicts.extend(table.verdicts(Aim::in_cluster));
            }
        }
    }
    println!();
    for verdict in verdicts {
        println!("{verdict}");
    }
    if let Some(path) = &options.csv {
        fs::write(path, rounds).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}
