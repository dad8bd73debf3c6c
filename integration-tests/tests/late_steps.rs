//! What is held up on the wire, given up, or arrives twice brings nothing back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod nodes;

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use bytes::Bytes;
use cache_core::{
    Acquire, Backend, BoxError, Cache, Engine, Entry, ErrorKind, Extend, Fill, Invalidation, Key,
    Lease, Lookup, Put, Ttl,
    codec::{Codec, Json},
    testing,
};
use cache_redis::{Mutant, Redis};
use integration_tests::{Request, eventually};
use tokio::time::{Instant, sleep_until};

use self::nodes::{
    Broken, DAY, Node, calls, connect, keys,
    place::{ACQUIRE, Address, EXTEND, FILL, Place, RELEASE, Way, is_about, is_step},
};

const HOLD: Duration = Duration::from_secs(30);

/// How long a client waits for an answer before it gives up, where it has to.
const SHORT: Duration = Duration::from_millis(100);

/// A row that nobody has used.
fn new_row() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn key(row: u64) -> Key {
    Key::new(keys(row).0.as_bytes())
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

/// Lets the server of the row know all scripts, so that each step goes out once.
async fn warm_up(redis: &Redis, row: u64) {
    let (row, _) = keys(row);
    let key = Key::new(format!("{{{row}}}warm").as_bytes());
    let lease = granted(&redis.acquire(&key, HOLD).await.unwrap());
    redis.extend(&key, lease, HOLD).await.unwrap();
    redis.fill(&key, lease, value("0"), day()).await.unwrap();
    redis.release(&key, lease).await.unwrap();
    redis.seize(&key, HOLD).await.unwrap();
    redis.remove(&[key]).await.remove(0).unwrap();
}

/// A client whose steps with so many parts are remembered, and one that nothing holds up.
struct Wire<'a> {
    place: &'a Place,
    row: u64,
    way: Way,
    redis: Redis,
    other: Redis,
}

impl<'a> Wire<'a> {
    async fn new(place: &'a Place, parts: usize, broken: impl Into<Option<Mutant>>) -> Self {
        let broken = Broken {
            core: None,
            redis: broken.into(),
        };
        let (way, row) = (place.way(4).await, new_row());
        let redis = connect(&way.address(), broken).await;
        let other = connect(&place.address(), broken).await;
        warm_up(&redis, row).await;
        let wire = Self {
            place,
            row,
            way,
            redis,
            other,
        };
        wire.remember(move |request| is_step(request, parts) || (parts == 0 && request.is("DEL")));
        wire
    }

    fn remember(&self, matches: impl Fn(&Request) -> bool + Clone + Send + Sync + 'static) {
        let row = self.row;
        self.way
            .remember(move |request| is_about(request, row) && matches(request));
    }

    fn key(&self) -> Key {
        key(self.row)
    }

    async fn acquire(&self) -> Lease {
        granted(&self.redis.acquire(&self.key(), HOLD).await.unwrap())
    }

    async fn fill(&self, lease: Lease, text: &'static str) -> Fill {
        let stored = self
            .redis
            .fill(&self.key(), lease, value(text), day())
            .await;
        stored.unwrap()
    }

    async fn acquire_by_other(&self) -> Lease {
        granted(&self.other.acquire(&self.key(), HOLD).await.unwrap())
    }

    async fn fill_by_other(&self, lease: Lease, text: &'static str) -> Fill {
        let stored = self
            .other
            .fill(&self.key(), lease, value(text), day())
            .await;
        stored.unwrap()
    }

    async fn reads(&self, text: &str) -> bool {
        read(&self.other, self.row).await.as_deref() == Some(text.as_bytes())
    }

    async fn reads_nothing(&self) -> bool {
        read(&self.other, self.row).await.is_none()
    }

    /// Sends this step once more, on another connection.
    async fn send(&self, step: &Request) {
        self.place.send(self.row, step).await;
    }

    async fn remove(&self) {
        self.other.remove(&[self.key()]).await.remove(0).unwrap();
    }

    /// Sends all that was remembered once more, on another connection.
    async fn replay(&self) {
        let steps = self.way.remembered(self.row);
        assert!(!steps.is_empty(), "there is something to send");
        for step in &steps {
            self.send(step).await;
        }
    }
}

async fn read(redis: &Redis, row: u64) -> Option<Bytes> {
    match redis.get(&key(row)).await.unwrap() {
        Some(Entry::Encoded(bytes)) => Some(bytes),
        None => None,
        Some(other) => panic!("no value: {other:?}"),
    }
}

