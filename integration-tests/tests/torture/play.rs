//! Readers and writers of a few hot keys in one process, all of whose choices come from a seed.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cache_core::{Cache, Engine, Invalidation, Lookup};
use fastrand::Rng;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

use super::{
    history::{Event, Row, What, is_there},
    nodes::database::Database,
};

/// What one process is to do.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Workload {
    /// Its number: no two have the same.
    pub(crate) process: u64,
    pub(crate) seed: u64,
    pub(crate) operations: u64,
    /// The first of the keys.
    pub(crate) keys: u64,
    /// The longest load.
    pub(crate) load: Duration,
}

pub(crate) const KEYS: u64 = 4;
const READERS: u64 = 12;
const WRITERS: u64 = 2;

/// The longest load of most runs, and the longest pauses of readers and of writers.
pub(crate) const LOAD: Duration = Duration::from_millis(4);
const THINK: Duration = Duration::from_millis(4);
const WRITE_THINK: Duration = Duration::from_millis(12);

/// How long anything may take.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// A process that plays.
#[derive(Clone)]
pub(crate) struct Player {
    pub(crate) engine: Engine,
    pub(crate) rows: Cache<u64, u64>,
    pub(crate) database: Database,
}

/// Does what the workload says; what happened.
pub(crate) async fn play(player: Player, workload: Workload) -> Vec<Event> {
    let run = Arc::new(Run {
        player,
        workload,
        operations: AtomicU64::new(0),
        puts: AtomicU64::new(workload.process << 20),
        events: Mutex::default(),
    });
    let mut actors = Vec::new();
    for n in 0..READERS + WRITERS {
        let seed = (workload.seed * 100 + workload.process) * 100 + n;
        let mut actor = Actor {
            run: Arc::clone(&run),
            rng: Rng::with_seed(seed),
        };
        actors.push(tokio::spawn(async move {
            while actor.run.operations.load(Ordering::Relaxed) < workload.operations {
                if n < READERS {
                    actor.read().await;
                    sleep(actor.moment(THINK)).await;
                } else {
                    actor.write().await;
                    sleep(actor.moment(WRITE_THINK)).await;
                }
            }
        }));
    }
    for actor in actors {
        actor.await.unwrap();
    }
    std::mem::take(&mut *run.events.lock())
}

struct Run {
    player: Player,
    workload: Workload,
    operations: AtomicU64,
    puts: AtomicU64,
    events: Mutex<Vec<Event>>,
}

/// A reader or a writer.
struct Actor {
    run: Arc<Run>,
    rng: Rng,
}

