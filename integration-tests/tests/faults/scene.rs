//! An engine on a place, with keys in the states in which a fault finds them.

use std::{
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use cache_core::{
    Backend, Cache, Census, Engine, Error, ErrorKind, Invalidation, Key, Lookup, Put,
};
use cache_redis::Redis;
use integration_tests::{eventually, within};
use tokio::{
    sync::{Semaphore, oneshot},
    task::{JoinHandle, LocalSet},
    time::timeout,
};

use super::{
    nodes::Broken,
    place::Servers,
    support::{exists, key, lease_key, users},
    table::{Cached, Expected, Fault, Invalidated, Load, Operation, Place, Read, Written},
};

/// What was cached, or loaded, before the fault.
const OLD: &str = "old";
/// What loads find from then on.
const NEW: &str = "new";
/// What is put.
const PUT: &str = "put";

/// Keys on the server that the fault is of.
#[derive(Clone, Copy, Debug)]
struct Keys {
    /// Cached, and nothing but read.
    read: u64,
    /// Not cached.
    load: u64,
    /// Cached, and invalidated during the fault.
    invalidate: u64,
    /// Cached, and put during the fault.
    put: u64,
    /// Being loaded when the fault begins, and invalidated during it.
    under_way: u64,
}

impl Keys {
    fn all(self) -> [u64; 5] {
        let Self {
            read,
            load,
            invalidate,
            put,
            under_way,
        } = self;
        [read, load, invalidate, put, under_way]
    }
}

/// A load that began before the fault, and ends when the gate is opened.
struct UnderWay {
    gate: Arc<Semaphore>,
    caller: JoinHandle<Result<String, Error>>,
}

/// What a cell is played with.
pub(crate) struct Scene {
    place: Place,
    fault: Fault,
    servers: Servers,
    redis: Redis,
    engine: Engine,
    users: Cache<u64, String>,
    /// Of another process.
    other: Cache<u64, String>,
    keys: Keys,
    /// Cached by a server that the fault is not of.
    bystander: Option<u64>,
    loads: Arc<AtomicUsize>,
}

impl Scene {
    /// Where `local` is given, all runs on its thread.
    pub(crate) async fn new(
        place: Place,
        fault: Fault,
        broken: Broken,
        local: Option<&LocalSet>,
    ) -> Self {
        let servers = Servers::start(place, fault).await;
        let mut client = servers.client();
        if let Some(mutant) = broken.redis {
            client = client.mutant(mutant);
        }
        let redis = client.connect().await.unwrap();
        let mut builder = Engine::builder(redis.clone());
        if let Some(mutant) = broken.core {
            builder = builder.mutant(mutant);
        }
        let mut others = Engine::builder(servers.other_client().connect().await.unwrap());
        if let Some(local) = local {
            builder = builder.on_local_set(local);
            others = others.on_local_set(local);
        }
        let engine = builder.build().unwrap();
        let users_here = users(&engine);
        let (keys, bystander) = choose(&users_here, &servers).await;
        let scene = Self {
            place,
            fault,
            other: users(&others.build().unwrap()),
            users: users_here,
            servers,
            redis,
            engine,
            keys,
            bystander,
            loads: Arc::default(),
        };
        scene.until_copied().await;
        scene
    }

    /// A replica has what its primary has.
    async fn until_copied(&self) {
        let Some(replica) = self.servers.replica(self.fault).await else {
            return;
        };
        eventually("the replica is as its primary", async || {
            let here: u64 = self.servers.victim().query(&["DBSIZE"]).await;
            let there: u64 = replica.query(&["DBSIZE"]).await;
            (here == there).then_some(())
        })
        .await;
    }

    /// Lets the fault happen, and holds what is seen of it to what is expected.
    pub(crate) async fn play(&self, expected: Expected) {
        let under_way = self.begin_load().await;
        let keys = self.keys.all().map(key);
        self.servers.begin(self.fault, &keys[..4]).await;
        if self.fault == Fault::Restarted {
            self.until_connected().await;
        }
        if self.fault == Fault::PasswordChanged {
            let read = self.timed(Operation::Read, self.read(self.keys.read)).await;
            assert_eq!(read, Read::Hit, "by a connection that is open");
            self.servers.hang_up().await;
        }
        self.during(expected).await;
        self.others_are_served().await;
        self.servers.end(self.fault).await;
        self.after(expected, under_way).await;
    }

    async fn begin_load(&self) -> UnderWay {
        let gate = Arc::new(Semaphore::new(0));
        let (begins, has_begun) = oneshot::channel();
        let (users, id) = (self.users.clone(), self.keys.under_way);
        let load = {
            let gate = Arc::clone(&gate);
            move || async move {
                begins.send(()).ok();
                drop(gate.acquire().await);
                Ok::<_, io::Error>(OLD.to_owned())
            }
        };
        let caller = tokio::spawn(async move {
            let found = users.get_or_load(&id, load).await?;
            Ok(found.unwrap().to_string())
        });
        self.timed(Operation::Load, has_begun).await.unwrap();
        let has_lease = exists(self.servers.victim(), &lease_key(id)).await;
        assert!(has_lease, "it could be stored");
        UnderWay { gate, caller }
    }

    async fn until_connected(&self) {
        let key = Key::new(key(self.keys.read).as_bytes());
        within(
            self.place.well_again(),
            "it is connected again",
            async || self.redis.get(&key).await.ok(),
        )
        .await;
    }

    /// The four operations: the first that fails finds out, and may wait for its deadline.
    async fn during(&self, expected: Expected) {
        for operation in self.place.order() {
            self.does(operation, expected).await;
        }
        if expected.load == Load::Stored {
            self.is_hit(self.keys.load, NEW).await;
        }
        if expected.put == Written::Stored {
            self.is_hit(self.keys.put, PUT).await;
        }
        self.nothing_old_is_read(expected).await;
    }

    async fn does(&self, operation: Operation, expected: Expected) {
        match operation {
            Operation::Read => {
                let read = self.timed(operation, self.read(self.keys.read)).await;
                assert_eq!(read, expected.read, "read of a cached key");
            }
            Operation::Load => {
                let load = self.timed(operation, self.load(self.keys.load)).await;
                assert_eq!(
                    load,
                    (NEW.to_owned(), 1),
                    "load of a key that is not cached"
                );
            }
            Operation::Invalidate => {
                for id in [self.keys.invalidate, self.keys.under_way] {
                    let invalidated = self.timed(operation, self.invalidate(id)).await;
                    assert_eq!(invalidated, expected.invalidate, "invalidation");
                }
            }
            Operation::Put => {
                let put = self.timed(operation, self.put(self.keys.put)).await;
                assert_eq!(put, expected.put, "put over a cached key");
            }
        }
    }

    /// What is old is not read: neither from what is stored, nor from a load that is too old.
    async fn nothing_old_is_read(&self, expected: Expected) {
        for id in self.overtaken(expected) {
            let found = self.timed(Operation::Read, self.users.get(&id)).await;
            let found = found.ok().as_ref().and_then(value);
            assert_ne!(found.as_deref(), Some(OLD), "`get` after an invalidation");
            let (found, _) = self.timed(Operation::Load, self.load(id)).await;
            assert_ne!(found, OLD, "`get_or_load` after an invalidation");
        }
    }

    /// The keys whose old values nobody may read any more.
    fn overtaken(&self, expected: Expected) -> Vec<u64> {
        let Keys {
            invalidate,
            put,
            under_way,
            ..
        } = self.keys;
        match expected.put {
            Written::Stored => vec![invalidate, under_way],
            Written::Failed(_) => vec![invalidate, under_way, put],
        }
    }

    /// Who has nothing to do with the fault sees nothing of it.
    async fn others_are_served(&self) {
        if let Some(id) = self.bystander {
            let read = self.timed(Operation::Read, self.read(id)).await;
            assert_eq!(read, Read::Hit, "a key of another server");
        }
        if self.fault.is_of_the_client() && self.place == Place::Node {
            let found = self.other.get(&self.keys.read).await.unwrap();
            assert_eq!(value(&found).as_deref(), Some(OLD), "another process");
        }
    }

    async fn after(&self, expected: Expected, under_way: UnderWay) {
        if expected.load == Load::NotStored {
            let is_stored = self.servers.has(&key(self.keys.load)).await;
            assert!(!is_stored, "the load was not to be stored");
        }
        under_way.gate.close();
        let early = under_way.caller.await.unwrap();
        let early = early.map_err(|error| error.kind());
        let answer = if self.fault == Fault::ClockJump {
            // The time of a load is over, by that clock.
            Err(ErrorKind::LoadTimeout)
        } else {
            Ok(OLD.to_owned())
        };
        assert_eq!(early, answer, "who waits since before the fault");

        let limit = self.place.well_again();
        within(limit, "the removals are delivered", async || {
            self.nothing_old_is_read(expected).await;
            (self.engine.census().await.owed == 0).then_some(())
        })
        .await;
        for id in self.overtaken(expected) {
            let found = self.other.get(&id).await.ok().as_ref().and_then(value);
            assert_ne!(found.as_deref(), Some(OLD), "read by another process");
        }
        let first = within(limit, "a read is answered", async || {
            let read = self.timed(Operation::Read, self.read(self.keys.read)).await;
            (!matches!(read, Read::Failed(_))).then_some(read)
        })
        .await;
        let cached = match expected.cached {
            Cached::Kept => Read::Hit,
            Cached::Gone => Read::Miss,
        };
        assert_eq!(first, cached, "what was cached before the fault");
        for id in self.keys.all() {
            within(limit, "it is answered by hits", async || {
                self.load(id).await;
                (self.load(id).await.1 == 0).then_some(())
            })
            .await;
        }
        self.nothing_old_is_read(expected).await;
        within(limit, "nothing is left behind", async || {
            (self.engine.census().await == Census::default()).then_some(())
        })
        .await;
    }

    async fn is_hit(&self, id: u64, expected: &str) {
        let what = format!("{expected:?} is stored");
        eventually(&what, async || {
            let found = self.users.get(&id).await.ok()?;
            (value(&found)? == expected).then_some(())
        })
        .await;
    }

    async fn read(&self, id: u64) -> Read {
        match self.users.get(&id).await {
            Ok(Lookup::Value(_)) => Read::Hit,
            Ok(Lookup::Miss | Lookup::Absent) => Read::Miss,
            Err(error) => Read::Failed(error.kind()),
        }
    }

    /// What is answered, and how many loads it took.
    async fn load(&self, id: u64) -> (String, usize) {
        let before = self.loads.load(Ordering::SeqCst);
        let loads = Arc::clone(&self.loads);
        let load = move || async move {
            loads.fetch_add(1, Ordering::SeqCst);
            Ok::<_, io::Error>(NEW.to_owned())
        };
        let found = self.users.get_or_load(&id, load).await.unwrap();
        let loads = self.loads.load(Ordering::SeqCst) - before;
        (found.unwrap().to_string(), loads)
    }

    async fn invalidate(&self, id: u64) -> Invalidated {
        match self.users.invalidate(&id).await {
            Invalidation::Done => Invalidated::Done,
            Invalidation::Queued => Invalidated::Queued,
            other => panic!("{other:?}"),
        }
    }

    async fn put(&self, id: u64) -> Written {
        match self.users.put(&id, PUT.to_owned()).await {
            Ok(Put::Stored) => Written::Stored,
            Ok(other) => panic!("nobody else writes: {other:?}"),
            Err(error) => Written::Failed(error.kind()),
        }
    }

    async fn timed<T>(&self, operation: Operation, call: impl Future<Output = T>) -> T {
        let limit = operation.ceiling();
        timeout(limit, call).await.unwrap_or_else(|_| {
            panic!("{operation:?} hangs: no answer within {limit:?}");
        })
    }
}

fn value(found: &Lookup<String>) -> Option<String> {
    match found {
        Lookup::Value(value) => Some(value.to_string()),
        Lookup::Absent | Lookup::Miss => None,
    }
}

/// Caches values until there are enough on the victim, and one elsewhere if there is an elsewhere.
async fn choose(users: &Cache<u64, String>, servers: &Servers) -> (Keys, Option<u64>) {
    let (mut ids, mut bystander) = (Vec::new(), None);
    for id in 0..1_000 {
        if ids.len() >= 5 && (bystander.is_some() || !servers.has_others()) {
            break;
        }
        let load = || async { Ok::<_, io::Error>(OLD.to_owned()) };
        users.get_or_load(&id, load).await.unwrap();
        if servers.is_on_victim(&key(id)).await {
            ids.push(id);
        } else {
            bystander = Some(id);
        }
    }
    let [read, load, invalidate, put, under_way, ..] = ids[..] else {
        panic!("the victim has no keys: {ids:?}");
    };
    for id in [load, under_way] {
        servers.victim().cmd(&["DEL", &key(id)]).await;
    }
    let keys = Keys {
        read,
        load,
        invalidate,
        put,
        under_way,
    };
    (keys, bystander)
}
