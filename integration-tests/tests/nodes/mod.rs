//! What the tests of the fence share: engines on one server or one cluster, behind proxies.
#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "what is not expected is treated alike"
)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

pub(crate) mod database;
pub(crate) mod place;
pub(crate) mod process;

use std::{io, sync::Arc, time::Duration};

use cache_core::{
    Cache, CacheRecorder, Census, Engine, Event, Lookup, Recorder,
    testing::{self, Script, Scripted},
};
use cache_redis::Redis;
use integration_tests::{Server, eventually};
use parking_lot::Mutex;

use self::place::{Address, Place, Way};

pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

/// The longest delay that a proxy draws for a reply.
pub(crate) const LAG: Duration = Duration::from_millis(3);

/// How long a step that a test holds up may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(8);

/// The rules that are switched off.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Broken {
    pub(crate) core: Option<testing::Mutant>,
    pub(crate) redis: Option<cache_redis::Mutant>,
}

impl From<testing::Mutant> for Broken {
    fn from(core: testing::Mutant) -> Self {
        let core = Some(core);
        Self { core, redis: None }
    }
}

impl From<cache_redis::Mutant> for Broken {
    fn from(redis: cache_redis::Mutant) -> Self {
        let redis = Some(redis);
        Self { core: None, redis }
    }
}

/// Connects to a place that a test may hold up for as long as [`PATIENCE`].
pub(crate) async fn connect(address: &Address, broken: Broken) -> Redis {
    let mut builder = address
        .builder()
        .connect_timeout(PATIENCE)
        .read_timeout(PATIENCE)
        .write_timeout(PATIENCE);
    if let Some(mutant) = broken.redis {
        builder = builder.mutant(mutant);
    }
    builder.connect().await.unwrap()
}

/// An engine with a cache of rows that are their versions. Like a process of its own: it shares
/// nothing with others but the place.
pub(crate) struct Node {
    pub(crate) way: Way,
    pub(crate) redis: Redis,
    pub(crate) script: Script,
    pub(crate) engine: Engine,
    pub(crate) rows: Cache<u64, u64>,
    pub(crate) events: Events,
}

impl Node {
    pub(crate) async fn new(place: &Place, seed: u64, broken: Broken, hold: Duration) -> Self {
        let way = place.way(seed).await;
        let redis = connect(&way.address(), broken).await;
        let (script, events) = (Script::default(), Events::default());
        let mut builder = Engine::builder(Scripted::new(redis.clone(), &script))
            .backend_deadline(PATIENCE + LAG)
            .lease_hold(hold)
            .lease_wait(hold + PATIENCE)
            .recorder(events.clone());
        if let Some(mutant) = broken.core {
            builder = builder.mutant(mutant);
        }
        let engine = builder.build().unwrap();
        let rows = engine.cache("row").ttl(DAY).build().unwrap();
        Self {
            way,
            redis,
            script,
            engine,
            rows,
            events,
        }
    }

    pub(crate) async fn comes_to_rest(&self) {
        eventually("nothing is left behind", async || {
            (self.engine.census().await == Census::default()).then_some(())
        })
        .await;
    }
}

/// What a lookup of a version found.
pub(crate) fn found(lookup: &Lookup<u64>) -> Option<u64> {
    match lookup {
        Lookup::Value(version) => Some(**version),
        Lookup::Absent | Lookup::Miss => None,
    }
}

/// What loaders fail with.
pub(crate) type Never = io::Error;

/// Keeps every event. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<Event>>>);

impl Events {
    pub(crate) fn count(&self, is_meant: impl Fn(&Event) -> bool) -> usize {
        self.0.lock().iter().filter(|event| is_meant(event)).count()
    }
}

impl Recorder for Events {
    fn cache(&self, _name: &str) -> Arc<dyn CacheRecorder> {
        Arc::new(self.clone())
    }

    fn record(&self, event: Event) {
        self.0.lock().push(event);
    }
}

impl CacheRecorder for Events {
    fn record(&self, event: Event) {
        self.0.lock().push(event);
    }
}

/// How often the server has run `command` since it started.
pub(crate) async fn calls(server: &Server, command: &str) -> u64 {
    let stats: String = server.query(&["INFO", "commandstats"]).await;
    let prefix = format!("cmdstat_{command}:calls=");
    let line = stats.lines().find_map(|line| line.strip_prefix(&prefix));
    line.and_then(|rest| rest.split(',').next())
        .map_or(0, |calls| calls.parse().unwrap())
}

/// The text of the row's key, and of its lease's.
pub(crate) fn keys(key: u64) -> (String, String) {
    (format!("row:{key}"), format!("{{row:{key}}}~l"))
}
