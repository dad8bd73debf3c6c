//! The writes of a cache: put and invalidate.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{handle::Cache, lookup::Put};
use crate::{BoxError, Error, ErrorKind, Fill, Invalidation, Key, KeyFor, Ttl, actor};

impl<K: ?Sized, V: Send + Sync + 'static> Cache<K, V> {
    /// Stores `value` under `key`: for a write-through, after the database has committed.
    ///
    /// The key's lease is taken from whoever has it, so that no load that began before can store
    /// its answer afterwards; then the value is stored under that lease. In between, readers see
    /// a miss. It is sent once and never repeated.
    ///
    /// A key whose removal is [queued](Invalidation::Queued) stays so, whatever this answers: this
    /// engine does not read it until the removal is delivered, which removes the value, too.
    ///
    /// Puts of one key that meet in this engine all answer [`Put::Superseded`] and leave the key to
    /// the next load, and so does a put that meets a later invalidation. Of two puts that did not
    /// overlap, the last to reach the store wins, whatever the order of their commits: where
    /// several processes write a key, use [`invalidate`](Self::invalidate).
    ///
    /// # Errors
    ///
    /// In each case the key's removal is seen to instead, as by an invalidation.
    ///
    /// - [`Unavailable`](ErrorKind::Unavailable): the backend did not answer, or later than the
    ///   engine's backend deadline after the call.
    /// - [`Rejected`](ErrorKind::Rejected): the value could not be encoded, or the store does not
    ///   accept it.
    /// - [`InvalidInput`](ErrorKind::InvalidInput): the key is too long.
    /// - [`Shutdown`](ErrorKind::Shutdown): the engine was shut down.
    ///
    /// # Cancel safety
    ///
    /// Takes effect from its first poll on: dropping the future does not take it back.
    #[doc(alias = "set")]
    pub async fn put<Q: KeyFor<K> + ?Sized>(
        &self,
        key: &Q,
        value: impl Into<Arc<V>> + Send,
    ) -> Result<Put, Error> {
        let called = Instant::now();
        let key = self.write(key)?;
        let filling = self.values.put(value.into(), self.values.policy.ttl());
        self.store(key, filling.map_err(not_encoded), called).await
    }

    /// Stores `value` under `key` for `ttl`, else like [`put`](Self::put). Jitter applies.
    ///
    /// # Errors
    ///
    /// As for [`put`](Self::put), and [`InvalidInput`](ErrorKind::InvalidInput) if the TTL is
    /// shorter than a millisecond or longer than the engine's longest TTL.
    ///
    /// # Cancel safety
    ///
    /// Takes effect from its first poll on: dropping the future does not take it back.
    #[doc(alias = "set_with_expire")]
    pub async fn put_with_ttl<Q: KeyFor<K> + ?Sized>(
        &self,
        key: &Q,
        value: impl Into<Arc<V>> + Send,
        ttl: Duration,
    ) -> Result<Put, Error> {
        let called = Instant::now();
        let key = self.write(key)?;
        let filling = match Ttl::new(ttl, self.values.policy.longest_ttl) {
            Ok(ttl) => self.values.put(value.into(), ttl).map_err(not_encoded),
            Err(error) => Err(Error::with_source(
                ErrorKind::InvalidInput,
                "the `ttl` is out of range; the key is removed instead",
                error,
            )),
        };
        self.store(key, filling, called).await
    }

    /// Removes `key`, so that no later read is answered with what was loaded before. Call it when
    /// the write to the database has committed; for several keys, of several caches, at once, see
    /// [`Engine::invalidate`](crate::Engine::invalidate).
    ///
    /// # Cancel safety
    ///
    /// Takes effect from its first poll on: dropping the future does not take it back.
    #[doc(alias = "del")]
    pub async fn invalidate<Q: KeyFor<K> + ?Sized>(&self, key: &Q) -> Invalidation {
        self.engine.invalidate([self.key(key)]).await
    }

    async fn store(
        &self,
        key: Key,
        filling: Result<actor::Filling, Error>,
        called: Instant,
    ) -> Result<Put, Error> {
        let _busy = self.engine.inner.core.busy();
        if self.engine.inner.core.is_shut_down() {
            actor::invalidate(&self.engine.inner.shards, vec![key]).await;
            return Err(Error::new(ErrorKind::Shutdown, "the engine was shut down"));
        }
        let observer = self.values.observer.clone();
        match actor::put(&self.engine.inner.shards, key, filling, called, observer).await? {
            Fill::Stored => Ok(Put::Stored),
            Fill::Superseded => Ok(Put::Superseded),
        }
    }
}

fn not_encoded(error: BoxError) -> Error {
    Error::with_source(
        ErrorKind::Rejected,
        "the value could not be encoded or weighed; the key is removed instead",
        error,
    )
}
