//! The task that keeps the table: it asks which primary owns which slot.
//!
//! It asks when there is a reason to (a redirection, a lane that is lost, a breaker that opens) or
//! ten seconds have passed, and every quarter of a second while a primary is not well, since its
//! replica may have taken over; every two seconds when that has lasted for half a minute. It asks all
//! primaries at once and believes the one that has seen the most elections: one that hung through a
//! failover takes itself for a primary until its cluster tells it otherwise. If none answers it asks
//! servers that it has heard of, three at once.

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

/// The shortest time between two rounds of questions: at first, and when there were reasons for so
/// long without a change.
const APART: Duration = Duration::from_millis(100);
const FAR_APART: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(30);

/// How many servers are asked at once, and how many in one round, when no primary answers.
const ASKED_AT_ONCE: usize = 3;
const ASKED_IN_A_ROUND: usize = 12;

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
    let mut owed = Vec::new();
    let mut changed = Instant::now();
    loop {
        let is_well = is_well(&cluster) && owed.is_empty();
        let pause = if is_well { EVERY } else { WHILE_UNWELL };
        let pause = pause.mul_f64(0.8 + fastrand::f64() * 0.4);
        let is_called = timeout(pause, trouble.notified()).await.is_ok();
        if is_well && !is_called {
            // From now on a reason is a new one.
            changed = Instant::now();
        }
        match ask(&cluster).await {
            Ok(slots) => {
                is_quiet = false;
                let moved = apply(&cluster, slots);
                if !moved.is_empty() {
                    changed = Instant::now();
                }
                owed.extend(moved);
                owed = remove_again(&cluster, owed).await;
            }
            // One line for an outage, not one for each round.
            Err(error) if !std::mem::replace(&mut is_quiet, true) => {
                warn!(error = %error, "no server of the redis cluster says who owns its slots");
            }
            Err(_) => {}
        }
        cluster.forget_strangers();
        let is_long = changed.elapsed() > LONG;
        sleep(if is_long { FAR_APART } else { APART }).await;
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
    // At first those that serve: one that hangs holds the answer up.
    for serves in [true, false] {
        let asked = table.placed();
        let asked = asked.filter(|(_, node)| node.is_well() == serves);
        let asked = asked.map(|(address, node)| ask_node(address, node));
        let views = join_all(asked).await.into_iter().flatten();
        if let Some(view) = views.max_by_key(View::rank) {
            return Ok(view.slots);
        }
    }
    explore(cluster).await
}

async fn ask_node(address: &Address, node: &Arc<LaneSet>) -> Option<View> {
    // Whatever its breaker says: who serves no keys may know of slots.
    let lane = node.any_lane()?;
    let deadline = Instant::now() + node.deadlines().read;
    let answers = node.call_all(&lane, &question(), deadline).await.ok()?;
    let mut answers = answers.into_iter().map(Result::ok);
    View::parse(&answers.next()??, answers.next().flatten(), address)
}

