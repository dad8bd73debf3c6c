//! The cache's handle: reads and writes.

use std::{fmt, future::Future, marker::PhantomData, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    call,
    lookup::{Lookup, Put},
    values::Values,
};
use crate::{
    BackendCall, BoxError, CacheKey, Engine, Entry, Error, ErrorKind, Event, Fill, Invalidation,
    Key, KeyBuf, KeyFor, Load, Peek, Ttl, actor,
};

/// A typed view of an engine: values of type `V` under keys of type `K`.
///
/// Cheap to clone: clones share everything. Made by [`Engine::cache`]. Its name is free again
/// once its last handle is dropped and its last load has ended.
pub struct Cache<K: ?Sized, V> {
    engine: Engine,
    values: Arc<Values<V>>,
    key: PhantomData<fn(&K)>,
}

/// What a peek says.
enum Known<V> {
    /// The answer.
    Here(Option<Arc<V>>),
    /// Not in this process; in the store perhaps, or not in a form that can be read.
    Elsewhere(Key, Where),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Where {
    Nowhere,
    Store,
    Unreadable,
}

impl<K: ?Sized, V: Send + Sync + 'static> Cache<K, V> {
    pub(super) fn new(engine: Engine, values: Arc<Values<V>>) -> Self {
        Self {
            engine,
            values,
            key: PhantomData,
        }
    }

