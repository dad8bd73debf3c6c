//! Drives one flight: the lease, the load, the fill, and a mark before each.

use std::{future::pending, pin::pin, sync::Arc, time::Duration};

use actix::Addr;
use futures_util::poll;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::debug;

use super::{
    call,
    discard::discard,
    load::{self, Remote},
    seat::{Filling, Found, Origin, Report, Seat, Unreadable},
    shard::{Crash, Land, LostLease, Post, Promote, Shard},
};
use crate::{
    Acquire, BackendCall, Entry, Error, ErrorKind, Event, Extend, Fill, Key, Lease, LoadOutcome,
    engine::{Busy, Core},
    flight::{FlightId, Landing, Mark},
    observer::Observer,
};

/// The first and the longest pause between two attempts to get a lease that another holds.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(32));

/// How many callers are answered before others on the thread have their turn.
const ANSWERS_AT_ONCE: usize = 256;

/// The driver of one flight, a task on its shard's thread.
pub(super) struct Driver {
    core: Arc<Core>,
    shard: Addr<Shard>,
    key: Key,
    id: FlightId,
    /// Those whose loaders this flight used, the last one's now. They hold seats here and not in
    /// the table: if the shard dies, they cannot be given their loaders back.
    leaders: Vec<Seat>,
    observer: Observer,
    landed: bool,
    _busy: Busy,
}

/// What the backend says before a load.
enum Approach {
    /// The entry is there after all.
    Hit(Found),
    /// The loader is to run, under a lease or without.
    Load(Option<Lease>),
    /// There is nobody left to load or to decode.
    Ended(Error),
}

/// How users' code ended on its caller's runtime.
enum Ended<T> {
    With(T),
    TimedOut,
    Vanished,
}

impl Driver {
    pub(super) fn new(
        core: Arc<Core>,
        shard: Addr<Shard>,
        key: Key,
        id: FlightId,
        leader: Seat,
    ) -> Self {
        let observer = leader
            .values()
            .map_or(Observer::Nobody, |values| values.observer().clone());
        Self {
            _busy: core.busy(),
            core,
            shard,
            key,
            id,
            leaders: vec![leader],
            observer,
            landed: false,
        }
    }

    /// Flies from the first mark to the last answer.
    pub(super) async fn fly(mut self) {
        let mut lease = None;
        let (landing, outcome) = match self.approach().await {
            Approach::Hit(found) => (Landing::Hit, Ok(found)),
            Approach::Ended(error) => (Landing::Failed, Err(error)),
            Approach::Load(granted) => {
                lease = granted;
                self.load_and_fill(&mut lease).await
            }
        };
        let Some(lease) = lease else {
            self.land(landing, outcome).await;
            return;
        };
        // The release is sent before anybody is answered, so that who tries again at once finds
        // the key free; its own answer holds nobody up.
        let (core, key) = (Arc::clone(&self.core), self.key.clone());
        let observer = self.observer.clone();
        let mut release = pin!(call(
            BackendCall::Release,
            core.config.backend_deadline,
            &observer,
            core.backend.release(&key, lease),
        ));
        let sent = poll!(release.as_mut());
        self.land(landing, outcome).await;
        if sent.is_pending() && release.await.is_err() {
            debug!("a lease could not be released and runs out by itself");
        }
    }