/// Asks servers that were heard of, a few at once, until one knows.
///
/// # Errors
///
/// Why one of them could not say.
pub(super) async fn explore(cluster: &Inner) -> Result<Slots, ConnectError> {
    let mut servers: Vec<Address> = cluster.known.lock().iter().cloned().collect();
    // Not all processes the same ones first, nor those that hang each time.
    fastrand::shuffle(&mut servers);
    servers.truncate(ASKED_IN_A_ROUND);
    let mut first_error = None;
    for some in servers.chunks(ASKED_AT_ONCE) {
        let asked = some.iter().map(|server| ask_once(cluster, server));
        let mut views = Vec::new();
        for answer in join_all(asked).await {
            match answer {
                Ok(view) => views.push(view),
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        if let Some(view) = views.into_iter().max_by_key(View::rank) {
            return Ok(view.slots);
        }
    }
    Err(first_error.unwrap_or_else(|| ConnectError::setting("host", "it names no server")))
}

async fn ask_once(cluster: &Inner, server: &Address) -> Result<View, ConnectError> {
    let answers = cluster.servers.ask_once(server, &question()).await?;
    let mut answers = answers.into_iter();
    let (slots, info) = (answers.next(), answers.next().and_then(Result::ok));
    let slots = slots.ok_or(ConnectError::TimedOut)?;
    let slots = slots.map_err(|error| ConnectError::no_slots(&error))?;
    match View::parse(&slots, info, server) {
        Some(view) if view.slots.served() > 0 => Ok(view),
        _ => Err(ConnectError::unusable(
            "it is part of a cluster that has no slots yet",
        )),
    }
}

impl View {
    /// What is believed rather: the later one, and of two that are as late the one that knows more.
    fn rank(&self) -> (u64, usize) {
        (self.epoch, self.slots.served())
    }

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

/// Puts a table for `slots` in place, if they are not those that are. Returns what was removed lately
/// and is now where a node was already: one that is new removes it before its first lane is used.
fn apply(cluster: &Inner, slots: Slots) -> Vec<Key> {
    let before = cluster.table.load_full();
    // A cluster whose every server was just restarted knows of nobody's slots for a moment.
    if slots.served() == 0 {
        return Vec::new();
    }
    remember(cluster, &slots);
    if slots.is_like(&before.slots) {
        return Vec::new();
    }
    let placed = before.placed();
    let mut nodes: HashMap<Address, Arc<LaneSet>> = placed
        .map(|(address, node)| (address.clone(), Arc::clone(node)))
        .collect();
    let after = slots.clone();
    let new = match cluster.replace(slots, &mut nodes) {
        Ok(new) => new,
        Err(error) => {
            warn!(error = %error, "a server of the redis cluster cannot be used");
            return Vec::new();
        }
    };
    info!(
        primaries = after.primaries().len(),
        slots = after.served(),
        "the redis cluster has changed"
    );
    let recent = cluster.shared.journal.lock().recent(Instant::now());
    let mut moved: Vec<Key> = journal::distinct(recent);
    moved.retain(|key| {
        after.has_moved(&before.slots, key.as_bytes())
            && !new
                .iter()
                .any(|address| after.is_owner(address, key.as_bytes()))
    });
    moved
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

/// Removes keys once more, and returns those that it could not.
async fn remove_again(cluster: &Inner, keys: Vec<Key>) -> Vec<Key> {
    if keys.is_empty() {
        return keys;
    }
    let deadline = Instant::now() + cluster.servers.deadlines.write;
    let removed = batch::remove(cluster, &keys, deadline).await;
    let removed = keys.iter().zip(removed);
    let failed = removed.filter(|(_, removed)| removed.is_err());
    let failed: Vec<Key> = failed.map(|(key, _)| key.clone()).collect();
    debug!(
        keys = keys.len(),
        failed = failed.len(),
        "removed once more what was removed lately and has moved"
    );
    failed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_view_is_believed_and_of_two_as_late_the_one_that_knows_more() {
        let view = |epoch: u64, last: i64| {
            let parts = [
                Value::Int(0),
                Value::Int(last),
                Value::Array(vec![
                    Value::BulkString(b"10.0.0.1".to_vec()),
                    Value::Int(7000),
                ]),
            ];
            let slots = Value::Array(vec![Value::Array(parts.to_vec())]);
            let info = format!("cluster_current_epoch:{epoch}\r\n");
            let info = Value::BulkString(info.into_bytes());
            View::parse(&slots, Some(info), &Address::new("asked", 1)).unwrap()
        };
        let views = [
            view(3, 16_383),
            view(4, 100),
            view(4, 5_000),
            view(2, 16_383),
        ];
        let believed = views.into_iter().max_by_key(View::rank).unwrap();
        assert_eq!((believed.epoch, believed.slots.served()), (4, 5_001));
    }

    #[test]
    fn the_epoch_is_that_of_the_cluster_and_not_that_of_the_server() {
        let info = "cluster_state:ok\r\ncluster_current_epoch:17\r\ncluster_my_epoch:3\r\n";
        assert_eq!(epoch(info), Some(17));
        assert_eq!(epoch("cluster_state:ok\r\n"), None);
        assert_eq!(epoch("cluster_current_epoch:none\r\n"), None);
    }
}
