//! What was measured of some rows, side by side.

use std::{
    fmt::{self, Write},
    sync::Arc,
    time::Duration,
};

use crate::{Fixture, Options, Ratio, Row, Sample, aims::Aim, workload};

/// How long each row runs before the first round counts.
const WARM_UP: Duration = Duration::from_millis(100);

/// What was measured with some number of callers and some size of values. It prints as a table.
#[derive(Clone, Debug)]
pub struct Table {
    callers: usize,
    size: usize,
    /// The base comes first.
    rows: Vec<(Row, Vec<Sample>)>,
}

impl Table {
    /// Measures `rows`, of which there is one at least: in each round all of them, one after the
    /// other.
    ///
    /// # Cancel safety
    ///
    /// Safe: after a drop the callers end by themselves.
    pub async fn measure(
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

    /// Each row and how it stands to the base.
    fn ratios(&self) -> impl Iterator<Item = (Row, Sample, Ratio)> {
        let base = &self.rows.first().expect("the base is there").1;
        self.rows.iter().map(move |(row, samples)| {
            let ratio = Ratio::of(samples, base);
            (*row, Sample::median(samples), ratio)
        })
    }

    /// Adds a line for each round of each row to `out`, without a heading.
    pub fn write(&self, out: &mut String) {
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

    /// Says of each row that has an aim, by `aim`, whether it is met.
    pub fn verdicts(&self, aim: fn(Row, usize, usize) -> Option<Aim>) -> Vec<String> {
        let Self { callers, size, .. } = self;
        self.ratios()
            .filter_map(|(row, _, ratio)| {
                let verdict = aim(row, *callers, *size)?.verdict(&ratio);
                Some(format!(
                    "aim  {callers:>4} x {size:>4} B  {row:<23} {verdict}"
                ))
            })
            .collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<36}{:>9}{:>10}{:>10}{:>9}{:>21}",
            format!("callers: {}, values: {} B", self.callers, self.size),
            "kops/s",
            "p50 us",
            "p99 us",
            "cpu us",
            "x raw"
        )?;
        for (row, sample, ratio) in self.ratios() {
            writeln!(
                f,
                "  {row:<34}{:>9.1}{:>10.1}{:>10.1}{:>9.2}{:>7.2}{:>7.2}{:>7.2}",
                sample.throughput / 1e3,
                sample.p50,
                sample.p99,
                sample.cpu,
                ratio.throughput,
                ratio.p50,
                ratio.p99
            )?;
        }
        Ok(())
    }
}
