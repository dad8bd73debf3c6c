//! The steps where scripts are forbidden: the same, in commands that anybody may send.
//!
//! Leases still let one process at a time load a key. But between the look at the lease and the
//! write that follows, another command can get in, so a load that is overtaken by an invalidation
//! may store an old value, rarely: this is what the guarantee `unfenced` means.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use cache_core::{Acquire, Entry, Error, Extend, Fill, Key, Lease, Ttl};
use futures_util::future::join;
use redis::{Cmd, Value, cmd};
use tokio::time::Instant;

use crate::{
    error::Fault,
    key::lease_key,
    lane::{Lane, LaneSet},
    steps::{entry, held, is_one, millis},
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
        Ok(Self {
            lane: set.lane()?,
            set,
            deadline: Instant::now() + time,
        })
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
    set: &LaneSet,
    key: &Key,
    hold: Duration,
    tokens: &Tokens,
) -> Result<Acquire, Error> {
    let steps = Steps::new(set, set.deadlines().read)?;
    let (lease, lease_key) = (tokens.draw(), lease_key(key.as_bytes()));
    let mut take = cmd("SET");
    take.arg(&lease_key).arg(token::text(lease));
    take.arg("NX").arg("PX").arg(millis(hold));
    let mut read = cmd("GET");
    read.arg(key.as_bytes());
    // One behind the other: what was stored before the lease was free is found, not loaded again.
    let (taken, found) = join(
        steps.send(&take),
        set.call(&steps.lane, &read, steps.deadline),
    )
    .await;
    let found = match found {
        Ok(Value::BulkString(found)) => Some(entry(found.into())),
        Ok(_) => None,
        // Something is there that nobody can read: as an empty payload, which no codec writes.
        Err(failed) if failed.fault == Fault::WrongType => Some(Entry::Encoded(Bytes::new())),
        Err(failed) => return Err(failed.into()),
    };
    let is_taken = taken.as_ref().is_ok_and(|answer| *answer != Value::Nil);
    if let Some(found) = found {
        if is_taken {
            // That it fails costs others the rest of the hold.
            release(set, key, lease).await.ok();
        }
        return Ok(Acquire::Hit(found));
    }
    taken?;
    if is_taken {
        return Ok(Acquire::Granted(lease));
    }
    match steps.send(cmd("PTTL").arg(&lease_key)).await? {
        Value::Int(left) => Ok(held(left, hold)),
        _ => Err(Fault::Unexpected.error()),
    }
}

pub(crate) async fn seize(
    set: &LaneSet,
    key: &Key,
    hold: Duration,
    tokens: &Tokens,
) -> Result<Lease, Error> {
    set.note_removal(std::slice::from_ref(key));
    let steps = Steps::new(set, set.deadlines().write)?;
    let lease = tokens.draw();
    steps.send(cmd("DEL").arg(key.as_bytes())).await?;
    let mut take = cmd("SET");
    take.arg(lease_key(key.as_bytes())).arg(token::text(lease));
    take.arg("PX").arg(millis(hold));
    steps.send(&take).await?;
    Ok(lease)
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
    let steps = Steps::new(set, set.deadlines().write)?;
    let lease_key = lease_key(key.as_bytes());
    if steps.holds(&lease_key, lease).await? {
        steps.send(cmd("DEL").arg(&lease_key)).await?;
    }
    Ok(())
}
