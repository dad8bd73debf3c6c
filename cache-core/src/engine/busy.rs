//! Counts background work, so that a shutdown can wait for its end.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// How much background work an engine has.
#[derive(Debug, Default)]
pub(super) struct Work {
    count: AtomicUsize,
    ended: Notify,
}

impl Work {
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    pub(super) async fn idle(&self) {
        loop {
            let ended = self.ended.notified();
            if self.count() == 0 {
                return;
            }
            ended.await;
        }
    }
}

/// Some background work; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Work>);

impl Busy {
    pub(super) fn new(work: Arc<Work>) -> Self {
        work.count.fetch_add(1, Ordering::SeqCst);
        Self(work)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.ended.notify_waiters();
        }
    }
}
