//! What the tests of `Redis` on a real server share.
#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

use std::{
    error::Error as StdError,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cache_core::{Cache, CacheRecorder, Engine, Error, Event, Recorder};
use cache_redis::Redis;
use integration_tests::{Builder, Request, Server, eventually};
use tokio::time::timeout;

/// What tells an answer from a call that hangs.
pub(crate) const CEILING: Duration = Duration::from_secs(8);

/// A server of the test's own, near at hand.
pub(crate) fn owned() -> Builder {
    Server::builder().owned().prefer_process()
}

/// A backend at `url`, on one lane: what is counted does not depend on the machine.
pub(crate) async fn connect(url: &str) -> Redis {
    let builder = Redis::builder().url(url).lanes(1);
    builder.connect().await.unwrap()
}

/// An engine with the defaults.
pub(crate) fn engine(redis: &Redis) -> Engine {
    Engine::builder(redis.clone()).build().unwrap()
}

/// A cache of `engine` with strings under numbers, for an hour.
pub(crate) fn users(engine: &Engine) -> Cache<u64, String> {
    let builder = engine.cache("user").ttl(Duration::from_secs(3600));
    builder.jitter(0.0).build().unwrap()
}

/// A cache of strings at `url`.
pub(crate) async fn users_at(url: &str) -> Cache<u64, String> {
    users(&engine(&connect(url).await))
}

/// The key in Redis of a user, and that of its lease.
pub(crate) fn key(id: u64) -> String {
    format!("user:{id}")
}
pub(crate) fn lease_key(id: u64) -> String {
    format!("{{user:{id}}}~l")
}

/// Counts loads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loads(Arc<AtomicUsize>);

impl Loads {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Asks for a user, by a loader that counts and answers `value`. A call that hangs fails.
    pub(crate) async fn ask(
        &self,
        users: &Cache<u64, String>,
        id: u64,
        value: &str,
    ) -> Result<String, Error> {
        let loads = Arc::clone(&self.0);
        let value = value.to_owned();
        let asked = users.get_or_load(&id, move || async move {
            loads.fetch_add(1, Ordering::SeqCst);
            Ok::<_, io::Error>(value)
        });
        let answer = timeout(CEILING, asked).await.expect("the call hangs");
        answer.map(|user| user.expect("the loader knows it").to_string())
    }

    /// As [`ask`](Self::ask), and it is answered.
    pub(crate) async fn get(&self, users: &Cache<u64, String>, id: u64, value: &str) -> String {
        self.ask(users, id, value).await.unwrap()
    }
}

/// Keeps what it is told. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<Event>>>);

impl Events {
    pub(crate) fn all(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn has(&self, event: Event) -> bool {
        self.all().contains(&event)
    }

    pub(crate) async fn until(&self, event: Event) {
        eventually(&format!("{event:?} is told"), async || {
            self.has(event).then_some(())
        })
        .await;
    }
}

impl Recorder for Events {
    fn cache(&self, _name: &str) -> Arc<dyn CacheRecorder> {
        Arc::new(self.clone())
    }

    fn record(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl CacheRecorder for Events {
    fn record(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

/// A user with all rights, to tell its connections from those of the test.
pub(crate) const APP: &str = "app on >secret ~* &* +@all";

/// The numbers of the connections of the user `app`.
pub(crate) async fn connections(server: &Server) -> Vec<u64> {
    let list: String = server.query(&["CLIENT", "LIST"]).await;
    let of_app = list.lines().filter(|line| line.contains(" user=app "));
    let id = |line: &str| {
        let id = line.split(' ').find_map(|word| word.strip_prefix("id="));
        id.unwrap().parse().unwrap()
    };
    of_app.map(id).collect()
}

/// Waits until the user `app` has `count` connections, and returns their numbers.
pub(crate) async fn until_connections(server: &Server, count: usize) -> Vec<u64> {
    eventually(&format!("{count} connections"), async || {
        let open = connections(server).await;
        (open.len() == count).then_some(open)
    })
    .await
}

/// A replica that acknowledges what `primary` writes: one that has just synchronized may be sent the
/// first of it a second later.
pub(crate) async fn replica_of(primary: &Server) -> Server {
    let replica = owned().start_replica_of(primary).await;
    primary.cmd(&["SET", "first", "1"]).await;
    eventually("the replica has the first write", async || {
        exists(&replica, "first").await.then_some(())
    })
    .await;
    replica
}

/// How many of `requests` are commands of that name.
pub(crate) fn sent(requests: &[Request], name: &str) -> usize {
    requests.iter().filter(|request| request.is(name)).count()
}

/// Whether a key exists.
pub(crate) async fn exists(server: &Server, key: &str) -> bool {
    server.query(&["EXISTS", key]).await
}

/// All that an error says, with all that it stands on, as people and as logs show it.
pub(crate) fn shown(error: &(dyn StdError + 'static)) -> String {
    let mut shown = format!("{error} | {error:?}");
    let mut source = error.source();
    while let Some(cause) = source {
        shown += &format!(" | {cause} | {cause:?}");
        source = cause.source();
    }
    shown
}
