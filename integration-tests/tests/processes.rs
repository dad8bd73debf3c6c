//! Processes of their own on one server or one cluster: a write in one wins over a load in another, and they load
//! a key once between them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod nodes;

use std::time::Duration;

use futures_util::future::join_all;
use integration_tests::{Request, within};
use rustix::process::Signal;
use tokio::{task::JoinHandle, time::Instant};

use self::nodes::{
    database::Database,
    place::{self, ACQUIRE, FILL, Place, Way, is_about},
    process::{Answer, Order, Process, Setup, serve, until_loads},
};

const HOLD: Duration = Duration::from_secs(8);

/// Keys of which each primary of a cluster has one.
const KEYS: std::ops::Range<u64> = 4..8;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes orders from the other tests here"]
async fn a_process_of_its_own() {
    serve(|_served, workload| async move { workload }).await;
}

/// A process behind proxies.
struct Node {
    process: Process,
    way: Way,
}

impl Node {
    async fn start(place: &Place, seed: u64, hold: Duration) -> Self {
        let way = place.way(seed).await;
        let setup = Setup {
            cache: way.address(),
            database: place.database(),
            hold,
        };
        let process = Process::start(setup).await;
        Self { process, way }
    }

    fn begin_load(&self, key: u64) -> JoinHandle<Answer> {
        self.process.begin(Order::Load { key, gate: None })
    }
}

