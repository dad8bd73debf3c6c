//! How many instructions of the client a read of Redis takes.
//!
//! A count hardly depends on what else the machine does, unlike a time. It leaves out what the
//! kernel and the server do, and what an instruction waits for, so it says whether a change saved
//! work, and not how fast a service is. Everything runs on one thread. `valgrind` slows the client
//! down and not the server, so that batches may be larger than at full speed.
//!
//! `--callers N,..`, `--size N,..`, `--only ROW,..`, and `--profiles DIR` to keep what
//! `callgrind_annotate` reads. Without `valgrind` it says so and does nothing.
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a program that prints numbers, or fails"
)]

use std::{
    env,
    path::Path,
    process::{Command, ExitCode},
};

use benches::{Fixture, Options, Row, Stage, workload};
use tokio::runtime::{Builder, Runtime};

/// The first word of the command line of the run that is counted.
const COUNTED: &str = "counted";

/// How many hits each caller has in the shorter of two runs: some thousand together, and enough of
/// each that many callers are in step.
fn each(callers: usize) -> usize {
    (4_000 / callers).max(40)
}

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let done = match words.split_first() {
        Some((first, words)) if first == COUNTED => counted(words),
        _ => count(words),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            println!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> Runtime {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime")
}

/// The run that is counted: ROW CALLERS EACH SIZE URL.
fn counted(words: &[String]) -> Result<(), String> {
    let [row, callers, each, size, url] = words else {
        return Err("this is for the program itself".to_owned());
    };
    let number = |text: &str| text.parse::<usize>().map_err(|error| error.to_string());
    let (row, callers, each) = (row.parse()?, number(callers)?, number(each)?);
    let size = number(size)?;
    runtime().block_on(async {
        let fixture = Fixture::connect(url, size).await;
        workload::times(&fixture, row, callers, each).await;
    });
    Ok(())
}

fn count(words: Vec<String>) -> Result<(), String> {
    let defaults = Options::default().parse(
        &["--callers", "--size"],
        ["--callers", "1,16,256", "--size", "100"].map(Into::into),
    )?;
    let known = &["--callers", "--size", "--only", "--profiles"];
    let options = defaults.parse(known, words)?;
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("SKIPPED: valgrind is not installed, so no instructions are counted");
        return Ok(());
    }
    let stage = Stage::new(runtime());
    for line in stage.describe() {
        println!("{line}");
    }
    for &size in &options.sizes {
        // What is to be found.
        drop(stage.fixture(size));
        for &callers in &options.callers {
            println!("\ncallers: {callers}, values: {size} B: instructions per hit, and x raw");
            let mut base = None;
            for row in options.rows(&Row::HITS) {
                let mut failed = None;
                let cost = workload::per_operation(callers, each(callers), |each| {
                    let numbers = [callers, each, size].map(|number| number.to_string());
                    let run = [
                        row.name(),
                        &numbers[0],
                        &numbers[1],
                        &numbers[2],
                        stage.url(),
                    ];
                    instructions(&run, options.profiles.as_deref()).unwrap_or_else(|text| {
                        failed = Some(text);
                        0
                    })
                });
                if let Some(text) = failed {
                    return Err(text);
                }
                let base = *base.get_or_insert(cost);
                println!("  {row:<34}{cost:>9.0}{:>7.2}", cost / base);
            }
        }
    }
    Ok(())
}

/// How many instructions a run takes, from its beginning to its end.
fn instructions(run: &[&str], profiles: Option<&Path>) -> Result<u64, String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let file = match (profiles, run) {
        (Some(folder), [row, callers, each, size, ..]) => {
            let name = format!("callgrind.{row}.{callers}.{each}.{size}");
            folder.join(name).display().to_string()
        }
        _ => "/dev/null".to_owned(),
    };
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={file}"))
        .arg(program)
        .arg(COUNTED)
        .args(run)
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    let number = told.lines().find_map(|line| {
        let (_, number) = line.split_once("Collected :")?;
        number.trim().parse().ok()
    });
    let number = number.filter(|_| output.status.success());
    number.ok_or_else(|| format!("the run under valgrind failed:\n{told}"))
}
