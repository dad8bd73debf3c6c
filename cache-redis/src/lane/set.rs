//! A node: its lanes, and the breaker in front of them.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use arc_swap::{ArcSwap, ArcSwapOption};
use cache_core::{BreakerState, Key};
use parking_lot::Mutex;
use redis::{Cmd, Pipeline, Value};
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    task::AbortHandle,
    time::{Instant, timeout_at},
};
use tracing::{info, warn};

use super::{
    Failed, keeper,
    one::{Deadlines, Lane},
};
use crate::{
    breaker::{Breaker, Change, Failure},
    checkup::Checkup,
    cluster::{Address, Slots},
    connect::{ConnectError, Connector, Pooled},
    error::Fault,
    health::Voice,
    journal::Journal,
    mutant::Rules,
};

/// When a command was sent, until when its answer is waited for, and how many had been answered.
#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Instant,
    deadline: Instant,
    answers: u64,
}

/// How a node is kept.
pub(crate) struct Keeping {
    /// What it is called in the log.
    pub(crate) name: String,
    pub(crate) deadlines: Deadlines,
    pub(crate) lanes: usize,
    pub(crate) voice: Voice,
    pub(crate) journal: Arc<Mutex<Journal>>,
    /// What it is to a cluster, if it is part of one.
    pub(crate) part: Option<Part>,
    pub(crate) rules: Rules,
}

/// What a node that is part of a cluster knows of that.
pub(crate) struct Part {
    /// Where the node is, as its cluster says.
    pub(crate) address: Address,
    /// Who owns what at the moment.
    pub(crate) slots: Arc<ArcSwap<Slots>>,
    /// Told when the node is in trouble: the cluster may have another in its place.
    pub(crate) trouble: Arc<Notify>,
}

impl Part {
    /// Takes out of `keys` what is another node's. One that nobody knew as an owner so far may be the
    /// owner of any of them.
    pub(super) fn keep_own(&self, keys: &mut Vec<Key>) {
        let slots = self.slots.load();
        if slots.primaries().contains(&self.address) {
            keys.retain(|key| slots.is_owner(&self.address, key.as_bytes()));
        }
    }
}

/// A node. When this is dropped its tasks end and its lanes close.
pub(crate) struct LaneSet {
    pub(super) shared: Arc<Shared>,
    tasks: Vec<AbortHandle>,
}

/// What the callers and the tasks of a node share.
pub(crate) struct Shared {
    /// What it is called in the log.
    pub(super) name: String,
    pub(super) lanes: Box<[ArcSwapOption<Lane>]>,
    /// Told, per place, when a lane is gone: its own, or another.
    pub(super) vacated: Box<[Notify]>,
    pub(super) deadlines: Deadlines,
    pub(super) connector: Connector,
    pub(super) journal: Arc<Mutex<Journal>>,
    pub(super) part: Option<Part>,
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
    pub(super) voice: Voice,
    /// Whether the first attempt to connect is over.
    tried: watch::Sender<bool>,
    pub(super) rules: Rules,
    #[cfg(feature = "testing")]
    pub(super) on_the_way: crate::mutant::OnTheWay,
}

impl LaneSet {
    /// Connects to a node, and starts the tasks that keep the connections, on the current runtime.
    ///
    /// # Errors
    ///
    /// Why the first connection could not be made.
    pub(crate) async fn connect(
        connector: Connector,
        keeping: Keeping,
    ) -> Result<Self, ConnectError> {
        let shared = Shared::new(connector, keeping);
        keeper::open(&shared, 0).await?;
        shared.tried();
        Ok(Self::keep(shared))
    }

    /// Starts the tasks that connect to a node, on the current runtime.
    pub(crate) fn start(connector: Connector, keeping: Keeping) -> Self {
        Self::keep(Shared::new(connector, keeping))
    }

    fn keep(shared: Arc<Shared>) -> Self {
        let places = 0..shared.lanes.len();
        let mut tasks: Vec<AbortHandle> = places
            .map(|slot| tokio::spawn(keeper::keep(Arc::clone(&shared), slot)).abort_handle())
            .collect();
        tasks.push(tokio::spawn(keeper::probe(Arc::clone(&shared))).abort_handle());
        Self { shared, tasks }
    }

    /// A lane to send on. The first attempt to connect is waited for, until `deadline` at most, and no
    /// other.
    pub(crate) async fn lane_by(&self, deadline: Instant) -> Result<Arc<Lane>, Failed> {
        if self.shared.is_open() || self.shared.any_lane().is_some() {
            return self.lane();
        }
        let mut tried = self.shared.tried.subscribe();
        timeout_at(deadline, tried.wait_for(|tried| *tried))
            .await
            .ok();
        self.lane()
    }

    /// What it knows of the cluster that it is part of, if it is.
    pub(crate) fn part(&self) -> Option<&Part> {
        self.shared.part.as_ref()
    }

    /// Whether it answers, for all that is known: it has a lane, and its breaker is closed.
    pub(crate) fn is_well(&self) -> bool {
        self.shared.lane().is_ok()
    }

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