/// Where a load is when a write meets it.
#[derive(Clone, Copy, Debug)]
enum Point {
    /// This request is on the wire.
    Sent(&'static str),
    /// The loader has read the row.
    Loading,
    /// The old value is stored.
    Landed,
}

const POINTS: [Point; 5] = [
    Point::Sent("GET"),
    Point::Sent("acquire"),
    Point::Loading,
    Point::Sent("fill"),
    Point::Landed,
];

fn is_step(request: &Request, step: &str, key: u64) -> bool {
    let is_meant = match step {
        "GET" => request.is("GET"),
        "acquire" => place::is_step(request, ACQUIRE),
        _ => place::is_step(request, FILL),
    };
    is_meant && is_about(request, key)
}

#[derive(Clone, Copy, Debug)]
enum Write {
    Invalidate,
    Put,
    Clear,
}

/// Lets a write of `writing` meet a load of `loading` at `point`, with readers before and after
/// it in both.
async fn meet(
    loading: &Node,
    writing: &Node,
    database: &Database,
    key: u64,
    point: Point,
    write: Write,
) {
    let old = database.commit(key).await;
    let gate = match point {
        Point::Sent(step) => {
            loading
                .way
                .hold_next(move |request| is_step(request, step, key));
            None
        }
        Point::Loading => Some(key),
        Point::Landed => None,
    };
    let met = loading.process.begin(Order::Load { key, gate });
    match point {
        Point::Sent(_) => loading.way.until_held().await,
        Point::Loading => until_loads(database, key, 1).await,
        Point::Landed => {
            within(Duration::from_secs(10), "it has landed", async || {
                met.is_finished().then_some(())
            })
            .await;
        }
    }
    let early: Vec<_> = [loading, writing].map(|node| node.begin_load(key)).into();

    let new = database.commit(key).await;
    let order = match write {
        Write::Invalidate => Order::Invalidate { key },
        Write::Put => Order::Put { key, version: new },
        Write::Clear => Order::Clear,
    };
    writing.process.ask(order).await.done();

    let mut late = Vec::new();
    for node in [loading, writing] {
        late.push(node.process.begin(Order::Get { key }));
        late.push(node.begin_load(key));
    }
    loading.process.ask(Order::Open { gate: key }).await.done();
    loading.way.release_held();
    for early in std::iter::once(met).chain(early) {
        let version = early.await.unwrap().version().unwrap();
        assert!(
            (old..=new).contains(&version),
            "{point:?} {write:?}: {version}"
        );
    }
    for node in [loading, writing] {
        late.push(node.process.begin(Order::Get { key }));
        late.push(node.begin_load(key));
    }
    for late in late {
        let seen = late.await.unwrap().version();
        assert!(
            seen.is_none_or(|version| version == new),
            "{point:?} {write:?}: {seen:?}"
        );
    }
}

async fn a_write_wins(place: &Place) {
    let database = Database::open(&place.database()).await;
    let (loading, writing) = tokio::join!(Node::start(place, 1, HOLD), Node::start(place, 2, HOLD));
    let mut key = 0;
    for _round in 0..3 {
        for point in POINTS {
            for write in [Write::Invalidate, Write::Put, Write::Clear] {
                key += 1;
                meet(&loading, &writing, &database, key, point, write).await;
            }
        }
    }
    for node in [&loading, &writing] {
        node.process.comes_to_rest().await;
    }
    place.no_lease_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_in_one_process_wins_over_a_load_in_another() {
    a_write_wins(&Place::server().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_in_one_process_wins_over_a_load_in_another_on_a_cluster() {
    a_write_wins(&Place::cluster().await).await;
}

async fn they_load_once(place: &Place) {
    place.is_spread(KEYS).await;
    let database = Database::open(&place.database()).await;
    let nodes = join_all((0..4).map(|seed| Node::start(place, seed, HOLD))).await;
    for key in KEYS {
        let version = database.commit(key).await;
        let herds = nodes.iter().map(|node| {
            node.process.ask(Order::Herd {
                key,
                callers: 2_500,
                load: Duration::from_millis(100),
            })
        });
        for herd in join_all(herds).await {
            let Answer::Versions(seen) = herd else {
                panic!("{herd:?}");
            };
            assert_eq!(seen, [version]);
        }
        assert_eq!(database.loads(key).await, 1, "one load in all");
    }
    for node in &nodes {
        node.process.comes_to_rest().await;
    }
    place.no_lease_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn four_processes_with_2500_callers_each_load_a_cold_key_once() {
    they_load_once(&Place::server().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn four_processes_with_2500_callers_each_load_a_cold_key_once_on_a_cluster() {
    they_load_once(&Place::cluster().await).await;
}

async fn a_killed_one_holds_it_no_longer(place: &Place) {
    const SHORT: Duration = Duration::from_millis(1_500);
    let database = Database::open(&place.database()).await;
    let (killed, other) = tokio::join!(Node::start(place, 1, SHORT), Node::start(place, 2, SHORT));
    let version = database.commit(1).await;
    let lost = killed.process.begin(Order::Load {
        key: 1,
        gate: Some(1),
    });
    until_loads(&database, 1, 1).await;
    let waiting = other.begin_load(1);
    killed.process.kill();
    let began = Instant::now();
    assert_eq!(waiting.await.unwrap().version(), Some(version));
    let took = began.elapsed();
    assert!(took <= SHORT + Duration::from_secs(1), "{took:?}");
    assert_eq!(database.loads(1).await, 2);
    assert!(matches!(lost.await.unwrap(), Answer::Failed(_)));
    other.process.comes_to_rest().await;
    place.no_lease_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_holds_a_key_for_its_hold_at_most() {
    a_killed_one_holds_it_no_longer(&Place::server().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_holds_a_key_for_its_hold_at_most_on_a_cluster() {
    a_killed_one_holds_it_no_longer(&Place::cluster().await).await;
}

async fn a_stopped_one_is_refused(place: &Place) {
    const SHORT: Duration = Duration::from_millis(900);
    let database = Database::open(&place.database()).await;
    let (stopped, other) = tokio::join!(Node::start(place, 1, SHORT), Node::start(place, 2, HOLD));
    let old = database.commit(1).await;
    let late = stopped.process.begin(Order::Load {
        key: 1,
        gate: Some(1),
    });
    until_loads(&database, 1, 1).await;

    stopped.process.signal(Signal::STOP);
    within(Duration::from_secs(10), "its lease runs out", async || {
        (!place.has_lease(1).await).then_some(())
    })
    .await;
    let new = database.commit(1).await;
    other.process.ask(Order::Invalidate { key: 1 }).await.done();
    assert_eq!(other.begin_load(1).await.unwrap().version(), Some(new));

    let open = stopped.process.begin(Order::Open { gate: 1 });
    stopped.process.signal(Signal::CONT);
    open.await.unwrap().done();
    // Who asked before gets what was there then; it is not stored.
    assert_eq!(late.await.unwrap().version(), Some(old));
    assert_eq!(stopped.process.ask(Order::Refused).await.count(), 1);
    for node in [&stopped, &other] {
        let seen = node.process.ask(Order::Get { key: 1 }).await.version();
        assert_eq!(seen, Some(new));
        node.process.comes_to_rest().await;
    }
    place.no_lease_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_late_fill_of_a_process_that_was_stopped_is_refused() {
    a_stopped_one_is_refused(&Place::server().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_late_fill_of_a_process_that_was_stopped_is_refused_on_a_cluster() {
    a_stopped_one_is_refused(&Place::cluster().await).await;
}
