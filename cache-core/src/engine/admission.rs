//! How many callers may wait at once.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Bounds the callers who wait for a load.
///
/// A mailbox bounds nothing: `send` on a full one queues all the same.
#[derive(Debug)]
pub(crate) struct Admission {
    limit: usize,
    waiting: AtomicUsize,
}

impl Admission {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            waiting: AtomicUsize::new(0),
        }
    }

    /// Lets a caller in, or not if too many wait already.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Admitted> {
        // Holding the place before looking at the count keeps this one step.
        let admitted = Admitted(Arc::clone(self));
        (self.waiting.fetch_add(1, Ordering::Relaxed) < self.limit).then_some(admitted)
    }

    #[cfg(feature = "testing")]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// A caller's place; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Admitted(Arc<Admission>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_place_is_given_and_given_back() {
        let admission = Arc::new(Admission::new(2));
        let first = admission.enter().unwrap();
        let _second = admission.enter().unwrap();
        assert!(admission.enter().is_none());
        assert!(admission.enter().is_none(), "a refusal holds no place");

        drop(first);
        assert!(admission.enter().is_some());
    }
}
