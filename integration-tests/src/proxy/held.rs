//! Requests that are held up or remembered.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::watch;

use super::request::Request;

type Matches = Box<dyn Fn(&Request) -> bool + Send + Sync>;

/// What is done to requests that match.
#[derive(Default)]
pub(crate) struct Matchers {
    hold: Mutex<Option<Arc<Hold>>>,
    record: Mutex<Option<Matches>>,
    recorded: Mutex<Vec<Request>>,
    held: AtomicUsize,
}

/// Ends for all requests that it holds when it is dropped or released.
struct Hold {
    matches: Matches,
    released: watch::Sender<bool>,
}

impl Matchers {
    pub(crate) fn hold(&self, matches: Matches) {
        let hold = Hold {
            matches,
            released: watch::Sender::new(false),
        };
        self.replace(Some(Arc::new(hold)));
    }

    pub(crate) fn release(&self) {
        self.replace(None);
    }

    fn replace(&self, hold: Option<Arc<Hold>>) {
        let former = std::mem::replace(&mut *lock(&self.hold), hold);
        if let Some(former) = former {
            former.released.send_replace(true);
        }
    }

    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Waits for as long as this request is to be held up.
    pub(crate) async fn wait(&self, request: &Request) {
        let Some(hold) = lock(&self.hold).clone() else {
            return;
        };
        if (hold.matches)(request) {
            let mut released = hold.released.subscribe();
            let _counted = Counted::new(&self.held);
            released.wait_for(|&released| released).await.ok();
        }
    }

    pub(crate) fn record(&self, matches: Matches) {
        *lock(&self.record) = Some(matches);
    }

    pub(crate) fn remember(&self, request: &Request) {
        if lock(&self.record)
            .as_ref()
            .is_some_and(|matches| matches(request))
        {
            lock(&self.recorded).push(request.clone());
        }
    }

    pub(crate) fn recorded(&self) -> Vec<Request> {
        lock(&self.recorded).clone()
    }
}

impl fmt::Debug for Matchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Matchers")
            .field("held", &self.held)
            .field("recorded", &self.recorded)
            .finish_non_exhaustive()
    }
}

/// One more, until this is dropped.
pub(crate) struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    pub(crate) fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
