//! What is held up on the wire, given up, or arrives twice brings nothing back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod nodes;

use std::{io, thread, time::Duration};

use bytes::Bytes;
use cache_core::{
    Acquire, Backend, BoxError, Cache, Engine, Entry, ErrorKind, Extend, Fill, Invalidation, Key,
    Lease, Lookup, Put, Ttl,
    codec::{Codec, Json},
    testing,
};
use cache_redis::{Mutant, Redis};
use integration_tests::{Proxy, Request, Server, eventually};
use tokio::time::{Instant, sleep_until};

use self::nodes::{Broken, DAY, Node, calls, connect, keys, no_lease_is_left, proxy};

const HOLD: Duration = Duration::from_secs(30);

/// How long a client waits for an answer before it gives up, where it has to.
const SHORT: Duration = Duration::from_millis(100);

fn key() -> Key {
    Key::new(b"row:1")
}

fn value(text: &'static str) -> Entry {
    Entry::Encoded(Bytes::from_static(text.as_bytes()))
}

fn day() -> Ttl {
    Ttl::new(DAY, DAY).unwrap()
}

fn granted(acquired: &Acquire) -> Lease {
    let lease = match acquired {
        Acquire::Granted(lease) => Some(*lease),
        Acquire::Hit(_) | Acquire::Held { .. } => None,
    };
    lease.expect("the lease is free")
}

/// Lets the server know all scripts, so that each step goes out once.
async fn warm_up(redis: &Redis) {
    let key = Key::new(b"warm");
    let lease = granted(&redis.acquire(&key, HOLD).await.unwrap());
    redis.extend(&key, lease, HOLD).await.unwrap();
    redis.fill(&key, lease, value("0"), day()).await.unwrap();
    redis.release(&key, lease).await.unwrap();
    redis.seize(&key, HOLD).await.unwrap();
    redis.remove(&[key]).await.remove(0).unwrap();
}

/// Whether this is a script with so many keys and arguments.
fn is_step(request: &Request, parts: usize) -> bool {
    (request.is("EVALSHA") || request.is("EVAL")) && request.words().len() == 3 + parts
}

/// The parts of `acquire` and `seize`, of `fill`, of `extend`, and of `release`.
const ACQUIRE: usize = 4;
const FILL: usize = 5;
const EXTEND: usize = 3;
const RELEASE: usize = 2;

/// A client behind a proxy that remembers its steps with so many parts, and one that is not.
struct Wire {
    server: Server,
    proxy: Proxy,
    redis: Redis,
    other: Redis,
}

impl Wire {
    async fn new(parts: usize, broken: impl Into<Option<Mutant>>) -> Self {
        let broken = Broken {
            core: None,
            redis: broken.into(),
        };
        let server = Server::builder().owned().start().await;
        let proxy = proxy(&server, 4).await;
        proxy.duplicate_later(move |request| {
            is_step(request, parts) || (parts == 0 && request.is("DEL"))
        });
        let redis = connect(proxy.url(), broken).await;
        let other = connect(&server.url(), broken).await;
        warm_up(&redis).await;
        Self {
            server,
            proxy,
            redis,
            other,
        }
    }

    async fn read(&self) -> Option<Bytes> {
        read(&self.other).await
    }

    /// Sends this step once more, on another connection.
    async fn send(&self, step: &Request) {
        let words = step.words().iter();
        let words: Vec<_> = words.map(|word| String::from_utf8_lossy(word)).collect();
        let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
        self.server.cmd(&words).await;
    }

    async fn remove(&self) {
        self.other.remove(&[key()]).await.remove(0).unwrap();
    }

    /// Sends all that was remembered once more, on another connection.
    async fn replay(&self) {
        let replies = self.proxy.replay().await;
        assert!(replies.len() >= 2, "{replies:?}");
    }
}

async fn read(redis: &Redis) -> Option<Bytes> {
    match redis.get(&key()).await.unwrap() {
        Some(Entry::Encoded(bytes)) => Some(bytes),
        None => None,
        Some(other) => panic!("no value: {other:?}"),
    }
}

