//! One lane: a multiplexed connection, and what is known about it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use redis::{Cmd, Pipeline, RedisError, Value, aio::MultiplexedConnection};
use tokio::{
    sync::{Notify, mpsc},
    task::AbortHandle,
    time::{Instant, timeout_at},
};

use super::{
    Failed,
    gather::{self, Read},
    reads::Answer,
};
use crate::{connect::Pooled, error::Fault};

/// So many timeouts in a row, and the lane is replaced: the driver never notices a server that
/// hangs while its sockets look alive.
const TIMEOUTS_IN_A_ROW: u32 = 3;

/// A lane. It is replaced, never mended.
pub(crate) struct Lane {
    pub(super) slot: usize,
    server: Option<String>,
    connection: MultiplexedConnection,
    /// Keeps the lane's place in the pool for as long as it is used.
    pooled: Mutex<Option<Pooled>>,
    pub(super) reads: mpsc::Sender<Read>,
    gatherer: Mutex<Option<AbortHandle>>,
    /// Shared with those who wait, so that they need not hold the lane.
    in_flight: Arc<AtomicUsize>,
    timeouts_in_a_row: AtomicU32,
    last_timeout: Mutex<Option<Instant>>,
    /// Told when more reads wait than one batch takes.
    pub(super) crowded: Notify,
    /// How many bytes a value had lately.
    value_bytes: AtomicUsize,
}

impl Lane {
    /// `server` is what tells its server from others, if that is known.
    pub(super) fn new(
        slot: usize,
        pooled: Pooled,
        server: Option<String>,
    ) -> (Arc<Self>, mpsc::Receiver<Read>) {
        let (reads, waiting) = mpsc::channel(gather::LONGEST_QUEUE);
        let lane = Self {
            slot,
            server,
            connection: pooled.connection(),
            pooled: Mutex::new(Some(pooled)),
            reads,
            gatherer: Mutex::new(None),
            in_flight: Arc::default(),
            timeouts_in_a_row: AtomicU32::new(0),
            last_timeout: Mutex::new(None),
            crowded: Notify::new(),
            value_bytes: AtomicUsize::new(0),
        };
        (Arc::new(lane), waiting)
    }

    /// Says which task gathers this lane's reads.
    pub(super) fn gathered_by(&self, task: AbortHandle) {
        *self.gatherer.lock() = Some(task);
    }

    /// Whether another lane leads to the same server, as far as that is known.
    pub(super) fn is_to_the_server_of(&self, other: &Self) -> bool {
        match (&self.server, &other.server) {
            (Some(mine), Some(other)) => mine == other,
            _ => true,
        }
    }

    /// How many commands and queued reads wait for an answer.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether reads are to be gathered.
    pub(super) fn is_busy(&self) -> bool {
        let in_flight = self.in_flight();
        in_flight >= gather::BUSY
            && (in_flight >= gather::BUSY_WITH_LARGE
                || self.value_bytes.load(Ordering::Relaxed) < gather::LARGE)
    }

    /// Counts one who waits, until the answer is dropped.
    pub(super) fn enter(&self) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(&self.in_flight))
    }

    /// Takes note that another read waits for its batch.
    pub(super) fn note_queued(&self) {
        if self.reads.max_capacity() - self.reads.capacity() >= gather::BATCH {
            self.crowded.notify_one();
        }
    }

    /// How many keys a batch is to have, so that its reply stays small.
    pub(super) fn batch(&self) -> usize {
        let bytes = self.value_bytes.load(Ordering::Relaxed).max(1);
        (gather::REPLY_BYTES / bytes).clamp(1, gather::BATCH)
    }

    /// Takes note of the values of a batch.
    pub(super) fn note_values(&self, answers: &[Answer]) {
        let lengths = answers.iter().flatten().flatten().map(Bytes::len);
        let (bytes, found) = lengths.fold((0_usize, 0_usize), |(bytes, found), length| {
            (bytes.saturating_add(length), found + 1)
        });
        if let Some(now) = bytes.checked_div(found) {
            let before = self.value_bytes.load(Ordering::Relaxed);
            let smoothed = (before / 4).saturating_mul(3).saturating_add(now / 4);
            // Where values are alike there is nothing to write, which others would have to reload.
            if smoothed.abs_diff(before) > before / 8 {
                self.value_bytes.store(smoothed, Ordering::Relaxed);
            }
        }
    }

    /// The connection, for a look at the server.
    pub(super) fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    /// Sends a command and waits for its answer, until `deadline` at most.
    pub(super) async fn send(&self, command: &Cmd, deadline: Instant) -> Result<Value, Failed> {
        let mut connection = self.connection.clone();
        match timeout_at(deadline, connection.send_packed_command(command)).await {
            Ok(answer) => answer.map_err(Failed::from).and_then(answered),
            Err(_elapsed) => Err(Failed::from(Fault::TimedOut)),
        }
    }

    /// Sends commands together, with nothing of others between them, and waits for all answers.
    pub(super) async fn send_all(
        &self,
        commands: &Pipeline,
        deadline: Instant,
    ) -> Result<Vec<Result<Value, Failed>>, Failed> {
        let mut connection = self.connection.clone();
        let count = commands.len();
        let sent = connection.send_packed_commands(commands, 0, count);
        match timeout_at(deadline, sent).await {
            Ok(Ok(answers)) if answers.len() == count => {
                Ok(answers.into_iter().map(answered).collect())
            }
            Ok(Ok(_)) => Err(Failed::from(Fault::Unexpected)),
            Ok(Err(error)) => Err(Failed::from(error)),
            Err(_elapsed) => Err(Failed::from(Fault::TimedOut)),
        }
    }

    /// Takes note of an answer, whatever it was.
    pub(super) fn answered(&self) {
        if self.timeouts_in_a_row.load(Ordering::Relaxed) != 0 {
            self.timeouts_in_a_row.store(0, Ordering::Relaxed);
        }
    }

    /// Takes note of the timeout of a command that was sent at `sent`; whether it is one too many.
    ///
    /// Only one that was sent after the last timeout counts: what waits together times out together,
    /// and one short stop is no reason to connect anew.
    pub(super) fn timed_out(&self, sent: Instant) -> bool {
        let mut last = self.last_timeout.lock();
        if last.is_some_and(|last| sent < last) {
            return false;
        }
        *last = Some(Instant::now());
        self.timeouts_in_a_row.fetch_add(1, Ordering::Relaxed) + 1 >= TIMEOUTS_IN_A_ROW
    }

    /// Gives the lane's place in the pool back, and fails at once what waits in its queue. What is
    /// in flight ends by itself, or at its deadline.
    pub(super) fn retire(&self) {
        if let Some(pooled) = self.pooled.lock().take() {
            pooled.discard();
        }
        if let Some(gatherer) = self.gatherer.lock().take() {
            gatherer.abort();
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.retire();
    }
}

/// The driver hands the server's errors on as values.
fn answered(value: Value) -> Result<Value, Failed> {
    match value {
        Value::ServerError(error) => Err(Failed::from(RedisError::from(error))),
        value => Ok(value),
    }
}

/// One who waits for an answer of a lane.
#[derive(Debug)]
pub(super) struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane")
            .field("slot", &self.slot)
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

/// The deadlines of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    pub(crate) connect: Duration,
    pub(crate) read: Duration,
    pub(crate) write: Duration,
}
