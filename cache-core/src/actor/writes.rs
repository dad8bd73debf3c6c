//! Puts, invalidations and clears: detached, so that they take effect whoever hangs up.

use std::{future::Future, sync::Arc, time::Duration};

use actix::Addr;
use futures_util::future::join_all;
use tokio::{
    runtime::Handle,
    sync::oneshot,
    time::{Instant, timeout},
};

use super::{
    Filling, Shards,
    discard::discard_entry,
    outbox,
    shard::{BeginPut, Doom, DoomAll, EndPut, IsPutGood, Shard},
    shards::ended,
};
use crate::{
    BackendCall, Error, ErrorKind, Event, Fill, Invalidation, Key, Lease, engine::Core,
    flight::PutId, observer::Observer,
};

/// Runs `task` on the thread of the shard with this index. `None` if that thread has ended.
async fn detached<T: Send + 'static>(
    shards: &Shards,
    index: usize,
    task: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let (done, result) = oneshot::channel();
    let busy = shards.core().busy();
    #[cfg(feature = "testing")]
    shards.core().count_message();
    shards.thread(index).spawn(async move {
        let result = task.await;
        drop(busy);
        done.send(result).ok();
    });
    result.await.ok()
}

/// Waits for `end` for at most `deadline`, by the clock of the shards' threads.
pub(crate) async fn wait(
    shards: &Shards,
    deadline: Duration,
    end: impl Future<Output = ()> + Send + 'static,
) {
    let (done, result) = oneshot::channel::<()>();
    shards.thread(0).spawn(async move {
        timeout(deadline, end).await.ok();
        drop(done);
    });
    result.await.ok();
}

/// Dooms what runs on `keys`, then removes them.
pub(crate) async fn invalidate(shards: &Shards, keys: Vec<Key>) -> Invalidation {
    let Some(first) = keys.first() else {
        return Invalidation::Done;
    };
    let index = shards.index_of(first);
    let core = Arc::clone(shards.core());
    let dooms = dooms(shards, &keys);
    let removed = keys.clone();
    let task = async move {
        let dooms = dooms.into_iter();
        // A dead shard has no flights.
        join_all(dooms.map(|(shard, keys)| shard.send(Doom { keys }))).await;
        outbox::remove(&core, removed).await
    };
    match detached(shards, index, task).await {
        Some(invalidation) => invalidation,
        // No thread, no flights: what is left is the store.
        None => outbox::remove_once(shards.core(), keys).await,
    }
}

/// The shards of `keys` that have been started, each with its keys.
fn dooms(shards: &Shards, keys: &[Key]) -> Vec<(Arc<Addr<Shard>>, Vec<Key>)> {
    let mut by_shard: Vec<(usize, Vec<Key>)> = Vec::new();
    for key in keys {
        let index = shards.index_of(key);
        match by_shard.iter_mut().find(|(other, _)| *other == index) {
            Some((_, keys)) => keys.push(key.clone()),
            None => by_shard.push((index, vec![key.clone()])),
        }
    }
    let started = |(index, keys)| Some((shards.started(index)?, keys));
    by_shard.into_iter().filter_map(started).collect()
}

/// Dooms everything that runs, then clears the store.
pub(crate) async fn clear(shards: &Shards) -> Result<(), Error> {
    let core = Arc::clone(shards.core());
    let started: Vec<_> = shards.all_started().collect();
    let task = async move {
        join_all(started.iter().map(|shard| shard.send(DoomAll {}))).await;
        let ticket = core.outbox.ticket();
        let clear = core.backend.clear();
        let cleared = core.call(BackendCall::Clear, &core.observer, clear).await;
        if cleared.is_ok() {
            core.outbox.settle_all(ticket);
        }
        cleared
    };
    detached(shards, 0, task)
        .await
        .unwrap_or_else(|| Err(ended()))
}

