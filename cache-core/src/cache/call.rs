//! One call that missed: its loader, and the wait for the key's flight.

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tracing::{Instrument, Span};

use super::{span, values::Values};
use crate::{
    BoxError, Engine, Error, ErrorKind, Event, Key, Load,
    actor::{self, Answer, Found, Loader, Loading, Origin, Outage, Report, Seat, ValueOps},
};

/// How often a caller takes another seat after an actor died; actors should not die even once.
const SEATS: usize = 8;

/// One caller's loader, erased.
struct Erased<V, F> {
    values: Arc<Values<V>>,
    loader: F,
    /// The span around a load.
    around: Span,
}

/// Boxes `loader`, to be run inside the span of its `call`.
pub(super) fn erase<V, F, Fut, L, E>(
    values: &Arc<Values<V>>,
    loader: F,
    call: &Span,
) -> Box<dyn Loader>
where
    V: Send + Sync + 'static,
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = Result<L, E>> + Send + 'static,
    L: Into<Load<V>>,
    E: Into<BoxError>,
{
    Box::new(Erased {
        values: Arc::clone(values),
        loader,
        around: span::around_load(call),
    })
}

impl<V, F, Fut, L, E> Loader for Erased<V, F>
where
    V: Send + Sync + 'static,
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = Result<L, E>> + Send + 'static,
    L: Into<Load<V>>,
    E: Into<BoxError>,
{
    fn values(&self) -> Arc<dyn ValueOps> {
        Arc::clone(&self.values) as _
    }

    fn load(self: Box<Self>) -> Loading {
        let Self {
            values,
            loader,
            around,
        } = *self;
        let span = span::of_load(&around, values.name.name());
        // A disabled span would take the load out of its caller's.
        let within = if span.is_disabled() {
            around
        } else {
            span.clone()
        };
        let load = async move {
            // The conversions are the user's code as well.
            let loaded = async { loader().await.map(Into::into).map_err(Into::into) };
            match AssertUnwindSafe(loaded).catch_unwind().await {
                Ok(Ok(Load { value, keep })) => Report::Loaded {
                    filling: values.filling(value.as_ref(), keep),
                    found: value.map(|value| value as _),
                },
                Ok(Err(error)) => Report::Failed(failed(error)),
                Err(_panic) => {
                    Report::Failed(Error::new(ErrorKind::Panicked, "the loader panicked"))
                }
            }
        };
        Loading {
            report: load.instrument(within).boxed(),
            span,
        }
    }
}

fn failed(error: BoxError) -> Error {
    Error::with_source(ErrorKind::Loader, "the loader failed", error)
}

/// Waits for the flight of `key`, and tells the recorder how the call was answered.
///
/// A caller whose read met an outage says so: the flight that it leads asks the backend nothing.
/// The `span` is that of the call.
pub(super) async fn fly<V: Send + Sync + 'static>(
    engine: &Engine,
    values: &Values<V>,
    key: &Key,
    loader: Box<dyn Loader>,
    outage: Option<Outage>,
    span: &Span,
) -> Result<Option<Arc<V>>, Error> {
    let answer = wait(engine, values, key, loader, outage).await;
    let (outcome, origin) = answer.unwrap_or_else(|error| (Err(error), Origin::OthersLoad));
    values.observer.record(match (&outcome, origin) {
        (_, Origin::OwnLoad) => Event::Led,
        (Ok(Some(_)), Origin::Store) => Event::Hit,
        (Ok(None), Origin::Store) => Event::NegativeHit,
        (Ok(_), Origin::OthersLoad) => Event::Coalesced,
        (Err(error), Origin::Store | Origin::OthersLoad) => Event::Failed(error.kind()),
    });
    let answer = outcome.and_then(|found| match found {
        None => Ok(None),
        // One flight serves one cache, and a cache has one type of value.
        Some(value) => value.downcast::<V>().map(Some).map_err(|_other| {
            Error::new(
                ErrorKind::Rejected,
                "the load of another type of value was joined",
            )
        }),
    });
    span::answered(span, &answer, origin);
    answer
}

/// Takes a seat in the flight of `key`, and another if that one's actor dies.
async fn wait<V>(
    engine: &Engine,
    values: &Values<V>,
    key: &Key,
    mut loader: Box<dyn Loader>,
    outage: Option<Outage>,
) -> Result<(Result<Found, Error>, Origin), Error> {
    let core = &engine.inner.core;
    let inside = actor::inside(core.id);
    for _ in 0..SEATS {
        // Busy before the look at the flag: a shutdown that is not seen here waits for this call.
        let busy = core.busy();
        if core.is_shut_down() && inside.is_none() {
            return Err(Error::new(ErrorKind::Shutdown, "the engine was shut down"));
        }
        // A call from inside a load needs no permit besides that of the call it serves: refusing
        // it would fail a load for the sake of those who wait for it.
        let admitted = match inside {
            Some(_) => None,
            None => Some(core.admission.enter().ok_or_else(overloaded)?),
        };
        let runtime = Handle::try_current().map_err(|_none| {
            Error::new(
                ErrorKind::NoRuntime,
                "a miss needs a tokio runtime to run its loader on: call it inside one",
            )
        })?;
        let outage = outage.clone();
        let (seat, waiting) = Seat::new(core, loader, runtime, admitted, inside, outage);
        engine.inner.shards.join(key, values.id, seat, busy)?;
        match waiting.answer().await {
            Answer::Outcome {
                outcome,
                origin,
                unused,
            } => {
                // Its captures are dropped here, where they came from.
                drop(unused);
                return Ok((outcome, origin));
            }
            Answer::Vacated(Some(unused)) => loader = unused,
            Answer::Vacated(None) => break,
        }
    }
    Err(Error::new(
        ErrorKind::Abandoned,
        "the load vanished with its actor",
    ))
}

fn overloaded() -> Error {
    Error::new(
        ErrorKind::Overloaded,
        "too many callers wait for loads already: shed load, or raise the engine's `max_waiting`",
    )
}
