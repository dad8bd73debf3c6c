//! Two engines on one server, a row of a database, and a load that can be held at any step.

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
use integration_tests::{Server, eventually};
use tokio::{
    sync::Semaphore,
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::nodes::{Broken, DAY, Never, Node, connect, found};

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

/// Two engines on one server.
pub(crate) struct Stage {
    /// The one whose load is met.
    loading: Node,
    other: Node,
    /// The same, with a hold that is soon to be renewed.
    renewing: Node,
    foreign: Redis,
}

impl Stage {
    pub(crate) async fn new(server: &Server, broken: Broken) -> Self {
        Self {
            loading: Node::new(server, 1, broken, HOLD).await,
            other: Node::new(server, 2, broken, HOLD).await,
            renewing: Node::new(server, 3, broken, SHORT_HOLD).await,
            foreign: connect(&server.url(), broken).await,
        }
    }

    /// What callers are answered who come after `write` met a load at `point`; with `crowd`,
    /// others who came before wait too.
    pub(crate) async fn meet(&self, point: Point, write: Write, by: By, crowd: bool) -> Seen {
        let is_renewed = matches!(point, Point::Extend(_));
        let loading = if is_renewed {
            &self.renewing
        } else {
            &self.loading
        };
        let scene = Scene {
            loading,
            other: &self.other,
            foreign: &self.foreign,
            row: Row::new(),
            key: NEXT.fetch_add(1, Ordering::Relaxed),
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
    loading: &'a Node,
    other: &'a Node,
    foreign: &'a Redis,
    row: Row,
    key: u64,
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
        let proxy = &self.loading.proxy;
        let row = format!("row:{}", self.key);
        proxy.hold_matching(move |request| {
            let is_meant = match step {
                "GET" => request.is("GET"),
                // EVALSHA digest 2 K L token hold, and with a payload in between.
                "acquire" => is_script(request) && request.words().len() == 7,
                _ => is_script(request) && request.words().len() == 8,
            };
            is_meant && request.words().iter().any(|word| word == row.as_bytes())
        });
        let caller = self.caller(Duration::ZERO, Ok(()));
        proxy.until_held(1).await;
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
        self.loading.proxy.release_held();

        let mut seen = Vec::new();
        for caller in std::iter::once(met.caller).chain(early) {
            if let Some(answer) = answered(point, caller).await {
                let seen = answer.unwrap();
                assert!((1..=version).contains(&seen), "{point:?}: {seen}");
            }
        }
        for caller in late {
            seen.extend(answered(point, caller).await.flatten());
        }
        for node in [self.loading, self.other] {
            seen.extend(self.look(node).task.await.unwrap().unwrap());
            seen.extend(self.quick(node).task.await.unwrap().unwrap());
        }
        Seen { version, seen }
    }

    fn look(&self, node: &Node) -> Caller {
        let (rows, key) = (node.rows.clone(), self.key);
        Caller::new(async move { Ok(found(&rows.get(&key).await.unwrap())) })
    }

    fn look_at_many(&self, node: &Node) -> Caller {
        let (rows, key) = (node.rows.clone(), self.key);
        Caller::new(async move {
            let lookups = rows.get_many(&[key, key]).await;
            let mut seen = lookups.iter().map(|lookup| found(lookup.as_ref().unwrap()));
            let first = seen.next().unwrap();
            assert_eq!(Some(first), seen.next(), "one command reads both");
            Ok(first)
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
        Key::new(format!("row:{}", self.key).as_bytes())
    }
}

/// What a caller was answered, unless it is the failure of the loader: an error carries no value.
async fn answered(point: Point, caller: Caller) -> Option<Option<u64>> {
    match (point, caller.task.await.unwrap()) {
        (Point::Release(_), Err(ErrorKind::Loader)) => None,
        (_, answer) => Some(answer.unwrap()),
    }
}

fn is_script(request: &integration_tests::Request) -> bool {
    request.is("EVALSHA") || request.is("EVAL")
}

/// Waits until the server has done what `redis` has sent: all of it goes by one connection.
async fn until_done(redis: &Redis) {
    redis.ping().await.unwrap();
}
