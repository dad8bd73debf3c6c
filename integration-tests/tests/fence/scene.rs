//! Two engines on one server or one cluster, a row of a database, and a load that can be held at any step.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use cache_core::{
    Acquire, Backend, BackendCall, Cache, Entry, ErrorKind, Fill, Invalidation, Key, Lease, Ttl,
    testing::Act,
};
use cache_redis::Redis;
use futures_util::future::BoxFuture;
use integration_tests::{Cluster, eventually};
use tokio::{
    sync::Semaphore,
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::nodes::{
    Broken, DAY, Never, Node, connect, found, keys,
    place::{ACQUIRE, FILL, Place, is_about, is_step},
};

/// The hold of leases: not to run out, except for the points that need it to be renewed.
const HOLD: Duration = Duration::from_secs(8);
const SHORT_HOLD: Duration = Duration::from_millis(900);

/// How long to wait at most until callers have got as far as they can: some are held up
/// themselves.
const SETTLE: Duration = Duration::from_millis(60);

/// A database of one row, whose value is its version.
#[derive(Clone, Debug)]
struct Row(Arc<AtomicU64>);

impl Row {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(1)))
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn commit(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// A loader that reads the row first, then waits for `rest`, and answers as `rest` does.
    fn loader(
        &self,
        rest: impl Future<Output = Result<(), Never>> + Send + 'static,
    ) -> impl FnOnce() -> BoxFuture<'static, Result<u64, Never>> + Send + 'static {
        let row = self.clone();
        || {
            Box::pin(async move {
                let version = row.read();
                rest.await?;
                Ok(version)
            })
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Write {
    Invalidate,
    Put,
    Clear,
}

pub(crate) const WRITES: [Write; 3] = [Write::Invalidate, Write::Put, Write::Clear];

/// Whose write meets the load.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By {
    Same,
    Other,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    Before,
    After,
}

pub(crate) use Side::{After, Before};

/// Where a load is when a write meets it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Point {
    /// Before or after the server has looked for the entry.
    Get(Side),
    /// The same, and the server has the old value.
    GetHit(Side),
    Acquire(Side),
    /// Another engine has stored the old value since the caller looked.
    AcquireHit(Side),
    /// Another client of the server holds the lease.
    Held,
    /// The lease is granted, and the loader has read the row and has not answered yet.
    Load,
    Extend(Side),
    /// The load is done. `Before` is: the `fill` has not been sent.
    Fill(Side),
    /// The loader has failed.
    Release(Side),
    /// The request is on the wire, and the server has not got it.
    Sent(&'static str),
    /// The old value is stored, and everybody was answered.
    Landed,
}

pub(crate) const POINTS: [Point; 20] = [
    Point::Get(Before),
    Point::Sent("GET"),
    Point::Get(After),
    Point::GetHit(Before),
    Point::GetHit(After),
    Point::Acquire(Before),
    Point::Sent("acquire"),
    Point::Acquire(After),
    Point::AcquireHit(Before),
    Point::AcquireHit(After),
    Point::Held,
    Point::Load,
    Point::Extend(Before),
    Point::Extend(After),
    Point::Fill(Before),
    Point::Sent("fill"),
    Point::Fill(After),
    Point::Release(Before),
    Point::Release(After),
    Point::Landed,
];

/// How far the slot of the row is on its way to another server of the cluster when the write comes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Move {
    Begun,
    KeysMoved,
    Ended,
}

pub(crate) const MOVES: [Move; 3] = [Move::Begun, Move::KeysMoved, Move::Ended];

/// What callers saw who began after a write had returned.
#[derive(Debug)]
pub(crate) struct Seen {
    version: u64,
    seen: Vec<u64>,
}

impl Seen {
    pub(crate) fn something_old(&self) -> bool {
        self.seen.iter().any(|seen| *seen != self.version)
    }

    pub(crate) fn len(&self) -> usize {
        self.seen.len()
    }
}

/// Each meeting has a key of its own.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Two engines at one place.
pub(crate) struct Stage<'a> {
    place: &'a Place,
    /// The one whose load is met.
    loading: Node,
    other: Node,
    /// The same, with a hold that is soon to be renewed.
    renewing: Node,
    foreign: Redis,
}

impl<'a> Stage<'a> {
    pub(crate) async fn new(place: &'a Place, broken: Broken) -> Self {
        Self {
            place,
            loading: Node::new(place, 1, broken, HOLD).await,
            other: Node::new(place, 2, broken, HOLD).await,
            renewing: Node::new(place, 3, broken, SHORT_HOLD).await,
            foreign: connect(&place.address(), broken).await,
        }
    }

