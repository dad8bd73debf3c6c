//! A node: its lanes, and the breaker in front of them.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use cache_core::{BreakerState, Event, Key, Recorder};
use futures_util::future::join_all;
use parking_lot::Mutex;
use redis::{Cmd, Value};
use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc::error::TrySendError, oneshot},
    task::AbortHandle,
    time::Instant,
};
use tracing::{info, warn};

use super::{
    Failed, keeper,
    one::{Deadlines, InFlight, Lane},
    reads::{self, Read},
};
use crate::{
    breaker::{Breaker, Change, Failure},
    checkup::Checkup,
    connect::{ConnectError, Connector, Pooled},
    error::Fault,
    journal::Journal,
    mutant::Rules,
};

/// How many keys one command of a `get_many` reads.
const KEYS_AT_ONCE: usize = 512;

/// When a command was sent, until when its answer is waited for, and how many had been answered.
#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Instant,
    deadline: Instant,
    answers: u64,
}

/// A read that has begun.
pub(crate) enum Reading {
    /// It is to be sent on this lane.
    Alone(Arc<Lane>),
    /// It goes with others.
    Gathered(Gathered),
}

/// A read that goes with others.
pub(crate) struct Gathered {
    answer: oneshot::Receiver<Result<Option<Bytes>, Failed>>,
    in_flight: InFlight,
}

impl Gathered {
    /// Its answer. Its batch keeps the deadline; if that is gone, so is the lane.
    pub(crate) async fn answer(self) -> Result<Option<Bytes>, Failed> {
        let answer = self.answer.await;
        drop(self.in_flight);
        answer.unwrap_or_else(|_gone| Err(Fault::Broken.into()))
    }
}

/// How a node is kept.
#[derive(Debug)]
pub(crate) struct Keeping {
    pub(crate) deadlines: Deadlines,
    pub(crate) lanes: usize,
    pub(crate) recorder: Option<Arc<dyn Recorder>>,
    pub(crate) rules: Rules,
}

/// A node. When this is dropped its tasks end and its lanes close.
pub(crate) struct LaneSet {
    shared: Arc<Shared>,
    tasks: Vec<AbortHandle>,
}

/// What the callers and the tasks of a node share.
pub(crate) struct Shared {
    pub(super) lanes: Box<[ArcSwapOption<Lane>]>,
    /// Told, per place, when a lane is gone: its own, or another.
    pub(super) vacated: Box<[Notify]>,
    pub(super) deadlines: Deadlines,
    pub(super) connector: Connector,
    pub(super) journal: Mutex<Journal>,
    pub(super) checkup: ArcSwapOption<Checkup>,
    /// How many commands were answered, by any lane.
    answers: AtomicU64,
    breaker: Mutex<Breaker>,
    /// Whether the breaker turns callers away: what they look at.
    is_open: AtomicBool,
    /// Whether nobody uses this any more.
    is_closed: AtomicBool,
    /// Told when the breaker opens.
    pub(super) opened: Notify,
    pub(super) runtime: Handle,
    recorder: Option<Arc<dyn Recorder>>,
    #[cfg_attr(not(feature = "testing"), expect(dead_code, reason = "all rules hold"))]
    pub(super) rules: Rules,
    #[cfg(feature = "testing")]
    pub(super) on_the_way: crate::mutant::OnTheWay,
}

impl LaneSet {
    /// Starts the tasks that connect to a node, on the current runtime.
    ///
    /// # Errors
    ///
    /// If it waits for the first connection, why that could not be made.
    pub(crate) async fn start(
        connector: Connector,
        keeping: Keeping,
        waits: bool,
    ) -> Result<Self, ConnectError> {
        let Keeping {
            deadlines,
            lanes,
            recorder,
            rules,
        } = keeping;
        let shared = Arc::new(Shared {
            lanes: (0..lanes).map(|_| ArcSwapOption::empty()).collect(),
            vacated: (0..lanes).map(|_| Notify::new()).collect(),
            deadlines,
            connector,
            journal: Mutex::default(),
            checkup: ArcSwapOption::empty(),
            answers: AtomicU64::new(0),
            breaker: Mutex::new(Breaker::new(Instant::now())),
            is_open: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            opened: Notify::new(),
            runtime: Handle::current(),
            recorder,
            rules,
            #[cfg(feature = "testing")]
            on_the_way: crate::mutant::OnTheWay::default(),
        });
        if waits {
            keeper::open(&shared, 0).await?;
        }
        let mut tasks: Vec<AbortHandle> = (0..lanes)
            .map(|slot| tokio::spawn(keeper::keep(Arc::clone(&shared), slot)).abort_handle())
            .collect();
        tasks.push(tokio::spawn(keeper::probe(Arc::clone(&shared))).abort_handle());
        Ok(Self { shared, tasks })
    }

