//! Readers and writers of a few hot keys, all of whose choices come from a seed.

use std::{io, time::Duration};

use cache_core::{
    Backend, BackendCall, Cache, Engine, Entry, Error, ErrorKind, Invalidation, Lookup, Peek,
    codec::InProcess,
    testing::{Act, Mutant, Script, Scripted},
};
use fastrand::Rng;
use futures_util::future::BoxFuture;
use tokio::{
    task::spawn_local,
    time::{Instant, sleep, timeout},
};

use super::{
    database::{Database, Floor, Removal, Row},
    support::{EVERY_CALL, Stage, assert_empty, on_stage},
};

/// One run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    pub(crate) engines: u64,
    pub(crate) seed: u64,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) operations: usize,
    /// Whether the stores are out now and then. What is queued then is promised to the readers of
    /// the same engine alone, so with several engines only what is done counts.
    pub(crate) outages: bool,
}

/// What a run did and saw.
#[derive(Debug)]
pub(crate) struct Report {
    /// How many operations had ended when it was over.
    pub(crate) operations: usize,
    pub(crate) violations: Vec<String>,
    pub(crate) fills: usize,
    pub(crate) removals: usize,
    /// How many invalidations and puts were queued.
    pub(crate) queued: usize,
}

const KEYS: u64 = 4;
const READERS: u64 = 12;
const WRITERS: u64 = 2;

// Tokio's timer counts in milliseconds: tens of them leave room for many orders of events.

/// The longest delay of a call, and of its answer.
const LAG: Duration = Duration::from_millis(30);
/// What the answers to `acquire` and `fill` take besides.
const SLOW: Duration = Duration::from_millis(40);
/// The longest load.
const LOAD: Duration = Duration::from_millis(40);
/// The longest pause of a reader, and of a writer.
const THINK: Duration = Duration::from_millis(40);
const WRITE_THINK: Duration = Duration::from_millis(120);
/// The hold of leases that run out while loads run.
const SHORT_HOLD: Duration = Duration::from_millis(100);

/// The longest time in which the store is out, or is not.
const OUTAGE: Duration = Duration::from_secs(3);
/// The longest pause between two attempts to deliver what is owed, and the attempt.
const REST: Duration = Duration::from_secs(62);

/// How long anything may take: two loads and two acquire phases take less.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// Runs `workload`.
pub(crate) async fn run(workload: Workload) -> Report {
    // The pauses between two attempts to get a lease come from this thread's generator.
    fastrand::seed(workload.seed);
    on_stage(async |stage| {
        let database = Database::new(workload.engines);
        let scripts: Vec<_> = (0..workload.engines).map(|_| Script::default()).collect();
        let mut processes = Vec::new();
        for (number, script) in (0..).zip(&scripts) {
            let process = Process::new(&stage, script, &workload, &database, number);
            script.lag(process.seed, LAG);
            // Every other process is like one whose store is elsewhere.
            if (workload.seed + number).is_multiple_of(2) {
                script.ask();
            }
            processes.push(process);
        }
        let mut actors = Vec::new();
        for process in &processes {
            if workload.outages {
                let weather = process.actor(READERS + WRITERS);
                actors.push(spawn_local(weather.change_on()));
            }
            for n in 0..READERS + WRITERS {
                let actor = process.actor(n);
                actors.push(spawn_local(async move {
                    if n < READERS {
                        actor.read_on().await;
                    } else {
                        actor.write_on().await;
                    }
                }));
            }
        }
        for actor in actors {
            actor.await.unwrap();
        }
        for process in &processes {
            process.has_come_to_rest().await;
        }
        // Whatever was owed is delivered: what is left can be read by anybody.
        for key in 0..KEYS {
            let text = format!("row:{key}");
            match stage.memory.peek(text.as_bytes()) {
                Peek::Hit(Entry::Absent) => database.check(database.floor(key), None),
                Peek::Hit(Entry::Decoded { value, .. }) => {
                    let row = value.downcast_ref::<Row>().unwrap();
                    database.check(database.floor(key), Some(row));
                }
                Peek::Miss => {}
                peek @ (Peek::Hit(Entry::Encoded(_)) | Peek::Ask) => panic!("{peek:?}"),
            }
        }
        let calls = |call| scripts.iter().map(|script| script.calls(call)).sum();
        Report {
            operations: database.operations(),
            violations: database.violations(),
            fills: calls(BackendCall::Fill),
            removals: calls(BackendCall::Remove),
            queued: database.queued(),
        }
    })
    .await
}

