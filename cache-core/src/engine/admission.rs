//! How many callers may wait at once.

use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicUsize, Ordering},
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
        let place = Admitted(Arc::new(Place {
            admission: Arc::clone(self),
            holder: AtomicU8::new(CALLER),
        }));
        (self.waiting.fetch_add(1, Ordering::Relaxed) < self.limit).then_some(place)
    }

    fn give_back(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    #[cfg(feature = "testing")]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// A caller's place, shared by the caller and its seat.
///
/// It is given back when the caller leaves, unless its seat leads a load: then when that ends.
#[derive(Clone, Debug)]
pub(crate) struct Admitted(Arc<Place>);

#[derive(Debug)]
struct Place {
    admission: Arc<Admission>,
    holder: AtomicU8,
}

// Who holds a place.
const CALLER: u8 = 0;
const LOAD: u8 = 1;
const NOBODY: u8 = 2;

impl Admitted {
    /// The seat leads a load from now on.
    pub(crate) fn lead(&self) {
        self.pass_to(LOAD);
    }

    /// The caller leaves.
    pub(crate) fn leave(&self) {
        if self.pass_to(NOBODY) {
            self.0.admission.give_back();
        }
    }

    /// Passes the place from its caller on; `false` if the caller does not hold it any more.
    fn pass_to(&self, holder: u8) -> bool {
        let (acquired, failed) = (Ordering::AcqRel, Ordering::Acquire);
        let passed = self
            .0
            .holder
            .compare_exchange(CALLER, holder, acquired, failed);
        passed.is_ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if *self.holder.get_mut() != NOBODY {
            self.admission.give_back();
        }
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
    #[test]
    fn a_caller_who_leaves_gives_the_place_back_although_the_seat_is_kept() {
        let admission = Arc::new(Admission::new(1));
        let caller = admission.enter().unwrap();
        let seat = caller.clone();
        caller.leave();
        assert!(admission.enter().is_some());
        drop((caller, seat));
        let _one = admission.enter().unwrap();
        assert!(admission.enter().is_none(), "it was given back once");
    }

    #[test]
    fn a_place_that_leads_a_load_is_kept_until_that_ends() {
        let admission = Arc::new(Admission::new(1));
        let caller = admission.enter().unwrap();
        let seat = caller.clone();
        seat.lead();
        caller.leave();
        drop(caller);
        assert!(admission.enter().is_none());
        drop(seat);
        assert!(admission.enter().is_some());
    }
}