    #[cfg(feature = "testing")]
    pub(crate) fn rules(&self) -> Rules {
        self.shared.rules
    }

    pub(crate) fn deadlines(&self) -> Deadlines {
        self.shared.deadlines
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.shared.runtime
    }

    /// A connection for who needs one of their own for a while.
    pub(crate) async fn exclusive(&self) -> Result<Pooled, ConnectError> {
        self.shared.connector.exclusive().await
    }

    /// What the last look at the node found; `None` before the first.
    pub(crate) fn checkup(&self) -> Option<Arc<Checkup>> {
        self.shared.checkup.load_full()
    }

    /// Whether scripts may run. Until the first look that is assumed.
    pub(crate) fn runs_scripts(&self) -> bool {
        let checkup = self.shared.checkup.load();
        checkup.as_ref().is_none_or(|checkup| checkup.runs_scripts)
    }

    /// Notes that `keys` are about to be removed.
    pub(crate) fn note_removal(&self, keys: &[Key]) {
        self.shared.journal.lock().note(keys, Instant::now());
    }

    /// A lane to send on, the one with the least to do.
    pub(crate) fn lane(&self) -> Result<Arc<Lane>, Failed> {
        self.shared.lane()
    }

    /// Sends `command` on `lane`, and waits for its answer until `deadline` at most.
    pub(crate) async fn call(
        &self,
        lane: &Arc<Lane>,
        command: &Cmd,
        deadline: Instant,
    ) -> Result<Value, Failed> {
        self.shared.call(lane, command, deadline).await
    }

    /// Begins to read one key: alone, or with others if the lane is busy.
    pub(crate) fn begin_read(&self, key: &Key) -> Result<Reading, Failed> {
        let lane = self.shared.lane()?;
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
    pub(crate) async fn read_alone(
        &self,
        lane: &Arc<Lane>,
        key: &Key,
    ) -> Result<Option<Bytes>, Failed> {
        let mut command = Cmd::with_capacity(2, 3 + key.as_bytes().len());
        command.arg("GET").arg(key.as_bytes());
        let deadline = Instant::now() + self.shared.deadlines.read;
        match self.shared.call(lane, &command, deadline).await {
            Ok(value) => {
                let payload = reads::payload(value)?;
                lane.note_values(std::slice::from_ref(&payload));
                Ok(payload)
            }
            // As in an `MGET`: it is no entry.
            Err(failed) if failed.fault == Fault::WrongType => Ok(None),
            Err(failed) => Err(failed),
        }
    }

    /// Reads many keys, some hundred at once: an answer for each.
    pub(crate) async fn read_many(&self, keys: &[Key]) -> Vec<Result<Option<Bytes>, Failed>> {
        let lane = match self.shared.lane() {
            Ok(lane) => lane,
            Err(failed) => return vec![Err(failed); keys.len()],
        };
        let deadline = Instant::now() + self.shared.deadlines.read;
        let parts = keys.chunks(KEYS_AT_ONCE).map(async |part| {
            let read = reads::read_many(&self.shared, &lane, part.iter(), deadline).await;
            match read {
                Ok(values) => values.into_iter().map(Ok).collect(),
                Err(failed) => vec![Err(failed); part.len()],
            }
        });
        join_all(parts).await.concat()
    }
}

impl Shared {
    /// Whether callers are turned away.
    pub(super) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    fn lane(&self) -> Result<Arc<Lane>, Failed> {
        if self.is_open() {
            return Err(Fault::Away.into());
        }
        self.any_lane().ok_or_else(|| Fault::Away.into())
    }

    /// The lane with the least to do, whatever the breaker says.
    pub(super) fn any_lane(&self) -> Option<Arc<Lane>> {
        if let [only] = &*self.lanes {
            return only.load_full();
        }
        self.all_lanes().min_by_key(|lane| lane.in_flight())
    }

    /// Sends `command` on `lane`; sees to the breaker, and to the lane if that is lost.
    pub(super) async fn call(
        &self,
        lane: &Arc<Lane>,
        command: &Cmd,
        deadline: Instant,
    ) -> Result<Value, Failed> {
        let in_flight = lane.enter();
        let asked = Asked {
            at: Instant::now(),
            deadline,
            answers: self.answers.load(Ordering::Relaxed),
        };
        let reply = lane.send(command, deadline).await;
        drop(in_flight);
        match &reply {
            Ok(_) => self.answered(lane),
            Err(failed) => self.failed(lane, failed.fault, asked),
        }
        reply
    }

