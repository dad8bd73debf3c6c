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
use futures_util::future::{BoxFuture, join_all};
use tokio::{runtime::Handle, time::Instant};

use crate::{
    RedisBuilder,
    checkup::Finding,
    cluster::Cluster,
    connect::ConnectError,
    error::Fault,
    key::is_reserved,
    lane::{LaneSet, Reading},
    members::{Member, Members},
    steps,
    token::Tokens,
    topology::Topology,
    unfenced,
};

/// How many keys one `DEL` has at most; more are removed by several.
const KEYS_AT_ONCE: usize = 10_000;

/// A [`Backend`] over Redis or Valkey: a node, a cluster, or a ring of several.
///
/// Cheap to clone: clones share everything. Its connections and tasks live on the tokio runtime
/// that it was connected on, which must outlive it; when the last clone is dropped they end.
#[derive(Clone)]
pub struct Redis {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) members: Members,
    pub(crate) tokens: Tokens,
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
        let (guarantee, findings) = self.inner.members.findings()?;
        Some(GuaranteeReport {
            guarantee,
            findings,
        })
    }

    /// The entry of the configuration that has `key`, unless that is a lease's.
    fn member(&self, key: &Key) -> Result<&Member, Error> {
        if is_reserved(key.as_bytes()) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "keys that begin with `{..}~l` belong to leases: choose another prefix",
            ));
        }
        in_a_runtime()?;
        self.inner.members.owner(key)
    }

    fn topology(&self, key: &Key) -> Result<&Topology, Error> {
        Ok(&self.member(key)?.topology)
    }
}

/// Timers need a runtime; without one they would panic.
fn in_a_runtime() -> Result<(), Error> {
    Handle::try_current().map(drop).map_err(|_none| {
        Error::new(
            ErrorKind::NoRuntime,
            "redis has to be awaited inside a tokio runtime with timers",
        )
    })
}

/// Begins to read a key on a node.
fn get_of_node<'a>(
    node: &'a Arc<LaneSet>,
    key: &'a Key,
) -> BoxFuture<'a, Result<Option<Entry>, Error>> {
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

