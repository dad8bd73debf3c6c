//! The engine's handle: invalidation across caches, clear, shutdown.

use std::{fmt, sync::Arc, time::Duration};

use super::{Core, EngineBuilder, Names};
use crate::{
    Backend, CacheBuilder, CacheKey, Error, Key, Recorder,
    actor::{self, Shards},
    codec::Json,
};

/// One backend, and the shard actors that order what happens to its keys.
///
/// Cheap to clone: clones share everything. All caches of an engine share its shards, so that an
/// invalidation through one is ordered with the loads of another. When the last handle, engine or
/// cache, is dropped, what runs ends by itself and nothing stays behind.
///
/// The backend's connections and timers, where it has them, live on the runtime that built it,
/// which must outlive the engine.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) core: Arc<Core>,
    pub(crate) shards: Shards,
    pub(crate) names: Arc<Names>,
    pub(crate) recorder: Option<Arc<dyn Recorder>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.core.outbox.close();
    }
}

/// What became of an invalidation.
///
/// Not a `Result`: the database has committed, and a `?` must not turn the write into an error.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Invalidation {
    /// The entries are gone: no read that begins now is answered with what was loaded before the
    /// invalidation was asked for.
    Done,
    /// The backend did not confirm. The removal may have happened; it is repeated in the
    /// background: as soon as the backend answers reads again, else after 1 second and then with
    /// pauses that double up to 60, until it is confirmed, or until nothing older can exist: the
    /// longest TTL plus the load timeout and the lease hold.
    ///
    /// Until then this engine does not read these keys from the backend, so none of its reads that
    /// begins now is answered with what was loaded before: `get` answers
    /// [`Unavailable`](crate::ErrorKind::Unavailable), and `get_or_load` does as in an
    /// [outage](crate::OutagePolicy). Other engines, of this process and of others, are not told,
    /// and may still read the old entries.
    ///
    /// When the engine is shut down, or its last handle is dropped, the removal is tried once more;
    /// after that, if the engine's threads have ended, and if the process ends, it is lost.
    Queued,
}

/// What a shutdown left behind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Loads, puts and invalidations that were still running at the deadline, and 1 more if
    /// queued removals were still being tried.
    pub still_running: usize,
    /// Keys whose queued removal could not be delivered: until their TTL ends, other engines, of
    /// this process and of others, may read old entries.
    pub undelivered: usize,
    /// Whether more removals than those were lost track of, because there were more than
    /// [`max_queued_invalidations`](EngineBuilder::max_queued_invalidations).
    pub overflowed: bool,
}

impl Engine {
    /// Starts building an engine over `backend`.
    pub fn builder(backend: impl Backend) -> EngineBuilder {
        EngineBuilder::new(backend)
    }

    /// Starts building a cache of this engine. `name` is its metric label and, with `:` behind
    /// it, the prefix of its keys.
    pub fn cache<K: ?Sized, V>(&self, name: &str) -> CacheBuilder<K, V, Json> {
        CacheBuilder::new(self.clone(), name)
    }

    /// Removes the entries of `keys`, so that no later read is answered with what was loaded
    /// before. Call it when the write to the database has committed.
    ///
    /// Everything goes to the backend in one step, wherever that allows it. Loads of these keys
    /// that are under way go on for those who wait for them; who arrives from now on gets a load
    /// of its own.
    ///
    /// # Cancel safety
    ///
    /// Takes effect from its first poll on: dropping the future does not take it back.
    pub async fn invalidate(
        &self,
        keys: impl IntoIterator<Item = CacheKey> + Send,
    ) -> Invalidation {
        let keys: Vec<Key> = keys.into_iter().filter_map(|key| key.0).collect();
        actor::invalidate(&self.inner.shards, keys).await
    }

    /// Empties the store, for everyone who uses it, and ends all leases: no later read is
    /// answered with what was loaded before. Queued removals are settled with it, except those that
    /// are queued while it runs.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the backend did not confirm: it may have
    /// happened all the same. [`Shutdown`](crate::ErrorKind::Shutdown) if the actix system or
    /// `LocalSet` that the engine was placed on has ended.
    ///
    /// # Cancel safety
    ///
    /// Takes effect from its first poll on: dropping the future does not take it back.
    pub async fn clear(&self) -> Result<(), Error> {
        actor::clear(&self.inner.shards).await
    }

    /// Ends background work: waits, for at most `deadline`, until running loads, puts and
    /// invalidations have ended, and tries queued removals once more.
    ///
    /// Afterwards hits still answer, a miss and a put answer
    /// [`Shutdown`](crate::ErrorKind::Shutdown), and an invalidation is still tried, and once more if
    /// the backend does not confirm it.
    ///
    /// # Cancel safety
    ///
    /// Takes effect from its first poll on; dropping the future only gives up the report.
    pub async fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        let core = &self.inner.core;
        core.shut_down();
        let waiting = Arc::clone(core);
        actor::wait(&self.inner.shards, deadline, async move {
            waiting.idle().await;
        })
        .await;
        ShutdownReport {
            still_running: core.running(),
            undelivered: core.outbox.len(),
            overflowed: core.outbox.bypasses_all_until().is_some(),
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("backend", &self.inner.core.backend.name())
            .finish_non_exhaustive()
    }
}
