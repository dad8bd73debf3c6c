//! Primaries of a cluster that are killed, hang, or are all gone at once.
//!
//! How long a cluster takes for a failover is its own affair; what is looked at is how soon after it
//! the backend serves again, and that the other primaries' keys are served all the time.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod clusters;
mod support;

use std::{
    slice,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use cache_core::{
    Acquire, Backend, BreakerState, Engine, Entry, Event, Fill, Invalidation, Key, Ttl,
};
use cache_redis::Redis;
use integration_tests::{Cluster, eventually, within};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep},
};
use tracing::info;

use self::{
    clusters::{
        Rows, builder, connect, encrypted, is_served, key_of, keys_of_all_slots, start,
        until_served,
    },
    support::Events,
};

/// The aim is a second after the failover; what is asserted is ten times as much.
const COMEBACK: Duration = Duration::from_secs(10);

/// Asks for a key again and again, and counts the answers and the errors.
struct Watch {
    is_over: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    errors: Arc<AtomicUsize>,
    asking: JoinHandle<()>,
}

impl Watch {
    fn over(redis: &Redis, key: String) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (answers, errors) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let redis = redis.clone();
        let asking = tokio::spawn({
            let (is_over, answers, errors) = (
                Arc::clone(&is_over),
                Arc::clone(&answers),
                Arc::clone(&errors),
            );
            async move {
                while !is_over.load(Ordering::SeqCst) {
                    let count = if is_served(&redis, &key).await {
                        &answers
                    } else {
                        &errors
                    };
                    count.fetch_add(1, Ordering::SeqCst);
                    sleep(Duration::from_millis(2)).await;
                }
            }
        });
        Self {
            is_over,
            answers,
            errors,
            asking,
        }
    }

    async fn was_served_throughout(self) {
        let (answers, errors) = self.end().await;
        assert_eq!(errors, 0, "keys of a healthy primary were not served");
        assert!(answers > 100, "{answers} answers");
    }

    /// How many answers and errors there were.
    async fn end(self) -> (usize, usize) {
        self.is_over.store(true, Ordering::SeqCst);
        self.asking.await.unwrap();
        let count = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        (count(&self.answers), count(&self.errors))
    }
}

/// Readers and writers of rows, until they are told to end.
struct Load {
    is_over: Arc<AtomicBool>,
    callers: JoinSet<()>,
}

impl Load {
    fn new(rows: &Rows) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut callers = JoinSet::new();
        for caller in 0..12 {
            let (rows, is_over) = (rows.clone(), Arc::clone(&is_over));
            callers.spawn(async move {
                while !is_over.load(Ordering::SeqCst) {
                    let row = fastrand::usize(..rows.len());
                    if caller < 10 {
                        // What its backend does not answer, a load does; some are turned away.
                        rows.read(row).await.ok();
                    } else {
                        rows.write(row).await;
                    }
                    sleep(Duration::from_millis(1)).await;
                }
            });
        }
        Self { is_over, callers }
    }

    async fn end(mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        while let Some(ended) = self.callers.join_next().await {
            ended.unwrap();
        }
    }
}

/// Every row is cached again: it is read twice and loaded once.
async fn until_all_are_cached(rows: &Rows) {
    for row in 0..rows.len() {
        within(COMEBACK, "a row is cached", async || {
            rows.read(row).await.ok()?;
            let loads = rows.loads(row);
            rows.read(row).await.ok()?;
            (rows.loads(row) == loads).then_some(())
        })
        .await;
    }
}

#[derive(Clone, Copy)]
enum Fault {
    Killed,
    Hangs,
}

impl Fault {
    async fn happens(self, cluster: &Cluster, node: usize) {
        match self {
            Self::Killed => cluster.kill(node).await,
            Self::Hangs => cluster.pause(node).await,
        }
    }

    async fn is_over(self, cluster: &Cluster, node: usize) {
        match self {
            Self::Killed => cluster.start_again(node).await,
            Self::Hangs => cluster.resume(node).await,
        }
    }
}

/// The key's primary is lost, and who asks is not kept waiting for the deadline of a read.
async fn until_turned_away(redis: &Redis, key: &str) {
    eventually("it is noticed", async || {
        (!is_served(redis, key).await).then_some(())
    })
    .await;
    let asked = Instant::now();
    for _ in 0..40 {
        is_served(redis, key).await;
    }
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(4), "40 reads took {took:?}");
}

async fn until_all_invalidations_are_confirmed(rows: &Rows) {
    for row in 0..rows.len() {
        eventually("an invalidation is confirmed", async || {
            (rows.write(row).await == Invalidation::Done).then_some(())
        })
        .await;
        rows.read(row).await.unwrap();
    }
}