    /// The cache's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.values.name.name()
    }

    /// Reads `key` without loading it.
    ///
    /// An entry that cannot be decoded is a miss, and is left to the next load.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable) if the backend did not answer,
    /// [`InvalidInput`](ErrorKind::InvalidInput) if the key is too long.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is left behind.
    pub async fn get<Q: KeyFor<K> + ?Sized>(&self, key: &Q) -> Result<Lookup<V>, Error> {
        let known = self.peek(key);
        let lookup = match known {
            Ok(Known::Here(found)) => Ok(found.map_or(Lookup::Absent, Lookup::Value)),
            Ok(Known::Elsewhere(_, Where::Nowhere)) => Ok(Lookup::Miss),
            Ok(Known::Elsewhere(_, Where::Unreadable)) => Ok(self.unreadable()),
            Ok(Known::Elsewhere(key, Where::Store)) => {
                self.ask(&key).await.map(|entry| self.lookup(entry))
            }
            Err(error) => Err(error),
        };
        self.count(&lookup);
        lookup
    }

    /// Reads many keys without loading them: one answer per key, in their order, duplicates
    /// included. What has to be asked of the store is asked in one call.
    ///
    /// # Errors
    ///
    /// Per key, as for [`get`](Self::get).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is left behind.
    pub fn get_many<'a, Q, I>(
        &'a self,
        keys: I,
    ) -> impl Future<Output = Vec<Result<Lookup<V>, Error>>> + Send + use<'a, K, V, Q, I>
    where
        Q: KeyFor<K> + ?Sized + 'a,
        I: IntoIterator<Item = &'a Q>,
    {
        // The keys are written now, and looked up when polled.
        let keys: Vec<_> = keys.into_iter().map(|key| self.write(key)).collect();
        async move {
            let mut asked = Vec::new();
            let mut lookups = Vec::with_capacity(keys.len());
            for (place, key) in keys.into_iter().enumerate() {
                lookups.push(match key.map(|key| self.peek_text(key.as_bytes())) {
                    Ok(Known::Here(found)) => Ok(found.map_or(Lookup::Absent, Lookup::Value)),
                    Ok(Known::Elsewhere(_, Where::Unreadable)) => Ok(self.unreadable()),
                    Ok(Known::Elsewhere(key, at)) => {
                        if at == Where::Store {
                            asked.push((place, key));
                        }
                        Ok(Lookup::Miss)
                    }
                    Err(error) => Err(error),
                });
            }
            self.ask_many(asked, &mut lookups).await;
            for lookup in &lookups {
                self.count(lookup);
            }
            lookups
        }
    }

    /// Reads `key`, and loads it if the cache does not know it.
    ///
    /// However many callers miss the key at once, one loader runs; all share its answer.
    /// `None` means that there is no such thing, which is cached too.
    ///
    /// The load is detached: it goes on if its caller is dropped, on the runtime of the caller
    /// who brought the loader, inside that caller's tracing span. It must not keep a runtime that
    /// is about to be dropped busy; if it vanishes with one, another caller's loader takes over.
    /// A loader may use the cache itself; if it asks for its own key, directly or through the
    /// loads of others, that is noticed, unless it does so in tasks that it spawned or through
    /// another engine: then the load timeout ends it.
    ///
    /// # Errors
    ///
    /// - [`Loader`](ErrorKind::Loader): the loader's error, shared by all who waited;
    ///   [`Error::loader_error`] gives it back. [`Panicked`](ErrorKind::Panicked) and
    ///   [`LoadTimeout`](ErrorKind::LoadTimeout) likewise. The next caller loads again.
    /// - [`Recursive`](ErrorKind::Recursive): called inside a load that it would wait for.
    /// - [`Overloaded`](ErrorKind::Overloaded): too many callers wait already.
    /// - [`Abandoned`](ErrorKind::Abandoned): the load vanished and nobody had a loader left.
    /// - [`NoRuntime`](ErrorKind::NoRuntime): a miss outside any tokio runtime.
    /// - [`InvalidInput`](ErrorKind::InvalidInput): the key is too long.
    /// - [`Shutdown`](ErrorKind::Shutdown): a miss after the engine was shut down.
    ///
    /// A backend that does not answer is not an error: the loader runs, once for all who wait in
    /// this process, and its answer is not stored.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future harms nobody. A load that has begun goes on.
    ///
    /// # Examples
    ///
    /// See the [crate's page](crate).
    #[doc(alias = "take")]
    pub async fn get_or_load<Q, F, Fut, L, E>(
        &self,
        key: &Q,
        loader: F,
    ) -> Result<Option<Arc<V>>, Error>
    where
        Q: KeyFor<K> + ?Sized,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<L, E>> + Send + 'static,
        L: Into<Load<V>>,
        E: Into<BoxError>,
    {
        match self.peek(key) {
            Ok(Known::Here(found)) => {
                self.count_found(found.is_some());
                Ok(found)
            }
            Ok(Known::Elsewhere(key, at)) => {
                let loader = call::erase(&self.values, loader);
                Box::pin(self.ask_or_fly(key, at, loader)).await
            }
            Err(error) => {
                self.values.observer.record(Event::Failed(error.kind()));
                Err(error)
            }
        }
    }

    /// Stores `value` under `key`: for a write-through, after the database has committed.
    ///
    /// The key's lease is taken from whoever has it, so that no load that began before can store
    /// its answer afterwards; then the value is stored under that lease. In between, readers see
    /// a miss. It is sent once and never repeated.
    ///
    /// Two puts, or a put and an invalidation, of one key that meet in this engine leave the key
    /// to the next load, and the earlier answers [`Put::Superseded`]. Of two puts that did not
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
        let filling = self.values.put(value.into(), self.values.ttl);
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
        let filling = match Ttl::new(ttl, self.values.longest_ttl) {
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
    /// [`Engine::invalidate`].
    ///
    /// # Cancel safety
    ///
    /// Takes effect from its first poll on: dropping the future does not take it back.
    #[doc(alias = "del")]
    pub async fn invalidate<Q: KeyFor<K> + ?Sized>(&self, key: &Q) -> Invalidation {
        self.engine.invalidate([self.key(key)]).await
    }

    /// Names `key` of this cache, for [`Engine::invalidate`].
    #[must_use]
    pub fn key<Q: KeyFor<K> + ?Sized>(&self, key: &Q) -> CacheKey {
        CacheKey(self.write(key).ok())
    }

    /// Looks `key` up in what this process knows. On a hit nothing is allocated.
    fn peek<Q: KeyFor<K> + ?Sized>(&self, key: &Q) -> Result<Known<V>, Error> {
        let mut buf = self.key_buf();
        key.write_key(&mut buf);
        Ok(self.peek_text(buf.text().ok_or_else(too_long)?))
    }

    fn peek_text(&self, text: &[u8]) -> Known<V> {
        let at = match self.engine.inner.core.backend.peek(text) {
            Peek::Hit(entry) => match self.values.read(entry) {
                Ok(found) => return Known::Here(found),
                Err(actor::Unreadable) => Where::Unreadable,
            },
            Peek::Miss => Where::Nowhere,
            Peek::Ask => Where::Store,
        };
        Known::Elsewhere(Key::new(text), at)
    }

    fn write<Q: KeyFor<K> + ?Sized>(&self, key: &Q) -> Result<Key, Error> {
        let mut buf = self.key_buf();
        key.write_key(&mut buf);
        buf.text().map(Key::new).ok_or_else(too_long)
    }

    fn key_buf(&self) -> KeyBuf {
        let limit = self.engine.inner.core.config.max_key_len;
        KeyBuf::new(self.values.name.prefix(), limit)
    }

    /// The way of a miss: first the store, then the key's flight.
    async fn ask_or_fly(
        &self,
        key: Key,
        at: Where,
        loader: Box<dyn actor::Loader>,
    ) -> Result<Option<Arc<V>>, Error> {
        if at == Where::Store
            && let Ok(Some(entry)) = self.ask(&key).await
            && let Ok(found) = self.values.read(entry)
        {
            self.count_found(found.is_some());
            return Ok(found);
        }
        call::fly(&self.engine, &self.values, &key, loader).await
    }

    async fn ask(&self, key: &Key) -> Result<Option<Entry>, Error> {
        let core = &self.engine.inner.core;
        let get = core.backend.get(key);
        let deadline = core.config.backend_deadline;
        actor::call(BackendCall::Get, deadline, &self.values.observer, get).await
    }

    /// Asks the store for what this process does not know, and puts the answers in their places.
    async fn ask_many(&self, asked: Vec<(usize, Key)>, lookups: &mut [Result<Lookup<V>, Error>]) {
        if asked.is_empty() {
            return;
        }
        let (places, keys): (Vec<usize>, Vec<Key>) = asked.into_iter().unzip();
        let core = &self.engine.inner.core;
        let get_many = async { Ok(core.backend.get_many(&keys).await) };
        let deadline = core.config.backend_deadline;
        let observer = &self.values.observer;
        let answers = actor::call(BackendCall::GetMany, deadline, observer, get_many).await;
        let answers = answers.unwrap_or_else(|error| vec![Err(error); keys.len()]);
        for (place, answer) in places.into_iter().zip(answers) {
            lookups[place] = answer.map(|entry| self.lookup(entry));
        }
    }

    fn lookup(&self, entry: Option<Entry>) -> Lookup<V> {
        match entry.map(|entry| self.values.read(entry)) {
            None => Lookup::Miss,
            Some(Ok(found)) => found.map_or(Lookup::Absent, Lookup::Value),
            Some(Err(actor::Unreadable)) => self.unreadable(),
        }
    }

    fn unreadable(&self) -> Lookup<V> {
        self.values.observer.record(Event::Undecodable);
        Lookup::Miss
    }

    async fn store(
        &self,
        key: Key,
        filling: Result<actor::Filling, Error>,
        called: Instant,
    ) -> Result<Put, Error> {
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

    fn count(&self, lookup: &Result<Lookup<V>, Error>) {
        self.values.observer.record(match lookup {
            Ok(Lookup::Value(_)) => Event::Hit,
            Ok(Lookup::Absent) => Event::NegativeHit,
            Ok(Lookup::Miss) => Event::NotFound,
            Err(error) => Event::Failed(error.kind()),
        });
    }

    fn count_found(&self, is_value: bool) {
        self.values.observer.record(if is_value {
            Event::Hit
        } else {
            Event::NegativeHit
        });
    }
}

fn not_encoded(error: BoxError) -> Error {
    Error::with_source(
        ErrorKind::Rejected,
        "the value could not be encoded or weighed; the key is removed instead",
        error,
    )
}

fn too_long() -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        "the key is too long: shorten it, or raise the engine's `max_key_len`",
    )
}

impl<K: ?Sized, V> Clone for Cache<K, V> {
    fn clone(&self) -> Self {
        Self {
            engine: self.engine.clone(),
            values: Arc::clone(&self.values),
            key: PhantomData,
        }
    }
}

impl<K: ?Sized, V> fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("name", &self.values.name.name())
            .finish_non_exhaustive()
    }
}
