//! The steps where scripts are forbidden: the same, in commands that anybody may send.
//!
//! Leases still let one process at a time load a key. But between the look at the lease and the
//! write that follows, another command can get in, so a load that is overtaken by an invalidation
//! may store an old value, rarely: this is what the guarantee `unfenced` means. One process that runs
//! without the fence takes it from all who share its store.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use cache_core::{Acquire, Entry, Error, Extend, Fill, Key, Lease, Ttl};
use futures_util::future::join;
use redis::{Cmd, Value, cmd};
use tokio::time::Instant;

use crate::{
    error::Fault,
    key::lease_key,
    lane::{Failed, Lane, LaneSet},
    steps::{Asked, entry, held, is_one, millis},
    token::{self, Tokens},
};

/// One step: its commands go one after the other on one lane, until one deadline.
struct Steps<'a> {
    set: &'a LaneSet,
    lane: Arc<Lane>,
    deadline: Instant,
}

impl<'a> Steps<'a> {
    fn new(set: &'a LaneSet, time: Duration) -> Result<Self, Error> {
        Ok(Self::on(&set.lane()?, set, time))
    }

    fn on(lane: &Arc<Lane>, set: &'a LaneSet, time: Duration) -> Self {
        Self {
            lane: Arc::clone(lane),
            set,
            deadline: Instant::now() + time,
        }
    }

    async fn send(&self, command: &Cmd) -> Result<Value, Error> {
        Ok(self.set.call(&self.lane, command, self.deadline).await?)
    }

    async fn holds(&self, lease_key: &[u8], lease: Lease) -> Result<bool, Error> {
        match self.send(cmd("GET").arg(lease_key)).await? {
            Value::BulkString(holder) => Ok(holder == token::text(lease).as_bytes()),
            _ => Ok(false),
        }
    }
}

pub(crate) async fn acquire(
    set: &Arc<LaneSet>,
    key: &Key,
    hold: Duration,
    tokens: &Tokens,
) -> Result<Acquire, Error> {
    // Unless it says that it was answered, it gives the lease back when it is dropped.
    let mut asked = Asked::new(set, key, tokens)?;
    let steps = Steps::on(&asked.lane, set, set.deadlines().read);
    let lease_key = lease_key(key.as_bytes());
    let mut take = cmd("SET");
    take.arg(&lease_key).arg(token::text(asked.lease));
    take.arg("NX").arg("PX").arg(millis(hold));
    let mut read = cmd("GET");
    read.arg(key.as_bytes());
    // One behind the other: what was stored before the lease was free is found, not loaded again.
    let (taken, found) = join(
        set.call(&steps.lane, &take, steps.deadline),
        set.call(&steps.lane, &read, steps.deadline),
    )
    .await;
    let is_taken = taken.as_ref().is_ok_and(|answer| *answer != Value::Nil);
    if !is_taken {
        asked.answered(&taken);
    }
    match found {
        Ok(Value::BulkString(found)) => return Ok(Acquire::Hit(entry(found.into()))),
        Ok(_) => {}
        // Something is there that nobody can read: as an empty payload, which no codec writes.
        Err(failed) if failed.fault == Fault::WrongType => {
            return Ok(Acquire::Hit(Entry::Encoded(Bytes::new())));
        }
        Err(failed) => return Err(failed.into()),
    }
    asked.answered(&taken);
    taken?;
    if is_taken {
        return Ok(Acquire::Granted(asked.lease));
    }
    match steps.send(cmd("PTTL").arg(&lease_key)).await? {
        Value::Int(left) => Ok(held(left, hold)),
        _ => Err(Fault::Unexpected.error()),
    }
}

/// The lease first: nobody who held it before can fill the key in between.
pub(crate) async fn seize(
    set: &Arc<LaneSet>,
    key: &Key,
    hold: Duration,
    tokens: &Tokens,
) -> Result<Lease, Error> {
    let mut asked = Asked::new(set, key, tokens)?;
    set.note_removal(std::slice::from_ref(key));
    let steps = Steps::on(&asked.lane, set, set.deadlines().write);
    let mut take = cmd("SET");
    take.arg(lease_key(key.as_bytes()))
        .arg(token::text(asked.lease));
    take.arg("PX").arg(millis(hold));
    steps.send(&take).await?;
    steps.send(cmd("DEL").arg(key.as_bytes())).await?;
    asked.answered(&Ok(()));
    Ok(asked.lease)
}

pub(crate) async fn fill(
    set: &LaneSet,
    key: &Key,
    lease: Lease,
    payload: &[u8],
    ttl: Ttl,
) -> Result<Fill, Error> {
    let steps = Steps::new(set, set.deadlines().write)?;
    let lease_key = lease_key(key.as_bytes());
    if !steps.holds(&lease_key, lease).await? {
        return Ok(Fill::Superseded);
    }
    let mut store = cmd("SET");
    store.arg(key.as_bytes()).arg(payload);
    store.arg("PX").arg(millis(ttl.get()));
    steps.send(&store).await?;
    steps.send(cmd("DEL").arg(&lease_key)).await?;
    Ok(Fill::Stored)
}

pub(crate) async fn extend(
    set: &LaneSet,
    key: &Key,
    lease: Lease,
    hold: Duration,
) -> Result<Extend, Error> {
    let steps = Steps::new(set, set.deadlines().write)?;
    let lease_key = lease_key(key.as_bytes());
    let is_kept = steps.holds(&lease_key, lease).await? && {
        let mut keep = cmd("PEXPIRE");
        keep.arg(&lease_key).arg(millis(hold));
        is_one(&steps.send(&keep).await?)?
    };
    Ok(if is_kept {
        Extend::Extended
    } else {
        Extend::Lost
    })
}

pub(crate) async fn release(set: &LaneSet, key: &Key, lease: Lease) -> Result<(), Error> {
    let deadline = Instant::now() + set.deadlines().write;
    Ok(release_on(set, &set.lane()?, key, lease, deadline).await?)
}

pub(crate) async fn release_on(
    set: &LaneSet,
    lane: &Arc<Lane>,
    key: &Key,
    lease: Lease,
    deadline: Instant,
) -> Result<(), Failed> {
    let lease_key = lease_key(key.as_bytes());
    let holder = set.call(lane, cmd("GET").arg(&lease_key), deadline).await?;
    if holder == Value::BulkString(token::text(lease).into_bytes()) {
        set.call(lane, cmd("DEL").arg(&lease_key), deadline).await?;
    }
    Ok(())
}
