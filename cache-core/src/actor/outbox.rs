//! Removes keys from the store, and keeps trying where it does not confirm.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::{
    BackendCall, Error, Invalidation, Key,
    engine::{Busy, Core},
};

/// The first and the longest pause between two attempts.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Removes `keys`; those that are not confirmed are queued. Runs on a shard's thread.
pub(super) async fn remove(core: &Arc<Core>, keys: Vec<Key>) -> Invalidation {
    let invalidation = remove_once(core, keys).await;
    if invalidation == Invalidation::Queued && core.outbox.start() {
        warn!("an invalidation could not be delivered and is queued");
        tokio::task::spawn_local(deliver(Arc::clone(core), core.busy()));
    }
    invalidation
}

/// Removes `keys`; notes which are owed, and leaves it at that: for where no thread is left to
/// make a second attempt.
pub(super) async fn remove_once(core: &Core, keys: Vec<Key>) -> Invalidation {
    let confirmed = try_remove(core, &keys).await;
    let failed: Vec<Key> = keys
        .into_iter()
        .zip(confirmed)
        .filter_map(|(key, confirmed)| (!confirmed).then_some(key))
        .collect();
    if failed.is_empty() {
        return Invalidation::Done;
    }
    let config = &core.config;
    let until = Instant::now() + config.longest_ttl + config.load_timeout;
    core.outbox.owe(failed, until);
    Invalidation::Queued
}

/// Removes `keys`; says for each whether the store confirmed.
async fn try_remove(core: &Core, keys: &[Key]) -> Vec<bool> {
    let remove = async { Ok::<_, Error>(core.backend.remove(keys).await) };
    let answers = core.call(BackendCall::Remove, &core.observer, remove).await;
    let mut answers = answers.unwrap_or_default().into_iter();
    keys.iter()
        .map(|_| answers.next().is_some_and(|answer| answer.is_ok()))
        .collect()
}

/// Delivers what the outbox owes; ends when it owes nothing or the engine is closed.
async fn deliver(core: Arc<Core>, _busy: Busy) {
    let mut closed = core.outbox.closed();
    let mut pause = BACKOFF.0;
    loop {
        let is_closing = tokio::select! {
            () = sleep(pause) => false,
            _ = closed.wait_for(|closed| *closed) => true,
        };
        let Some(owed) = core.outbox.owed(Instant::now()) else {
            return;
        };
        let keys: Vec<Key> = owed.iter().map(|(key, _)| key.clone()).collect();
        let confirmed = try_remove(&core, &keys).await;
        let delivered = owed.iter().zip(&confirmed).filter(|(_, ok)| **ok);
        for ((key, owed), _) in delivered {
            core.outbox.settle(key, *owed);
        }
        if is_closing {
            return;
        }
        let is_back = confirmed.iter().any(|confirmed| *confirmed);
        pause = if is_back {
            BACKOFF.0
        } else {
            (pause * 2).min(BACKOFF.1)
        };
    }
}
