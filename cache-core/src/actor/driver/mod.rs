//! Drives one flight: first the lease ([`approach`]), then the load ([`loading`]), then the fill
//! ([`fill`]), with a mark before each; at last the landing, here. While the backend does not
//! answer, there is only the load, if it is let through ([`outage`]).

mod approach;
mod fill;
mod loading;
mod outage;

use std::{pin::pin, sync::Arc};

use actix::Addr;
use futures_util::poll;
use tracing::debug;

use self::approach::Approach;
use super::{
    seat::{Found, Origin, Report, Seat},
    shard::{Crash, Land, Post, Promote, Shard},
};
use crate::{
    BackendCall, Error, ErrorKind, Key, Lease,
    engine::{Busy, Core},
    flight::{FlightId, Landing, Mark},
    observer::Observer,
};

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
    /// The outage this flight met with, for those who are moved out of it.
    outage: Option<Error>,
    landed: bool,
    _busy: Busy,
}

impl Driver {
    pub(super) fn new(
        core: Arc<Core>,
        shard: Addr<Shard>,
        key: Key,
        id: FlightId,
        leader: Seat,
    ) -> Self {
        leader.lead();
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
            outage: None,
            landed: false,
        }
    }

    /// Flies from the first mark to the last answer.
    pub(super) async fn fly(mut self) {
        let mut lease = None;
        let (landing, origin, outcome) = match self.approach().await {
            Approach::Hit(found) => (Landing::Hit, Origin::Store, Ok(found)),
            Approach::Ended(error) => (Landing::Failed, Origin::OwnLoad, Err(error)),
            Approach::Load(granted) => {
                lease = granted;
                let (landing, outcome) = self.load_and_fill(&mut lease).await;
                (landing, Origin::OwnLoad, outcome)
            }
            Approach::Outage(outage) => self.load_through(outage).await,
        };
        let Some(lease) = lease else {
            self.land(landing, origin, outcome).await;
            return;
        };
        // The release is sent before anybody is answered, so that who tries again at once finds
        // the key free; its own answer holds nobody up.
        let (core, key) = (Arc::clone(&self.core), self.key.clone());
        let observer = self.observer.clone();
        let release = core.backend.release(&key, lease);
        let mut release = pin!(core.call(BackendCall::Release, &observer, release));
        let sent = poll!(release.as_mut());
        self.land(landing, origin, outcome).await;
        if sent.is_pending() && release.await.is_err() {
            debug!("a lease could not be released and runs out by itself");
        }
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

    /// Goes on with the next caller who still has a loader; `false` if there is none.
    async fn promote(&mut self) -> bool {
        let promote = Promote {
            key: self.key.clone(),
            id: self.id,
        };
        match self.shard.send(promote).await {
            Ok(Some(seat)) => {
                seat.lead();
                self.leaders.push(seat);
                true
            }
            Ok(None) | Err(_) => false,
        }
    }

    /// Ends the flight in the table, then answers everybody whom the outcome covers; its leader as
    /// one who got it from `origin`.
    async fn land(&mut self, landing: Landing, origin: Origin, outcome: Result<Found, Error>) {
        let land = Land {
            key: self.key.clone(),
            id: self.id,
            landing,
            outage: self.outage.take(),
        };
        self.landed = true;
        // A dead shard has nobody left to answer but the leaders, who sit here.
        let covered = self.shard.send(land).await.unwrap_or_default();
        let others = match origin {
            Origin::Store => Origin::Store,
            Origin::OwnLoad | Origin::OthersLoad => Origin::OthersLoad,
        };
        let leader = self.leaders.pop().map(|leader| (leader, origin));
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

fn abandoned() -> Error {
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
