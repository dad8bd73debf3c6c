//! The cache's handle, and its reads.

use std::{fmt, future::Future, marker::PhantomData, pin::Pin, sync::Arc};

use tracing::{Instrument, Span};

use super::{call, lookup::Lookup, span, values::Values};
use crate::{
    BackendCall, BoxError, CacheKey, Engine, Entry, Error, Event, Key, KeyBuf, KeyFor, Load, Peek,
    Policy, actor,
};

/// A typed view of an engine: values of type `V` under keys of type `K`.
///
/// Cheap to clone: clones share everything. Made by [`Engine::cache`]. Its name is free again
/// once its last handle is dropped and its last load has ended.
pub struct Cache<K: ?Sized, V> {
    pub(super) engine: Engine,
    pub(super) values: Arc<Values<V>>,
    key: PhantomData<fn(&K)>,
}

/// What a peek says.
enum Known<V> {
    /// The answer.
    Here(Option<Arc<V>>),
    /// Not in this process; in the store perhaps, or not in a form that can be read.
    Elsewhere(Key, Where),
    /// Not to be read now, and why.
    Bypassed(Key, Error),
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

    /// How long its entries live.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.values.policy
    }

    /// Reads `key` without loading it.
    ///
    /// An entry that cannot be decoded is a miss, and is left to the next load.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the backend did not answer, or is not asked
    /// because the removal of the key is [queued](crate::Invalidation::Queued),
    /// [`NoRuntime`](crate::ErrorKind::NoRuntime) if it has to be awaited outside any tokio runtime with
    /// timers, [`InvalidInput`](crate::ErrorKind::InvalidInput) if the key is too long.
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
            Ok(Known::Bypassed(_, error)) => Err(error),
            Ok(Known::Elsewhere(key, Where::Store)) => {
                let answer = self.ask(&key).await;
                self.engine.inner.core.hear(&answer);
                answer.map(|entry| self.lookup(entry))
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
                    Ok(Known::Bypassed(_, error)) => Err(error),
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
    /// - [`Loader`](crate::ErrorKind::Loader): the loader's error, shared by all who waited;
    ///   [`Error::loader_error`] gives it back. [`Panicked`](crate::ErrorKind::Panicked) and
    ///   [`LoadTimeout`](crate::ErrorKind::LoadTimeout) likewise. The next caller loads again.
    /// - [`Recursive`](crate::ErrorKind::Recursive): called inside a load that it would wait for.
    /// - [`Overloaded`](crate::ErrorKind::Overloaded): too many callers wait already, or the backend
    ///   does not answer, or the key is not read, and as many loads run without it as may.
    /// - [`Unavailable`](crate::ErrorKind::Unavailable): the backend does not answer, or the key is not
    ///   read, and the engine is to [fail fast](crate::OutagePolicy::FailFast) then.
    /// - [`Abandoned`](crate::ErrorKind::Abandoned): the load vanished and nobody had a loader left.
    /// - [`NoRuntime`](crate::ErrorKind::NoRuntime): a miss outside any tokio runtime.
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput): the key is too long.
    /// - [`Shutdown`](crate::ErrorKind::Shutdown): a miss after the engine was shut down.
    ///
    /// A backend that does not answer is not an error by itself: by default the loader runs, once
    /// for all who wait in this engine, and its answer is not stored; see
    /// [`EngineBuilder::outage`](crate::EngineBuilder::outage). After a read that was not answered
    /// nothing else is asked of the backend: an outage costs a caller one of its deadlines at most.
    /// A key whose removal is [queued](crate::Invalidation::Queued) is treated in the same way,
    /// without asking the backend.
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
            Ok(Known::Elsewhere(key, at)) => self.beyond(key, at, loader).await,
            // The flight looks again whether the key may be read.
            Ok(Known::Bypassed(key, _)) => self.beyond(key, Where::Nowhere, loader).await,
            Err(error) => {
                self.values.observer.record(Event::Failed(error.kind()));
                Err(error)
            }
        }
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
        Ok(self.peek_text(buf.text().ok_or_else(|| buf.flaw())?))
    }

    fn peek_text(&self, text: &[u8]) -> Known<V> {
        let core = &self.engine.inner.core;
        if let Some(error) = core.bypass(text) {
            return Known::Bypassed(Key::new(text), error);
        }
        let at = match core.backend.peek(text) {
            Peek::Hit(entry) => match self.values.read(entry) {
                Ok(found) => return Known::Here(found),
                Err(actor::Unreadable) => Where::Unreadable,
            },
            Peek::Miss => Where::Nowhere,
            Peek::Ask => Where::Store,
        };
        Known::Elsewhere(Key::new(text), at)
    }

    pub(super) fn write<Q: KeyFor<K> + ?Sized>(&self, key: &Q) -> Result<Key, Error> {
        let mut buf = self.key_buf();
        key.write_key(&mut buf);
        buf.text().map(Key::new).ok_or_else(|| buf.flaw())
    }

    fn key_buf(&self) -> KeyBuf {
        let limit = self.engine.inner.core.config.max_key_len;
        KeyBuf::new(self.values.name.prefix(), limit)
    }

    /// The way beyond this process, inside a span. A hit needs none of it, so it is boxed.
    fn beyond<F, Fut, L, E>(
        &self,
        key: Key,
        at: Where,
        loader: F,
    ) -> Pin<Box<impl Future<Output = Result<Option<Arc<V>>, Error>>>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<L, E>> + Send + 'static,
        L: Into<Load<V>>,
        E: Into<BoxError>,
    {
        let span = span::of_call(self.name(), self.engine.inner.core.backend.name());
        let way = self.ask_or_fly(key, at, loader, span.clone());
        Box::pin(way.instrument(span))
    }

    /// The way of a miss: first the store, then the key's flight.
    async fn ask_or_fly<F, Fut, L, E>(
        &self,
        key: Key,
        at: Where,
        loader: F,
        span: Span,
    ) -> Result<Option<Arc<V>>, Error>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<L, E>> + Send + 'static,
        L: Into<Load<V>>,
        E: Into<BoxError>,
    {
        let mut outage = None;
        if at == Where::Store {
            let answer = self.ask(&key).await;
            self.engine.inner.core.hear(&answer);
            match answer {
                Ok(Some(entry)) => {
                    if let Ok(found) = self.values.read(entry) {
                        self.count_found(found.is_some());
                        let answer = Ok(found);
                        span::answered(&span, &answer, actor::Origin::Store);
                        return answer;
                    }
                }
                // Rejected reads as well: each would be a load, without any limit.
                Err(error) if error.is_witness() => {
                    outage = Some(actor::Outage::witnessed(error));
                }
                Ok(None) | Err(_) => {}
            }
        }
        // Not before: a hit of the store needs no loader.
        let loader = call::erase(&self.values, loader, &span);
        call::fly(&self.engine, &self.values, &key, loader, outage, &span).await
    }

    /// Asks the store. Who does so lets the engine hear the answer: here that would make the future
    /// larger.
    async fn ask(&self, key: &Key) -> Result<Option<Entry>, Error> {
        let core = &self.engine.inner.core;
        let get = core.backend.get(key);
        core.call(BackendCall::Get, &self.values.observer, get)
            .await
    }

    /// Asks the store for what this process does not know, and puts the answers in their places.
    async fn ask_many(&self, asked: Vec<(usize, Key)>, lookups: &mut [Result<Lookup<V>, Error>]) {
        if asked.is_empty() {
            return;
        }
        let (places, keys): (Vec<usize>, Vec<Key>) = asked.into_iter().unzip();
        let core = &self.engine.inner.core;
        let get_many = async { core.backend.get_many(&keys).await };
        let observer = &self.values.observer;
        let answers = core
            .call_each(BackendCall::GetMany, observer, get_many)
            .await;
        let answers = answers.unwrap_or_else(|error| vec![Err(error); keys.len()]);
        // A part of the store that is out is an outage.
        let silence = |answer: &&Result<_, Error>| answer.as_ref().is_err_and(Error::is_silence);
        if let Some(answer) = answers.iter().find(silence).or_else(|| answers.first()) {
            core.hear(answer);
        }
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