/// An `acquire` that was not answered, the one that followed it, and a removal; then the first
/// arrives, and after it the fill under the second. Whether the old value is there now.
async fn a_late_acquire_lets_it_in(place: &Place, broken: impl Into<Option<Mutant>>) -> bool {
    let wire = Wire::new(place, ACQUIRE, broken).await;
    let given_up = wire.acquire().await;
    wire.redis.release(&wire.key(), given_up).await.unwrap();
    let lease = wire.acquire().await;
    wire.remove().await;
    let steps = wire.way.remembered(wire.row);
    wire.send(&steps[steps.len() - 2]).await;
    wire.fill(lease, "old").await;
    wire.reads("old").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acquire_that_arrives_late_lets_no_old_value_in() {
    let place = Place::server().await;
    assert!(!a_late_acquire_lets_it_in(&place, None).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_that_is_used_again_a_late_acquire_lets_an_old_value_in() {
    let place = Place::server().await;
    assert!(a_late_acquire_lets_it_in(&place, Mutant::ReusedToken).await);
}

/// A load, overtaken by a removal and by a second load in the same process; its fill comes while
/// the second load runs. Whether the old value is there.
async fn an_overtaken_load_lets_it_in(place: &Place, broken: impl Into<Option<Mutant>>) -> bool {
    let wire = Wire::new(place, FILL, broken).await;
    let overtaken = wire.acquire().await;
    wire.remove().await;
    wire.acquire().await;
    wire.fill(overtaken, "old").await;
    wire.reads("old").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_was_overtaken_by_another_of_its_process_is_not_stored() {
    let place = Place::server().await;
    assert!(!an_overtaken_load_lets_it_in(&place, None).await);
    assert!(an_overtaken_load_lets_it_in(&place, Mutant::ReusedToken).await);
}

/// A put, and all of its steps once more after a removal. Whether its value is there.
async fn a_put_that_arrives_twice_comes_back(
    place: &Place,
    broken: impl Into<Option<Mutant>>,
) -> bool {
    let wire = Wire::new(place, ACQUIRE, broken).await;
    wire.remember(|request| is_step(request, ACQUIRE) || is_step(request, FILL));
    wire.redis.seize(&wire.key(), HOLD).await.unwrap(); // is given up
    let lease = wire.redis.seize(&wire.key(), HOLD).await.unwrap();
    assert_eq!(wire.fill(lease, "old").await, Fill::Stored);
    wire.remove().await;
    // The attempt that was given up arrives, and then the fill once more.
    let steps = wire.way.remembered(wire.row);
    for step in [&steps[steps.len() - 3], &steps[steps.len() - 1]] {
        wire.send(step).await;
    }
    wire.reads("old").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seize_that_arrives_late_lets_no_old_value_in() {
    let place = Place::server().await;
    assert!(!a_put_that_arrives_twice_comes_back(&place, None).await);
    assert!(a_put_that_arrives_twice_comes_back(&place, Mutant::ReusedToken).await);
}

/// A fill that arrives once more after a removal. Whether its value is there.
async fn a_fill_that_arrives_twice_comes_back(
    place: &Place,
    broken: impl Into<Option<Mutant>>,
) -> bool {
    let wire = Wire::new(place, FILL, broken).await;
    let lease = wire.acquire().await;
    assert_eq!(wire.fill(lease, "old").await, Fill::Stored);
    wire.replay().await;
    assert!(wire.reads("old").await, "it is as it was");
    wire.remove().await;
    wire.replay().await;
    wire.reads("old").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fill_that_arrives_twice_changes_nothing() {
    let place = Place::server().await;
    assert!(!a_fill_that_arrives_twice_comes_back(&place, None).await);
    assert!(a_fill_that_arrives_twice_comes_back(&place, Mutant::UncheckedFill).await);
}

/// A fill that arrives once more, while a put of another client runs and after it.
async fn a_late_fill_overwrites_nothing(place: &Place) {
    let wire = Wire::new(place, FILL, None).await;
    let lease = wire.acquire().await;
    wire.fill(lease, "old").await;
    let lease = wire.other.seize(&wire.key(), HOLD).await.unwrap();
    wire.replay().await;
    assert!(wire.reads_nothing().await, "the put holds the lease");
    assert_eq!(wire.fill_by_other(lease, "new").await, Fill::Stored);
    wire.replay().await;
    assert!(wire.reads("new").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fill_that_arrives_twice_overwrites_no_newer_value() {
    a_late_fill_overwrites_nothing(&Place::server().await).await;
}

/// An `extend` and a `release` that arrive once more, while nobody has the lease, while another has
/// it, and after that.
async fn late_ones_touch_no_lease_of_another(place: &Place) {
    for parts in [EXTEND, RELEASE] {
        let wire = Wire::new(place, parts, None).await;
        let lease = wire.acquire().await;
        let extended = wire.redis.extend(&wire.key(), lease, 100 * HOLD).await;
        assert_eq!(extended.unwrap(), Extend::Extended);
        wire.redis.release(&wire.key(), lease).await.unwrap();
        wire.replay().await;
        assert!(
            !place.has_lease(wire.row).await,
            "a lease that has ended is not revived"
        );

        let lease = wire.acquire_by_other().await;
        wire.replay().await;
        let (_, lease_key) = keys(wire.row);
        let left: i64 = place.query(wire.row, &["PTTL", &lease_key]).await;
        let hold = i64::try_from(HOLD.as_millis()).unwrap();
        assert!((hold / 2..=hold).contains(&left), "{parts}: {left}");
        assert_eq!(wire.fill_by_other(lease, "new").await, Fill::Stored);
        wire.replay().await;
        assert!(wire.reads("new").await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extend_or_a_release_that_arrives_late_touches_no_lease_of_another() {
    late_ones_touch_no_lease_of_another(&Place::server().await).await;
}

/// A removal that arrives once more, while a load runs.
async fn a_late_removal_costs_a_load(place: &Place) {
    let wire = Wire::new(place, 0, None).await;
    wire.redis.remove(&[wire.key()]).await.remove(0).unwrap();
    let lease = wire.acquire_by_other().await;
    wire.replay().await;
    assert_eq!(wire.fill_by_other(lease, "new").await, Fill::Superseded);
    assert!(wire.reads_nothing().await);
    wire.acquire_by_other().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_arrives_twice_costs_a_load_and_nothing_else() {
    a_late_removal_costs_a_load(&Place::server().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_late_or_twice_brings_nothing_back_on_a_cluster() {
    let place = Place::cluster().await;
    let reused = Mutant::ReusedToken;
    assert!(!a_late_acquire_lets_it_in(&place, None).await);
    assert!(a_late_acquire_lets_it_in(&place, reused).await);
    assert!(!an_overtaken_load_lets_it_in(&place, None).await);
    assert!(an_overtaken_load_lets_it_in(&place, reused).await);
    assert!(!a_put_that_arrives_twice_comes_back(&place, None).await);
    assert!(a_put_that_arrives_twice_comes_back(&place, reused).await);
    assert!(!a_fill_that_arrives_twice_comes_back(&place, None).await);
    assert!(a_fill_that_arrives_twice_comes_back(&place, Mutant::UncheckedFill).await);
    a_late_fill_overwrites_nothing(&place).await;
    late_ones_touch_no_lease_of_another(&place).await;
    a_late_removal_costs_a_load(&place).await;
    a_late_fill_of_a_put_is_refused(&place).await;
    a_late_seize_stores_nothing(&place).await;
    for seizes in [false, true] {
        assert!(!an_orphan_stays(&place, seizes, None).await);
        assert!(an_orphan_stays(&place, seizes, Some(Mutant::NoRelease)).await);
    }
    assert_eq!(a_late_put_leaves(&place, Broken::default()).await, None);
    let left = a_late_put_leaves(&place, testing::Mutant::LatePut).await;
    assert_eq!(left, Some(Bytes::from_static(b"1")));
}

/// A client that gives up soon, on a connection on which what it asks for is held up.
async fn impatient(address: &Address, broken: Option<Mutant>) -> Redis {
    let mut builder = address.builder().read_timeout(SHORT).write_timeout(SHORT);
    if let Some(mutant) = broken {
        builder = builder.mutant(mutant);
    }
    builder.connect().await.unwrap()
}

/// Asks for a lease that is granted after the client has given up. Whether it is still held a
/// second later.
async fn an_orphan_stays(place: &Place, seizes: bool, broken: Option<Mutant>) -> bool {
    let (way, row) = (place.way(5).await, new_row());
    warm_up(&connect(&place.address(), Broken::default()).await, row).await;
    let redis = impatient(&way.address(), broken).await;
    let server = place.server_of(row).await;
    let before = calls(server, "evalsha").await;
    way.hold_next(move |request| is_step(request, ACQUIRE) && is_about(request, row));
    let kind = if seizes {
        redis.seize(&key(row), HOLD).await.unwrap_err().kind()
    } else {
        redis.acquire(&key(row), HOLD).await.unwrap_err().kind()
    };
    assert_eq!(kind, ErrorKind::Unavailable);
    assert!(way.is_held());
    way.release_held();
    eventually("the question has arrived", async || {
        (calls(server, "evalsha").await > before).then_some(())
    })
    .await;
    let end = Instant::now() + Duration::from_secs(1);
    while place.has_lease(row).await {
        if Instant::now() > end {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_was_granted_to_nobody_is_released_behind_the_question() {
    let place = Place::server().await;
    for seizes in [false, true] {
        assert!(!an_orphan_stays(&place, seizes, None).await);
        assert!(an_orphan_stays(&place, seizes, Some(Mutant::NoRelease)).await);
    }
}

async fn a_late_fill_of_a_put_is_refused(place: &Place) {
    let row = new_row();
    let putting = Node::new(place, 6, Broken::default(), HOLD).await;
    let other = Node::new(place, 7, Broken::default(), HOLD).await;
    putting
        .way
        .hold_next(move |request| is_step(request, FILL) && is_about(request, row));
    let rows = putting.rows.clone();
    let put = tokio::spawn(async move { rows.put(&row, 1).await });
    putting.way.until_held().await;
    assert_eq!(other.rows.invalidate(&row).await, Invalidation::Done);
    putting.way.release_held();
    assert_eq!(put.await.unwrap().unwrap(), Put::Superseded);
    for node in [&putting, &other] {
        assert_eq!(node.rows.get(&row).await.unwrap(), Lookup::Miss);
        node.comes_to_rest().await;
    }
    assert!(!place.has_lease(row).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_whose_fill_is_overtaken_does_not_come_back() {
    a_late_fill_of_a_put_is_refused(&Place::server().await).await;
}

async fn a_late_seize_stores_nothing(place: &Place) {
    let (way, row) = (place.way(8).await, new_row());
    let engine = Engine::builder(impatient(&way.address(), None).await)
        .build()
        .unwrap();
    let rows: Cache<u64, u64> = engine.cache("row").ttl(DAY).build().unwrap();
    let other = Node::new(place, 9, Broken::default(), HOLD).await;
    way.hold_next(move |request| is_step(request, ACQUIRE) && is_about(request, row));
    assert_eq!(
        rows.put(&row, 1).await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    assert_eq!(other.rows.invalidate(&row).await, Invalidation::Done);

    let loader = async || Ok::<_, io::Error>(2);
    assert_eq!(
        *other.rows.get_or_load(&row, loader).await.unwrap().unwrap(),
        2
    );
    // It removes what is there, late, and stores nothing.
    way.release_held();
    eventually("no lease is left", async || {
        (!place.has_lease(row).await).then_some(())
    })
    .await;
    for rows in [&rows, &other.rows] {
        let read = rows.get_or_load(&row, async || Ok::<_, io::Error>(3)).await;
        assert!(*read.unwrap().unwrap() >= 2);
    }
    eventually("the removal that is owed is done", async || {
        (engine.census().await.owed == 0).then_some(())
    })
    .await;
    for rows in [&rows, &other.rows] {
        let read = rows.get_or_load(&row, async || Ok::<_, io::Error>(4)).await;
        assert!(*read.unwrap().unwrap() >= 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_whose_seize_is_held_up_and_overtaken_does_not_come_back() {
    a_late_seize_stores_nothing(&Place::server().await).await;
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
async fn a_late_put_leaves(place: &Place, broken: impl Into<Broken>) -> Option<Bytes> {
    let broken = broken.into();
    let (way, row) = (place.way(10).await, new_row());
    let mut builder =
        Engine::builder(connect(&way.address(), broken).await).backend_deadline(DEADLINE);
    if let Some(mutant) = broken.core {
        builder = builder.mutant(mutant);
    }
    let engine = builder.build().unwrap();
    let rows: Cache<u64, u64> = engine.cache("row").codec(Slow).ttl(DAY).build().unwrap();
    let other = connect(&place.address(), Broken::default()).await;

    way.hold_next(move |request| is_step(request, ACQUIRE) && is_about(request, row));
    let late = Instant::now() + DEADLINE + Duration::from_millis(50);
    let put = tokio::spawn(async move { rows.put(&row, 1).await });
    way.until_held().await;
    sleep_until(late).await;
    other.remove(&[key(row)]).await.remove(0).unwrap();
    way.release_held();
    put.await.unwrap().ok();
    read(&other, row).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_that_takes_its_lease_after_the_write_deadline_is_not_stored() {
    let place = Place::server().await;
    assert_eq!(a_late_put_leaves(&place, Broken::default()).await, None);
    let left = a_late_put_leaves(&place, testing::Mutant::LatePut).await;
    assert_eq!(left, Some(Bytes::from_static(b"1")));
}
