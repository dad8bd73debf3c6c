//! Two engines on one store, a row of a database, and a load that can be held at any point.

use std::{
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cache_core::{
    Acquire, Backend, BackendCall, Cache, Engine, Entry, Error, ErrorKind, Fill, Invalidation, Key,
    Lease, Lookup, Ttl,
    testing::{Act, Mutant},
};
use futures_util::future::BoxFuture;
use tokio::{
    sync::Semaphore,
    task::{JoinHandle, spawn_local},
    time::sleep,
};

use crate::support::{Stage, assert_empty, settle};

pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

/// A database of one row, whose value is its version.
#[derive(Clone, Debug)]
pub(crate) struct Row(Arc<AtomicU64>);

impl Row {
    /// A row that was written once.
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(1)))
    }

    pub(crate) fn set(&self, version: u64) {
        self.0.store(version, Ordering::SeqCst);
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn commit(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// A loader that reads the row first, then waits for `rest`, and answers as `rest` does.
    pub(crate) fn loader<E: Send + 'static>(
        &self,
        rest: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> impl FnOnce() -> BoxFuture<'static, Result<u64, E>> + Send + 'static {
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

/// An engine with a cache of the row.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) engine: Engine,
    pub(crate) rows: Cache<u64, u64>,
}

impl Process {
    pub(crate) fn new(engine: Engine) -> Self {
        let rows = engine.cache("row").ttl(DAY).build().unwrap();
        Self { engine, rows }
    }

    pub(crate) async fn get(&self) -> Option<u64> {
        match self.rows.get(&1).await.unwrap() {
            Lookup::Value(version) => Some(*version),
            Lookup::Absent | Lookup::Miss => None,
        }
    }

    pub(crate) async fn load(&self, row: Row) -> Result<u64, Error> {
        let loader = row.loader(async { Ok::<_, io::Error>(()) });
        Ok(*self.rows.get_or_load(&1, loader).await?.unwrap())
    }
}

/// Two engines on one store, and the row.
pub(crate) struct Scene {
    stage: Stage,
    /// The one whose load is met.
    pub(crate) loading: Process,
    pub(crate) other: Process,
    pub(crate) row: Row,
}

impl Scene {
    pub(crate) fn new(stage: Stage, mutant: Option<Mutant>) -> Self {
        let engine = || {
            let builder = stage.builder(stage.scripted());
            match mutant {
                Some(mutant) => builder.mutant(mutant),
                None => builder,
            }
            .build()
            .unwrap()
        };
        Self {
            loading: Process::new(engine()),
            other: Process::new(engine()),
            row: Row::new(),
            stage,
        }
    }

    fn writer(&self, by: By) -> &Process {
        match by {
            By::Same => &self.loading,
            By::Other => &self.other,
        }
    }

    /// Commits a new version, and writes it to the cache.
    pub(crate) async fn write(&self, write: Write, by: By) -> u64 {
        let writer = self.writer(by);
        let version = self.row.commit();
        match write {
            Write::Invalidate => {
                let invalidation = writer.rows.invalidate(&1).await;
                assert_eq!(invalidation, Invalidation::Done);
            }
            Write::Put => {
                writer.rows.put(&1, version).await.unwrap();
            }
            Write::Clear => writer.engine.clear().await.unwrap(),
        }
        version
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Write {
    Invalidate,
    Put,
    Clear,
}

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

impl Side {
    fn act(self, gate: &Arc<Semaphore>) -> Act {
        match self {
            Before => Act::GateBefore(Arc::clone(gate)),
            After => Act::GateAfter(Arc::clone(gate)),
        }
    }
}

/// Where a load is when a write meets it: before or after a call to the store takes effect, or
/// between two.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Point {
    Get(Side),
    /// The store has the old value.
    GetHit(Side),
    Acquire(Side),
    /// Another process has stored the old value since the caller looked.
    AcquireHit(Side),
    /// Another process holds the lease.
    Held,
    /// The loader has read the row and has not answered yet.
    Load,
    Extend(Side),
    Fill(Side),
    /// The loader has failed.
    Release(Side),
}

pub(crate) const POINTS: [Point; 16] = [
    Point::Get(Before),
    Point::Get(After),
    Point::GetHit(Before),
    Point::GetHit(After),
    Point::Acquire(Before),
    Point::Acquire(After),
    Point::AcquireHit(Before),
    Point::AcquireHit(After),
    Point::Held,
    Point::Load,
    Point::Extend(Before),
    Point::Extend(After),
    Point::Fill(Before),
    Point::Fill(After),
    Point::Release(Before),
    Point::Release(After),
];

/// A load that waits at its point.
struct Waiting {
    caller: JoinHandle<Result<u64, Error>>,
    gate: Arc<Semaphore>,
    /// The lease of a foreign process, if one holds it.
    foreign: Option<Lease>,
}

impl Scene {
    /// Starts a load, and lets it run up to `point`.
    async fn load_up_to(&self, point: Point) -> Waiting {
        let script = &self.stage.script;
        let gate = Arc::new(Semaphore::new(0));
        let calls = |call, times| {
            let script = script.clone();
            move || script.calls(call) >= times
        };
        script.ask();
        match point {
            Point::Get(side) => {
                script.once(BackendCall::Get, side.act(&gate));
                let caller = self.caller(Ok(()), Duration::ZERO, None);
                until(calls(BackendCall::Get, 1)).await;
                Waiting::at(caller, gate)
            }
            Point::GetHit(side) => {
                assert_eq!(self.other.load(self.row.clone()).await.unwrap(), 1);
                script.once(BackendCall::Get, side.act(&gate));
                let caller = self.caller(Ok(()), Duration::ZERO, None);
                until(calls(BackendCall::Get, 2)).await;
                Waiting::at(caller, gate)
            }
            Point::AcquireHit(side) => {
                let look = Arc::new(Semaphore::new(0));
                script.once(BackendCall::Get, After.act(&look));
                let caller = self.caller(Ok(()), Duration::ZERO, None);
                until(calls(BackendCall::Get, 1)).await;
                assert_eq!(self.other.load(self.row.clone()).await.unwrap(), 1);
                script.once(BackendCall::Acquire, side.act(&gate));
                look.add_permits(1);
                until(calls(BackendCall::Acquire, 2)).await;
                Waiting::at(caller, gate)
            }
            Point::Held => {
                let acquired = self.stage.memory.acquire(&key(), DAY).await.unwrap();
                let Acquire::Granted(foreign) = acquired else {
                    panic!("nobody has the lease: {acquired:?}");
                };
                let caller = self.caller(Ok(()), Duration::ZERO, None);
                until(calls(BackendCall::Acquire, 3)).await;
                Waiting {
                    foreign: Some(foreign),
                    ..Waiting::at(caller, gate)
                }
            }
            Point::Load => {
                let caller = self.caller(Ok(()), Duration::ZERO, Some(Arc::clone(&gate)));
                until(calls(BackendCall::Acquire, 1)).await;
                settle().await;
                Waiting::at(caller, gate)
            }
            Point::Acquire(side) => {
                self.load_up_to_call(BackendCall::Acquire, side, Ok(()))
                    .await
            }
            Point::Extend(side) => {
                self.load_up_to_call(BackendCall::Extend, side, Ok(()))
                    .await
            }
            Point::Fill(side) => self.load_up_to_call(BackendCall::Fill, side, Ok(())).await,
            Point::Release(side) => {
                let failure = Err(io::ErrorKind::Other);
                self.load_up_to_call(BackendCall::Release, side, failure)
                    .await
            }
        }
    }

    async fn load_up_to_call(
        &self,
        call: BackendCall,
        side: Side,
        ends: Result<(), io::ErrorKind>,
    ) -> Waiting {
        let script = &self.stage.script;
        let gate = Arc::new(Semaphore::new(0));
        script.once(call, side.act(&gate));
        let caller = self.caller(ends, Duration::from_secs(2), None);
        until(|| script.calls(call) >= 1).await;
        Waiting::at(caller, gate)
    }

    /// A caller whose loader reads the row, takes `time`, waits for `gate` and `ends` so.
    fn caller(
        &self,
        ends: Result<(), io::ErrorKind>,
        time: Duration,
        gate: Option<Arc<Semaphore>>,
    ) -> JoinHandle<Result<u64, Error>> {
        let process = self.loading.clone();
        let loader = self.row.loader(async move {
            sleep(time).await;
            if let Some(gate) = gate {
                gate.acquire().await.unwrap().forget();
            }
            ends.map_err(io::Error::from)
        });
        spawn_local(async move { Ok(*process.rows.get_or_load(&1, loader).await?.unwrap()) })
    }

    /// What callers are answered who come after `write` met a load at `point`.
    pub(crate) async fn meet(&self, point: Point, write: Write, by: By) -> Seen {
        let met = self.load_up_to(point).await;
        let version = self.write(write, by).await;

        let mut at_once = Vec::new();
        let mut joined = Vec::new();
        for process in [&self.loading, &self.other] {
            at_once.extend(process.get().await);
            let (process, row) = (process.clone(), self.row.clone());
            joined.push(spawn_local(async move { process.load(row).await.unwrap() }));
        }
        settle().await;
        if let Some(foreign) = met.foreign {
            let late = self.stage.memory.fill(&key(), foreign, old(), day()).await;
            assert_eq!(late.unwrap(), Fill::Superseded, "{point:?}");
        }
        met.gate.add_permits(1);
        match (point, met.caller.await.unwrap()) {
            (Point::Release(_), answer) => {
                assert_eq!(answer.unwrap_err().kind(), ErrorKind::Loader);
            }
            (_, answer) => assert!((1..=version).contains(&answer.unwrap()), "{point:?}"),
        }
        let mut seen = at_once;
        for joined in joined {
            seen.push(joined.await.unwrap());
        }
        for process in [&self.loading, &self.other] {
            seen.extend(process.get().await);
            seen.push(process.load(self.row.clone()).await.unwrap());
            assert_empty(&process.engine).await;
        }
        Seen { version, seen }
    }
}

impl Waiting {
    fn at(caller: JoinHandle<Result<u64, Error>>, gate: Arc<Semaphore>) -> Self {
        Self {
            caller,
            gate,
            foreign: None,
        }
    }
}

/// What callers saw who began after a write had returned.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) version: u64,
    pub(crate) seen: Vec<u64>,
}

impl Seen {
    pub(crate) fn something_old(&self) -> bool {
        self.seen.iter().any(|seen| *seen != self.version)
    }
}

fn key() -> Key {
    Key::new(b"row:1")
}

fn old() -> Entry {
    Entry::Decoded {
        value: Arc::new(1_u64),
        weight: 0,
    }
}

fn day() -> Ttl {
    Ttl::new(DAY, DAY).unwrap()
}

/// Lets time pass until `reached`.
async fn until(reached: impl Fn() -> bool) {
    for _ in 0..5_000 {
        sleep(Duration::from_millis(1)).await;
        if reached() {
            return;
        }
    }
    panic!("the load never got there");
}
