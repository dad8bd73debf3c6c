//! The tasks that keep a node's lanes: one per place looks at its lane and connects, one probes.

use std::{error::Error, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use redis::Cmd;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use super::{again, gather, one::Lane, set::Shared};
use crate::{
    checkup::{Checkup, PROBED, is_of_a_replica},
    connect::ConnectError,
};

/// The first and the longest pause between two attempts to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// A lane that lived shorter than this is no reason to connect anew without a pause.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// How often the server is asked for a sign of life, and after how many times it is looked over anew.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOKS: u32 = 30;

/// Keeps the lane of one place: looks at it, and connects whenever it is gone.
pub(super) async fn keep(set: Arc<Shared>, slot: usize) {
    let is_open = set.lanes[slot].load().is_some();
    let mut place = Place {
        slot,
        opened: is_open.then(Instant::now),
        pause: BACKOFF.0,
        is_quiet: false,
        looks: 0,
    };
    loop {
        match set.lanes[slot].load_full() {
            Some(lane) => place.watch(&set, lane).await,
            None => place.connect(&set).await,
        }
    }
}

/// The place of a lane, as its keeper knows it.
struct Place {
    slot: usize,
    /// When its last lane was opened.
    opened: Option<Instant>,
    /// The next pause between two attempts to connect.
    pause: Duration,
    /// Whether the outage that there is has been logged.
    is_quiet: bool,
    looks: u32,
}

impl Place {
    /// Waits until a lane is gone, this or another, or it is time to look, and then looks.
    async fn watch(&mut self, set: &Arc<Shared>, lane: Arc<Lane>) {
        tokio::select! {
            () = set.vacated[self.slot].notified() => {}
            () = sleep(LOOK_EVERY) => self.looks += 1,
        }
        if set.is_in_place(&lane) {
            look(set, &lane, self.looks % LOOKS == LOOKS - 1).await;
        }
    }

    /// Tries to open a lane, after a pause if one is due.
    async fn connect(&mut self, set: &Arc<Shared>) {
        let lived = self.opened.map(|opened| opened.elapsed());
        if lived.is_some_and(|lived| lived < SHORT_LIFE) {
            wait(&mut self.pause).await;
        }
        let opened = open(set, self.slot).await;
        set.tried();
        if let Err(error) = opened {
            set.hold_journal();
            set.trouble();
            // One line for an outage, not one for each attempt.
            if !std::mem::replace(&mut self.is_quiet, true) {
                log_failure(&set.name, &error);
            }
            wait(&mut self.pause).await;
            return;
        }
        if std::mem::replace(&mut self.is_quiet, false) {
            log_success(&set.name);
        }
        if lived.is_some_and(|lived| lived >= SHORT_LIFE) {
            self.pause = BACKOFF.0;
        }
        self.opened = Some(Instant::now());
    }
}

/// Looks at a lane that nobody may be using: whether it still answers, and whether its server is
/// still the primary, which a server that was demoted tells to nobody who only reads.
async fn look(set: &Arc<Shared>, lane: &Arc<Lane>, closely: bool) {
    let checkup = set.checkup.load_full();
    let Some(checkup) = checkup else { return };
    let deadline = Instant::now() + set.deadlines.read;
    let answer = set.call(lane, &checkup.sign_of_life(), deadline).await;
    if answer.is_ok_and(|answer| is_of_a_replica(&answer)) {
        // Whatever they are connected to was this server.
        set.all_lanes().for_each(|lane| set.retire(&lane));
        return;
    }
    if closely && lane.slot == 0 {
        let again = Checkup::of(&mut lane.connection(), set.deadlines.read).await;
        if let Ok(checkup) = again {
            announce(set, checkup);
        }
    }
}

fn log_success(server: &str) {
    info!(server, "connected to redis again");
}

fn log_failure(server: &str, error: &ConnectError) {
    warn!(server, error = %error, cause = ?Error::source(error), "no connection to redis");
}

/// Waits, at random between half of the pause and all of it; the next is twice as long.
async fn wait(pause: &mut Duration) {
    sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
    *pause = (*pause * 2).min(BACKOFF.1);
}

/// Opens the lane of one place: connects, looks the node over, and removes once more what was removed
/// lately, since the server may be another one than before, or the same with old data.
pub(super) async fn open(set: &Arc<Shared>, slot: usize) -> Result<(), ConnectError> {
    let (connection, checkup) = set.connector.connect().await?;
    let (lane, waiting) = Lane::new(slot, connection, checkup.server());
    // The lane takes its connection out of the pool when it is dropped.
    checkup
        .fits(set.is_part())
        .map_err(ConnectError::unusable)?;
    let again = again::remove(set, &lane).await;
    again.map_err(|failed| ConnectError::unusable(cache_core::Error::from(failed)))?;
    announce(set, checkup);
    let gatherer = tokio::spawn(gather::gather(Arc::clone(set), Arc::clone(&lane), waiting));
    lane.gathered_by(gatherer.abort_handle());
    // A name may lead to another server than before. Two of them at once would not see each other's
    // leases and removals, and this is the one that it leads to now.
    for other in set.all_lanes() {
        if !other.is_to_the_server_of(&lane) {
            set.retire(&other);
        }
    }
    set.install(slot, lane);
    Ok(())
}

/// Says which guarantee holds, and why not a stronger one, if that has changed.
fn announce(set: &Shared, checkup: Checkup) {
    let before = set.checkup.load_full();
    set.voice.guarantee(checkup.level());
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
                let is_well = ping_all(&set).await;
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

/// Pings all lanes at once; one answer is enough.
async fn ping_all(set: &Arc<Shared>) -> bool {
    let lanes = set.all_lanes();
    let mut pings: FuturesUnordered<_> = lanes.map(|lane| ping(Arc::clone(set), lane)).collect();
    while let Some(is_well) = pings.next().await {
        if is_well {
            return true;
        }
    }
    false
}

async fn ping(set: Arc<Shared>, lane: Arc<Lane>) -> bool {
    let mut command = Cmd::new();
    if set.is_part() {
        // It answers a `PING` also while its cluster is down and it serves nothing.
        command.arg("GET").arg(PROBED);
    } else {
        command.arg("PING");
    }
    let deadline = Instant::now() + set.deadlines.read;
    match set.call(&lane, &command, deadline).await {
        Ok(_) => true,
        Err(failed) => failed.fault.is_elsewhere(),
    }
}
