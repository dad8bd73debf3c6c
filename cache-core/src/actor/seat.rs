//! A caller's seat in a flight: where the answer goes, and the loader it brought.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::{runtime::Handle, sync::oneshot};
use tracing::Span;

use super::discard::discard;
use crate::{
    Entry, Error, Object, Ttl,
    engine::{Admitted, Core},
    flight::{FlightId, Occupied, SeatId},
    observer::Observer,
};

/// A value, or the knowledge that there is none; its type is known to its cache alone.
pub(crate) type Found = Option<Object>;

/// One caller's loader.
pub(crate) trait Loader: Send {
    /// What the cache knows about its values.
    fn values(&self) -> Arc<dyn ValueOps>;

    /// Runs the loader, and makes what is to be stored of its answer. Never panics.
    fn load(self: Box<Self>) -> Loading;
}

/// A load that is about to run.
pub(crate) struct Loading {
    pub(crate) report: BoxFuture<'static, Report>,
    /// Its own span, in which its outcome is noted by who learns of it. Disabled if nobody listens,
    /// and then not the one that the load runs in.
    pub(crate) span: Span,
}

/// What a cache knows about its values that the untyped rest needs.
pub(crate) trait ValueOps: Send + Sync {
    /// Decodes `entry`. Never panics.
    fn decode(&self, entry: Entry) -> Result<Found, Unreadable>;

    /// Who is told about events of this cache.
    fn observer(&self) -> &Observer;
}

/// An entry cannot be decoded, or holds another type of value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unreadable;

/// How a loader ended.
pub(crate) enum Report {
    /// With an answer, and what is to be stored of it, if anything.
    Loaded {
        found: Found,
        filling: Option<Filling>,
    },
    /// With an error or a panic.
    Failed(Error),
}

/// What is to be stored, and for how long.
#[derive(Debug)]
pub(crate) struct Filling {
    pub(crate) entry: Entry,
    pub(crate) ttl: Ttl,
}

/// What a caller is answered. A loader that was not used comes back, to be dropped by its caller.
pub(crate) enum Answer {
    /// The outcome of the flight.
    Outcome {
        outcome: Result<Found, Error>,
        origin: Origin,
        unused: Option<Box<dyn Loader>>,
    },
    /// The seat is gone with its actor: the caller is to take another one.
    Vacated(Option<Box<dyn Loader>>),
}

/// Where an outcome comes from, seen by the one who gets it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Origin {
    /// The store.
    Store,
    /// The load of this very caller.
    OwnLoad,
    /// The load of another caller.
    OthersLoad,
}

/// A call that was made inside a load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inside {
    pub(crate) load: FlightId,
    pub(crate) seat: SeatId,
}

/// What a caller knows of an outage of the backend: that it did not answer a read.
#[derive(Clone, Debug)]
pub(crate) struct Outage {
    pub(crate) error: Error,
    /// Whether it was the caller's own read, or one of the flight that the caller waited in.
    /// If not, the caller was moved out of a flight that knew, and passes it on to nobody: else
    /// a key that is never idle would be an outage for ever.
    pub(crate) is_witnessed: bool,
}

impl Outage {
    pub(crate) fn witnessed(error: Error) -> Self {
        Self {
            error,
            is_witnessed: true,
        }
    }

    /// Only the key is not to be read, and each flight looks at that itself.
    pub(crate) fn of_key(error: Error) -> Self {
        Self {
            error,
            is_witnessed: false,
        }
    }
}

/// A caller's seat. It is answered exactly once: with [`Answer::Vacated`] if it is dropped.
pub(crate) struct Seat(Option<Content>);

struct Content {
    reply: oneshot::Sender<Answer>,
    loader: Option<Box<dyn Loader>>,
    runtime: Handle,
    inside: Option<Inside>,
    admitted: Option<Admitted>,
    outage: Option<Outage>,
}

