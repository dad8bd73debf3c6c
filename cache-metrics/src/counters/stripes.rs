//! Counters that threads do not contend for.

use std::{
    cell::Cell,
    sync::{
        OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use crossbeam_utils::CachePadded;

/// A row of `N` counters, once per stripe. A thread adds to one stripe, and a reader sums them all.
///
/// As a rule no two threads that run at the same time write to the same cache line, and an increment
/// takes nothing from another core. (Java's `LongAdder` is built alike.)
#[derive(Debug)]
pub(super) struct Stripes<const N: usize> {
    /// Their number is a power of two.
    rows: Box<[CachePadded<[AtomicU64; N]>]>,
}

impl<const N: usize> Stripes<N> {
    /// For counters of which one increment matters.
    pub(super) fn new() -> Self {
        Self::of(stripes())
    }

    /// For counters that are changed too rarely for threads to meet: one stripe.
    pub(super) fn single() -> Self {
        Self::of(1)
    }

    fn of(stripes: usize) -> Self {
        let row = || CachePadded::new([const { AtomicU64::new(0) }; N]);
        Self {
            rows: (0..stripes).map(|_| row()).collect(),
        }
    }

    /// The counters that the current thread adds to.
    #[inline]
    pub(super) fn mine(&self) -> &[AtomicU64; N] {
        &self.rows[thread_number() & (self.rows.len() - 1)]
    }

    /// Adds 1 to the counter in column `column`.
    #[inline]
    pub(super) fn increment(&self, column: usize) {
        self.mine()[column].fetch_add(1, Ordering::Relaxed);
    }

    /// The sums of all stripes.
    pub(super) fn sums(&self) -> [u64; N] {
        let mut sums = [0_u64; N];
        for row in &self.rows {
            for (sum, counter) in sums.iter_mut().zip(row.iter()) {
                // They wrap as the counters do.
                *sum = sum.wrapping_add(counter.load(Ordering::Relaxed));
            }
        }
        sums
    }
}

/// How many stripes there are: twice as many as cores, since a service has threads besides those
/// that are always at work, and no more than 128, which is 16 KiB per cache.
fn stripes() -> usize {
    static STRIPES: OnceLock<usize> = OnceLock::new();
    *STRIPES.get_or_init(|| {
        let cores = thread::available_parallelism().map_or(4, usize::from);
        (2 * cores).next_power_of_two().clamp(8, 128)
    })
}

/// A small number of the current thread. Threads are numbered as they come here first, so that
/// those that count at the same time, the workers of a runtime, have numbers in a row.
#[inline]
fn thread_number() -> usize {
    const UNKNOWN: usize = usize::MAX;
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(UNKNOWN) };
    }
    static NEXT: AtomicUsize = AtomicUsize::new(0);

    let number = NUMBER.get();
    if number != UNKNOWN {
        return number;
    }
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    NUMBER.set(number);
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_between_threads() {
        let stripes = Stripes::<2>::of(4);
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        stripes.increment(0);
                        stripes.increment(1);
                        stripes.increment(1);
                    }
                });
            }
        });
        assert_eq!(stripes.sums(), [16_000, 32_000]);
    }

    #[test]
    fn threads_in_a_row_write_to_stripes_of_their_own() {
        let stripes = Stripes::<1>::of(128);
        let seen = (0..8).map(|_| {
            let stripes = &stripes;
            thread::scope(|scope| {
                let mine = scope.spawn(|| std::ptr::from_ref(stripes.mine()).addr());
                mine.join().unwrap()
            })
        });
        let mut seen: Vec<_> = seen.collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 8);
        assert!(
            seen.windows(2).all(|pair| pair[1] - pair[0] >= 64),
            "and no two in one cache line"
        );
    }

    #[test]
    fn a_single_stripe_serves_all_threads() {
        let stripes = Stripes::<1>::single();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| stripes.increment(0));
            }
        });
        assert_eq!(stripes.sums(), [4]);
    }
}
