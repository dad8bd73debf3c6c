//! The steps where scripts are forbidden: the same, in commands that anybody may send.
//!
//! Leases still let one process at a time load a key. But between the look at the lease and the
//! write that follows, another command can get in, so a load that is overtaken by an invalidation
//! may store an old value, rarely: this is what the guarantee `unfenced` means. One process that runs
//! without the fence takes it from all who share its store.

use std::time::Duration;

use bytes::Bytes;
use cache_core::{Acquire, Entry, Error, Extend, Fill, Key, Lease, Ttl};
use redis::{Value, cmd};
use tokio::time::Instant;

use crate::{
    error::Fault,
    key::lease_key,
    lane::{Failed, read, reading},
    steps::{Asked, Way, entry, held, is_one, millis},
    token::{self, Tokens},
    topology::Topology,
};

pub(crate) async fn acquire(
    topology: &Topology,
    key: &Key,
    hold: Duration,
    tokens: &Tokens,
) -> Result<Acquire, Error> {
    let deadline = Instant::now() + topology.deadlines().read;
    // Unless it says that it was answered, it gives the lease back when it is dropped.
    let mut asked = Asked::new(Way::new(topology, key, deadline).await?, tokens);
    let lease_key = lease_key(key.as_bytes());
    let mut take = cmd("SET");
    take.arg(&lease_key).arg(token::text(asked.lease));
    take.arg("NX").arg("PX").arg(millis(hold));
    let taken = asked.way.call(&take, deadline).await;
    let is_taken = taken.as_ref().is_ok_and(|answer| *answer != Value::Nil);
    if !is_taken {
        asked.answered(&taken);
    }
    // Afterwards: what was stored before the lease was free is found, not loaded again. A lease that
    // was taken is given back if this hits.
    let found = asked.way.call(&reading(key), deadline).await;
    match found {
        // Something is there that nobody can read: as an empty payload, which no codec writes.
        Err(failed) if failed.fault == Fault::WrongType => {
            return Ok(Acquire::Hit(Entry::Encoded(Bytes::new())));
        }
        found => {
            if let Some(found) = read(found)? {
                return Ok(Acquire::Hit(entry(found)));
            }
        }
    }
    asked.answered(&taken);
    taken?;
    if is_taken {
        return Ok(Acquire::Granted(asked.lease));
    }
    match asked
        .way
        .call(cmd("PTTL").arg(&lease_key), deadline)
        .await?
    {
        Value::Int(left) => Ok(held(left, hold)),
        _ => Err(Fault::Unexpected.error()),
    }
}

/// The lease first: nobody who held it before can fill the key in between.
pub(crate) async fn seize(
    topology: &Topology,
    key: &Key,
    hold: Duration,
    tokens: &Tokens,
) -> Result<Lease, Error> {
    let deadline = Instant::now() + topology.deadlines().write;
    topology.note_removal(std::slice::from_ref(key));
    let mut asked = Asked::new(Way::new(topology, key, deadline).await?, tokens);
    let mut take = cmd("SET");
    take.arg(lease_key(key.as_bytes()))
        .arg(token::text(asked.lease));
    take.arg("PX").arg(millis(hold));
    asked.way.call(&take, deadline).await?;
    let remove = cmd("DEL").arg(key.as_bytes()).to_owned();
    asked.way.call(&remove, deadline).await?;
    asked.answered(&Ok(()));
    Ok(asked.lease)
}

pub(crate) async fn fill(
    topology: &Topology,
    key: &Key,
    lease: Lease,
    payload: &[u8],
    ttl: Ttl,
) -> Result<Fill, Error> {
    let deadline = Instant::now() + topology.deadlines().write;
    let mut way = Way::new(topology, key, deadline).await?;
    let lease_key = lease_key(key.as_bytes());
    if !holds(&mut way, &lease_key, lease, deadline).await? {
        return Ok(Fill::Superseded);
    }
    let mut store = cmd("SET");
    store.arg(key.as_bytes()).arg(payload);
    store.arg("PX").arg(millis(ttl.get()));
    way.call(&store, deadline).await?;
    way.call(cmd("DEL").arg(&lease_key), deadline).await?;
    Ok(Fill::Stored)
}

pub(crate) async fn extend(
    topology: &Topology,
    key: &Key,
    lease: Lease,
    hold: Duration,
) -> Result<Extend, Error> {
    let deadline = Instant::now() + topology.deadlines().write;
    let mut way = Way::new(topology, key, deadline).await?;
    let lease_key = lease_key(key.as_bytes());
    let is_kept = holds(&mut way, &lease_key, lease, deadline).await? && {
        let mut keep = cmd("PEXPIRE");
        keep.arg(&lease_key).arg(millis(hold));
        is_one(&way.call(&keep, deadline).await?)?
    };
    Ok(if is_kept {
        Extend::Extended
    } else {
        Extend::Lost
    })
}

pub(crate) async fn release(topology: &Topology, key: &Key, lease: Lease) -> Result<(), Error> {
    let deadline = Instant::now() + topology.deadlines().write;
    let mut way = Way::new(topology, key, deadline).await?;
    Ok(release_on(&mut way, lease, deadline).await?)
}

pub(crate) async fn release_on(
    way: &mut Way<'_>,
    lease: Lease,
    deadline: Instant,
) -> Result<(), Failed> {
    let lease_key = lease_key(way.key().as_bytes());
    if holds(way, &lease_key, lease, deadline).await? {
        way.call(cmd("DEL").arg(&lease_key), deadline).await?;
    }
    Ok(())
}

async fn holds(
    way: &mut Way<'_>,
    lease_key: &[u8],
    lease: Lease,
    deadline: Instant,
) -> Result<bool, Failed> {
    let holder = way.call(cmd("GET").arg(lease_key), deadline).await?;
    Ok(holder == Value::BulkString(token::text(lease).into_bytes()))
}