/// Writes through: takes the lease of `key` from whoever has it, and fills under it.
///
/// Without a `filling`, because the value could not be encoded, the key is only removed. The
/// write deadline counts from when the user `called`.
pub(crate) async fn put(
    shards: &Shards,
    key: Key,
    filling: Result<Filling, Error>,
    called: Instant,
    observer: Observer,
) -> Result<Fill, Error> {
    let index = shards.index_of(&key);
    let core = shards.core();
    if let Ok(shard) = shards.shard_of(&key) {
        let put = Put {
            shard,
            core: Arc::clone(core),
            key: key.clone(),
            observer,
            called,
        };
        let runtime = Handle::try_current().ok();
        let task = async move {
            // Whoever drops the entry on the way, the store or a future that is cut off, it is not
            // the last of a value, whose drop is the user's code.
            let kept = filling.as_ref().ok().map(|filling| filling.entry.clone());
            let stored = put.run(filling).await;
            discard_entry(runtime, kept);
            stored
        };
        if let Some(stored) = detached(shards, index, task).await {
            return stored;
        }
    }
    outbox::remove_once(core, vec![key]).await;
    Err(ended())
}

/// One put.
struct Put {
    core: Arc<Core>,
    shard: Arc<Addr<Shard>>,
    key: Key,
    observer: Observer,
    called: Instant,
}

impl Put {
    async fn run(self, filling: Result<Filling, Error>) -> Result<Fill, Error> {
        let entered = Entered::new(&self).await;
        let stored = match filling {
            Ok(filling) => self.store(&entered, filling).await,
            Err(error) => Err(error),
        };
        drop(entered);
        match stored {
            Ok(Fill::Stored) => self.observer.record(Event::FillStored),
            Ok(Fill::Superseded) => self.observer.record(Event::FillSuperseded),
            Err(ref error) => {
                self.observer.record(Event::FillFailed(error.kind()));
                // Whether the old entry is gone is not known, and the database has the new value.
                outbox::remove(&self.core, vec![self.key.clone()]).await;
            }
        }
        stored
    }

    /// `seize`, once, then `fill` under its token.
    async fn store(&self, entered: &Entered<'_>, filling: Filling) -> Result<Fill, Error> {
        let deadline = self.core.config.backend_deadline;
        let seize = self.core.backend.seize(&self.key, 2 * deadline);
        let lease = self
            .core
            .call(BackendCall::Seize, &self.observer, seize)
            .await?;
        let is_late = self.called.elapsed() > deadline;
        #[cfg(feature = "testing")]
        let is_late =
            is_late && self.core.config.rules.mutant != Some(crate::testing::Mutant::LatePut);
        if is_late {
            // A seize that was held up this long may have undone a later invalidation's work.
            self.release(lease).await;
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the backend answered after the write deadline; the key is removed instead",
            ));
        }
        if !entered.is_good().await {
            // Another write of the key was asked for meanwhile: both leave it to the next load.
            self.release(lease).await;
            outbox::remove(&self.core, vec![self.key.clone()]).await;
            return Ok(Fill::Superseded);
        }
        let Filling { entry, ttl } = filling;
        let fill = self.core.backend.fill(&self.key, lease, entry, ttl);
        self.core
            .call(BackendCall::Fill, &self.observer, fill)
            .await
    }

    async fn release(&self, lease: Lease) {
        let release = self.core.backend.release(&self.key, lease);
        // If it fails the lease runs out by itself.
        self.core
            .call(BackendCall::Release, &self.observer, release)
            .await
            .ok();
    }
}

/// A put's entry in its shard's table; it goes when this is dropped.
struct Entered<'a> {
    put: &'a Put,
    /// `None` if the shard died; the put is then not good.
    id: Option<PutId>,
}

impl<'a> Entered<'a> {
    async fn new(put: &'a Put) -> Self {
        let key = put.key.clone();
        let id = put.shard.send(BeginPut { key }).await.ok();
        Self { put, id }
    }

    async fn is_good(&self) -> bool {
        let key = self.put.key.clone();
        match self.id {
            Some(id) => self
                .put
                .shard
                .send(IsPutGood { key, id })
                .await
                .unwrap_or(false),
            None => false,
        }
    }
}

impl Drop for Entered<'_> {
    #[expect(
        clippy::disallowed_methods,
        reason = "runs in Drop, where it cannot wait"
    )]
    fn drop(&mut self) {
        let key = self.put.key.clone();
        if let Some(id) = self.id {
            self.put.shard.do_send(EndPut { key, id });
        }
    }
}
