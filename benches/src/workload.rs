//! The work: callers who read keys, drawn evenly.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use fastrand::Rng;
use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};

use crate::{Fixture, KEYS, Row, Sample};

/// Lets `callers` tasks do what `row` stands for, each one after the other, for `time`.
///
/// The loop is closed: a caller asks again when it is answered, so that latencies are those at the
/// throughput that is reported, and not at a rate that was chosen.
///
/// # Cancel safety
///
/// Safe: after a drop the tasks end by themselves.
pub async fn round(fixture: &Arc<Fixture>, row: Row, callers: usize, time: Duration) -> Sample {
    let cpu = cpu_time();
    let begin = Instant::now();
    let end = begin + time;
    let tasks: Vec<_> = (0..callers)
        .map(|caller| tokio::spawn(ask_until(Arc::clone(fixture), row, seed(caller), end)))
        .collect();
    let mut asked = Vec::with_capacity(callers);
    for task in tasks {
        asked.push(task.await.expect("the caller ended well"));
    }
    let elapsed = begin.elapsed();
    let cpu = cpu_time().saturating_sub(cpu);

    let mut latencies = Histogram::<u64>::new(3).expect("three digits can be had");
    for nanos in asked.into_iter().flatten() {
        latencies += u64::from(nanos);
    }
    let operations = latencies.len() as f64;
    let micros = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e3;
    Sample {
        throughput: operations / elapsed.as_secs_f64(),
        p50: micros(0.5),
        p99: micros(0.99),
        cpu: cpu.as_secs_f64() * 1e6 / operations,
    }
}

/// Returns the latencies in nanoseconds. They are put into a histogram later: a thousand of those
/// would push out of the processor's caches what is to be measured.
async fn ask_until(fixture: Arc<Fixture>, row: Row, mut draws: Rng, end: Instant) -> Vec<u32> {
    let mut latencies = Vec::with_capacity(4096);
    let mut asked = Instant::now();
    while asked < end {
        fixture.run(row, draws.u64(0..KEYS)).await;
        let answered = Instant::now();
        let nanos = answered.duration_since(asked).as_nanos();
        latencies.push(u32::try_from(nanos).unwrap_or(u32::MAX));
        asked = answered;
    }
    latencies
}

/// Lets `callers` tasks do what `row` stands for, `each` times each.
///
/// # Cancel safety
///
/// Safe: after a drop the tasks end by themselves.
pub async fn times(fixture: &Arc<Fixture>, row: Row, callers: usize, each: usize) {
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let (fixture, mut draws) = (Arc::clone(fixture), seed(caller));
            tokio::spawn(async move {
                for _ in 0..each {
                    fixture.run(row, draws.u64(0..KEYS)).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("the caller ended well");
    }
}

/// What one operation costs by `count`, which says what runs of so many per caller cost.
///
/// It is the difference of two lengths: what happens once per run, such as to connect, is in both.
pub fn per_operation(callers: usize, each: usize, mut count: impl FnMut(usize) -> u64) -> f64 {
    let short = count(each);
    let long = count(2 * each);
    long.saturating_sub(short) as f64 / (callers * each) as f64
}

/// A caller's draws: the same ones in each run, and others for each caller.
fn seed(caller: usize) -> Rng {
    Rng::with_seed(caller as u64)
}

/// The processor time that this process has used.
#[must_use]
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_once_per_run_is_no_part_of_an_operation() {
        let cost = per_operation(16, 10, |each| 1_000_000 + 7 * 16 * each as u64);
        assert!((cost - 7.0).abs() < f64::EPSILON, "{cost}");
    }
}
