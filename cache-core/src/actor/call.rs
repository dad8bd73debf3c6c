//! Calls to the backend, each with the engine's deadline.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
    time::Duration,
};

use futures_util::{FutureExt, poll};
use tokio::{
    runtime::Handle,
    time::{Instant, Sleep, sleep},
};

use crate::{
    BackendCall, Error, ErrorKind, Event,
    engine::{Core, is_trouble},
    observer::Observer,
};

/// Awaits one call to the backend for at most its deadline, and tells `observer` about it, and the
/// log if it fails. What it answers may hold failures itself: `failure` finds one.
///
/// A call that answers at its first poll starts no timer. One that panics has failed.
async fn call<T>(
    core: &Core,
    which: BackendCall,
    observer: &Observer,
    call: impl Future<Output = Result<T, Error>>,
    failure: impl Fn(&T) -> Option<&Error>,
) -> Result<T, Error> {
    let began = observer.listens().then(Instant::now);
    let mut call = pin!(AssertUnwindSafe(call).catch_unwind());
    let answer = match poll!(call.as_mut()) {
        Poll::Ready(answer) => Ok(answer),
        Poll::Pending => match timer(deadline(core, which)) {
            Some(timer) => {
                tokio::select! {
                    biased;
                    answer = call => Ok(answer),
                    () = timer => Err(unanswered()),
                }
            }
            None => Err(Error::new(
                ErrorKind::NoRuntime,
                "the backend has to be awaited: call the cache inside a tokio runtime with timers",
            )),
        },
    };
    let answer = answer.and_then(|answer| {
        answer.unwrap_or_else(|_panic| {
            Err(Error::new(ErrorKind::Unavailable, "the backend panicked"))
        })
    });
    let error = match &answer {
        Ok(answer) => failure(answer),
        Err(error) => Some(error),
    };
    if let Some(began) = began {
        observer.record(Event::Backend {
            call: which,
            took: began.elapsed(),
            error: error.map(Error::kind),
        });
    }
    if let Some(error) = error {
        core.say_why(which, error);
    }
    answer
}

impl Core {
    /// Awaits one call to the backend for at most its deadline.
    ///
    /// Not an `async fn`: the state of another would be as large again in every caller's future.
    pub(crate) fn call<T>(
        &self,
        which: BackendCall,
        observer: &Observer,
        future: impl Future<Output = Result<T, Error>>,
    ) -> impl Future<Output = Result<T, Error>> {
        call(self, which, observer, future, |_| None)
    }

    /// Awaits one call that answers for each of many keys. It is one that failed, whatever became of
    /// how many of them.
    pub(crate) fn call_each<T>(
        &self,
        which: BackendCall,
        observer: &Observer,
        future: impl Future<Output = Vec<Result<T, Error>>>,
    ) -> impl Future<Output = Result<Vec<Result<T, Error>>, Error>> {
        call(self, which, observer, future.map(Ok), |answers| {
            worst(answers)
        })
    }
}

/// The first failure that is the backend's, or else the first.
fn worst<T>(answers: &[Result<T, Error>]) -> Option<&Error> {
    let errors = || answers.iter().filter_map(|answer| answer.as_ref().err());
    errors()
        .find(|error| is_trouble(error.kind()))
        .or_else(|| errors().next())
}

/// How long a call may take.
fn deadline(core: &Core, which: BackendCall) -> Duration {
    let deadline = core.config.backend_deadline;
    if which == BackendCall::Extend {
        // One that is not answered must not use up the time of the next.
        deadline.min(core.config.lease_hold / 3)
    } else {
        deadline
    }
}

/// A timer, if there is a runtime that has some. Whether it has, tokio tells only by a panic.
fn timer(deadline: Duration) -> Option<Sleep> {
    Handle::try_current().ok()?;
    catch_unwind(|| sleep(deadline)).ok()
}

fn unanswered() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the backend did not answer within the engine's `backend_deadline`",
    )
}