    /// What callers are answered who come after `write` met a load at `point`; with `crowd`,
    /// others who came before wait too.
    pub(crate) async fn meet(&self, point: Point, write: Write, by: By, crowd: bool) -> Seen {
        self.play(point, write, by, crowd, None).await
    }

    /// The same for an invalidation in another engine, while the slot of the row moves.
    pub(crate) async fn meet_while_moving(&self, point: Point, step: Move, crowd: bool) -> Seen {
        self.play(point, Write::Invalidate, By::Other, crowd, Some(step))
            .await
    }

    async fn play(
        &self,
        point: Point,
        write: Write,
        by: By,
        crowd: bool,
        moving: Option<Move>,
    ) -> Seen {
        let is_renewed = matches!(point, Point::Extend(_));
        let loading = if is_renewed {
            &self.renewing
        } else {
            &self.loading
        };
        let scene = Scene {
            place: self.place,
            loading,
            other: &self.other,
            foreign: &self.foreign,
            row: Row::new(),
            key: NEXT.fetch_add(1, Ordering::Relaxed),
            moving,
        };
        let seen = scene.meet(point, write, by, crowd).await;
        for node in [&self.loading, &self.other, &self.renewing] {
            node.script.reset();
            node.comes_to_rest().await;
        }
        seen
    }
}

struct Scene<'a> {
    place: &'a Place,
    loading: &'a Node,
    other: &'a Node,
    foreign: &'a Redis,
    row: Row,
    key: u64,
    moving: Option<Move>,
}

/// A load that waits at its point.
struct Waiting {
    caller: Caller,
    gate: Arc<Semaphore>,
    /// The lease of a foreign client, if one holds it.
    lease: Option<Lease>,
}

/// A call that was polled, and what it was answered.
struct Caller {
    task: JoinHandle<Result<Option<u64>, ErrorKind>>,
    begun: Arc<AtomicBool>,
}

impl Caller {
    fn new(call: impl Future<Output = Result<Option<u64>, ErrorKind>> + Send + 'static) -> Self {
        let begun = Arc::new(AtomicBool::new(false));
        let beginning = Arc::clone(&begun);
        let task = tokio::spawn(async move {
            beginning.store(true, Ordering::SeqCst);
            call.await
        });
        Self { task, begun }
    }

    fn load(
        rows: &Cache<u64, u64>,
        key: u64,
        loader: impl FnOnce() -> BoxFuture<'static, Result<u64, Never>> + Send + 'static,
    ) -> Self {
        let rows = rows.clone();
        Self::new(async move {
            let row = rows.get_or_load(&key, loader).await;
            row.map(|row| row.map(|row| *row))
                .map_err(|error| error.kind())
        })
    }
}

impl Waiting {
    fn new(caller: Caller) -> Self {
        Self {
            caller,
            gate: Arc::new(Semaphore::new(0)),
            lease: None,
        }
    }
}