/// For who looks at the log: how long the cluster took, and then the backend.
fn report(failover: Duration, later: Duration) {
    info!(?failover, ?later, "served again");
}

async fn a_primary_is_lost(fault: Fault, cluster: &Cluster) {
    let redis = connect(cluster).await;
    let engine = Engine::builder(redis.clone()).build().unwrap();
    let rows = Rows::new(&engine, keys_of_all_slots());
    let load = Load::new(&rows);
    let victim = 1;
    let lost = key_of(cluster, victim).await;
    until_served(&redis, &lost).await;
    let others = [
        Watch::over(&redis, key_of(cluster, 0).await),
        Watch::over(&redis, key_of(cluster, 2).await),
    ];

    fault.happens(cluster, victim).await;
    let began = Instant::now();
    until_turned_away(&redis, &lost).await;
    cluster.until_failed_over(victim).await;
    let failed_over = Instant::now();
    within(COMEBACK, "it is served by its replica", async || {
        is_served(&redis, &lost).await.then_some(())
    })
    .await;
    report(failed_over - began, failed_over.elapsed());
    for other in others {
        other.was_served_throughout().await;
    }
    until_all_are_cached(&rows).await;

    // The old primary comes back, and is a replica.
    fault.is_over(cluster, victim).await;
    cluster.until_well().await;
    load.end().await;
    until_all_are_cached(&rows).await;
    until_all_invalidations_are_confirmed(&rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_killed_is_replaced_and_nobody_else_notices() {
    a_primary_is_lost(Fault::Killed, &start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_killed_is_replaced_over_tls() {
    a_primary_is_lost(Fault::Killed, &encrypted().start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_hangs_is_replaced_and_nobody_else_notices() {
    a_primary_is_lost(Fault::Hangs, &start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_was_down_is_served_again() {
    let cluster = start().await;
    let redis = connect(&cluster).await;
    let engine = Engine::builder(redis.clone()).build().unwrap();
    let rows = Rows::new(&engine, keys_of_all_slots());
    let load = Load::new(&rows);
    let keys = [
        key_of(&cluster, 0).await,
        key_of(&cluster, 1).await,
        key_of(&cluster, 2).await,
    ];
    for node in 0..6 {
        cluster.kill(node).await;
    }
    for key in &keys {
        eventually("it is noticed", async || {
            (!is_served(&redis, key).await).then_some(())
        })
        .await;
    }
    // Callers are served by their loads.
    assert!(rows.read(0).await.is_ok());
    for node in 0..6 {
        cluster.start_again(node).await;
    }
    cluster.until_well().await;
    for key in &keys {
        within(COMEBACK, "it is served", async || {
            is_served(&redis, key).await.then_some(())
        })
        .await;
    }
    load.end().await;
    until_all_are_cached(&rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_few_while_all_primaries_are_away() {
    let cluster = Cluster::builder().behind_proxies().start().await;
    let redis = connect(&cluster).await;
    let engine = Engine::builder(redis.clone()).build().unwrap();
    let rows = Rows::new(&engine, keys_of_all_slots());
    let load = Load::new(&rows);
    for node in 0..3 {
        cluster.pause(node).await;
    }
    for proxy in (0..3).map(|node| cluster.proxy(node)) {
        proxy.cut();
    }
    sleep(Duration::from_secs(1)).await;
    let accepted = || {
        (0..3)
            .map(|node| cluster.proxy(node).accepted())
            .sum::<u64>()
    };
    let before = accepted();
    let began = Instant::now();
    sleep(Duration::from_secs(3)).await;
    let per_second =
        f64::from(u32::try_from(accepted() - before).unwrap()) / began.elapsed().as_secs_f64();
    info!(per_second, "connections");
    // Each node by its keeper, twice or three times a second, and by the search for the slots.
    assert!(per_second < 30.0, "{per_second} connections per second");
    for node in 0..3 {
        cluster.resume(node).await;
    }
    for key in keys_of_all_slots() {
        until_served(&redis, &key).await;
    }
    load.end().await;
}

fn entry(text: &str) -> Entry {
    Entry::Encoded(text.as_bytes().to_vec().into())
}

async fn store(redis: &Redis, key: &Key, text: &str) {
    let minute = Duration::from_secs(60);
    let ttl = Ttl::new(minute, minute).unwrap();
    let Acquire::Granted(lease) = redis.acquire(key, minute).await.unwrap() else {
        unreachable!("nobody else is here");
    };
    let filled = redis.fill(key, lease, entry(text), ttl).await.unwrap();
    assert_eq!(filled, Fill::Stored);
}

/// A failover brings a value back, which is removed before anybody reads it.
async fn a_value_comes_back(cluster: &Cluster) {
    let redis = connect(cluster).await;
    let text = key_of(cluster, 0).await;
    let key = Key::new(text.as_bytes());
    store(&redis, &key, "old").await;
    let (primary, replica) = (cluster.node(0), cluster.replica_of(0).await);
    let kept = async || {
        let kept: u64 = cluster.node(replica).query(&["DBSIZE"]).await;
        (kept == 1).then_some(())
    };
    eventually("the replica has the value and no lease", kept).await;

    // The replica does not learn of the removal, and takes the primary's place.
    cluster.pause(replica).await;
    primary.cmd(&["CLIENT", "KILL", "TYPE", "replica"]).await;
    assert!(redis.remove(slice::from_ref(&key)).await[0].is_ok());
    assert!(redis.get(&key).await.unwrap().is_none());
    cluster.kill(0).await;
    cluster.resume(replica).await;
    let first = within(Duration::from_secs(20), "it is served", async || {
        redis.get(&key).await.ok()
    })
    .await;
    assert!(first.is_none(), "a removed value came back");
    assert_eq!(cluster.primary_of(&text).await, replica);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_failover_brings_back_is_removed_before_anybody_reads_it() {
    a_value_comes_back(&start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_failover_brings_back_is_removed_before_anybody_reads_it_over_tls() {
    a_value_comes_back(&encrypted().start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_takeover_brings_back_is_removed_before_anybody_is_sent_there() {
    let cluster = start().await;
    let redis = connect(&cluster).await;
    let text = key_of(&cluster, 0).await;
    let key = Key::new(text.as_bytes());
    store(&redis, &key, "old").await;
    let (primary, replica) = (cluster.node(0), cluster.replica_of(0).await);
    eventually("the replica has the value and no lease", async || {
        let kept: u64 = cluster.node(replica).query(&["DBSIZE"]).await;
        (kept == 1).then_some(())
    })
    .await;
    // The replica does not learn of the removal, and takes over from a primary that lives.
    let denied = ["ACL", "SETUSER", "default", "-psync", "-sync", "-replconf"];
    primary.cmd(&denied).await;
    primary.cmd(&["CLIENT", "KILL", "TYPE", "replica"]).await;
    assert!(redis.remove(slice::from_ref(&key)).await[0].is_ok());
    cluster
        .node(replica)
        .cmd(&["CLUSTER", "FAILOVER", "TAKEOVER"])
        .await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        if let Ok(found) = redis.get(&key).await {
            assert!(found.is_none(), "a removed value came back");
        }
    }
    assert_eq!(cluster.primary_of(&text).await, replica);
    until_served(&redis, &text).await;
    let left: u64 = cluster.node(replica).query(&["EXISTS", &text]).await;
    assert_eq!(left, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_down_as_a_whole_is_left_alone_until_it_is_back() {
    let cluster = Cluster::builder().prefer_process().replicas(0);
    let cluster = cluster.full_coverage().start().await;
    let events = Events::default();
    let redis = builder(&cluster).recorder(events.clone());
    let redis = redis.connect().await.unwrap();
    let key = key_of(&cluster, 0).await;
    until_served(&redis, &key).await;
    cluster.kill(1).await;
    eventually("the others stop as well", async || {
        (!is_served(&redis, &key).await).then_some(())
    })
    .await;
    let watch = Watch::over(&redis, key.clone());
    sleep(Duration::from_secs(1)).await;
    let before = events.all().len();
    sleep(Duration::from_secs(3)).await;
    let meanwhile = events.all().split_off(before);
    assert!(
        !meanwhile.contains(&Event::Breaker(BreakerState::Closed)),
        "{meanwhile:?}"
    );
    assert!(meanwhile.len() < 60, "{} events", meanwhile.len());
    cluster.start_again(1).await;
    cluster.until_well().await;
    until_served(&redis, &key).await;
    watch.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_that_is_asked_for_costs_no_error_that_lasts() {
    let cluster = start().await;
    let redis = builder(&cluster).connect().await.unwrap();
    let text = key_of(&cluster, 2).await;
    let key = Key::new(text.as_bytes());
    store(&redis, &key, "value").await;
    let watch = Watch::over(&redis, text.clone());
    let new = cluster.fail_over(2).await;
    within(
        COMEBACK,
        "the key is served by the new primary",
        async || {
            assert_eq!(cluster.primary_of(&text).await, new);
            let removed = redis.remove(slice::from_ref(&key)).await;
            removed[0].is_ok().then_some(())
        },
    )
    .await;
    let (answers, errors) = watch.end().await;
    assert!(answers > errors, "{answers} answers, {errors} errors");
    let left: u64 = cluster.query(&text, &["EXISTS", &text]).await;
    assert_eq!(left, 0);
}
