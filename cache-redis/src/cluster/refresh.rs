//! The task that keeps the table: it asks which primary owns which slot.
//!
//! It asks when there is a reason to (a redirection, a lane that is lost, a breaker that opens) or
//! ten seconds have passed, and every quarter of a second while a primary is not well, since its
//! replica may have taken over. It asks all primaries at once and believes the one that has seen the
//! most elections: one that hung through a failover takes itself for a primary until its cluster
//! tells it otherwise. If none answers it asks every server that it has heard of, one by one.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use cache_core::Key;
use futures_util::future::join_all;
use redis::{Pipeline, Value, pipe};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};
use tracing::{debug, info, warn};

use super::{address::Address, batch, node::Inner, slots::Slots};
use crate::{connect::ConnectError, journal, lane::LaneSet};

/// How often the slots are asked for without a reason, and while a primary is not well.
const EVERY: Duration = Duration::from_secs(10);
const WHILE_UNWELL: Duration = Duration::from_millis(250);

/// The shortest time between two rounds of questions.
const APART: Duration = Duration::from_millis(100);

/// What a server says about its cluster.
#[derive(Debug)]
struct View {
    slots: Slots,
    /// How many elections it has seen. Without the permission to know, none.
    epoch: u64,
}

/// Keeps the table.
pub(super) async fn keep(cluster: Arc<Inner>) {
    let trouble: Arc<Notify> = Arc::clone(&cluster.shared.trouble);
    let mut is_quiet = false;
    loop {
        let pause = if is_well(&cluster) {
            EVERY
        } else {
            WHILE_UNWELL.mul_f64(0.8 + fastrand::f64() * 0.4)
        };
        timeout(pause, trouble.notified()).await.ok();
        match ask(&cluster).await {
            Ok(slots) => {
                is_quiet = false;
                apply(&cluster, slots).await;
            }
            // One line for an outage, not one for each round.
            Err(error) if !std::mem::replace(&mut is_quiet, true) => {
                warn!(error = %error, "no server of the redis cluster says who owns its slots");
            }
            Err(_) => {}
        }
        sleep(APART).await;
    }
}

fn is_well(cluster: &Inner) -> bool {
    let table = cluster.table.load();
    !table.nodes().is_empty() && table.nodes().iter().all(|node| node.is_well())
}

fn question() -> Pipeline {
    let mut question = pipe();
    question.ignore_errors();
    question.cmd("CLUSTER").arg("SLOTS");
    question.cmd("CLUSTER").arg("INFO");
    question
}

/// Asks all primaries, or, if none answers, whoever does.
async fn ask(cluster: &Inner) -> Result<Slots, ConnectError> {
    let table = cluster.table.load_full();
    let asked = table
        .placed()
        .map(|(address, node)| ask_node(address, node));
    let views = join_all(asked).await.into_iter().flatten();
    match views.max_by_key(|view| (view.epoch, view.slots.served())) {
        Some(view) => Ok(view.slots),
        None => explore(cluster).await,
    }
}

async fn ask_node(address: &Address, node: &Arc<LaneSet>) -> Option<View> {
    let lane = node.lane().ok()?;
    let deadline = Instant::now() + node.deadlines().read;
    let answers = node.call_all(&lane, &question(), deadline).await.ok()?;
    let mut answers = answers.into_iter().map(Result::ok);
    View::parse(&answers.next()??, answers.next().flatten(), address)
}

/// Asks every server that was heard of, one by one, until one knows.
///
/// # Errors
///
/// Why the first of them could not say.
pub(super) async fn explore(cluster: &Inner) -> Result<Slots, ConnectError> {
    let mut servers: Vec<Address> = cluster.known.lock().iter().cloned().collect();
    // Not all processes the same one first, nor one that hangs each time.
    fastrand::shuffle(&mut servers);
    let mut first_error = None;
    for server in servers {
        let error = match cluster.servers.ask_once(&server, &question()).await {
            Ok(answers) => {
                let mut answers = answers.into_iter();
                let (slots, info) = (answers.next(), answers.next().and_then(Result::ok));
                match slots {
                    Some(Ok(slots)) => match View::parse(&slots, info, &server) {
                        Some(view) if view.slots.served() > 0 => return Ok(view.slots),
                        _ => {
                            ConnectError::unusable("it is part of a cluster that has no slots yet")
                        }
                    },
                    Some(Err(error)) => ConnectError::no_slots(&error),
                    None => ConnectError::TimedOut,
                }
            }
            Err(error) => error,
        };
        first_error.get_or_insert(error);
    }
    Err(first_error.unwrap_or_else(|| ConnectError::setting("host", "it names no server")))
}

impl View {
    fn parse(slots: &Value, info: Option<Value>, asked: &Address) -> Option<Self> {
        let slots = Slots::parse(slots, asked)?;
        let info: Option<String> = info.and_then(|info| redis::from_redis_value(info).ok());
        let epoch = info.as_deref().and_then(epoch).unwrap_or(0);
        Some(Self { slots, epoch })
    }
}

/// The epoch in an answer to `CLUSTER INFO`.
fn epoch(info: &str) -> Option<u64> {
    let line = |line: &str| {
        line.strip_prefix("cluster_current_epoch:")?
            .trim()
            .parse()
            .ok()
    };
    info.lines().find_map(line)
}

/// Puts a table for `slots` in place, if they are not those that are.
async fn apply(cluster: &Inner, slots: Slots) {
    remember(cluster, &slots);
    let before = cluster.table.load_full();
    // A cluster whose every server was just restarted knows of nobody's slots for a moment.
    if slots == *before.slots || slots.served() == 0 {
        return;
    }
    let placed = before.placed();
    let mut nodes: HashMap<Address, Arc<LaneSet>> = placed
        .map(|(address, node)| (address.clone(), Arc::clone(node)))
        .collect();
    let after = slots.clone();
    if let Err(error) = cluster.replace(slots, &mut nodes) {
        warn!(error = %error, "a server of the redis cluster cannot be used");
        return;
    }
    info!(
        primaries = after.primaries().len(),
        slots = after.served(),
        "the redis cluster has changed"
    );
    remove_again(cluster, &before.slots, &after).await;
}

/// Remembers the servers that there are, and where the cluster is to be found at first.
fn remember(cluster: &Inner, slots: &Slots) {
    let servers: BTreeSet<Address> = cluster
        .servers
        .seeds()
        .chain(slots.servers().cloned())
        .collect();
    *cluster.known.lock() = servers;
}

/// Removes what was removed lately once more, where another server has the keys now. A node that is
/// new does so itself, before its first lane is used.
async fn remove_again(cluster: &Inner, before: &Slots, after: &Slots) {
    let recent = cluster.shared.journal.lock().recent(Instant::now());
    let mut keys: Vec<Key> = journal::distinct(recent);
    keys.retain(|key| after.has_moved(before, key.as_bytes()));
    if keys.is_empty() {
        return;
    }
    let deadline = Instant::now() + cluster.servers.deadlines.write;
    let removed = batch::remove(cluster, &keys, deadline).await;
    let failed = removed.iter().filter(|removed| removed.is_err()).count();
    debug!(
        keys = keys.len(),
        failed, "removed once more what was removed lately and has moved"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_is_that_of_the_cluster_and_not_that_of_the_server() {
        let info = "cluster_state:ok\r\ncluster_current_epoch:17\r\ncluster_my_epoch:3\r\n";
        assert_eq!(epoch(info), Some(17));
        assert_eq!(epoch("cluster_state:ok\r\n"), None);
        assert_eq!(epoch("cluster_current_epoch:none\r\n"), None);
    }
}
