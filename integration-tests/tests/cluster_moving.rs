//! A slot that moves to another primary while its keys are asked for, invalidated and put.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod clusters;

use std::{
    slice,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use cache_core::{Acquire, Backend, Census, Engine, Entry, Extend, Fill, Invalidation, Key, Ttl};
use cache_redis::Redis;
use integration_tests::{Cluster, eventually};
use tokio::task::JoinSet;

use self::clusters::{Rows, builder, connect, encrypted, start};

const SLOT: u16 = 7_000;
const HOLD: Duration = Duration::from_secs(3);

/// So many keys of one slot.
fn keys(count: usize) -> Vec<String> {
    let base = Cluster::key_in(SLOT, "row:");
    (0..count)
        .map(|number| format!("{base}:{number}"))
        .collect()
}

fn key() -> Key {
    Key::new(keys(1)[0].as_bytes())
}

fn entry(text: &str) -> Entry {
    Entry::Encoded(text.as_bytes().to_vec().into())
}

fn ttl() -> Ttl {
    let minute = Duration::from_secs(60);
    Ttl::new(minute, minute).unwrap()
}

/// The server that has the slot, and another.
async fn sides(cluster: &Cluster) -> (usize, usize) {
    let from = cluster.primary_of_slot(SLOT).await;
    (from, (from + 1) % 3)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_step_is_answered_while_its_slot_moves() {
    let cluster = start().await;
    let redis = connect(&cluster).await;
    let (_, to) = sides(&cluster).await;
    let key = key();

    // Granted before, so its lease stays behind while the value is nowhere: the usual case.
    let Acquire::Granted(before) = redis.acquire(&key, HOLD).await.unwrap() else {
        unreachable!("nobody else is here");
    };
    cluster.begin_move(SLOT, to).await;
    assert!(redis.get(&key).await.unwrap().is_none());
    let many = redis.get_many(&[key.clone(), key.clone()]).await;
    assert!(many.iter().all(|read| matches!(read, Ok(None))));
    assert_eq!(
        redis.extend(&key, before, HOLD).await.unwrap(),
        Extend::Extended
    );

    // A lease that no server knows: the load runs, and is not stored.
    let Acquire::Granted(torn) = redis.acquire(&key, HOLD).await.unwrap() else {
        unreachable!("it is granted");
    };
    let filled = redis.fill(&key, torn, entry("torn"), ttl()).await.unwrap();
    assert_eq!(filled, Fill::Superseded);
    redis.release(&key, torn).await.unwrap();

    // A fill under a lease that is real is refused as well, and gives that back.
    let filled = redis.fill(&key, before, entry("before"), ttl()).await;
    assert_eq!(filled.unwrap(), Fill::Superseded);
    assert!(cluster.keys("*").await.is_empty(), "the lease is released");

    assert!(redis.seize(&key, HOLD).await.is_err());
    assert_eq!(redis.remove(slice::from_ref(&key)).await.len(), 1);
    assert!(redis.remove(slice::from_ref(&key)).await[0].is_ok());
    assert!(cluster.keys("*").await.is_empty());

    cluster.end_move(SLOT, to).await;
    // What was removed lately is removed once more where it is now, which may end a lease.
    eventually("a load is stored again", async || {
        let Acquire::Granted(after) = redis.acquire(&key, HOLD).await.unwrap() else {
            unreachable!("nobody else is here");
        };
        let filled = redis.fill(&key, after, entry("after"), ttl()).await;
        (filled.unwrap() == Fill::Stored).then_some(())
    })
    .await;
}

async fn store(redis: &Redis, keys: &[Key]) {
    for key in keys {
        let Acquire::Granted(lease) = redis.acquire(key, HOLD).await.unwrap() else {
            unreachable!("nobody else is here");
        };
        let filled = redis.fill(key, lease, entry("value"), ttl()).await;
        assert_eq!(filled.unwrap(), Fill::Stored);
    }
}

/// These are read, by one call and by one for each, or are not there.
async fn are_read(redis: &Redis, keys: &[Key], expected: &[bool]) {
    let found = redis.get_many(keys).await.into_iter();
    let found: Vec<bool> = found.map(|read| read.unwrap().is_some()).collect();
    assert_eq!(found, expected);
    for (key, is_there) in keys.iter().zip(found) {
        assert_eq!(redis.get(key).await.unwrap().is_some(), is_there);
    }
}

async fn remove(redis: &Redis, keys: &[Key]) {
    assert!(redis.remove(keys).await.iter().all(Result::is_ok));
}

/// A value is read and removed on either side of a slot that moves.
async fn values_move(cluster: &Cluster) {
    let redis = connect(cluster).await;
    let (_, to) = sides(cluster).await;
    let texts = keys(4);
    let keys: Vec<Key> = texts.iter().map(|key| Key::new(key.as_bytes())).collect();
    store(&redis, &keys).await;
    cluster.begin_move(SLOT, to).await;
    // Not moved yet.
    remove(&redis, &keys[..1]).await;
    are_read(&redis, &keys, &[false, true, true, true]).await;
    cluster.move_keys(SLOT).await;
    are_read(&redis, &keys, &[false, true, true, true]).await;
    assert!(matches!(
        redis.acquire(&keys[1], HOLD).await,
        Ok(Acquire::Hit(_))
    ));
    remove(&redis, &keys[1..3]).await;
    assert_eq!(cluster.keys("*").await, texts[3..]);
    cluster.end_move(SLOT, to).await;
    are_read(&redis, &keys[3..], &[true]).await;
    remove(&redis, &keys[3..]).await;
    assert!(cluster.keys("*").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_read_and_removed_on_either_side_of_a_slot_that_moves() {
    values_move(&start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_read_and_removed_on_either_side_of_a_slot_that_moves_over_tls() {
    values_move(&encrypted().start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_scripts_a_value_is_written_and_removed_where_it_is() {
    let cluster = Cluster::builder().prefer_process().replicas(0);
    let user = "app on >secret ~* &* +@all -eval -evalsha";
    let cluster = cluster.user(user).start().await;
    let login = builder(&cluster).user("app").pass("secret");
    let redis = login.connect().await.unwrap();
    let (_, to) = sides(&cluster).await;
    let key = key();
    let store = async |text: &str| {
        let lease = redis.seize(&key, HOLD).await.unwrap();
        let filled = redis.fill(&key, lease, entry(text), ttl()).await;
        assert_eq!(filled.unwrap(), Fill::Stored);
    };
    store("before").await;
    cluster.begin_move(SLOT, to).await;
    // The value is at the source, and the lease of a new one can only be at the target.
    store("after").await;
    let found = redis.get(&key).await.unwrap();
    let Some(Entry::Encoded(found)) = found else {
        unreachable!("it is stored");
    };
    assert_eq!(found, "after");
    assert!(redis.remove(slice::from_ref(&key)).await[0].is_ok());
    assert!(redis.get(&key).await.unwrap().is_none());
    assert!(cluster.keys("*").await.is_empty(), "neither here nor there");
    cluster.end_move(SLOT, to).await;
    assert!(redis.get(&key).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clear_reaches_both_sides_of_a_slot_that_moves() {
    let cluster = start().await;
    let redis = connect(&cluster).await;
    let (_, to) = sides(&cluster).await;
    for text in keys(20) {
        let key = Key::new(text.as_bytes());
        let lease = redis.seize(&key, HOLD).await.unwrap();
        let filled = redis.fill(&key, lease, entry("old"), ttl()).await;
        assert_eq!(filled.unwrap(), Fill::Stored);
    }
    cluster.begin_move(SLOT, to).await;
    cluster.move_keys(SLOT).await;
    redis.clear().await.unwrap();
    assert!(cluster.keys("*").await.is_empty());
    cluster.end_move(SLOT, to).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_old_is_read_while_a_slot_moves_under_load() {
    let cluster = start().await;
    let redis = connect(&cluster).await;
    // Two engines, each like a process of its own but for the numbers of their versions.
    let other = connect(&cluster).await;
    let engines = [redis, other].map(|redis| Engine::builder(redis).build().unwrap());
    let rows = Rows::new(&engines[0], keys(8));
    let there = rows.at(&engines[1]);
    let is_over = Arc::new(AtomicBool::new(false));
    let (reads, writes) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));

    let mut callers = JoinSet::new();
    for caller in 0..16 {
        let rows = [&rows, &there][caller % 2].clone();
        let (is_over, reads) = (Arc::clone(&is_over), Arc::clone(&reads));
        callers.spawn(async move {
            while !is_over.load(Ordering::SeqCst) {
                rows.read(fastrand::usize(..rows.len())).await.unwrap();
                reads.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    for caller in 0..4 {
        let rows = [&rows, &there][caller % 2].clone();
        let (is_over, writes) = (Arc::clone(&is_over), Arc::clone(&writes));
        callers.spawn(async move {
            while !is_over.load(Ordering::SeqCst) {
                let written = rows.write(fastrand::usize(..rows.len())).await;
                assert_eq!(written, Invalidation::Done);
                writes.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }
    for _ in 0..6 {
        let (_, to) = sides(&cluster).await;
        cluster.begin_move(SLOT, to).await;
        tokio::time::sleep(Duration::from_millis(150)).await;
        cluster.move_keys(SLOT).await;
        tokio::time::sleep(Duration::from_millis(150)).await;
        // What came back to the source meanwhile cannot be: a slot that moves makes no keys there.
        cluster.move_keys(SLOT).await;
        cluster.end_move(SLOT, to).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    is_over.store(true, Ordering::SeqCst);
    while let Some(ended) = callers.join_next().await {
        ended.unwrap();
    }
    let (reads, writes) = (reads.load(Ordering::SeqCst), writes.load(Ordering::SeqCst));
    assert!(reads > 200 && writes > 50, "{reads} reads, {writes} writes");
    for engine in &engines {
        eventually("nothing is left behind", async || {
            (engine.census().await == Census::default()).then_some(())
        })
        .await;
    }
    eventually("no lease is left", async || {
        cluster.keys("*~l*").await.is_empty().then_some(())
    })
    .await;
}