/// One engine, with a cache of the rows.
#[derive(Clone)]
struct Process {
    engine: Engine,
    rows: Cache<u64, Row>,
    database: Database,
    /// Its number among so many.
    number: u64,
    engines: u64,
    seed: u64,
    operations: usize,
    /// Whether the run is over once something old was seen.
    stops_at_once: bool,
    outages: bool,
    /// What the store does besides taking its time.
    weather: Script,
}

impl Process {
    fn new(
        stage: &Stage,
        script: &Script,
        workload: &Workload,
        database: &Database,
        number: u64,
    ) -> Self {
        // Answers to what a load does take even longer: whoever may not join in the meantime
        // has the time to do so.
        let weather = Script::default();
        clear_up(&weather);
        let store = Scripted::new(stage.memory.clone(), script);
        let store = Scripted::new(store, &weather);
        // One shard: where a key belongs is random, and would make runs differ.
        let mut builder = stage.builder(store).shards(1);
        if (workload.seed + number) % 4 == 2 {
            builder = builder.lease_hold(SHORT_HOLD).lease_wait(5 * SHORT_HOLD);
        }
        if let Some(mutant) = workload.mutant {
            builder = builder.mutant(mutant);
        }
        let engine = builder.build().unwrap();
        let hour = Duration::from_secs(3600);
        Self {
            rows: engine
                .cache("row")
                .codec(InProcess)
                .ttl(hour)
                .build()
                .unwrap(),
            engine,
            database: database.clone(),
            number,
            engines: workload.engines,
            seed: workload.seed * 100 + number,
            operations: workload.operations,
            stops_at_once: workload.mutant.is_some(),
            outages: workload.outages,
            weather,
        }
    }

    fn actor(&self, n: u64) -> Actor {
        Actor {
            process: self.clone(),
            rng: Rng::with_seed(self.seed * 1_000 + n),
        }
    }

    async fn has_come_to_rest(&self) {
        // What is owed to a store that only refused removals is tried again each minute.
        sleep(if self.outages { REST } else { ENDS_WITHIN }).await;
        assert_empty(&self.engine).await;
    }
}

/// The store takes its time with what a load does, and that is all.
fn clear_up(weather: &Script) {
    weather.reset();
    for call in [BackendCall::Acquire, BackendCall::Fill] {
        weather.always(call, Act::AnswerLate(SLOW));
    }
}

/// A reader or a writer of one process.
struct Actor {
    process: Process,
    rng: Rng,
}

impl Actor {
    fn is_over(&self) -> bool {
        let database = &self.process.database;
        database.operations() >= self.process.operations
            || (self.process.stops_at_once && database.is_violated())
    }

