//! The backend.

use std::{
    fmt,
    future::{Future, ready},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use cache_core::{
    Acquire, Backend, Entry, Error, ErrorKind, Extend, Fill, Form, Guarantee, Key, Lease, Peek, Ttl,
};
use futures_util::future::join_all;
use tokio::{runtime::Handle, time::Instant};

use crate::RedisBuilder;
use crate::{
    checkup::Finding,
    connect::ConnectError,
    key::is_reserved,
    lane::{LaneSet, Reading},
    replicas::{self, Replicas},
    steps,
    token::Tokens,
    unfenced,
};

/// How many keys one `DEL` has at most; more are removed by several.
const KEYS_AT_ONCE: usize = 10_000;

/// A [`Backend`] over one node of Redis or Valkey.
///
/// Cheap to clone: clones share everything. Its connections and tasks live on the tokio runtime
/// that it was connected on, which must outlive it; when the last clone is dropped they end.
#[derive(Clone)]
pub struct Redis {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) node: Arc<LaneSet>,
    pub(crate) tokens: Tokens,
    pub(crate) replicas: Option<Replicas>,
}

/// How far the guarantee holds, and what it is that keeps it from holding further.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct GuaranteeReport {
    /// The guarantee in force.
    pub guarantee: Guarantee,
    /// What was found, with a remedy each. Some of it weakens the guarantee, some of it will hurt
    /// in other ways.
    pub findings: Vec<Finding>,
}

impl Redis {
    /// Connects to `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS, with
    /// the defaults of [`RedisBuilder`] and on the current tokio runtime, which must outlive the
    /// backend.
    ///
    /// It waits for the first connection, for some 600 ms at most.
    ///
    /// # Errors
    ///
    /// [`ConnectError`], with the setting at fault and the remedy.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future closes what was opened.
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        Self::builder().url(url).connect().await
    }

    /// Starts setting a connection up.
    pub fn builder() -> RedisBuilder {
        RedisBuilder::default()
    }

    pub(crate) fn new(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    /// How far the guarantee holds, as of the last look at the server; `None` before the
    /// first one, which there can be only with [`non_blocking`](RedisBuilder::non_blocking).
    ///
    /// What changes while a connection is open, such as a setting of the server or a replica that
    /// is added, is seen within half a minute.
    #[must_use]
    pub fn guarantee(&self) -> Option<GuaranteeReport> {
        let checkup = self.inner.node.checkup()?;
        Some(GuaranteeReport {
            guarantee: checkup.level(),
            findings: checkup.findings.clone(),
        })
    }

    /// The node of `key`, unless that is a lease's.
    fn node(&self, key: &Key) -> Result<&Arc<LaneSet>, Error> {
        if is_reserved(key.as_bytes()) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "keys that begin with `{..}~l` belong to leases: choose another prefix",
            ));
        }
        self.only_node()
    }

    /// The node, if there is a runtime to wait for it on.
    fn only_node(&self) -> Result<&Arc<LaneSet>, Error> {
        // Timers need a runtime; without one they would panic.
        Handle::try_current().map_err(|_none| {
            Error::new(
                ErrorKind::NoRuntime,
                "redis has to be awaited inside a tokio runtime with timers",
            )
        })?;
        Ok(&self.inner.node)
    }

    async fn remove_part(&self, keys: &[Key], deadline: Instant) -> Result<(), Error> {
        // Nothing can be stored under a reserved key, so its removal is done.
        let stored: Vec<Key> = keys
            .iter()
            .filter(|key| !is_reserved(key.as_bytes()))
            .cloned()
            .collect();
        if stored.is_empty() {
            return Ok(());
        }
        let node = self.only_node()?;
        match self.inner.replicas {
            Some(replicas) => replicas::remove(node, stored, replicas).await,
            None => steps::remove(node, &stored, deadline).await,
        }
    }
}

