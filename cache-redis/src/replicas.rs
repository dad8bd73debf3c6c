//! Removals that wait until replicas have acknowledged them.
//!
//! `WAIT` counts the replicas that acknowledged what *its own connection* wrote, and blocks that
//! connection meanwhile. So the removal and its `WAIT` go together over a connection that is taken
//! from the pool for them alone.

use std::time::Duration;

use cache_core::{Error, ErrorKind, Key};
use redis::{RedisError, pipe};
use tokio::time::timeout;

use crate::{
    error::Fault,
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

/// Removes `keys`, atomically, and waits for replicas.
pub(crate) async fn remove(set: &LaneSet, keys: &[Key], replicas: Replicas) -> Result<(), Error> {
    // An open breaker turns this away too, before it waits for a connection.
    drop(set.lane()?);
    set.note_removal(keys);
    let Ok(pooled) = set.pool().get().await else {
        return Err(Fault::Away.error());
    };
    // Taken out of the pool until it is known to be in order: a `WAIT` that was given up would
    // block who has it next.
    let mut connection = pooled;
    let mut commands = pipe();
    commands.add_command(removal(keys)).ignore();
    commands
        .cmd("WAIT")
        .arg(replicas.count)
        .arg(millis(replicas.patience));
    let deadline = set.deadlines().write + replicas.patience;
    let asked = timeout(deadline, commands.query_async::<(u32,)>(&mut connection)).await;
    let answer = match asked {
        Ok(Ok((acknowledged,))) if acknowledged >= replicas.count => return Ok(()),
        Ok(Ok(_)) => {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "fewer replicas than `wait_for_replicas` acknowledged the removal in time",
            ));
        }
        Ok(Err(error)) => failed(&error),
        Err(_elapsed) => Fault::TimedOut.error(),
    };
    drop(deadpool_redis::Connection::take(connection));
    Err(answer)
}

fn failed(error: &RedisError) -> Error {
    Fault::of(error).error_from(error)
}