    fn answered(&self, lane: &Lane) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        lane.answered();
    }

    /// Takes note of a command that failed.
    fn failed(&self, lane: &Arc<Lane>, fault: Fault, asked: Asked) {
        // What was on its way when a lane was taken out says nothing new, and nothing about the
        // others: one broken connection is one failure.
        if !self.is_in_place(lane) {
            return;
        }
        let Some(failure) = fault.failure() else {
            // The node is well; it refused this one command.
            return self.answered(lane);
        };
        let is_lost = match fault {
            Fault::TimedOut => lane.timed_out(asked.at),
            fault => fault.replaces_lane(),
        };
        let answers = self.answers.load(Ordering::Relaxed);
        // What was sent with little of its time left proves nothing when that is over.
        let waited = asked.deadline.saturating_duration_since(asked.at);
        let is_silent = answers == asked.answers && waited >= self.deadlines.read / 2;
        let failure = match failure {
            Failure::Failed if fault == Fault::TimedOut && is_silent => Failure::Hung,
            failure => failure,
        };
        self.turn(|breaker, now| breaker.failed(failure, answers, now));
        if is_lost {
            self.retire(lane);
        }
    }

    /// Begins a probe if one is due; else says when to look again.
    pub(super) fn begin_probe(&self) -> Result<(), Option<Instant>> {
        match self.turn(Breaker::begin_probe) {
            Some(_) => Ok(()),
            None => Err(self.breaker.lock().probe_due()),
        }
    }

    /// Takes note of the answer to a probe.
    pub(super) fn probed(&self, is_well: bool) {
        self.turn(|breaker, now| breaker.probed(is_well, now));
    }

    /// Lets the breaker turn. What callers look at changes under its lock, so that it cannot be left
    /// behind by a later change.
    fn turn(&self, turn: impl FnOnce(&mut Breaker, Instant) -> Option<Change>) -> Option<Change> {
        let mut breaker = self.breaker.lock();
        let change = turn(&mut breaker, Instant::now())?;
        let is_open = change != Change::Closed;
        let was_open = self.is_open.swap(is_open, Ordering::Relaxed);
        if change == Change::Opened {
            self.opened.notify_one();
        }
        self.tell(Event::Breaker(match change {
            Change::Opened => BreakerState::Open,
            Change::Probing => BreakerState::HalfOpen,
            Change::Closed => BreakerState::Closed,
        }));
        drop(breaker);
        if is_open && !was_open {
            warn!("redis does not answer: callers are turned away until it does");
        } else if was_open && !is_open {
            info!("redis answers again");
        }
        Some(change)
    }

    /// Tells the recorder, whose panics harm nobody here.
    pub(super) fn tell(&self, event: Event) {
        if let Some(recorder) = &self.recorder {
            drop(catch_unwind(AssertUnwindSafe(|| recorder.record(event))));
        }
    }

    /// All lanes that are in place.
    pub(super) fn all_lanes(&self) -> impl Iterator<Item = Arc<Lane>> + '_ {
        self.lanes.iter().filter_map(ArcSwapOption::load_full)
    }

    pub(super) fn is_in_place(&self, lane: &Arc<Lane>) -> bool {
        let place = self.lanes[lane.slot].load();
        place.as_ref().is_some_and(|other| Arc::ptr_eq(other, lane))
    }

    /// Puts a lane in its place. That the node answered is as good as a probe.
    pub(super) fn install(&self, slot: usize, lane: Arc<Lane>) {
        self.lanes[slot].store(Some(lane));
        self.probed(true);
        // A keeper that was past its last wait when the set was dropped.
        if self.is_closed.load(Ordering::SeqCst) {
            self.close();
        }
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        for place in &self.lanes {
            if let Some(lane) = place.swap(None) {
                lane.retire();
            }
        }
    }

    /// Takes a lane out, unless that has been done.
    pub(super) fn retire(&self, lane: &Arc<Lane>) {
        if !self.is_in_place(lane) {
            return;
        }
        let previous = self.lanes[lane.slot].compare_and_swap(lane, None);
        if previous
            .as_ref()
            .is_some_and(|previous| Arc::ptr_eq(previous, lane))
        {
            lane.retire();
            // All of them: whatever broke one lane may have broken the others.
            self.vacated.iter().for_each(Notify::notify_one);
        }
    }
}

impl Drop for LaneSet {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.shared.close();
    }
}

impl fmt::Debug for LaneSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneSet")
            .field("lanes", &self.shared.lanes.len())
            .field("is_open", &self.shared.is_open())
            .finish_non_exhaustive()
    }
}
