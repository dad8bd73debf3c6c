//! Runs users' code on the runtime of the caller who brought it.

use std::{future::Future, panic::AssertUnwindSafe};

use futures_util::FutureExt;
use tokio::{runtime::Handle, sync::oneshot, task::AbortHandle};

use super::discard::discard;
use crate::flight::FlightId;

tokio::task_local! {
    /// The load that the current task runs.
    static RUNNING: Running;
}

#[derive(Clone, Copy, Debug)]
struct Running {
    engine: u64,
    load: FlightId,
}

/// The load of this engine inside which the caller runs, if it does.
///
/// Tasks that a loader spawns are not inside it.
pub(crate) fn inside(engine: u64) -> Option<FlightId> {
    let running = RUNNING.try_with(|running| *running).ok()?;
    (running.engine == engine).then_some(running.load)
}

/// Marks everything `future` does as being inside `load`.
pub(super) fn within<F: Future>(
    engine: u64,
    load: FlightId,
    future: F,
) -> impl Future<Output = F::Output> {
    RUNNING.scope(Running { engine, load }, future)
}

/// Users' code that runs elsewhere.
///
/// The result comes back through a channel whose other end is in the task: if the task vanishes
/// with its runtime, that is noticed at once.
pub(super) struct Remote<T> {
    pub(super) result: oneshot::Receiver<T>,
    task: AbortHandle,
    runtime: Handle,
}

impl<T: Send + 'static> Remote<T> {
    /// Starts `future` on `runtime`.
    pub(super) fn start(
        runtime: &Handle,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Self {
        let (done, result) = oneshot::channel();
        let unbegun = Unbegun(Some((runtime.clone(), future)));
        let task = runtime.spawn(async move {
            let Some(future) = unbegun.accepted() else {
                return;
            };
            // A panic that gets here is one in the drop of a value; the result is then lost, and
            // its loss is noticed.
            if let Ok(value) = AssertUnwindSafe(future).catch_unwind().await {
                done.send(value).ok();
            }
        });
        Self {
            result,
            task: task.abort_handle(),
            runtime: runtime.clone(),
        }
    }

    /// Gives the task up, and a result that is on its way.
    pub(super) fn give_up(self) {
        self.task.abort();
        discard(Some(self.runtime), self.result);
    }
}

/// Users' code that its runtime has not begun. One that was dropped refuses it at once, here; it
/// is not dropped here.
struct Unbegun<F: Send + 'static>(Option<(Handle, F)>);

impl<F: Send + 'static> Unbegun<F> {
    fn accepted(mut self) -> Option<F> {
        self.0.take().map(|(_, future)| future)
    }
}

impl<F: Send + 'static> Drop for Unbegun<F> {
    fn drop(&mut self) {
        if let Some((runtime, future)) = self.0.take() {
            discard(Some(runtime), future);
        }
    }
}