/// Begins to read a key in a cluster.
fn get_of_cluster<'a>(
    cluster: &'a Arc<Cluster>,
    key: &'a Key,
) -> BoxFuture<'a, Result<Option<Entry>, Error>> {
    let deadline = Instant::now() + cluster.deadlines().read;
    match cluster.begin_read(key) {
        Ok((node, Reading::Alone(lane))) => Box::pin(async move {
            let answer = node.read_alone(&lane, key).await;
            let payload = cluster.follow(key, answer, deadline).await?;
            Ok(payload.map(steps::entry))
        }),
        Ok((_, Reading::Gathered(read))) => Box::pin(async move {
            let answer = read.answer().await;
            let payload = cluster.follow(key, answer, deadline).await?;
            Ok(payload.map(steps::entry))
        }),
        Err(failed) if failed.fault == Fault::Away => Box::pin(async move {
            let payload = cluster.read(key, deadline).await?;
            Ok(payload.map(steps::entry))
        }),
        Err(failed) => Box::pin(ready(Err(failed.into()))),
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
        match self.topology(key) {
            Ok(Topology::Node(node)) => get_of_node(node, key),
            Ok(Topology::Cluster(cluster)) => get_of_cluster(cluster, key),
            Err(error) => Box::pin(ready(Err(error))),
        }
    }

    async fn get_many(&self, keys: &[Key]) -> Vec<Result<Option<Entry>, Error>> {
        let mut answers: Vec<Result<Option<Entry>, Error>> = Vec::with_capacity(keys.len());
        let (mut asked, mut places) = (Vec::new(), Vec::new());
        for (place, key) in keys.iter().enumerate() {
            answers.push(self.member(key).map(|_member| None));
            if answers[place].is_ok() {
                asked.push(key.clone());
                places.push(place);
            }
        }
        let parts = self.inner.members.by_owner(&asked);
        let reads = parts.into_iter().map(async |(member, mine)| {
            let keys: Vec<Key> = mine.iter().map(|mine| asked[*mine].clone()).collect();
            let payloads = member.topology.read_many(&keys).await;
            mine.into_iter().zip(payloads)
        });
        for (mine, payload) in join_all(reads).await.into_iter().flatten() {
            answers[places[mine]] = payload
                .map(|payload| payload.map(steps::entry))
                .map_err(Error::from);
        }
        answers
    }

    async fn acquire(&self, key: &Key, hold: Duration) -> Result<Acquire, Error> {
        let topology = self.topology(key)?;
        if topology.runs_scripts(key) {
            steps::acquire(topology, key, hold, &self.inner.tokens).await
        } else {
            unfenced::acquire(topology, key, hold, &self.inner.tokens).await
        }
    }

    async fn seize(&self, key: &Key, hold: Duration) -> Result<Lease, Error> {
        let topology = self.topology(key)?;
        if topology.runs_scripts(key) {
            steps::seize(topology, key, hold, &self.inner.tokens).await
        } else {
            unfenced::seize(topology, key, hold, &self.inner.tokens).await
        }
    }

    async fn fill(&self, key: &Key, lease: Lease, entry: Entry, ttl: Ttl) -> Result<Fill, Error> {
        let topology = self.topology(key)?;
        let payload = steps::payload(entry)?;
        if topology.runs_scripts(key) {
            steps::fill(topology, key, lease, &payload, ttl).await
        } else {
            unfenced::fill(topology, key, lease, &payload, ttl).await
        }
    }

    async fn extend(&self, key: &Key, lease: Lease, hold: Duration) -> Result<Extend, Error> {
        let topology = self.topology(key)?;
        if topology.runs_scripts(key) {
            steps::extend(topology, key, lease, hold).await
        } else {
            unfenced::extend(topology, key, lease, hold).await
        }
    }

    async fn release(&self, key: &Key, lease: Lease) -> Result<(), Error> {
        let topology = self.topology(key)?;
        if topology.runs_scripts(key) {
            steps::release(topology, key, lease).await
        } else {
            unfenced::release(topology, key, lease).await
        }
    }

    async fn remove(&self, keys: &[Key]) -> Vec<Result<(), Error>> {
        if let Err(error) = in_a_runtime() {
            return vec![Err(error); keys.len()];
        }
        // Nothing can be stored under a reserved key, so its removal is done.
        let mut answers = vec![Ok(()); keys.len()];
        let is_stored = |place: &usize| !is_reserved(keys[*place].as_bytes());
        let places: Vec<usize> = (0..keys.len()).filter(is_stored).collect();
        let stored: Vec<Key> = places.iter().map(|place| keys[*place].clone()).collect();
        let parts = self.inner.members.by_owner(&stored);
        let parts = parts.iter().flat_map(|(member, mine)| {
            let parts = mine.chunks(KEYS_AT_ONCE);
            parts.map(async |part| {
                let keys: Vec<Key> = part.iter().map(|mine| stored[*mine].clone()).collect();
                part.iter().copied().zip(member.remove(&keys).await)
            })
        });
        for (mine, removed) in join_all(parts).await.into_iter().flatten() {
            answers[places[mine]] = removed;
        }
        answers
    }

    async fn ping(&self) -> Result<(), Error> {
        in_a_runtime()?;
        let members = self.inner.members.all();
        let answers = members.map(|member| member.topology.ping());
        join_all(answers).await.into_iter().collect()
    }

    /// Empties the whole database, of other programs' keys as well.
    async fn clear(&self) -> Result<(), Error> {
        in_a_runtime()?;
        let members = self.inner.members.all();
        let cleared = members.map(|member| member.topology.clear());
        join_all(cleared).await.into_iter().collect()
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("members", &self.inner.members)
            .finish_non_exhaustive()
    }
}
