//! The backend: memory, as if it were at the other end of a network, which is cut now and then.

use std::time::Duration;

use async_trait::async_trait;
use cache_core::{
    Acquire, Backend, Entry, Error, ErrorKind, Event, Extend, Fill, Form, Guarantee, Key, Lease,
    Peek, Recorder, Ttl,
};
use cache_memory::Memory;
use cache_metrics::Stats;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::{
    breaker::Breaker,
    scene::{Scene, Schedule},
};

/// How long an answer is waited for.
const DEADLINE: Duration = Duration::from_millis(80);

/// A layer over memory that takes its time, and does not answer while the schedule says so.
#[derive(Debug)]
pub(crate) struct Distant {
    memory: Memory,
    schedule: Schedule,
    breaker: Mutex<Breaker>,
    stats: Stats,
}

impl Distant {
    pub(crate) fn new(memory: Memory, schedule: Schedule, stats: Stats) -> Self {
        let breaker = Breaker::default();
        stats.record(Event::Breaker(breaker.state()));
        // All fills go through the fence of one store, which forgets nothing that it confirmed.
        stats.record(Event::Guarantee(Guarantee::Strict));
        Self {
            memory,
            schedule,
            breaker: Mutex::new(breaker),
            stats,
        }
    }

    /// The way to the store and back.
    async fn travel(&self) -> Result<(), Error> {
        if !self.change(|breaker, now| breaker.admits(now)) {
            return Err(silent("the breaker is open, as the store did not answer"));
        }
        if self.schedule.scene() == Scene::BackendSilent {
            sleep(DEADLINE).await;
            self.change(Breaker::unanswered);
            return Err(silent("the store did not answer in time"));
        }
        sleep(time_on_the_way()).await;
        self.change(|breaker, _| breaker.answered());
        Ok(())
    }

    /// Changes the breaker, and tells of what that changes.
    fn change<T>(&self, change: impl FnOnce(&mut Breaker, Instant) -> T) -> T {
        // Told under the lock, so that what is told last is how things are.
        let mut breaker = self.breaker.lock();
        let before = breaker.state();
        let answer = change(&mut breaker, Instant::now());
        let after = breaker.state();
        if after != before {
            self.stats.record(Event::Breaker(after));
        }
        answer
    }
}

fn silent(text: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, text)
}

/// A millisecond; one way in fifty takes longer.
fn time_on_the_way() -> Duration {
    let detour = if fastrand::u8(..50) == 0 {
        fastrand::u64(2_000..15_000)
    } else {
        0
    };
    Duration::from_micros(500 + detour)
}

#[async_trait]
impl Backend for Distant {
    fn name(&self) -> &'static str {
        "distant memory"
    }

    fn form(&self) -> Form {
        self.memory.form()
    }

    /// This process does not know what is far away.
    fn peek(&self, _key: &[u8]) -> Peek {
        Peek::Ask
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>, Error> {
        self.travel().await?;
        self.memory.get(key).await
    }

    async fn get_many(&self, keys: &[Key]) -> Vec<Result<Option<Entry>, Error>> {
        match self.travel().await {
            Ok(()) => self.memory.get_many(keys).await,
            Err(error) => keys.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    async fn acquire(&self, key: &Key, hold: Duration) -> Result<Acquire, Error> {
        self.travel().await?;
        self.memory.acquire(key, hold).await
    }

    async fn seize(&self, key: &Key, hold: Duration) -> Result<Lease, Error> {
        self.travel().await?;
        self.memory.seize(key, hold).await
    }

    async fn fill(&self, key: &Key, lease: Lease, entry: Entry, ttl: Ttl) -> Result<Fill, Error> {
        self.travel().await?;
        self.memory.fill(key, lease, entry, ttl).await
    }

    async fn extend(&self, key: &Key, lease: Lease, hold: Duration) -> Result<Extend, Error> {
        self.travel().await?;
        self.memory.extend(key, lease, hold).await
    }

    async fn release(&self, key: &Key, lease: Lease) -> Result<(), Error> {
        self.travel().await?;
        self.memory.release(key, lease).await
    }

    async fn remove(&self, keys: &[Key]) -> Vec<Result<(), Error>> {
        match self.travel().await {
            Ok(()) => self.memory.remove(keys).await,
            Err(error) => keys.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    async fn ping(&self) -> Result<(), Error> {
        self.travel().await?;
        self.memory.ping().await
    }

    async fn clear(&self) -> Result<(), Error> {
        self.travel().await?;
        self.memory.clear().await
    }
}