    /// A lane, whatever the breaker says.
    pub(crate) fn any_lane(&self) -> Option<Arc<Lane>> {
        self.shared.any_lane()
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

    /// Sends `commands` on `lane` together, and waits for all their answers.
    pub(crate) async fn call_all(
        &self,
        lane: &Arc<Lane>,
        commands: &Pipeline,
        deadline: Instant,
    ) -> Result<Vec<Result<Value, Failed>>, Failed> {
        self.shared.call_all(lane, commands, deadline).await
    }
}

impl Shared {
    fn new(connector: Connector, keeping: Keeping) -> Arc<Self> {
        let Keeping {
            name,
            deadlines,
            lanes,
            voice,
            journal,
            part,
            rules,
        } = keeping;
        Arc::new(Self {
            name,
            lanes: (0..lanes).map(|_| ArcSwapOption::empty()).collect(),
            vacated: (0..lanes).map(|_| Notify::new()).collect(),
            deadlines,
            connector,
            journal,
            part,
            checkup: ArcSwapOption::empty(),
            answers: AtomicU64::new(0),
            breaker: Mutex::new(Breaker::new(Instant::now())),
            is_open: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            opened: Notify::new(),
            runtime: Handle::current(),
            voice,
            tried: watch::Sender::new(false),
            rules,
            #[cfg(feature = "testing")]
            on_the_way: crate::mutant::OnTheWay::default(),
        })
    }

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
        let asked = self.asked(deadline);
        let reply = lane.send(command, deadline).await;
        drop(in_flight);
        self.note(lane, reply.as_ref().err(), asked);
        reply
    }

    /// As [`call`](Self::call), for commands that go together.
    pub(super) async fn call_all(
        &self,
        lane: &Arc<Lane>,
        commands: &Pipeline,
        deadline: Instant,
    ) -> Result<Vec<Result<Value, Failed>>, Failed> {
        let in_flight = lane.enter();
        let asked = self.asked(deadline);
        let replies = lane.send_all(commands, deadline).await;
        drop(in_flight);
        let failed = match &replies {
            // One that says something about the node counts for all.
            Ok(replies) => replies
                .iter()
                .filter_map(|reply| reply.as_ref().err())
                .find(|failed| failed.fault.failure().is_some()),
            Err(failed) => Some(failed),
        };
        self.note(lane, failed, asked);
        replies
    }

    fn asked(&self, deadline: Instant) -> Asked {
        Asked {
            at: Instant::now(),
            deadline,
            answers: self.answers.load(Ordering::Relaxed),
        }
    }

    /// Takes note of how a command ended.
    fn note(&self, lane: &Arc<Lane>, failed: Option<&Failed>, asked: Asked) {
        match failed {
            None => self.answered(lane),
            Some(failed) => self.failed(lane, failed.fault, asked),
        }
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
        // What was sent with little of its time left proves nothing when that is over.
        let waited = asked.deadline.saturating_duration_since(asked.at);
        if fault == Fault::TimedOut && waited < self.deadlines.read / 2 {
            return;
        }
        let is_lost = match fault {
            Fault::TimedOut => lane.timed_out(asked.at),
            fault => fault.replaces_lane(),
        };
        let answers = self.answers.load(Ordering::Relaxed);
        let is_silent = answers == asked.answers;
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
        self.voice.breaker(match change {
            Change::Opened => BreakerState::Open,
            Change::Probing => BreakerState::HalfOpen,
            Change::Closed => BreakerState::Closed,
        });
        drop(breaker);
        if change == Change::Opened {
            self.trouble();
        }
        if is_open != was_open {
            self.log_breaker(is_open);
        }
        Some(change)
    }

    fn log_breaker(&self, is_open: bool) {
        let server = &*self.name;
        if is_open {
            warn!(
                server,
                "redis does not answer: callers are turned away until it does"
            );
        } else {
            info!(server, "redis answers again");
        }
    }

    /// Tells the cluster that this node is in trouble.
    pub(super) fn trouble(&self) {
        if let Some(part) = &self.part {
            part.trouble.notify_one();
        }
    }

    /// Whether it is part of a cluster.
    pub(super) fn is_part(&self) -> bool {
        self.part.is_some()
    }

    /// Lets the journal forget nothing until a lane is put in, if there is none.
    pub(super) fn hold_journal(&self) {
        if self.any_lane().is_some() {
            return;
        }
        let mut journal = self.journal.lock();
        // Looked at under the lock: what is closed holds nothing any more.
        if !self.is_closed.load(Ordering::SeqCst) {
            journal.hold(self.voice.id(), Instant::now());
        }
    }

    /// Takes note that an attempt to connect is over.
    pub(super) fn tried(&self) {
        self.tried.send_replace(true);
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
        self.journal.lock().let_go(self.voice.id());
        self.probed(true);
        // A keeper that was past its last wait when the set was dropped.
        if self.is_closed.load(Ordering::SeqCst) {
            self.close();
        }
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.journal.lock().let_go(self.voice.id());
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
            self.hold_journal();
            // All of them: whatever broke one lane may have broken the others.
            self.vacated.iter().for_each(Notify::notify_one);
            self.trouble();
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
