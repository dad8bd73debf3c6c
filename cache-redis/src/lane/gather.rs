//! Reads of one lane, gathered into batches when it is busy.
//!
//! A lone caller's `GET` goes out at once. From 8 in flight on, reads wait in a queue while four
//! batches are on their way, and the next batch takes all that wait, up to 64. A full batch does not
//! wait for those on their way. Measured against
//! plain `GET`s on one connection, gathering gains a little with 16 callers and half as much again
//! with 256, but costs fewer than 8 callers the way through the queue: hence both ways. Of values
//! of a kilobyte and more, reads are gathered from 32 on: 16 callers lost a fifth by it.
//!
//! A batch is made of who waits when it is sent. Who comes later is in the next one, so nobody is
//! answered by a command that was sent before they asked.

use std::sync::Arc;

use bytes::Bytes;
use cache_core::Key;
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{Failed, one::Lane, reads::read_many, set::Shared};
#[cfg(feature = "testing")]
use crate::Mutant;
use crate::error::Fault;

/// From how many commands in flight on reads are gathered: of small values, and of those of a
/// kilobyte and more, whose bytes cost more than their commands do.
pub(super) const BUSY: usize = 8;
pub(super) const BUSY_WITH_LARGE: usize = 32;
pub(super) const LARGE: usize = 1024;

/// How many reads may wait for their batch; further ones are turned away.
pub(super) const LONGEST_QUEUE: usize = 65_536;

/// How many keys a batch has at most, and about how many bytes its reply: a large one is not seen
/// before it is complete, and looks like silence until then.
pub(super) const BATCH: usize = 64;
pub(super) const REPLY_BYTES: usize = 1 << 20;

/// How many batches are on their way, whether they are full or not, and how many if they are: the
/// farther the server, the more it takes to keep the connection busy.
const BATCHES: usize = 4;
const FULL_BATCHES: usize = 64;

/// A read that waits for its batch.
#[derive(Debug)]
pub(crate) struct Read {
    pub(super) key: Key,
    pub(super) asked: Instant,
    pub(super) reply: oneshot::Sender<Result<Option<Bytes>, Failed>>,
}

/// Sends what waits for `lane`, batch by batch, until the lane is retired.
pub(super) async fn gather(set: Arc<Shared>, lane: Arc<Lane>, mut waiting: mpsc::Receiver<Read>) {
    let mut flying = FuturesUnordered::new();
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let may_fly = flying.len() < BATCHES
            || (flying.len() < FULL_BATCHES && waiting.len() >= lane.batch());
        tokio::select! {
            biased;
            Some(()) = flying.next(), if !flying.is_empty() => {}
            taken = waiting.recv_many(&mut batch, lane.batch()), if may_fly => {
                if taken == 0 {
                    return;
                }
                let next = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
                flying.push(fly(&set, &lane, next));
            }
            // A full batch waits: it may fly although others do.
            () = lane.crowded.notified(), if !may_fly && flying.len() < FULL_BATCHES => {}
        }
    }
}

/// Sends one batch and hands out its answers.
async fn fly(set: &Shared, lane: &Arc<Lane>, mut batch: Vec<Read>) {
    let now = Instant::now();
    let deadline = set.deadlines.read;
    batch.retain(|read| !read.reply.is_closed());
    // Who has waited for most of their time is turned away: the answer might come too late for them,
    // and waiting for it would cut the others short.
    let is_late = |read: &mut Read| now.saturating_duration_since(read.asked) > deadline * 3 / 4;
    for read in batch.extract_if(.., is_late) {
        read.reply.send(Err(Fault::Crowded.into())).ok();
    }
    let Some(oldest) = batch.iter().map(|read| read.asked).min() else {
        return;
    };
    let values = if set.is_open() {
        // What queued up before a node hung does not wait for it one batch after the other.
        Err(Fault::Away.into())
    } else {
        #[cfg(feature = "testing")]
        if set.rules.without(Mutant::SharedReads) {
            batch.iter().for_each(|read| set.on_the_way.sent(&read.key));
        }
        let keys = batch.iter().map(|read| &read.key);
        read_many(set, lane, keys, oldest + deadline).await
    };
    match values {
        Ok(values) => {
            lane.note_values(&values);
            for (read, value) in batch.into_iter().zip(values) {
                #[cfg(feature = "testing")]
                if let Ok(value) = &value {
                    set.on_the_way.answered(&read.key, value.as_ref());
                }
                read.reply.send(value).ok();
            }
        }
        Err(failed) => {
            for read in batch {
                read.reply.send(Err(failed.clone())).ok();
            }
        }
    }
}
