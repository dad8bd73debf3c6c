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

use crate::{BackendCall, Error, ErrorKind, Event, engine::Core, observer::Observer};

/// Awaits one call to the backend for at most `deadline`, and tells `observer` about it.
///
/// A call that answers at its first poll starts no timer. One that panics has failed.
pub(super) async fn call<T>(
    which: BackendCall,
    deadline: Duration,
    observer: &Observer,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let began = observer.listens().then(Instant::now);
    let mut call = pin!(AssertUnwindSafe(call).catch_unwind());
    let answer = match poll!(call.as_mut()) {
        Poll::Ready(answer) => Ok(answer),
        Poll::Pending => match timer(deadline) {
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
    if let Some(began) = began {
        observer.record(Event::Backend {
            call: which,
            took: began.elapsed(),
            error: answer.as_ref().err().map(Error::kind),
        });
    }
    answer
}

impl Core {
    /// Awaits one call to the backend for at most the engine's backend deadline.
    ///
    /// Not an `async fn`: the state of another would be as large again in every caller's future.
    pub(crate) fn call<T>(
        &self,
        which: BackendCall,
        observer: &Observer,
        future: impl Future<Output = Result<T, Error>>,
    ) -> impl Future<Output = Result<T, Error>> {
        call(which, self.config.backend_deadline, observer, future)
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
