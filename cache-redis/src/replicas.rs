//! Removals that wait until replicas have acknowledged them.
//!
//! `WAIT` counts the replicas that acknowledged what *its own connection* wrote, and blocks that
//! connection meanwhile. So the removal and its `WAIT` go together over a connection of
//! their own. From Redis 7.2 on it counts from the connection's last command
//! that changed something, so the removal is to be one that always does: else a removal that is
//! repeated would wait for nothing.

use std::{sync::Arc, time::Duration};

use cache_core::{Error, ErrorKind, Key};
use redis::{Cmd, FromRedisValue, RedisError, RedisResult, Value, pipe};
use tokio::{task::JoinSet, time::timeout};

use crate::{
    connect::Pooled,
    error::Fault,
    key::lease_key,
    lane::LaneSet,
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

/// Removes `keys`, atomically, and waits for replicas: for the write deadline and the patience, the
/// wait for a connection included.
///
/// On the runtime of the lanes, where a connection that is made for it outlives its caller's runtime.
pub(crate) async fn remove(
    set: &Arc<LaneSet>,
    keys: Vec<Key>,
    replicas: Replicas,
) -> Result<(), Error> {
    // An open breaker turns this away too, before it waits for a connection.
    drop(set.lane()?);
    set.note_removal(&keys);
    let deadline = set.deadlines().write + replicas.patience;
    let runtime = set.runtime().clone();
    let set = Arc::clone(set);
    let removal = async move {
        let removed = timeout(deadline, remove_and_wait(&set, &keys, replicas)).await;
        removed.unwrap_or_else(|_elapsed| Err(Fault::TimedOut.error()))
    };
    // A set, since it ends what is in it when its caller leaves.
    let mut running = JoinSet::new();
    running.spawn_on(removal, &runtime);
    match running.join_next().await {
        Some(Ok(removed)) => removed,
        Some(Err(_gone)) => Err(Fault::Broken.error()),
        None => Err(Fault::Away.error()),
    }
}

async fn remove_and_wait(set: &LaneSet, keys: &[Key], replicas: Replicas) -> Result<(), Error> {
    let Ok(pooled) = set.exclusive().await else {
        return Err(Fault::Away.error());
    };
    let mut waiting = Waiting(Some(pooled));
    let Some(pooled) = &mut waiting.0 else {
        return Err(Fault::Away.error());
    };
    let mut commands = pipe();
    commands.ignore_errors();
    for key in keys.iter().take(1) {
        commands.add_command(something_to_remove(key));
    }
    commands.add_command(removal(keys));
    commands
        .cmd("WAIT")
        .arg(replicas.count)
        .arg(millis(replicas.patience));
    let asked = commands.query_async(pooled.connection_mut()).await;
    let answers: Vec<RedisResult<Value>> = asked.map_err(|error| failed(&error))?;
    let acknowledged = acknowledged(answers).map_err(|error| failed(&error))?;
    // It answered, so the next one may have it.
    drop(waiting.0.take());
    if acknowledged < replicas.count {
        return Err(Error::new(
            ErrorKind::Unavailable,
            "fewer replicas than `wait_for_replicas` acknowledged the removal in time",
        ));
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

/// How many replicas acknowledged, if the removal itself went well.
fn acknowledged(answers: Vec<RedisResult<Value>>) -> RedisResult<u32> {
    let mut answers = answers.into_iter().skip(1);
    let mut next = || answers.next().unwrap_or(Ok(Value::Nil));
    next()?;
    Ok(u32::from_redis_value(next()?)?)
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

fn failed(error: &RedisError) -> Error {
    Fault::of(error).error_from(error)
}
