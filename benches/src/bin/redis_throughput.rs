//! How many reads a service gets through Redis, how fast, and for how much processor time.
//!
//! Each round measures all rows, one after the other, so that what disturbs the machine disturbs
//! them alike. Numbers are medians over the rounds; ratios compare each round with the same round
//! of the raw `GET`, and are what is to be judged: client and server share the machine, so absolute
//! numbers are its own. Lines that begin with `aim` say what is wanted and whether it is met.
//!
//! `--rounds N`, `--round-ms M`, `--callers N,..`, `--size N,..`, `--only ROW,..`, `--csv FILE`.
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a program that prints numbers, or fails"
)]

use std::{env, fmt::Write, fs, process::ExitCode};

use benches::{Fixture, Options, Row, Table, aims::Aim, surroundings};
use tokio::runtime::Runtime;

const KNOWN: &[&str] = &[
    "--rounds",
    "--round-ms",
    "--callers",
    "--size",
    "--only",
    "--csv",
];

const EXPLANATION: &str = "\
Rows of JSON decode a string; `bytes` copies the value, as a raw GET does. Each row makes its key of
an integer, 1,000 keys evenly drawn. us: microseconds. cpu: of this process, not of the server.
x raw: throughput, p50 and p99 by those of the raw GET beside it. See docs/benchmarks.md.";

fn main() -> ExitCode {
    let done = Options::default()
        .parse(KNOWN, env::args().skip(1))
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
    let server = surroundings::server().await;
    let mut rounds = String::new();
    for line in surroundings::describe(&server).await {
        println!("{line}");
        writeln!(rounds, "# {line}").expect("a string takes it");
    }
    rounds.push_str("size,callers,row,round,ops_per_s,p50_us,p99_us,cpu_us\n");
    println!(
        "rounds   {} x {:?}, medians\n\n{EXPLANATION}",
        options.rounds, options.round
    );

    let mut verdicts = Vec::new();
    for (place, &size) in options.sizes.iter().enumerate() {
        let fixture = Fixture::connect(&server.url(), size).await;
        fixture.store().await;
        let mut tables = Vec::new();
        let hits = options.rows(&Row::HITS);
        if !hits.is_empty() {
            let hits = |&callers| (callers, hits.clone());
            tables.extend(options.callers.iter().map(hits));
        }
        // A miss is the same for larger values, but for the time that they take on the way.
        let misses = options.rows(&Row::MISSES);
        if place == 0 && misses.len() > 1 {
            tables.push((1, misses));
        }
        for (callers, rows) in tables {
            let table = Table::measure(&fixture, options, callers, &rows).await;
            print!("\n{table}");
            table.write(&mut rounds);
            verdicts.extend(table.verdicts(Aim::of));
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