    /// Asks for the lease until it is granted, the entry is there, or the wait is over.
    async fn approach(&mut self) -> Approach {
        let give_up = Instant::now() + self.core.config.lease_wait;
        let mut pause = BACKOFF.0;
        let mut removed = false;
        loop {
            self.post(Mark::Acquire);
            let hold = self.core.config.lease_hold;
            let acquire = self.core.backend.acquire(&self.key, hold);
            match self.call(BackendCall::Acquire, acquire).await {
                Ok(Acquire::Granted(lease)) => return Approach::Load(Some(lease)),
                Ok(Acquire::Hit(entry)) => match self.decode(entry).await {
                    Ended::With(Ok(found)) => return Approach::Hit(found),
                    Ended::With(Err(Unreadable)) if !removed && self.remove().await => {
                        removed = true;
                    }
                    Ended::With(Err(Unreadable)) => return Approach::Load(None),
                    Ended::TimedOut => return Approach::Ended(timed_out()),
                    Ended::Vanished if self.promote().await => {}
                    Ended::Vanished => return Approach::Ended(abandoned()),
                },
                Ok(Acquire::Held { retry_after }) => {
                    self.observer.record(Event::LeaseHeld);
                    let left = give_up.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        self.observer.record(Event::LeaseWaitExceeded);
                        return Approach::Load(None);
                    }
                    let spread = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
                    sleep(
                        spread
                            .min(retry_after)
                            .min(left)
                            .max(Duration::from_millis(1)),
                    )
                    .await;
                    pause = (pause * 2).min(BACKOFF.1);
                }
                // The store does not answer: the service still does.
                Err(_) => return Approach::Load(None),
            }
        }
    }

    /// Decodes a stored entry on the leader's runtime: decoders are the user's code. An entry
    /// that is not encoded needs none of it.
    async fn decode(&mut self, entry: Entry) -> Ended<Result<Found, Unreadable>> {
        let leader = self.leaders.last();
        let Some((values, runtime)) =
            leader.and_then(|leader| Some((leader.values()?, leader.runtime()?.clone())))
        else {
            return Ended::Vanished;
        };
        let kept = entry.clone();
        let decoded = if matches!(entry, Entry::Encoded(_)) {
            let remote = Remote::start(&runtime, async move { values.decode(entry) });
            self.watch(remote, pending()).await
        } else {
            Ended::With(values.decode(entry))
        };
        if matches!(decoded, Ended::With(Err(Unreadable))) {
            // It may hold the last of a value of another type.
            discard(Some(runtime), kept);
            self.observer.record(Event::Undecodable);
            debug!("an entry could not be decoded and will be loaded again");
        }
        decoded
    }

    /// Removes an entry that cannot be decoded; `false` if the backend did not confirm.
    async fn remove(&self) -> bool {
        let keys = [self.key.clone()];
        let remove = async { Ok(self.core.backend.remove(&keys).await) };
        let answers = self.call(BackendCall::Remove, remove).await;
        answers.is_ok_and(|answers| answers.iter().all(Result::is_ok))
    }

    /// Runs a loader and stores its answer. Takes the lease if it is used up.
    async fn load_and_fill(
        &mut self,
        lease: &mut Option<Lease>,
    ) -> (Landing, Result<Found, Error>) {
        match self.load(lease).await {
            Report::Failed(error) => (Landing::Failed, Err(error)),
            Report::Loaded { found, filling } => {
                let landing = match (filling, *lease) {
                    (Some(filling), Some(held)) => self.fill(filling, held, lease).await,
                    _ => Landing::Unstored,
                };
                (landing, Ok(found))
            }
        }
    }

    /// Runs the leader's loader, or the next one's if it vanishes with its runtime.
    async fn load(&mut self, lease: &mut Option<Lease>) -> Report {
        loop {
            self.post(Mark::Load);
            let began = Instant::now();
            let ended = self.load_once(lease).await;
            let (outcome, report) = match ended {
                Ended::With(report) => (report.outcome(), Some(report)),
                Ended::TimedOut => (LoadOutcome::TimedOut, Some(Report::Failed(timed_out()))),
                Ended::Vanished => (LoadOutcome::Vanished, None),
            };
            self.observer.record(Event::Load {
                outcome,
                took: began.elapsed(),
            });
            match report {
                Some(report) => return report,
                None if self.promote().await => {}
                None => return Report::Failed(abandoned()),
            }
        }
    }

    async fn load_once(&mut self, lease: &mut Option<Lease>) -> Ended<Report> {
        let Some(leader) = self.leaders.last_mut() else {
            return Ended::Vanished;
        };
        let (Some(loader), Some(runtime)) = (leader.take_loader(), leader.runtime()) else {
            return Ended::Vanished;
        };
        let loading = load::within(self.core.id, self.id, loader.load());
        let remote = Remote::start(runtime, loading);
        let held = *lease;
        let lost = async {
            match held {
                Some(held) => self.keep(held).await,
                None => pending().await,
            }
        };
        let mut is_lost = false;
        let lost = async {
            lost.await;
            is_lost = true;
            self.observer.record(Event::LeaseLost);
            self.send(LostLease {
                key: self.key.clone(),
                id: self.id,
            });
            pending::<()>().await;
        };
        let ended = self.watch(remote, lost).await;
        if is_lost {
            *lease = None;
        }
        ended
    }

    /// Waits for users' code, for at most the load timeout, while `meanwhile` runs beside it.
    async fn watch<T: Send + 'static>(
        &self,
        mut remote: Remote<T>,
        meanwhile: impl Future<Output = ()>,
    ) -> Ended<T> {
        let deadline = Instant::now() + self.core.config.load_timeout;
        tokio::select! {
            biased;
            result = &mut remote.result => result.map_or(Ended::Vanished, Ended::With),
            () = sleep_until(deadline) => {
                remote.give_up();
                Ended::TimedOut
            }
            () = meanwhile => Ended::Vanished,
        }
    }

    /// Renews `lease` at each third of its hold; returns when it is lost.
    async fn keep(&self, lease: Lease) {
        let hold = self.core.config.lease_hold;
        loop {
            sleep(hold / 3).await;
            let extend = self.core.backend.extend(&self.key, lease, hold);
            if let Ok(Extend::Lost) = self.call(BackendCall::Extend, extend).await {
                return;
            }
        }
    }

    /// Stores a load's answer under the lease `held`, which ends if the backend says so.
    async fn fill(&self, filling: Filling, held: Lease, lease: &mut Option<Lease>) -> Landing {
        self.post(Mark::Fill);
        #[cfg(feature = "testing")]
        let entry = filling.entry.clone();
        let Filling { entry: filled, ttl } = filling;
        let fill = self.core.backend.fill(&self.key, held, filled, ttl);
        match self.call(BackendCall::Fill, fill).await {
            Ok(Fill::Stored) => {
                *lease = None;
                self.observer.record(Event::FillStored);
                Landing::Stored
            }
            Ok(Fill::Superseded) => {
                *lease = None;
                self.observer.record(Event::FillSuperseded);
                #[cfg(feature = "testing")]
                if self.core.config.rules.mutant == Some(crate::testing::Mutant::PlainSet) {
                    return self.plain_set(entry, ttl).await;
                }
                Landing::Unstored
            }
            Err(error) => {
                self.observer.record(Event::FillFailed(error.kind()));
                Landing::Unstored
            }
        }
    }

    /// What a cache without a fence does: it stores what it loaded, whatever happened meanwhile.
    #[cfg(feature = "testing")]
    async fn plain_set(&self, entry: Entry, ttl: crate::Ttl) -> Landing {
        let backend = &self.core.backend;
        if let Ok(lease) = backend.seize(&self.key, self.core.config.lease_hold).await {
            backend.fill(&self.key, lease, entry, ttl).await.ok();
        }
        Landing::Stored
    }

    /// Goes on with the next caller who still has a loader; `false` if there is none.
    async fn promote(&mut self) -> bool {
        let promote = Promote {
            key: self.key.clone(),
            id: self.id,
        };
        match self.shard.send(promote).await {
            Ok(Some(seat)) => {
                self.leaders.push(seat);
                true
            }
            Ok(None) | Err(_) => false,
        }
    }

    /// Ends the flight in the table, then answers everybody whom the outcome covers.
    async fn land(&mut self, landing: Landing, outcome: Result<Found, Error>) {
        let land = Land {
            key: self.key.clone(),
            id: self.id,
            landing,
        };
        self.landed = true;
        // A dead shard has nobody left to answer but the leaders, who sit here.
        let covered = self.shard.send(land).await.unwrap_or_default();
        let (led, others) = match landing {
            Landing::Hit => (Origin::Store, Origin::Store),
            Landing::Stored | Landing::Unstored | Landing::Failed => {
                (Origin::OwnLoad, Origin::OthersLoad)
            }
        };
        let leader = self.leaders.pop().map(|leader| (leader, led));
        let others = self
            .leaders
            .drain(..)
            .chain(covered)
            .map(|seat| (seat, others));
        let mut waiting = leader.into_iter().chain(others).enumerate().peekable();
        while let Some((answered, (seat, origin))) = waiting.next() {
            if waiting.peek().is_none() {
                // The last takes the outcome itself: none is left to be dropped on this thread.
                seat.answer(outcome, origin);
                return;
            }
            seat.answer(outcome.clone(), origin);
            if answered % ANSWERS_AT_ONCE == ANSWERS_AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
        }
    }

    async fn call<T>(
        &self,
        which: BackendCall,
        future: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let deadline = self.core.config.backend_deadline;
        call(which, deadline, &self.observer, future).await
    }

    fn post(&self, mark: Mark) {
        self.send(Post {
            key: self.key.clone(),
            id: self.id,
            mark,
        });
    }

    /// Posts to the shard. What is sent to the backend afterwards is behind it, for everybody.
    #[expect(
        clippy::disallowed_methods,
        reason = "a post wants no reply and must not be skipped; drivers are bounded by flights"
    )]
    fn send<M>(&self, message: M)
    where
        M: actix::Message<Result = ()> + Send + 'static,
        Shard: actix::Handler<M>,
    {
        self.shard.do_send(message);
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if !self.landed {
            self.send(Crash {
                key: self.key.clone(),
                id: self.id,
            });
        }
    }
}

impl Report {
    fn outcome(&self) -> LoadOutcome {
        match self {
            Self::Loaded { found: Some(_), .. } => LoadOutcome::Value,
            Self::Loaded { found: None, .. } => LoadOutcome::Absent,
            Self::Failed(error) if error.kind() == ErrorKind::Panicked => LoadOutcome::Panicked,
            Self::Failed(_) => LoadOutcome::Failed,
        }
    }
}

pub(super) fn abandoned() -> Error {
    Error::new(
        ErrorKind::Abandoned,
        "the load vanished with its runtime, and nobody else had a loader left",
    )
}

fn timed_out() -> Error {
    Error::new(
        ErrorKind::LoadTimeout,
        "the load took longer than the engine's `load_timeout`",
    )
}
