//! What moka keeps under a key.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use cache_core::Entry;

/// An entry, and what says whether it still counts.
#[derive(Clone)]
pub(crate) struct Slot {
    pub(crate) entry: Contained,
    /// When it expires, by the store's clock.
    pub(crate) deadline: Instant,
    /// How often the store had been cleared when it was written.
    pub(crate) epoch: u64,
}

/// An entry whose value may panic when it is dropped, and nobody else notices.
///
/// moka drops values in its maintenance, on whichever thread uses the store just then: that
/// thread has nothing to do with the value, and moka's tables are not to be left half done.
#[derive(Clone)]
pub(crate) struct Contained(Entry);

impl Contained {
    pub(crate) fn new(entry: Entry) -> Self {
        Self(entry)
    }

    pub(crate) fn get(&self) -> &Entry {
        &self.0
    }

    pub(crate) fn into_inner(mut self) -> Entry {
        mem::replace(&mut self.0, Entry::Absent)
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        if matches!(self.0, Entry::Decoded { .. }) {
            drop_without_panic(mem::replace(&mut self.0, Entry::Absent));
        }
    }
}

fn drop_without_panic<T>(dropped: T) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(dropped))) {
        // What was thrown may throw in turn when it is dropped. Once more is enough.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            #[expect(
                clippy::mem_forget,
                reason = "it cannot be dropped: each attempt may throw another"
            )]
            mem::forget(payload);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{panic::panic_any, sync::Arc};

    use super::*;

    struct ThrowsOnDrop(u8);

    impl Drop for ThrowsOnDrop {
        fn drop(&mut self) {
            if self.0 > 0 {
                panic_any(Self(self.0 - 1));
            }
        }
    }

    fn contained(value: ThrowsOnDrop) -> Contained {
        Contained::new(Entry::Decoded {
            value: Arc::new(value),
            weight: 0,
        })
    }

    #[test]
    fn a_value_that_panics_when_it_is_dropped_is_contained() {
        // The payload of the panic throws too, and so does the payload of that.
        for depth in 1..4 {
            drop(contained(ThrowsOnDrop(depth)));
        }
    }

    #[test]
    fn an_entry_taken_out_is_the_takers() {
        let Entry::Decoded { value, .. } = contained(ThrowsOnDrop(0)).into_inner() else {
            panic!("it was decoded");
        };
        assert_eq!(Arc::strong_count(&value), 1);
    }
}
