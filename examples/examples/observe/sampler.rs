//! Takes a sample each second, and writes it down once, however many pages ask for it.

use axum::body::Bytes;
use cache_metrics::Stats;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::{
    history::{EVERY, History},
    numbers::Numbers,
    scene::Schedule,
};

/// Starts to sample; it ends when the task is dropped. What comes out is JSON.
pub(crate) fn start(stats: Stats, schedule: Schedule) -> (watch::Receiver<Bytes>, JoinSet<()>) {
    let mut history = History::new(schedule.passed(), stats.snapshot());
    let (latest, numbers) = watch::channel(json(&history));
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first is now, of which there is a snapshot.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            history.take(schedule.passed(), schedule.scene(), stats.snapshot());
            latest.send_replace(json(&history));
        }
    });
    (numbers, task)
}

/// Numbers and words always have a form as JSON; if not, the page would say that it gets nothing.
fn json(history: &History) -> Bytes {
    let numbers = Numbers::of(history);
    serde_json::to_vec(&numbers).unwrap_or_default().into()
}