    /// A moment of up to `longest`.
    fn moment(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.rng.f64())
    }

    fn key(&mut self) -> u64 {
        self.rng.u64(0..KEYS)
    }

    /// A key to write. Each process writes mostly keys of its own, so that the loads of the others
    /// meet a write that their process knows nothing of.
    fn written_key(&mut self) -> u64 {
        let key = self.key();
        let engines = self.process.engines;
        if self.rng.u32(0..10) == 0 {
            return key;
        }
        key - key % engines + self.process.number
    }

    /// Lets the store be out now and then, with some of its methods, until the run is over.
    async fn change_on(mut self) {
        let weather = self.process.weather.clone();
        while !self.is_over() {
            sleep(self.moment(OUTAGE)).await;
            for call in EVERY_CALL {
                let act = match self.rng.u32(0..8) {
                    0 => Act::Fail,
                    1 => Act::FailAfter,
                    2 => Act::Hang,
                    3 => Act::HangAfter,
                    _ => continue,
                };
                weather.always(call, act);
            }
            sleep(self.moment(OUTAGE)).await;
            clear_up(&weather);
        }
    }

    /// Whether an error is one that an outage explains.
    fn is_excused(&self, error: &Error) -> bool {
        let kinds = [ErrorKind::Unavailable, ErrorKind::Overloaded];
        self.process.outages && kinds.contains(&error.kind())
    }

    async fn read_on(mut self) {
        while !self.is_over() {
            match self.rng.u32(0..100) {
                0..75 => self.get_or_load().await,
                75..80 => self.give_up().await,
                80..90 => self.get().await,
                _ => self.get_many().await,
            }
            sleep(self.moment(THINK)).await;
        }
    }

    async fn get_or_load(&mut self) {
        let key = self.key();
        let loader = self.loader(key);
        let floor = self.process.database.floor(key);
        let load = self.process.rows.get_or_load(&key, loader);
        match timeout(ENDS_WITHIN, load).await.unwrap() {
            Ok(row) => self.process.database.check(floor, row.as_deref()),
            Err(error) => {
                let is_loaders = error.kind() == ErrorKind::Loader;
                assert!(is_loaders || self.is_excused(&error), "{error:?}");
                self.process.database.count();
            }
        }
    }

    /// Drops a call while it is under way.
    async fn give_up(&mut self) {
        let key = self.key();
        let loader = self.loader(key);
        let patience = self.moment(2 * LOAD);
        let load = self.process.rows.get_or_load(&key, loader);
        timeout(patience, load).await.ok();
        self.process.database.count();
    }

    async fn get(&mut self) {
        let key = self.key();
        let floor = self.process.database.floor(key);
        let lookup = self.process.rows.get(&key).await;
        self.check(floor, lookup);
    }

    async fn get_many(&mut self) {
        let keys = [self.key(), self.key(), self.key()];
        let floors = keys.map(|key| self.process.database.floor(key));
        let lookups = self.process.rows.get_many(&keys).await;
        for (floor, lookup) in floors.into_iter().zip(lookups) {
            self.check(floor, lookup);
        }
    }

    fn check(&self, floor: Floor, lookup: Result<Lookup<Row>, Error>) {
        let database = &self.process.database;
        match lookup {
            Ok(Lookup::Value(row)) => database.check(floor, Some(&row)),
            Ok(Lookup::Absent) => database.check(floor, None),
            Ok(Lookup::Miss) => database.count(),
            Err(error) => {
                assert!(self.is_excused(&error), "{error:?}");
                database.count();
            }
        }
    }

    /// A loader whose reading of the row lies in the middle of the time it takes; it fails
    /// sometimes.
    fn loader(
        &mut self,
        key: u64,
    ) -> impl FnOnce() -> BoxFuture<'static, Result<Option<Row>, io::Error>> + Send + 'static + use<>
    {
        let half = self.moment(LOAD) / 2;
        let fails = self.rng.u32(0..20) == 0;
        let database = self.process.database.clone();
        move || {
            Box::pin(async move {
                sleep(half).await;
                let row = database.read(key);
                sleep(half).await;
                if fails {
                    return Err(io::ErrorKind::Other.into());
                }
                Ok(row)
            })
        }
    }

    async fn write_on(mut self) {
        while !self.is_over() {
            let key = self.written_key();
            match self.rng.u32(0..100) {
                0..75 => self.invalidate(key).await,
                75..80 => self.hang_up(key).await,
                80..97 => self.put(key).await,
                _ => self.clear().await,
            }
            self.process.database.count();
            sleep(self.moment(WRITE_THINK)).await;
        }
    }

    async fn invalidate(&mut self, key: u64) {
        let database = &self.process.database;
        let version = database.commit(key, false);
        let called = Instant::now();
        let invalidation = self.process.rows.invalidate(&key).await;
        if self.process.outages && invalidation == Invalidation::Queued {
            database.count_queued();
            // For the readers of this engine it is as good as what is done; others are not told.
            if !database.is_of_one_engine() {
                return;
            }
        } else {
            assert_eq!(invalidation, Invalidation::Done);
        }
        database.removed(key, Removal { version, called });
    }

    /// Drops an invalidation while it is under way: when it takes effect is not known.
    async fn hang_up(&mut self, key: u64) {
        self.process.database.commit(key, false);
        let patience = self.moment(LAG);
        timeout(patience, self.process.rows.invalidate(&key))
            .await
            .ok();
    }

    async fn put(&mut self, key: u64) {
        let database = &self.process.database;
        let version = database.commit(key, true);
        let called = Instant::now();
        let put = database.put_called();
        let row = Row {
            key,
            version,
            put: Some(put),
        };
        match self.process.rows.put(&key, row).await {
            Ok(_) => {}
            Err(error) => assert!(self.is_excused(&error), "{error:?}"),
        }
        database.put_returned(put);
        if database.is_of_one_engine() {
            database.removed(key, Removal { version, called });
        }
    }

    async fn clear(&mut self) {
        let database = &self.process.database;
        let called = Instant::now();
        let versions: Vec<_> = (0..KEYS).map(|key| (key, database.version(key))).collect();
        if let Err(error) = self.process.engine.clear().await {
            assert!(self.is_excused(&error), "{error:?}");
            return;
        }
        for (key, version) in versions {
            database.removed(key, Removal { version, called });
        }
    }
}
