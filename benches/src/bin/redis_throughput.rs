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

use std::{env, fmt::Write, fs, process::ExitCode, sync::Arc, time::Duration};

use benches::{Fixture, Options, Ratio, Row, Sample, aims::Aim, surroundings, workload};
use tokio::runtime::Runtime;

const KNOWN: &[&str] = &[
    "--rounds",
    "--round-ms",
    "--callers",
    "--size",
    "--only",
    "--csv",
];

/// How long each row runs before the first round counts.
const WARM_UP: Duration = Duration::from_millis(100);

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
        if hits.len() > 1 || options.only.is_empty() || options.only.contains(&Row::Raw) {
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
            table.print();
            table.write(&mut rounds);
            verdicts.extend(table.verdicts());
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

/// What was measured with some number of callers and some size of values.
struct Table {
    callers: usize,
    size: usize,
    rows: Vec<(Row, Vec<Sample>)>,
}

impl Table {
    async fn measure(
        fixture: &Arc<Fixture>,
        options: &Options,
        callers: usize,
        rows: &[Row],
    ) -> Self {
        let mut rows: Vec<_> = rows.iter().map(|&row| (row, Vec::new())).collect();
        for &(row, _) in &rows {
            workload::round(fixture, row, callers, WARM_UP).await;
        }
        for _ in 0..options.rounds {
            for (row, samples) in &mut rows {
                samples.push(workload::round(fixture, *row, callers, options.round).await);
            }
        }
        Self {
            callers,
            size: fixture.size(),
            rows,
        }
    }

    /// Each row and how it stands to the base, which comes first.
    fn ratios(&self) -> impl Iterator<Item = (Row, Sample, Ratio)> {
        let base = &self.rows.first().expect("the base is there").1;
        self.rows.iter().map(move |(row, samples)| {
            let ratio = Ratio::of(samples, base);
            (*row, Sample::median(samples), ratio)
        })
    }

    fn print(&self) {
        println!(
            "\n{:<36}{:>9}{:>10}{:>10}{:>9}{:>21}",
            format!("callers: {}, values: {} B", self.callers, self.size),
            "kops/s",
            "p50 us",
            "p99 us",
            "cpu us",
            "x raw"
        );
        for (row, sample, ratio) in self.ratios() {
            println!(
                "  {row:<34}{:>9.1}{:>10.1}{:>10.1}{:>9.2}{:>7.2}{:>7.2}{:>7.2}",
                sample.throughput / 1e3,
                sample.p50,
                sample.p99,
                sample.cpu,
                ratio.throughput,
                ratio.p50,
                ratio.p99
            );
        }
    }

    fn write(&self, out: &mut String) {
        for (row, samples) in &self.rows {
            for (round, sample) in samples.iter().enumerate() {
                writeln!(
                    out,
                    "{},{},{},{round},{:.0},{:.2},{:.2},{:.3}",
                    self.size,
                    self.callers,
                    row.name(),
                    sample.throughput,
                    sample.p50,
                    sample.p99,
                    sample.cpu
                )
                .expect("a string takes it");
            }
        }
    }

    fn verdicts(&self) -> Vec<String> {
        let Self { callers, size, .. } = self;
        self.ratios()
            .filter_map(|(row, _, ratio)| {
                let verdict = Aim::of(row, *callers, *size)?.verdict(&ratio);
                Some(format!(
                    "aim  {callers:>4} x {size:>4} B  {row:<20} {verdict}"
                ))
            })
            .collect()
    }
}