#[async_trait]
impl Backend for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn form(&self) -> Form {
        Form::Encoded
    }

    fn peek(&self, _key: &[u8]) -> Peek {
        Peek::Ask
    }

    /// Written out, since the future of a read that is gathered is a tenth of that of one that is
    /// sent, and both are boxed.
    fn get<'a, 'b, 'c>(
        &'a self,
        key: &'b Key,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Entry>, Error>> + Send + 'c>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        let node = match self.node(key) {
            Ok(node) => node,
            Err(error) => return Box::pin(ready(Err(error))),
        };
        match node.begin_read(key) {
            Ok(Reading::Alone(lane)) => Box::pin(async move {
                let payload = node.read_alone(&lane, key).await?;
                Ok(payload.map(steps::entry))
            }),
            Ok(Reading::Gathered(read)) => {
                Box::pin(async move { Ok(read.answer().await?.map(steps::entry)) })
            }
            Err(failed) => Box::pin(ready(Err(failed.into()))),
        }
    }

    async fn get_many(&self, keys: &[Key]) -> Vec<Result<Option<Entry>, Error>> {
        let mut answers: Vec<Result<Option<Entry>, Error>> = Vec::with_capacity(keys.len());
        let mut asked: Vec<Key> = Vec::with_capacity(keys.len());
        for key in keys {
            answers.push(self.node(key).map(|_node| None));
            asked.extend(
                answers
                    .last()
                    .is_some_and(Result::is_ok)
                    .then(|| key.clone()),
            );
        }
        if asked.is_empty() {
            return answers;
        }
        let places = answers.iter_mut().filter(|answer| answer.is_ok());
        let payloads = self.inner.node.read_many(&asked).await;
        for (place, payload) in places.zip(payloads) {
            *place = payload
                .map(|payload| payload.map(steps::entry))
                .map_err(Error::from);
        }
        answers
    }

    async fn acquire(&self, key: &Key, hold: Duration) -> Result<Acquire, Error> {
        let node = self.node(key)?;
        if node.runs_scripts() {
            steps::acquire(node, key, hold, &self.inner.tokens).await
        } else {
            unfenced::acquire(node, key, hold, &self.inner.tokens).await
        }
    }

    async fn seize(&self, key: &Key, hold: Duration) -> Result<Lease, Error> {
        let node = self.node(key)?;
        if node.runs_scripts() {
            steps::seize(node, key, hold, &self.inner.tokens).await
        } else {
            unfenced::seize(node, key, hold, &self.inner.tokens).await
        }
    }

    async fn fill(&self, key: &Key, lease: Lease, entry: Entry, ttl: Ttl) -> Result<Fill, Error> {
        let node = self.node(key)?;
        let payload = steps::payload(entry)?;
        if node.runs_scripts() {
            steps::fill(node, key, lease, &payload, ttl).await
        } else {
            unfenced::fill(node, key, lease, &payload, ttl).await
        }
    }

    async fn extend(&self, key: &Key, lease: Lease, hold: Duration) -> Result<Extend, Error> {
        let node = self.node(key)?;
        if node.runs_scripts() {
            steps::extend(node, key, lease, hold).await
        } else {
            unfenced::extend(node, key, lease, hold).await
        }
    }

    async fn release(&self, key: &Key, lease: Lease) -> Result<(), Error> {
        let node = self.node(key)?;
        if node.runs_scripts() {
            steps::release(node, key, lease).await
        } else {
            unfenced::release(node, key, lease).await
        }
    }

    async fn remove(&self, keys: &[Key]) -> Vec<Result<(), Error>> {
        let deadline = Instant::now() + self.inner.node.deadlines().write;
        let parts = keys.chunks(KEYS_AT_ONCE).map(async |part| {
            let removed = self.remove_part(part, deadline).await;
            vec![removed; part.len()]
        });
        join_all(parts).await.concat()
    }

    async fn ping(&self) -> Result<(), Error> {
        steps::plain(self.only_node()?, &["PING"]).await
    }

    /// Empties the whole database, of other programs' keys as well.
    async fn clear(&self) -> Result<(), Error> {
        steps::plain(self.only_node()?, &["FLUSHDB", "ASYNC"]).await
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("node", &self.inner.node)
            .finish_non_exhaustive()
    }
}
