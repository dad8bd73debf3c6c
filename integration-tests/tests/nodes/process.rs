//! Processes of their own, each with an engine, that take orders.
//!
//! A test program starts itself once more, for its test [`NAME`] alone, which connects back, and
//! answers orders until the connection ends.

use std::{
    collections::HashMap,
    env,
    future::Future,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cache_core::{Cache, Census, Engine, Event, Invalidation};
use integration_tests::{eventually, within};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Mutex as AsyncMutex, Semaphore, oneshot},
    time::timeout,
};

use super::{Broken, DAY, Events, PATIENCE, connect, database::Database, found, place::Address};

/// The test that a process of its own runs.
pub(crate) const NAME: &str = "a_process_of_its_own";

/// Where a process finds who gives it orders.
const PORT: &str = "FENCE_TEST_PORT";

/// What a process is started with.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Setup {
    /// The cache, by way of proxies.
    pub(crate) cache: Address,
    /// The server of the database.
    pub(crate) database: String,
    pub(crate) hold: Duration,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Order {
    Start(Setup),
    /// Loads the row; the loader reads it, and answers once this gate is open.
    Load {
        key: u64,
        gate: Option<u64>,
    },
    Open {
        gate: u64,
    },
    Get {
        key: u64,
    },
    Invalidate {
        key: u64,
    },
    Put {
        key: u64,
        version: u64,
    },
    Clear,
    /// Lets so many callers load the row at once, in a load of so long.
    Herd {
        key: u64,
        callers: u64,
        load: Duration,
    },
    /// How many fills were refused, or not even sent, since their lease was lost.
    Refused,
    /// Whether nothing is left of the calls that have ended.
    IsAtRest,
    /// Runs a workload.
    Play(serde_json::Value),
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Answer {
    Done,
    Version(Option<u64>),
    Versions(Vec<u64>),
    Count(u64),
    Played(serde_json::Value),
    Failed(String),
}

impl Answer {
    pub(crate) fn version(self) -> Option<u64> {
        match self {
            Self::Version(version) => version,
            other => panic!("no version: {other:?}"),
        }
    }

    pub(crate) fn count(self) -> u64 {
        match self {
            Self::Count(count) => count,
            other => panic!("no count: {other:?}"),
        }
    }

    pub(crate) fn done(self) {
        assert!(matches!(self, Self::Done), "not done: {self:?}");
    }
}

type Asked = Arc<Mutex<HashMap<u64, oneshot::Sender<Answer>>>>;

/// A process of its own. Killed when it is dropped.
#[derive(Clone)]
pub(crate) struct Process(Arc<Inner>);

struct Inner {
    child: Mutex<Child>,
    orders: AsyncMutex<OwnedWriteHalf>,
    asked: Asked,
    next: AtomicU64,
}

impl Process {
    /// Starts a process, and its engine.
    pub(crate) async fn start(setup: Setup) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut child = Command::new(env::current_exe().unwrap())
            .args([NAME, "--exact", "--ignored", "--nocapture"])
            .env(PORT, port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let accepted = timeout(Duration::from_secs(20), listener.accept()).await;
        let Ok(Ok((stream, _))) = accepted else {
            child.kill().ok();
            panic!("the process does not come up: {accepted:?}");
        };
        stream.set_nodelay(true).unwrap();
        let (answers, orders) = stream.into_split();
        let asked = Asked::default();
        tokio::spawn(hand_out(answers, Arc::clone(&asked)));
        let process = Self(Arc::new(Inner {
            child: Mutex::new(child),
            orders: AsyncMutex::new(orders),
            asked,
            next: AtomicU64::new(0),
        }));
        process.ask(Order::Start(setup)).await.done();
        process
    }

    /// Gives an order, and waits for the answer.
    pub(crate) async fn ask(&self, order: Order) -> Answer {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        self.0.asked.lock().insert(number, reply);
        let line = serde_json::to_string(&(number, order)).unwrap() + "\n";
        let mut orders = self.0.orders.lock().await;
        orders.write_all(line.as_bytes()).await.unwrap();
        drop(orders);
        let gone = Answer::Failed("the process is gone".to_owned());
        answer.await.unwrap_or(gone)
    }

    /// Gives an order that is answered later.
    pub(crate) fn begin(&self, order: Order) -> tokio::task::JoinHandle<Answer> {
        let process = self.clone();
        tokio::spawn(async move { process.ask(order).await })
    }

    pub(crate) async fn comes_to_rest(&self) {
        eventually("the process is at rest", async || {
            let rests = self.ask(Order::IsAtRest).await;
            matches!(rests, Answer::Done).then_some(())
        })
        .await;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.0.child.lock().id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Ends the process at once, as `kill -9` does.
    pub(crate) fn kill(&self) {
        let mut child = self.0.child.lock();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let mut child = self.child.lock();
        child.kill().ok();
        child.wait().ok();
    }
}

async fn hand_out(answers: OwnedReadHalf, asked: Asked) {
    let mut lines = BufReader::new(answers).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let (number, answer): (u64, Answer) = serde_json::from_str(&line).unwrap();
        if let Some(reply) = asked.lock().remove(&number) {
            reply.send(answer).ok();
        }
    }
    // Who still waits learns that nobody answers any more.
    asked.lock().clear();
}

/// The engine of a process of its own.
pub(crate) struct Served {
    pub(crate) engine: Engine,
    pub(crate) rows: Cache<u64, u64>,
    pub(crate) database: Database,
    events: Events,
    gates: Mutex<HashMap<u64, Arc<Semaphore>>>,
}

/// Takes orders, if this process was started to; `play` runs workloads.
pub(crate) async fn serve<F>(
    play: impl Fn(Arc<Served>, serde_json::Value) -> F + Copy + Send + 'static,
) where
    F: Future<Output = serde_json::Value> + Send,
{
    let Ok(port) = env::var(PORT) else {
        return;
    };
    let stream = TcpStream::connect(format!("127.0.0.1:{port}"))
        .await
        .unwrap();
    stream.set_nodelay(true).unwrap();
    let (orders, answers) = stream.into_split();
    let answers = Arc::new(AsyncMutex::new(answers));
    let mut lines = BufReader::new(orders).lines();
    let mut served: Option<Arc<Served>> = None;
    while let Ok(Some(line)) = lines.next_line().await {
        let (number, order): (u64, Order) = serde_json::from_str(&line).unwrap();
        if let Order::Start(setup) = order {
            served = Some(Arc::new(Served::new(setup).await));
            say(&answers, number, Answer::Done).await;
            continue;
        }
        let (served, answers) = (Arc::clone(served.as_ref().unwrap()), Arc::clone(&answers));
        tokio::spawn(async move {
            let answer = match order {
                Order::Play(workload) => Answer::Played(play(served, workload).await),
                order => served.answer(order).await,
            };
            say(&answers, number, answer).await;
        });
    }
}

async fn say(answers: &AsyncMutex<OwnedWriteHalf>, number: u64, answer: Answer) {
    let line = serde_json::to_string(&(number, answer)).unwrap() + "\n";
    // Who asked may be gone.
    answers.lock().await.write_all(line.as_bytes()).await.ok();
}

impl Served {
    async fn new(setup: Setup) -> Self {
        let redis = connect(&setup.cache, Broken::default()).await;
        let events = Events::default();
        let engine = Engine::builder(redis)
            .backend_deadline(PATIENCE + Duration::from_secs(1))
            .lease_hold(setup.hold)
            .lease_wait(setup.hold + PATIENCE)
            .recorder(events.clone())
            .build()
            .unwrap();
        Self {
            rows: engine.cache("row").ttl(DAY).build().unwrap(),
            engine,
            database: Database::open(&setup.database).await,
            events,
            gates: Mutex::default(),
        }
    }

    fn gate(&self, gate: u64) -> Arc<Semaphore> {
        let mut gates = self.gates.lock();
        Arc::clone(
            gates
                .entry(gate)
                .or_insert_with(|| Arc::new(Semaphore::new(0))),
        )
    }

    async fn answer(&self, order: Order) -> Answer {
        match order {
            Order::Start(_) | Order::Play(_) => Answer::Failed("not here".to_owned()),
            Order::Load { key, gate } => self.load(key, gate).await,
            Order::Open { gate } => {
                self.gate(gate).add_permits(1);
                Answer::Done
            }
            Order::Get { key } => match self.rows.get(&key).await {
                Ok(lookup) => Answer::Version(found(&lookup)),
                Err(error) => Answer::Failed(format!("{error:?}")),
            },
            Order::Invalidate { key } => match self.rows.invalidate(&key).await {
                Invalidation::Done => Answer::Done,
                other => Answer::Failed(format!("{other:?}")),
            },
            Order::Put { key, version } => match self.rows.put(&key, version).await {
                Ok(_) => Answer::Done,
                Err(error) => Answer::Failed(format!("{error:?}")),
            },
            Order::Clear => match self.engine.clear().await {
                Ok(()) => Answer::Done,
                Err(error) => Answer::Failed(format!("{error:?}")),
            },
            Order::Herd { key, callers, load } => self.herd(key, callers, load).await,
            Order::Refused => {
                let refused = self
                    .events
                    .count(|event| matches!(event, Event::FillSuperseded | Event::LeaseLost));
                Answer::Count(u64::try_from(refused).unwrap())
            }
            Order::IsAtRest => match self.engine.census().await {
                census if census == Census::default() => Answer::Done,
                census => Answer::Failed(format!("{census:?}")),
            },
        }
    }

    async fn load(&self, key: u64, gate: Option<u64>) -> Answer {
        let (database, gate) = (self.database.clone(), gate.map(|gate| self.gate(gate)));
        let loader = async move || {
            let version = database.load(key).await;
            if let Some(gate) = gate {
                gate.acquire().await.unwrap().forget();
            }
            Ok::<_, super::Never>(version)
        };
        match self.rows.get_or_load(&key, loader).await {
            Ok(row) => Answer::Version(row.map(|row| *row)),
            Err(error) => Answer::Failed(format!("{error:?}")),
        }
    }

    async fn herd(&self, key: u64, callers: u64, load: Duration) -> Answer {
        let mut calling = Vec::new();
        for _ in 0..callers {
            let (rows, database) = (self.rows.clone(), self.database.clone());
            let loader = async move || {
                let version = database.load(key).await;
                tokio::time::sleep(load).await;
                Ok::<_, super::Never>(version)
            };
            calling.push(tokio::spawn(async move {
                *rows.get_or_load(&key, loader).await.unwrap().unwrap()
            }));
        }
        let mut seen = Vec::new();
        for calling in calling {
            seen.push(calling.await.unwrap());
        }
        seen.dedup();
        Answer::Versions(seen)
    }
}

/// Waits until `loads` loads of the row have read it.
pub(crate) async fn until_loads(database: &Database, key: u64, loads: u64) {
    within(Duration::from_secs(20), "the row was read", async || {
        (database.loads(key).await >= loads).then_some(())
    })
    .await;
}