impl Scene<'_> {
    fn writer(&self, by: By) -> &Node {
        match by {
            By::Same => self.loading,
            By::Other => self.other,
        }
    }

    async fn write(&self, write: Write, by: By) -> u64 {
        let writer = self.writer(by);
        let version = self.row.commit();
        match write {
            Write::Invalidate => {
                let invalidation = writer.rows.invalidate(&self.key).await;
                assert_eq!(invalidation, Invalidation::Done);
            }
            Write::Put => {
                writer.rows.put(&self.key, version).await.unwrap();
            }
            Write::Clear => writer.engine.clear().await.unwrap(),
        }
        version
    }

    /// A load that ends at once.
    fn quick(&self, node: &Node) -> Caller {
        Caller::load(&node.rows, self.key, self.row.loader(async { Ok(()) }))
    }

    /// A load that takes so long, and `ends` so.
    fn caller(&self, time: Duration, ends: Result<(), Never>) -> Caller {
        let loader = self.row.loader(async move {
            sleep(time).await;
            ends
        });
        Caller::load(&self.loading.rows, self.key, loader)
    }

    /// Starts a load, and lets it run up to `point`.
    async fn load_up_to(&self, point: Point) -> Waiting {
        let no_time = Duration::ZERO;
        let up_to = async |call, side, time, ends| self.up_to_call(call, side, time, ends).await;
        match point {
            Point::Get(side) => up_to(BackendCall::Get, side, no_time, Ok(())).await,
            Point::Acquire(side) => up_to(BackendCall::Acquire, side, no_time, Ok(())).await,
            Point::Extend(side) => up_to(BackendCall::Extend, side, SHORT_HOLD / 2, Ok(())).await,
            Point::Fill(side) => up_to(BackendCall::Fill, side, no_time, Ok(())).await,
            Point::Release(side) => {
                let fails = Err(std::io::ErrorKind::Other.into());
                up_to(BackendCall::Release, side, no_time, fails).await
            }
            Point::GetHit(side) => {
                assert_eq!(self.quick(self.other).task.await.unwrap(), Ok(Some(1)));
                up_to(BackendCall::Get, side, no_time, Ok(())).await
            }
            Point::AcquireHit(side) => self.up_to_acquire_hit(side).await,
            Point::Held => self.up_to_held().await,
            Point::Load => self.up_to_loading().await,
            Point::Sent(step) => self.up_to_sent(step).await,
            Point::Landed => {
                let caller = self.caller(no_time, Ok(()));
                eventually("it has landed", async || {
                    caller.task.is_finished().then_some(())
                })
                .await;
                Waiting::new(caller)
            }
        }
    }

    async fn up_to_acquire_hit(&self, side: Side) -> Waiting {
        let looking = self
            .up_to_call(BackendCall::Get, After, Duration::ZERO, Ok(()))
            .await;
        assert_eq!(self.quick(self.other).task.await.unwrap(), Ok(Some(1)));
        let gate = Arc::new(Semaphore::new(0));
        let go = || looking.gate.add_permits(1);
        self.up_to_next(BackendCall::Acquire, side, &gate, go).await;
        Waiting { gate, ..looking }
    }

    async fn up_to_held(&self) -> Waiting {
        let script = &self.loading.script;
        let acquired = self.foreign.acquire(&self.redis_key(), HOLD).await.unwrap();
        let Acquire::Granted(lease) = acquired else {
            panic!("nobody has the lease: {acquired:?}");
        };
        let before = script.calls(BackendCall::Acquire);
        let caller = self.caller(Duration::ZERO, Ok(()));
        eventually("it waits for the lease", async || {
            (script.calls(BackendCall::Acquire) >= before + 2).then_some(())
        })
        .await;
        Waiting {
            lease: Some(lease),
            ..Waiting::new(caller)
        }
    }

    async fn up_to_loading(&self) -> Waiting {
        let gate = Arc::new(Semaphore::new(0));
        let began = Arc::new(AtomicBool::new(false));
        let (begins, opens) = (Arc::clone(&began), Arc::clone(&gate));
        let loader = self.row.loader(async move {
            begins.store(true, Ordering::SeqCst);
            opens.acquire().await.unwrap().forget();
            Ok(())
        });
        let caller = Caller::load(&self.loading.rows, self.key, loader);
        eventually("the loader runs", async || {
            began.load(Ordering::SeqCst).then_some(())
        })
        .await;
        Waiting {
            gate,
            ..Waiting::new(caller)
        }
    }

    async fn up_to_sent(&self, step: &'static str) -> Waiting {
        let (way, key) = (&self.loading.way, self.key);
        // Nobody else asks for this row yet.
        way.hold_next(move |request| {
            let is_meant = match step {
                "GET" => request.is("GET"),
                "acquire" => is_step(request, ACQUIRE),
                _ => is_step(request, FILL),
            };
            is_meant && is_about(request, key)
        });
        let caller = self.caller(Duration::ZERO, Ok(()));
        way.until_held().await;
        Waiting::new(caller)
    }

    async fn up_to_call(
        &self,
        call: BackendCall,
        side: Side,
        time: Duration,
        ends: Result<(), Never>,
    ) -> Waiting {
        let gate = Arc::new(Semaphore::new(0));
        let mut caller = None;
        let go = || caller = Some(self.caller(time, ends));
        self.up_to_next(call, side, &gate, go).await;
        Waiting {
            gate,
            ..Waiting::new(caller.unwrap())
        }
    }

    /// Holds up the next `call`, which comes after `go`, before or after it takes effect.
    async fn up_to_next(
        &self,
        call: BackendCall,
        side: Side,
        gate: &Arc<Semaphore>,
        go: impl FnOnce(),
    ) {
        let script = &self.loading.script;
        let before = script.calls(call);
        let gate = Arc::clone(gate);
        script.once(
            call,
            match side {
                Before => Act::GateBefore(gate),
                After => Act::GateAfter(gate),
            },
        );
        go();
        eventually("the call is made", async || {
            (script.calls(call) > before).then_some(())
        })
        .await;
        if matches!(side, After) {
            until_done(&self.loading.redis).await;
        }
    }

    async fn meet(&self, point: Point, write: Write, by: By, crowd: bool) -> Seen {
        let met = self.load_up_to(point).await;
        let early: Vec<_> = [self.loading, self.other]
            .into_iter()
            .filter(|_| crowd)
            .map(|node| self.quick(node))
            .collect();
        self.settle(&early).await;
        let moved_to = self.begin_move().await;
        // What the proxy holds up holds up all that this engine sends after it.
        let is_sent = matches!(point, Point::Sent(_));
        let by = if is_sent { By::Other } else { by };
        let version = self.write(write, by).await;

        let mut late = Vec::new();
        for node in [self.loading, self.other] {
            late.push(self.look(node));
            late.push(self.quick(node));
            late.push(self.look_at_many(node));
        }
        self.settle(&late).await;
        if let Some(lease) = met.lease {
            let old = Entry::Encoded(bytes::Bytes::from_static(b"1"));
            let ttl = Ttl::new(DAY, DAY).unwrap();
            let late = self.foreign.fill(&self.redis_key(), lease, old, ttl).await;
            assert_eq!(late.unwrap(), Fill::Superseded, "{point:?}");
        }
        met.gate.add_permits(1);
        self.loading.way.release_held();

        let early = std::iter::once(met.caller).chain(early);
        for seen in answers(point, early).await {
            let seen = seen.unwrap();
            assert!((1..=version).contains(&seen), "{point:?}: {seen}");
        }
        let mut seen: Vec<u64> = answers(point, late).await.into_iter().flatten().collect();
        self.end_move(moved_to).await;
        for node in [self.loading, self.other] {
            seen.extend(self.look(node).task.await.unwrap().unwrap());
            seen.extend(self.quick(node).task.await.unwrap().unwrap());
        }
        Seen { version, seen }
    }

    /// Moves the slot of the row as far as it is to be by now. Where to.
    async fn begin_move(&self) -> Option<usize> {
        let (cluster, step) = (self.place.as_cluster()?, self.moving?);
        let slot = Cluster::slot_of(&keys(self.key).0);
        let to = (cluster.primary_of_slot(slot).await + 1) % cluster.nodes().len();
        cluster.begin_move(slot, to).await;
        if step >= Move::KeysMoved {
            cluster.move_keys(slot).await;
        }
        if step == Move::Ended {
            cluster.end_move(slot, to).await;
        }
        Some(to)
    }

    /// Moves what is left.
    async fn end_move(&self, to: Option<usize>) {
        if let (Some(cluster), Some(to)) = (self.place.as_cluster(), to)
            && self.moving != Some(Move::Ended)
        {
            let slot = Cluster::slot_of(&keys(self.key).0);
            cluster.move_keys(slot).await;
            cluster.end_move(slot, to).await;
        }
    }

    fn look(&self, node: &Node) -> Caller {
        let (rows, key) = (node.rows.clone(), self.key);
        Caller::new(async move { Ok(found(&rows.get(&key).await.unwrap())) })
    }

    fn look_at_many(&self, node: &Node) -> Caller {
        let (rows, key) = (node.rows.clone(), self.key);
        // A cluster is asked for each on its own.
        let is_apart = self.place.as_cluster().is_some();
        Caller::new(async move {
            let lookups = rows.get_many(&[key, key]).await;
            let seen = lookups.iter().map(|lookup| found(lookup.as_ref().unwrap()));
            let seen: Vec<_> = seen.collect();
            assert!(is_apart || seen[0] == seen[1], "one command reads both");
            Ok(seen.into_iter().flatten().min())
        })
    }

    /// Waits until `callers` have begun, and have got as far as they can.
    async fn settle(&self, callers: &[Caller]) {
        eventually("they have begun", async || {
            let mut callers = callers.iter();
            callers
                .all(|caller| caller.begun.load(Ordering::SeqCst))
                .then_some(())
        })
        .await;
        let end = Instant::now() + SETTLE;
        loop {
            let open = callers.iter().filter(|it| !it.task.is_finished()).count();
            let mut waiting = 0;
            for node in [self.loading, self.other] {
                waiting += node.engine.census().await.waiting;
            }
            // Those who were there before may wait besides.
            if open == 0 || (waiting > open) || Instant::now() >= end {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    fn redis_key(&self) -> Key {
        Key::new(keys(self.key).0.as_bytes())
    }
}

/// What callers were answered, but for failures of the loader: an error carries no value.
async fn answers(point: Point, callers: impl IntoIterator<Item = Caller>) -> Vec<Option<u64>> {
    let mut answers = Vec::new();
    for caller in callers {
        match (point, caller.task.await.unwrap()) {
            (Point::Release(_), Err(ErrorKind::Loader)) => {}
            (_, answer) => answers.push(answer.unwrap()),
        }
    }
    answers
}

/// Waits until what `redis` has sent is done: all of it goes by one connection to each server.
async fn until_done(redis: &Redis) {
    redis.ping().await.unwrap();
}