impl Actor {
    fn moment(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.rng.f64())
    }

    fn key(&mut self) -> u64 {
        self.run.workload.keys + self.rng.u64(0..KEYS)
    }

    /// A key to write. Each process writes mostly keys of its own, so that the loads of the others
    /// meet a write that their process knows nothing of.
    fn written_key(&mut self) -> u64 {
        let key = self.key();
        if self.rng.u32(0..10) == 0 {
            return key;
        }
        key - key % 2 + self.run.workload.process % 2
    }

    async fn now(&self) -> u64 {
        self.run.player.database.now().await
    }

    fn note(&self, what: What, key: u64, began: u64, ended: u64) {
        let event = Event {
            what,
            key,
            began,
            ended,
        };
        self.run.events.lock().push(event);
    }

    /// Notes what a call was answered.
    async fn ended(&self, what: What, key: u64, began: u64) {
        let ended = self.now().await;
        self.note(what, key, began, ended);
        self.run.operations.fetch_add(1, Ordering::Relaxed);
    }

    async fn read(&mut self) {
        let (key, rows) = (self.key(), self.run.player.rows.clone());
        match self.rng.u32(0..100) {
            0..75 => {
                let loader = self.loader(key);
                let began = self.now().await;
                let row = timeout(ENDS_WITHIN, rows.get_or_load(&key, loader)).await;
                let what = match row.expect("every call ends") {
                    Ok(row) => What::Read(row.map(|row| Row::unpacked(*row))),
                    Err(_) => What::Nothing,
                };
                self.ended(what, key, began).await;
            }
            75..80 => {
                let loader = self.loader(key);
                let patience = self.moment(2 * LOAD);
                timeout(patience, rows.get_or_load(&key, loader)).await.ok();
                self.ended(What::Nothing, key, 0).await;
            }
            80..90 => {
                let began = self.now().await;
                let lookup = timeout(ENDS_WITHIN, rows.get(&key)).await;
                let what = seen(lookup.expect("every call ends").ok().as_ref());
                self.ended(what, key, began).await;
            }
            _ => {
                let keys = [key, self.key(), key];
                let began = self.now().await;
                let lookups = timeout(ENDS_WITHIN, rows.get_many(&keys)).await;
                let ended = self.now().await;
                for (key, lookup) in keys.into_iter().zip(lookups.expect("every call ends")) {
                    self.note(seen(lookup.ok().as_ref()), key, began, ended);
                }
                self.run.operations.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// A loader whose reading of the row lies in the middle of the time it takes; it fails
    /// sometimes.
    fn loader(
        &mut self,
        key: u64,
    ) -> impl FnOnce() -> BoxFuture<'static, Result<Option<u64>, io::Error>> + Send + 'static + use<>
    {
        let half = self.moment(self.run.workload.load) / 2;
        let fails = self.rng.u32(0..20) == 0;
        let database = self.run.player.database.clone();
        move || {
            Box::pin(async move {
                sleep(half).await;
                let version = database.version(key).await;
                sleep(half).await;
                if fails {
                    return Err(io::ErrorKind::Other.into());
                }
                Ok(is_there(version).then(|| Row { version, put: 0 }.packed()))
            })
        }
    }

    async fn commit(&self, key: u64) -> u64 {
        let began = self.now().await;
        let version = self.run.player.database.commit(key).await;
        self.note(What::Committed(version), key, began, began);
        version
    }

    async fn write(&mut self) {
        let key = self.written_key();
        match self.rng.u32(0..100) {
            0..78 => self.invalidate(key).await,
            78..82 => self.hang_up(key).await,
            82..98 => self.put(key).await,
            _ => self.clear().await,
        }
    }

    async fn invalidate(&self, key: u64) {
        let version = self.commit(key).await;
        let began = self.now().await;
        let invalidation = timeout(ENDS_WITHIN, self.run.player.rows.invalidate(&key)).await;
        let what = match invalidation.expect("every call ends") {
            Invalidation::Done => What::Removed(version),
            _ => What::Nothing,
        };
        self.ended(what, key, began).await;
    }

    /// Drops an invalidation while it is under way: when it takes effect is not known.
    async fn hang_up(&mut self, key: u64) {
        self.commit(key).await;
        let patience = self.moment(LOAD);
        let invalidate = self.run.player.rows.invalidate(&key);
        timeout(patience, invalidate).await.ok();
        self.ended(What::Nothing, key, 0).await;
    }

    async fn put(&self, key: u64) {
        let mut version = self.commit(key).await;
        while !is_there(version) {
            version = self.commit(key).await;
        }
        let put = self.run.puts.fetch_add(1, Ordering::Relaxed) + 1;
        let row = Row { version, put }.packed();
        let began = self.now().await;
        let stored = timeout(ENDS_WITHIN, self.run.player.rows.put(&key, row)).await;
        // Stored or not, it has ended.
        stored.expect("every call ends").ok();
        self.ended(What::Put(put), key, began).await;
    }

    async fn clear(&self) {
        let keys = self.run.workload.keys..self.run.workload.keys + KEYS;
        let mut versions = Vec::new();
        for key in keys {
            versions.push((key, self.run.player.database.version(key).await));
        }
        let began = self.now().await;
        let cleared = timeout(ENDS_WITHIN, self.run.player.engine.clear()).await;
        if cleared.expect("every call ends").is_ok() {
            let ended = self.now().await;
            for (key, version) in versions {
                self.note(What::Removed(version), key, began, ended);
            }
        }
        self.run.operations.fetch_add(1, Ordering::Relaxed);
    }
}

fn seen(lookup: Option<&Lookup<u64>>) -> What {
    match lookup {
        Some(Lookup::Value(row)) => What::Read(Some(Row::unpacked(**row))),
        Some(Lookup::Absent) => What::Read(None),
        Some(Lookup::Miss) | None => What::Nothing,
    }
}
