//! The tasks that keep a node's lanes: one per place connects, one probes.

use std::{error::Error, sync::Arc, time::Duration};

use cache_core::Event;
use redis::Cmd;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info, warn};

use super::{one::Lane, reads, set::Shared};
use crate::{checkup::Checkup, connect::ConnectError, steps::removal};

/// The first and the longest pause between two attempts to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// A lane that lived shorter than this is no reason to connect anew without a pause.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// How many keys one command of the journal's removal has.
const KEYS_AT_ONCE: usize = 512;

/// Keeps the lane of one place: connects whenever it is gone.
pub(super) async fn keep(set: Arc<Shared>, slot: usize) {
    let mut pause = BACKOFF.0;
    let mut opened = Instant::now();
    let mut was_open = set.lanes[slot].load().is_some();
    let mut is_quiet = false;
    loop {
        if set.lanes[slot].load().is_some() {
            set.vacated[slot].notified().await;
            continue;
        }
        if opened.elapsed() < SHORT_LIFE && was_open {
            wait(&mut pause).await;
        }
        match open(&set, slot, was_open).await {
            Ok(()) => {
                if was_open {
                    look_after(&set, slot).await;
                }
                if is_quiet {
                    info!("connected to redis again");
                }
                is_quiet = false;
                if opened.elapsed() >= SHORT_LIFE {
                    pause = BACKOFF.0;
                }
                opened = Instant::now();
                was_open = true;
            }
            Err(error) => {
                // One line for an outage, not one for each attempt.
                if !std::mem::replace(&mut is_quiet, true) {
                    log_failure(&error);
                }
                wait(&mut pause).await;
            }
        }
    }
}

/// Asks the other lanes for a sign of life: whatever broke one may have broken them, and a lane that
/// is idle would let a caller find that out.
async fn look_after(set: &Arc<Shared>, replaced: usize) {
    for lane in &set.lanes {
        if let Some(lane) = lane.load_full()
            && lane.slot != replaced
        {
            ping(set, &lane).await;
        }
    }
}

fn log_failure(error: &ConnectError) {
    warn!(error = %error, cause = ?Error::source(error), "no connection to redis");
}

/// Waits, at random between half of the pause and all of it; the next is twice as long.
async fn wait(pause: &mut Duration) {
    sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
    *pause = (*pause * 2).min(BACKOFF.1);
}

/// Opens the lane of one place: connects, looks the node over, and, if the lane replaces another,
/// removes once more what was removed lately.
pub(super) async fn open(
    set: &Arc<Shared>,
    slot: usize,
    replaces: bool,
) -> Result<(), ConnectError> {
    let (connection, checkup) = set.connector.connect().await?;
    let (lane, waiting) = Lane::new(slot, connection);
    if replaces {
        remove_again(set, &lane).await?;
    }
    announce(set, checkup);
    let gatherer = tokio::spawn(reads::gather(Arc::clone(set), Arc::clone(&lane), waiting));
    lane.gathered_by(gatherer.abort_handle());
    set.install(slot, lane);
    Ok(())
}

/// Removes what was removed lately once more, before anybody reads through the new lane.
async fn remove_again(set: &Arc<Shared>, lane: &Arc<Lane>) -> Result<(), ConnectError> {
    let keys = set.journal.lock().recent(Instant::now());
    for part in keys.chunks(KEYS_AT_ONCE) {
        let deadline = Instant::now() + set.deadlines.write;
        let removed = set.call(lane, &removal(part), deadline).await;
        removed.map_err(|failed| ConnectError::Unusable(cache_core::Error::from(failed).into()))?;
    }
    if !keys.is_empty() {
        debug!(
            keys = keys.len(),
            "removed once more what was removed lately"
        );
    }
    Ok(())
}

/// Says which guarantee holds, and why not a stronger one, if that has changed.
fn announce(set: &Shared, checkup: Checkup) {
    let before = set.checkup.load_full();
    set.tell(Event::Guarantee(checkup.level()));
    if before.as_deref() != Some(&checkup) {
        checkup.log();
    }
    set.checkup.store(Some(Arc::new(checkup)));
}

/// Probes the node while the breaker is open.
pub(super) async fn probe(set: Arc<Shared>) {
    loop {
        match set.begin_probe() {
            Ok(()) => {
                let is_well = match set.any_lane() {
                    Some(lane) => ping(&set, &lane).await,
                    None => false,
                };
                set.probed(is_well);
            }
            // Opened anew meanwhile, after a lane that was put in had closed it, it is due sooner.
            Err(Some(due)) => tokio::select! {
                () = sleep_until(due) => {}
                () = set.opened.notified() => {}
            },
            Err(None) => set.opened.notified().await,
        }
    }
}

async fn ping(set: &Shared, lane: &Arc<Lane>) -> bool {
    let mut command = Cmd::new();
    command.arg("PING");
    let deadline = Instant::now() + set.deadlines.read;
    set.call(lane, &command, deadline).await.is_ok()
}