/// An `acquire` that was not answered, the one that followed it, and a removal; then the first
/// arrives, and after it the fill under the second. Whether the old value is there now.
async fn a_late_acquire_lets_it_in(broken: impl Into<Option<Mutant>>) -> bool {
    let wire = Wire::new(ACQUIRE, broken).await;
    let given_up = granted(&wire.redis.acquire(&key(), HOLD).await.unwrap());
    wire.redis.release(&key(), given_up).await.unwrap();
    let lease = granted(&wire.redis.acquire(&key(), HOLD).await.unwrap());
    wire.remove().await;
    let steps = wire.proxy.recorded();
    wire.send(&steps[steps.len() - 2]).await;
    wire.redis
        .fill(&key(), lease, value("old"), day())
        .await
        .unwrap();
    wire.read().await.as_deref() == Some("old".as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acquire_that_arrives_late_lets_no_old_value_in() {
    assert!(!a_late_acquire_lets_it_in(None).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_that_is_used_again_a_late_acquire_lets_an_old_value_in() {
    assert!(a_late_acquire_lets_it_in(Mutant::ReusedToken).await);
}

/// A load, overtaken by a removal and by a second load in the same process; its fill comes while
/// the second load runs. Whether the old value is there.
async fn an_overtaken_load_lets_it_in(broken: impl Into<Option<Mutant>>) -> bool {
    let wire = Wire::new(FILL, broken).await;
    let overtaken = granted(&wire.redis.acquire(&key(), HOLD).await.unwrap());
    wire.remove().await;
    granted(&wire.redis.acquire(&key(), HOLD).await.unwrap());
    wire.redis
        .fill(&key(), overtaken, value("old"), day())
        .await
        .unwrap();
    wire.read().await.as_deref() == Some("old".as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_was_overtaken_by_another_of_its_process_is_not_stored() {
    assert!(!an_overtaken_load_lets_it_in(None).await);
    assert!(an_overtaken_load_lets_it_in(Mutant::ReusedToken).await);
}

/// A put, and all of its steps once more after a removal. Whether its value is there.
async fn a_put_that_arrives_twice_comes_back(broken: impl Into<Option<Mutant>>) -> bool {
    let wire = Wire::new(ACQUIRE, broken).await;
    wire.proxy
        .duplicate_later(|request| is_step(request, ACQUIRE) || is_step(request, FILL));
    wire.redis.seize(&key(), HOLD).await.unwrap(); // is given up
    let lease = wire.redis.seize(&key(), HOLD).await.unwrap();
    let stored = wire.redis.fill(&key(), lease, value("old"), day()).await;
    assert_eq!(stored.unwrap(), Fill::Stored);
    wire.remove().await;
    // The attempt that was given up arrives, and then the fill once more.
    let steps = wire.proxy.recorded();
    for step in [&steps[steps.len() - 3], &steps[steps.len() - 1]] {
        wire.send(step).await;
    }
    wire.read().await.as_deref() == Some("old".as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seize_that_arrives_late_lets_no_old_value_in() {
    assert!(!a_put_that_arrives_twice_comes_back(None).await);
    assert!(a_put_that_arrives_twice_comes_back(Mutant::ReusedToken).await);
}

/// A fill that arrives once more after a removal. Whether its value is there.
async fn a_fill_that_arrives_twice_comes_back(broken: impl Into<Option<Mutant>>) -> bool {
    let wire = Wire::new(FILL, broken).await;
    let lease = granted(&wire.redis.acquire(&key(), HOLD).await.unwrap());
    let stored = wire.redis.fill(&key(), lease, value("old"), day()).await;
    assert_eq!(stored.unwrap(), Fill::Stored);
    wire.replay().await;
    assert!(
        wire.read().await.as_deref() == Some("old".as_bytes()),
        "it is as it was"
    );
    wire.remove().await;
    wire.replay().await;
    wire.read().await.as_deref() == Some("old".as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fill_that_arrives_twice_changes_nothing() {
    assert!(!a_fill_that_arrives_twice_comes_back(None).await);
    assert!(a_fill_that_arrives_twice_comes_back(Mutant::UncheckedFill).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fill_that_arrives_twice_overwrites_no_newer_value() {
    let wire = Wire::new(FILL, None).await;
    let lease = granted(&wire.redis.acquire(&key(), HOLD).await.unwrap());
    wire.redis
        .fill(&key(), lease, value("old"), day())
        .await
        .unwrap();
    let lease = wire.other.seize(&key(), HOLD).await.unwrap();
    wire.replay().await;
    assert_eq!(wire.read().await, None, "the put holds the lease");
    let stored = wire.other.fill(&key(), lease, value("new"), day()).await;
    assert_eq!(stored.unwrap(), Fill::Stored);
    wire.replay().await;
    assert!(wire.read().await.as_deref() == Some("new".as_bytes()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extend_or_a_release_that_arrives_late_touches_no_lease_of_another() {
    for parts in [EXTEND, RELEASE] {
        let wire = Wire::new(parts, None).await;
        let lease = granted(&wire.redis.acquire(&key(), HOLD).await.unwrap());
        let extended = wire.redis.extend(&key(), lease, 100 * HOLD).await;
        assert_eq!(extended.unwrap(), Extend::Extended);
        wire.redis.release(&key(), lease).await.unwrap();
        wire.replay().await;
        let (_, lease_key) = keys(1);
        assert_eq!(
            wire.server.query::<u64>(&["EXISTS", &lease_key]).await,
            0,
            "a lease that has ended is not revived"
        );

        let lease = granted(&wire.other.acquire(&key(), HOLD).await.unwrap());
        wire.replay().await;
        let left: i64 = wire.server.query(&["PTTL", &lease_key]).await;
        let hold = i64::try_from(HOLD.as_millis()).unwrap();
        assert!((hold / 2..=hold).contains(&left), "{parts}: {left}");
        let stored = wire.other.fill(&key(), lease, value("new"), day()).await;
        assert_eq!(stored.unwrap(), Fill::Stored);
        wire.replay().await;
        assert!(wire.read().await.as_deref() == Some("new".as_bytes()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_arrives_twice_costs_a_load_and_nothing_else() {
    let wire = Wire::new(0, None).await;
    wire.redis.remove(&[key()]).await.remove(0).unwrap();
    let lease = granted(&wire.other.acquire(&key(), HOLD).await.unwrap());
    wire.replay().await;
    let refused = wire.other.fill(&key(), lease, value("new"), day()).await;
    assert_eq!(refused.unwrap(), Fill::Superseded);
    assert_eq!(wire.read().await, None);
    granted(&wire.other.acquire(&key(), HOLD).await.unwrap());
}

/// A client that gives up soon, on a connection on which what it asks for is held up.
async fn impatient(proxy: &Proxy, broken: Option<Mutant>) -> Redis {
    let mut builder = Redis::builder()
        .url(proxy.url())
        .lanes(1)
        .read_timeout(SHORT)
        .write_timeout(SHORT);
    if let Some(mutant) = broken {
        builder = builder.mutant(mutant);
    }
    builder.connect().await.unwrap()
}

/// Asks for a lease that is granted after the client has given up. Whether it is still held a
/// second later.
async fn an_orphan_stays(seizes: bool, broken: Option<Mutant>) -> bool {
    let server = Server::builder().owned().start().await;
    let proxy = proxy(&server, 5).await;
    warm_up(&connect(&server.url(), Broken::default()).await).await;
    let redis = impatient(&proxy, broken).await;
    let before = calls(&server, "evalsha").await;
    proxy.hold_matching(|request| is_step(request, ACQUIRE));
    let kind = if seizes {
        redis.seize(&key(), HOLD).await.unwrap_err().kind()
    } else {
        redis.acquire(&key(), HOLD).await.unwrap_err().kind()
    };
    assert_eq!(kind, ErrorKind::Unavailable);
    assert_eq!(proxy.held(), 1);
    proxy.release_held();
    eventually("the question has arrived", async || {
        (calls(&server, "evalsha").await > before).then_some(())
    })
    .await;
    let (_, lease_key) = keys(1);
    let end = Instant::now() + Duration::from_secs(1);
    while server.query::<u64>(&["EXISTS", &lease_key]).await == 1 {
        if Instant::now() > end {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_was_granted_to_nobody_is_released_behind_the_question() {
    for seizes in [false, true] {
        assert!(!an_orphan_stays(seizes, None).await);
        assert!(an_orphan_stays(seizes, Some(Mutant::NoRelease)).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_whose_fill_is_overtaken_does_not_come_back() {
    let server = Server::builder().owned().start().await;
    let putting = Node::new(&server, 6, Broken::default(), HOLD).await;
    let other = Node::new(&server, 7, Broken::default(), HOLD).await;
    putting
        .proxy
        .hold_matching(|request| is_step(request, FILL));
    let rows = putting.rows.clone();
    let put = tokio::spawn(async move { rows.put(&1, 1).await });
    putting.proxy.until_held(1).await;
    assert_eq!(other.rows.invalidate(&1).await, Invalidation::Done);
    putting.proxy.release_held();
    assert_eq!(put.await.unwrap().unwrap(), Put::Superseded);
    for node in [&putting, &other] {
        assert_eq!(node.rows.get(&1).await.unwrap(), Lookup::Miss);
        node.comes_to_rest().await;
    }
    no_lease_is_left(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_whose_seize_is_held_up_and_overtaken_does_not_come_back() {
    let server = Server::builder().owned().start().await;
    let proxy = proxy(&server, 8).await;
    let engine = Engine::builder(impatient(&proxy, None).await)
        .build()
        .unwrap();
    let rows: Cache<u64, u64> = engine.cache("row").ttl(DAY).build().unwrap();
    let other = Node::new(&server, 9, Broken::default(), HOLD).await;
    proxy.hold_matching(|request| is_step(request, ACQUIRE));
    assert_eq!(
        rows.put(&1, 1).await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    assert_eq!(other.rows.invalidate(&1).await, Invalidation::Done);

    let loader = async || Ok::<_, io::Error>(2);
    assert_eq!(
        *other.rows.get_or_load(&1, loader).await.unwrap().unwrap(),
        2
    );
    // It removes what is there, late, and stores nothing.
    proxy.release_held();
    no_lease_is_left(&server).await;
    for rows in [&rows, &other.rows] {
        let row = rows.get_or_load(&1, async || Ok::<_, io::Error>(3)).await;
        assert!(*row.unwrap().unwrap() >= 2);
    }
    eventually("the removal that is owed is done", async || {
        (engine.census().await.owed == 0).then_some(())
    })
    .await;
    for rows in [&rows, &other.rows] {
        let row = rows.get_or_load(&1, async || Ok::<_, io::Error>(4)).await;
        assert!(*row.unwrap().unwrap() >= 2);
    }
}

/// A codec that takes long to write.
struct Slow;

const WRITE: Duration = Duration::from_millis(250);
const DEADLINE: Duration = Duration::from_millis(400);

impl Codec<u64> for Slow {
    const ENCODES: bool = true;

    #[expect(clippy::disallowed_methods, reason = "to take long is its task")]
    fn encode(&self, value: &u64, out: &mut dyn io::Write) -> Result<(), BoxError> {
        thread::sleep(WRITE);
        Json.encode(value, out)
    }

    fn decode(&self, payload: &[u8]) -> Result<u64, BoxError> {
        Json.decode(payload)
    }
}

/// A put that takes long to write its value, and then to take the lease: it is answered after the
/// write deadline, counted from the call. What is read after an invalidation in between.
async fn a_late_put_leaves(broken: impl Into<Broken>) -> Option<Bytes> {
    let broken = broken.into();
    let server = Server::builder().owned().start().await;
    let proxy = proxy(&server, 10).await;
    let mut builder =
        Engine::builder(connect(proxy.url(), broken).await).backend_deadline(DEADLINE);
    if let Some(mutant) = broken.core {
        builder = builder.mutant(mutant);
    }
    let engine = builder.build().unwrap();
    let rows: Cache<u64, u64> = engine.cache("row").codec(Slow).ttl(DAY).build().unwrap();
    let other = connect(&server.url(), Broken::default()).await;

    proxy.hold_matching(|request| is_step(request, ACQUIRE));
    let late = Instant::now() + DEADLINE + Duration::from_millis(50);
    let put = tokio::spawn(async move { rows.put(&1, 1).await });
    proxy.until_held(1).await;
    sleep_until(late).await;
    other.remove(&[key()]).await.remove(0).unwrap();
    proxy.release_held();
    put.await.unwrap().ok();
    read(&other).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_that_takes_its_lease_after_the_write_deadline_is_not_stored() {
    assert_eq!(a_late_put_leaves(Broken::default()).await, None);
    let left = a_late_put_leaves(testing::Mutant::LatePut).await;
    assert_eq!(left, Some(Bytes::from_static(b"1")));
}
