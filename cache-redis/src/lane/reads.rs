//! Reads: of one key, alone or with what others ask for at the same time, and of many.
//!
//! A server that stands alone is asked for many keys by an `MGET`. A part of a cluster answers that
//! for keys of one slot only; it gets as many `GET`s in one go, each with an answer of its own, which
//! may be that the key has moved.

use std::sync::Arc;

use bytes::Bytes;
use cache_core::Key;
use futures_util::future::join_all;
use redis::{Cmd, Pipeline, Value};
use tokio::{
    sync::{mpsc::error::TrySendError, oneshot},
    time::Instant,
};

use super::{
    Failed, LaneSet,
    gather::Read,
    one::{InFlight, Lane},
    set::Shared,
};
use crate::error::Fault;

/// How many keys go together, of those that one caller asks for.
const KEYS_AT_ONCE: usize = 512;

/// The answer to a read: a payload, or that there is none.
pub(crate) type Answer = Result<Option<Bytes>, Failed>;

/// A read that has begun.
pub(crate) enum Reading {
    /// It is to be sent on this lane.
    Alone(Arc<Lane>),
    /// It goes with others.
    Gathered(Gathered),
}

/// A read that goes with others.
pub(crate) struct Gathered {
    answer: oneshot::Receiver<Answer>,
    in_flight: InFlight,
}

impl Gathered {
    /// Its answer. Its batch keeps the deadline; if that is gone, so is the lane.
    pub(crate) async fn answer(self) -> Answer {
        let answer = self.answer.await;
        drop(self.in_flight);
        answer.unwrap_or_else(|_gone| Err(Fault::Broken.into()))
    }
}

impl LaneSet {
    /// Begins to read one key: alone, or with others if the lane is busy.
    pub(crate) fn begin_read(&self, key: &Key) -> Result<Reading, Failed> {
        let lane = self.lane()?;
        if !lane.is_busy() {
            return Ok(Reading::Alone(lane));
        }
        let in_flight = lane.enter();
        #[cfg(feature = "testing")]
        if let Some(answer) = self.shared.on_the_way.join(key) {
            return Ok(Reading::Gathered(Gathered { answer, in_flight }));
        }
        let (reply, answer) = oneshot::channel();
        let (key, asked) = (key.clone(), Instant::now());
        let read = Read { key, asked, reply };
        lane.reads.try_send(read).map_err(|refused| match refused {
            TrySendError::Full(_) => Fault::Crowded,
            TrySendError::Closed(_) => Fault::Broken,
        })?;
        lane.note_queued();
        Ok(Reading::Gathered(Gathered { answer, in_flight }))
    }

    /// Reads one key by a command of its own.
    pub(crate) async fn read_alone(&self, lane: &Arc<Lane>, key: &Key) -> Answer {
        let deadline = Instant::now() + self.deadlines().read;
        let answer = self.call(lane, &reading(key), deadline).await;
        let answer = read(answer);
        lane.note_values(std::slice::from_ref(&answer));
        answer
    }

    /// Reads many keys, some hundred at once: an answer for each.
    pub(crate) async fn read_many(&self, keys: &[Key], deadline: Instant) -> Vec<Answer> {
        let lane = match self.lane_by(deadline).await {
            Ok(lane) => lane,
            Err(failed) => return vec![Err(failed); keys.len()],
        };
        let parts = keys.chunks(KEYS_AT_ONCE).map(async |part| {
            let read = read_many(&self.shared, &lane, part.iter(), deadline).await;
            read.unwrap_or_else(|failed| vec![Err(failed); part.len()])
        });
        join_all(parts).await.concat()
    }
}

/// The command that reads one key.
pub(crate) fn reading(key: &Key) -> Cmd {
    let mut command = Cmd::with_capacity(2, 3 + key.as_bytes().len());
    command.arg("GET").arg(key.as_bytes());
    command
}

/// What it answered.
pub(crate) fn read(answer: Result<Value, Failed>) -> Answer {
    match answer {
        Ok(value) => payload(value),
        // As in an `MGET`: it is no entry.
        Err(failed) if failed.fault == Fault::WrongType => Ok(None),
        Err(failed) => Err(failed),
    }
}

/// Reads `keys` together.
pub(super) async fn read_many(
    set: &Shared,
    lane: &Arc<Lane>,
    keys: impl ExactSizeIterator<Item = &Key>,
    deadline: Instant,
) -> Result<Vec<Answer>, Failed> {
    if set.is_part() {
        let mut commands = Pipeline::with_capacity(keys.len());
        for key in keys {
            commands.add_command(reading(key));
        }
        let answers = set.call_all(lane, &commands, deadline).await?;
        return Ok(answers.into_iter().map(read).collect());
    }
    let asked = keys.len();
    let mut command = Cmd::new();
    command.arg("MGET");
    for key in keys {
        command.arg(key.as_bytes());
    }
    match set.call(lane, &command, deadline).await? {
        Value::Array(values) if values.len() == asked => {
            Ok(values.into_iter().map(payload).collect())
        }
        _ => Err(Fault::Unexpected.into()),
    }
}

fn payload(value: Value) -> Answer {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => Ok(Some(Bytes::from(bytes))),
        _ => Err(Fault::Unexpected.into()),
    }
}
