//! Where the shard actors run.

use std::{future::Future, pin::Pin, sync::mpsc as std_mpsc, thread};

use actix_rt::{Arbiter, ArbiterHandle, System};
use parking_lot::Mutex;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::LocalSet,
};

use crate::BuildError;

/// More threads than this gain nothing: misses are few.
const MAX_THREADS: usize = 4;

/// A task that is on its way to its thread.
type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where the shard actors of an engine are to run.
#[derive(Debug)]
pub(crate) enum Placement {
    /// On threads of the library's own, started once per process.
    OwnThreads,
    /// On the actix system of the thread that builds the engine.
    CurrentSystem,
    /// On a `LocalSet`, by way of a task on it that starts what it is sent.
    LocalSet(UnboundedSender<Task>),
}

/// One thread that runs shard actors, reachable from any other.
#[derive(Clone, Debug)]
pub(crate) enum Thread {
    Arbiter(ArbiterHandle),
    LocalSet(UnboundedSender<Task>),
}

impl Placement {
    pub(crate) fn on_local_set(local: &LocalSet) -> Self {
        let (tasks, incoming) = unbounded_channel();
        local.spawn_local(start_all(incoming));
        Self::LocalSet(tasks)
    }

    pub(crate) fn threads(self) -> Result<Vec<Thread>, BuildError> {
        match self {
            Self::OwnThreads => own_threads(),
            Self::CurrentSystem => {
                let arbiter = Arbiter::try_current().ok_or(BuildError::NoSystem)?;
                Ok(vec![Thread::Arbiter(arbiter)])
            }
            Self::LocalSet(tasks) => Ok(vec![Thread::LocalSet(tasks)]),
        }
    }
}

impl Thread {
    /// Starts `task` on this thread. If the thread has ended, the task is dropped.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        match self {
            Self::Arbiter(arbiter) => {
                arbiter.spawn(task);
            }
            Self::LocalSet(tasks) => {
                tasks.send(Box::pin(task)).ok();
            }
        }
    }
}

/// Starts tasks on the `LocalSet` this runs on, until the last engine that sends some is gone.
async fn start_all(mut incoming: UnboundedReceiver<Task>) {
    while let Some(task) = incoming.recv().await {
        tokio::task::spawn_local(task);
    }
}

/// The library's own threads: arbiters of a system that lives as long as the process.
fn own_threads() -> Result<Vec<Thread>, BuildError> {
    static THREADS: Mutex<Option<Vec<ArbiterHandle>>> = Mutex::new(None);
    let mut threads = THREADS.lock();
    if threads.is_none() {
        *threads = start_system();
    }
    let arbiters = threads.as_ref().ok_or(BuildError::Threads)?;
    Ok(arbiters.iter().cloned().map(Thread::Arbiter).collect())
}

fn start_system() -> Option<Vec<ArbiterHandle>> {
    let (started, arbiters) = std_mpsc::channel();
    let system = move || {
        let system = System::new();
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let arbiters: Result<Vec<_>, _> = (0..cores.min(MAX_THREADS))
            .map(|_| Arbiter::try_new().map(|arbiter| arbiter.handle()))
            .collect();
        started.send(arbiters.ok()).ok();
        system.run().ok();
    };
    thread::Builder::new()
        .name("cache-system".to_owned())
        .spawn(system)
        .ok()?;
    arbiters.recv().ok()?
}
