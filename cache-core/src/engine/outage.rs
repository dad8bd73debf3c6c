//! What becomes of loads while the backend does not answer.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::{Error, ErrorKind};

/// What a `get_or_load` does when the backend does not answer its read, or when the key is not read
/// because its removal is [queued](crate::Invalidation::Queued).
///
/// The default is [`LoadThrough`](Self::LoadThrough) with 64 loads at once.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OutagePolicy {
    /// The loader runs, once for all who wait for the key in this engine, and its answer is not
    /// stored.
    LoadThrough {
        /// How many such loads may run at once in this engine, so that an outage of the cache does
        /// not become one of the database. No load waits for another to end: beyond this, callers
        /// get [`Overloaded`](ErrorKind::Overloaded) at once. Loads that are made inside such a
        /// load count as well, and so do loads of queued keys.
        max_concurrent: usize,
    },
    /// No loader runs: callers get [`Unavailable`](ErrorKind::Unavailable).
    FailFast,
}

impl Default for OutagePolicy {
    fn default() -> Self {
        Self::LoadThrough { max_concurrent: 64 }
    }
}

/// Bounds the loads that run although the backend does not answer.
#[derive(Debug)]
pub(crate) struct OutageLoads {
    policy: OutagePolicy,
    running: AtomicUsize,
}

impl OutageLoads {
    pub(super) fn new(policy: OutagePolicy) -> Self {
        Self {
            policy,
            running: AtomicUsize::new(0),
        }
    }

    /// Lets a load through although the backend failed with `error`, or says why not.
    pub(crate) fn let_through(self: &Arc<Self>, error: Error) -> Result<LetThrough, Error> {
        let max_concurrent = match self.policy {
            OutagePolicy::LoadThrough { max_concurrent } => max_concurrent,
            OutagePolicy::FailFast => return Err(fails_fast(error)),
        };
        // One step: who is refused must not seem to hold a permit, not even for a moment.
        let one_more = |running| (running < max_concurrent).then_some(running + 1);
        match self
            .running
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
        {
            Ok(_) => Ok(LetThrough(Arc::clone(self))),
            Err(_) => Err(overloaded(error)),
        }
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }
}

/// A load may run; until this is dropped it counts.
#[derive(Debug)]
pub(crate) struct LetThrough(Arc<OutageLoads>);

impl Drop for LetThrough {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

fn fails_fast(error: Error) -> Error {
    Error::with_source(
        ErrorKind::Unavailable,
        "the key is not read, or the backend does not answer, and the engine's `outage` policy is to \
         fail fast",
        error,
    )
}

fn overloaded(error: Error) -> Error {
    Error::with_source(
        ErrorKind::Overloaded,
        "the key is not read, or the backend does not answer, and as many loads run without it as \
         may: shed load, or raise `max_concurrent` of the engine's `outage` policy",
        error,
    )
}

#[cfg(test)]
mod tests {
    use std::{error::Error as _, sync::atomic::AtomicBool};

    use super::*;

    fn silence() -> Error {
        Error::new(ErrorKind::Unavailable, "the backend said nothing")
    }

    #[test]
    fn the_last_permit_is_given_and_given_back() {
        let policy = OutagePolicy::LoadThrough { max_concurrent: 2 };
        let loads = Arc::new(OutageLoads::new(policy));
        let first = loads.let_through(silence()).unwrap();
        let _second = loads.let_through(silence()).unwrap();
        for _ in 0..2 {
            let refused = loads.let_through(silence()).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Overloaded);
        }
        assert_eq!(loads.running(), 2, "a refusal holds no permit");

        drop(first);
        assert!(loads.let_through(silence()).is_ok());
        assert_eq!(loads.running(), 1, "it was given back at once");
    }

    #[test]
    fn a_refusal_counts_at_no_moment() {
        let policy = OutagePolicy::LoadThrough { max_concurrent: 1 };
        let loads = Arc::new(OutageLoads::new(policy));
        let _permit = loads.let_through(silence()).unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    loads.let_through(silence()).unwrap_err();
                }
            });
            // Whoever counted beyond the permits would keep one that is free from another.
            let most = (0..1_000_000).map(|_| loads.running()).max();
            is_over.store(true, Ordering::SeqCst);
            assert_eq!(most, Some(1));
        });
    }

    #[test]
    fn who_fails_fast_lets_nothing_through_and_says_what_the_backend_said() {
        let loads = Arc::new(OutageLoads::new(OutagePolicy::FailFast));
        let refused = loads.let_through(silence()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable);
        let source = refused.source().unwrap();
        assert_eq!(source.to_string(), "the backend said nothing");
        assert_eq!(loads.running(), 0);
    }
}