/// The caller's end of a seat.
pub(crate) struct Waiting {
    answer: oneshot::Receiver<Answer>,
    admitted: Option<Admitted>,
    inside: Option<(Arc<Core>, SeatId)>,
}

impl Seat {
    /// A seat for a caller with `loader`, who was admitted or is `inside` a load, and whose read
    /// may have met an outage.
    pub(crate) fn new(
        core: &Arc<Core>,
        loader: Box<dyn Loader>,
        runtime: Handle,
        admitted: Option<Admitted>,
        inside: Option<FlightId>,
        outage: Option<Outage>,
    ) -> (Self, Waiting) {
        let (reply, answer) = oneshot::channel();
        let inside = inside.map(|load| Inside {
            load,
            seat: core.next_seat(),
        });
        let seat = Self(Some(Content {
            reply,
            loader: Some(loader),
            runtime,
            inside,
            admitted: admitted.clone(),
            outage,
        }));
        let waiting = Waiting {
            answer,
            admitted,
            inside: inside.map(|inside| (Arc::clone(core), inside.seat)),
        };
        (seat, waiting)
    }

    /// Whether this call was made inside a load.
    pub(crate) fn is_inside(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|content| content.inside.is_some())
    }

    /// The load this call was made in, as long as somebody waits here.
    pub(crate) fn inside(&self) -> Option<Inside> {
        let content = self.0.as_ref()?;
        content.inside.filter(|_| !content.reply.is_closed())
    }

    /// What this caller knows of an outage.
    pub(crate) fn outage(&self) -> Option<&Outage> {
        self.0.as_ref()?.outage.as_ref()
    }

    /// Tells this caller of an outage that the flight it is moved out of met with.
    pub(crate) fn tell_of_outage(&mut self, error: &Error) {
        if let Some(content) = &mut self.0 {
            content.outage.get_or_insert_with(|| Outage {
                error: error.clone(),
                is_witnessed: false,
            });
        }
    }

    /// The runtime this caller runs on.
    pub(crate) fn runtime(&self) -> Option<&Handle> {
        self.0.as_ref().map(|content| &content.runtime)
    }

    /// What this caller's cache knows about its values, as long as the loader is here.
    pub(crate) fn values(&self) -> Option<Arc<dyn ValueOps>> {
        Some(self.0.as_ref()?.loader.as_ref()?.values())
    }

    /// This caller leads its flight from now on.
    pub(crate) fn lead(&self) {
        let content = self.0.as_ref();
        if let Some(admitted) = content.and_then(|content| content.admitted.as_ref()) {
            admitted.lead();
        }
    }

    pub(crate) fn take_loader(&mut self) -> Option<Box<dyn Loader>> {
        self.0.as_mut()?.loader.take()
    }

    /// Answers the caller.
    pub(crate) fn answer(mut self, outcome: Result<Found, Error>, origin: Origin) {
        if let Some(content) = self.0.take() {
            content.send(|unused| Answer::Outcome {
                outcome,
                origin,
                unused,
            });
        }
    }
}

impl Occupied for Seat {
    fn is_occupied(&self) -> bool {
        let content = self.0.as_ref();
        content.is_some_and(|content| !content.reply.is_closed())
    }
}

impl Content {
    fn send(self, answer: impl FnOnce(Option<Box<dyn Loader>>) -> Answer) {
        if let Err(unheard) = self.reply.send(answer(self.loader)) {
            discard(Some(self.runtime), unheard);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(content) = self.0.take() {
            content.send(Answer::Vacated);
        }
    }
}

impl Waiting {
    /// The answer.
    pub(crate) async fn answer(mut self) -> Answer {
        let answer = (&mut self.answer).await;
        answer.unwrap_or(Answer::Vacated(None))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // First the channel, then the edge: a shard that still finds the channel open, under the
        // lock of the graph, adds its edge before it is removed here.
        self.answer.close();
        if let Some(admitted) = &self.admitted {
            admitted.leave();
        }
        if let Some((core, seat)) = &self.inside {
            core.waits.lock().end(*seat);
        }
    }
}
