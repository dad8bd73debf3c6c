//! What it costs to count: a hit in memory without a recorder, with one that counts by a single
//! shared atomic, and with `Stats`; the count alone, without a hit; and a scrape of many caches
//! while a thread counts.
//!
//! Each round measures all rows, one after the other, with 1, 2 and 8 threads, which all read the
//! same thousand keys. `added` compares each round with the same round of the row without a
//! recorder. `cpu` is processor time of the process per hit: threads that wait for each other's
//! cache lines use it up, so it shows what they cost each other, and on a noisy machine it is the
//! steadier number.
//!
//! `--rounds N`, 15 if it is not given.
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a program that prints numbers, or fails"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark measures by the real clock"
)]
#![expect(
    clippy::cast_precision_loss,
    reason = "no count here comes near the 2^53 that a float holds exactly"
)]

use std::{
    convert::Infallible,
    env,
    process::ExitCode,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use benches::{Options, median, surroundings, workload::cpu_time};
use cache_core::{Cache, CacheRecorder, Engine, Event, Recorder};
use cache_memory::Memory;
use cache_metrics::{Exporter, Stats};
use fastrand::Rng;
use futures_util::FutureExt;
use tokio::runtime::Runtime;

const THREADS: [usize; 3] = [1, 2, 8];
const CACHES: [usize; 4] = [1, 10, 100, 1_000];
const KEYS: u64 = 1_000;
/// How often it is done in one round, by all threads together: some tens of milliseconds of hits.
const STEPS: usize = 400_000;

/// Something that threads do again and again, and what it is called.
struct Row {
    name: &'static str,
    step: Box<dyn Fn(u64) + Sync>,
}

/// What a hit took, in nanoseconds.
#[derive(Clone, Copy)]
struct Cost {
    /// From the first to the last, times the cores that were at work, by the number of hits.
    wall: f64,
    cpu: f64,
}

/// What one would write first: a counter that all threads share.
#[derive(Clone, Debug, Default)]
struct OneAtomic(Arc<AtomicU64>);

impl Recorder for OneAtomic {
    fn cache(&self, _name: &str) -> Arc<dyn CacheRecorder> {
        Arc::new(self.clone())
    }

    fn record(&self, _event: Event) {}
}

impl CacheRecorder for OneAtomic {
    fn record(&self, event: Event) {
        self.0.fetch_add(event.hit(), Ordering::Relaxed);
    }
}

fn main() -> ExitCode {
    let options = Options::default()
        .parse(&["--rounds"], ["--rounds", "15"].map(Into::into))
        .and_then(|defaults| defaults.parse(&["--rounds"], env::args().skip(1)));
    match options {
        Ok(options) => {
            run(options.rounds);
            ExitCode::SUCCESS
        }
        Err(text) => {
            println!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn run(rounds: usize) {
    for line in surroundings::machine() {
        println!("{line}");
    }
    println!("rounds   {rounds} of {STEPS} in all threads together, medians");
    let runtime = Runtime::new().expect("a runtime");
    let (hits, counts) = (Stats::new(), Stats::new());
    let of_hits = runtime.block_on(async {
        [
            hit("a hit, no recorder", None::<Stats>).await,
            hit("counted by one atomic", Some(OneAtomic::default())).await,
            hit("counted by Stats", Some(hits.clone())).await,
        ]
    });
    let alone = [
        count("the count alone: nothing", None),
        count("one atomic", Some(OneAtomic::default().cache("user"))),
        count("Stats", Some(counts.cache("user"))),
    ];
    for threads in THREADS {
        compare(&of_hits, threads, rounds);
        compare(&alone, threads, rounds);
    }
    println!(
        "\n{:<28}{:>10}{:>14}{:>10}",
        "a scrape of", "us", "us per cache", "KiB"
    );
    for caches in CACHES {
        scrape(caches, rounds);
    }
    let all = (THREADS.len() * (rounds + 1) * STEPS) as u64;
    for stats in [hits, counts] {
        let snapshot = stats.snapshot();
        let users = snapshot.cache("user").expect("it is counted");
        assert_eq!(users.hit(), all, "none was lost");
    }
}

/// A row of hits, told to `recorder`.
async fn hit(name: &'static str, recorder: Option<impl Recorder>) -> Row {
    let memory = Memory::builder().max_entries(10 * KEYS).build();
    let mut engine = Engine::builder(memory.expect("a store"));
    if let Some(recorder) = recorder {
        engine = engine.recorder(recorder);
    }
    let engine = engine.build().expect("an engine");
    let hour = Duration::from_secs(3600);
    let users: Cache<u64, u64> = engine.cache("user").ttl(hour).build().expect("a cache");
    for key in 0..KEYS {
        users.put(&key, key).await.expect("it is stored");
    }
    let step = move |key| {
        let load = || async { Ok::<u64, Infallible>(0) };
        let found = users.get_or_load(&key, load).now_or_never();
        let found = found.expect("a hit").expect("an answer");
        assert_eq!(found.as_deref(), Some(&key));
    };
    Row {
        name,
        step: Box::new(step),
    }
}

/// A row of counts.
fn count(name: &'static str, recorder: Option<Arc<dyn CacheRecorder>>) -> Row {
    let step: Box<dyn Fn(u64) + Sync> = match recorder {
        Some(recorder) => Box::new(move |_| recorder.record(Event::Hit)),
        None => Box::new(|_| ()),
    };
    Row { name, step }
}

/// Measures rows side by side, of which the first is the base, and prints them.
fn compare(rows: &[Row; 3], threads: usize, rounds: usize) {
    let mut costs = [const { Vec::new() }; 3];
    for row in rows {
        // Once without being counted.
        round(row, threads);
    }
    for _ in 0..rounds {
        for (row, costs) in rows.iter().zip(&mut costs) {
            costs.push(round(row, threads));
        }
    }
    print(threads, rows, &costs);
}

/// Has `threads` do it.
fn round(row: &Row, threads: usize) -> Cost {
    let gate = Barrier::new(threads + 1);
    let each = STEPS / threads;
    let (begin, cpu) = thread::scope(|scope| {
        for thread in 0..threads {
            let gate = &gate;
            scope.spawn(move || {
                let mut draws = Rng::with_seed(thread as u64);
                gate.wait();
                for _ in 0..each {
                    (row.step)(draws.u64(0..KEYS));
                }
            });
        }
        gate.wait();
        (Instant::now(), cpu_time())
    });
    let (wall, cpu) = (begin.elapsed(), cpu_time().saturating_sub(cpu));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let nanos = |time: Duration| time.as_nanos() as f64 / (each * threads) as f64;
    Cost {
        wall: nanos(wall) * cores.min(threads) as f64,
        cpu: nanos(cpu),
    }
}

/// Measures a scrape of so many caches while a thread counts hits of one, and prints it.
fn scrape(caches: usize, rounds: usize) {
    let stats = Stats::new();
    let exporter = Exporter::new(&stats);
    let caches: Vec<_> = (0..caches)
        .map(|cache| stats.cache(&format!("cache_{cache}")))
        .collect();
    let is_over = AtomicBool::new(false);
    let mut texts = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                caches[0].record(Event::Hit);
            }
        });
        for _ in 0..rounds {
            let begin = Instant::now();
            let text = exporter.text();
            texts.push((begin.elapsed().as_secs_f64() * 1e6, text.len()));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let took = median(texts.iter().map(|(took, _)| *took));
    let bytes = median(texts.iter().map(|(_, bytes)| *bytes as f64));
    println!(
        "  {:<26}{took:>10.0}{:>14.1}{:>10.0}",
        format!("{} caches", caches.len()),
        took / caches.len() as f64,
        bytes / 1024.0
    );
}

fn print(threads: usize, rows: &[Row; 3], costs: &[Vec<Cost>; 3]) {
    println!(
        "\n{:<28}{:>10}{:>10}{:>12}{:>10}",
        format!("threads: {threads}"),
        "wall ns",
        "cpu ns",
        "added ns",
        "added"
    );
    for (row, own) in rows.iter().zip(costs) {
        let pairs = || own.iter().zip(&costs[0]);
        let part = median(pairs().map(|(own, base)| 100.0 * (own.cpu / base.cpu - 1.0)));
        // Of next to nothing everything is a multiple.
        let part = if part > 100.0 {
            "-".to_owned()
        } else {
            format!("{part:.1} %")
        };
        println!(
            "  {:<26}{:>10.1}{:>10.1}{:>12.1}{part:>10}",
            row.name,
            median(own.iter().map(|cost| cost.wall)),
            median(own.iter().map(|cost| cost.cpu)),
            median(pairs().map(|(own, base)| own.cpu - base.cpu)),
        );
    }
}
