//! Removals that wait until replicas have acknowledged them.
//!
//! `WAIT` counts the replicas that acknowledged what *its own connection* wrote, and blocks that
//! connection meanwhile. So the removal and its `WAIT` go together over a connection of
//! their own. From Redis 7.2 on it counts from the connection's last command
//! that changed something, so the removal is to be one that always does: else a removal that is
//! repeated would wait for nothing.

use std::{sync::Arc, time::Duration};

use cache_core::{Error, ErrorKind, Key};
use redis::{Cmd, FromRedisValue, RedisResult, Value, pipe};
use tokio::{task::JoinSet, time::timeout};

use crate::{
    connect::Pooled,
    error::Fault,
    key::lease_key,
    lane::{Failed, LaneSet},
    steps::{millis, removal},
};

/// How many removals may wait for replicas at once, each on a connection of its own.
pub(crate) const CONNECTIONS: usize = 4;

/// For how many replicas to wait, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replicas {
    pub(crate) count: u32,
    pub(crate) patience: Duration,
}

/// Removes keys, each group atomically, and waits for replicas: for the write deadline and the
/// patience, the wait for a connection included.
///
/// On the runtime of the lanes, where a connection that is made for it outlives its caller's runtime.
pub(crate) async fn remove(
    set: &Arc<LaneSet>,
    groups: Vec<Vec<Key>>,
    replicas: Replicas,
) -> Result<(), Failure> {
    // An open breaker turns this away too, before it waits for a connection.
    drop(set.lane()?);
    let deadline = set.deadlines().write + replicas.patience;
    let runtime = set.runtime().clone();
    let set = Arc::clone(set);
    let removal = async move {
        let removed = timeout(deadline, remove_and_wait(&set, &groups, replicas)).await;
        removed.unwrap_or_else(|_elapsed| Err(Fault::TimedOut.into()))
    };
    // A set, since it ends what is in it when its caller leaves.
    let mut running = JoinSet::new();
    running.spawn_on(removal, &runtime);
    match running.join_next().await {
        Some(Ok(removed)) => removed,
        Some(Err(_gone)) => Err(Fault::Broken.into()),
        None => Err(Fault::Away.into()),
    }
}

/// Why a removal that waits was not done, or not acknowledged.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    Failed(Failed),
    /// It was done, and too few replicas say so.
    TooFew,
}

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault.into())
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Failed(failed) => failed.into(),
            Failure::TooFew => Self::new(
                ErrorKind::Unavailable,
                "fewer replicas than `wait_for_replicas` acknowledged the removal in time",
            ),
        }
    }
}

async fn remove_and_wait(
    set: &LaneSet,
    groups: &[Vec<Key>],
    replicas: Replicas,
) -> Result<(), Failure> {
    let Ok(pooled) = set.exclusive().await else {
        return Err(Fault::Away.into());
    };
    let mut waiting = Waiting(Some(pooled));
    let Some(pooled) = &mut waiting.0 else {
        return Err(Fault::Away.into());
    };
    let mut commands = pipe();
    commands.ignore_errors();
    for key in groups.iter().flatten().take(1) {
        commands.add_command(something_to_remove(key));
    }
    for group in groups {
        commands.add_command(removal(group, set.rules()));
    }
    commands
        .cmd("WAIT")
        .arg(replicas.count)
        .arg(millis(replicas.patience));
    let asked = commands.query_async(pooled.connection_mut()).await;
    let answers: Vec<RedisResult<Value>> = asked.map_err(Failed::from)?;
    let acknowledged = acknowledged(answers).map_err(Failed::from)?;
    // It answered, so the next one may have it.
    drop(waiting.0.take());
    if acknowledged < replicas.count {
        return Err(Failure::TooFew);
    }
    Ok(())
}

/// Makes a lease for the removal to end. No server without memory does that, but then nothing new
/// is stored either.
fn something_to_remove(key: &Key) -> Cmd {
    let mut command = Cmd::new();
    command.arg("SET").arg(lease_key(key.as_bytes()));
    command.arg("removed").arg("PX").arg(100);
    command
}

/// How many replicas acknowledged, if the removals themselves went well.
fn acknowledged(answers: Vec<RedisResult<Value>>) -> RedisResult<u32> {
    let mut last = Value::Nil;
    for answer in answers.into_iter().skip(1) {
        last = answer?;
    }
    Ok(u32::from_redis_value(last)?)
}

/// A connection that may be blocked in a `WAIT`. Unless it is known to be in order it does not go
/// back into the pool, where it would hold up who has it next: also if its caller has left.
struct Waiting(Option<Pooled>);

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(pooled) = self.0.take() {
            pooled.discard();
        }
    }
}
