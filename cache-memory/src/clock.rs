//! Where a store takes its time from.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// What tells a [`Memory`](crate::Memory) the time: it decides when entries and leases are over.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The present instant. It never goes back.
    fn now(&self) -> Instant;

    /// Whether [`now`](Self::now) is [`Instant::now`] and nothing else.
    ///
    /// If it is, the store need not ask this clock on a hit: moka has read the same one. Any
    /// other clock answers `false`, also one that usually runs with real time, or entries end
    /// at the wrong moment.
    fn is_real_time(&self) -> bool;
}

/// The monotonic clock of the operating system.
#[expect(clippy::exhaustive_structs, reason = "it has nothing to configure")]
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that everybody else asks"
    )]
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn is_real_time(&self) -> bool {
        true
    }
}

/// Tokio's clock, so that a test on a paused runtime moves entries and leases along with its
/// timers.
///
/// With this clock the memory of an expired entry is freed only when its key is written or the
/// store is full: use it in tests.
#[cfg(feature = "tokio")]
#[expect(clippy::exhaustive_structs, reason = "it has nothing to configure")]
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioClock;

#[cfg(feature = "tokio")]
impl Clock for TokioClock {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn is_real_time(&self) -> bool {
        false
    }
}

/// A clock that stands still until it is told to [`advance`](Self::advance).
///
/// Clones share the time. With this clock the memory of an expired entry is freed only when its
/// key is written or the store is full: use it in tests.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use cache_memory::{Clock, ManualClock};
///
/// let clock = ManualClock::default();
/// let start = clock.now();
///
/// clock.clone().advance(Duration::from_secs(3600));
///
/// assert_eq!(clock.now() - start, Duration::from_secs(3600));
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<Instant>>);

impl ManualClock {
    /// Lets `by` elapse.
    ///
    /// # Panics
    ///
    /// If the sum of all advances is more than the platform's `Instant` can hold.
    pub fn advance(&self, by: Duration) {
        *self.0.lock() += by;
    }
}

impl Default for ManualClock {
    /// Starts at the present, which no test should rely on.
    fn default() -> Self {
        Self(Arc::new(Mutex::new(SystemClock.now())))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        *self.0.lock()
    }

    fn is_real_time(&self) -> bool {
        false
    }
}

/// Longer than any process runs: what is to never end ends then.
pub(crate) const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The instant `by` after `now`, a century after it at the most.
pub(crate) fn after(now: Instant, by: Duration) -> Instant {
    now.checked_add(by.min(CENTURY)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_beyond_all_time_is_far_away() {
        let now = SystemClock.now();
        assert_eq!(after(now, Duration::MAX) - now, CENTURY);
        assert_eq!(after(now, CENTURY) - now, CENTURY);
    }

    #[test]
    fn only_the_system_clock_runs_in_real_time() {
        assert!(SystemClock.is_real_time());
        assert!(!ManualClock::default().is_real_time());
        #[cfg(feature = "tokio")]
        assert!(!TokioClock.is_real_time());
    }

    #[cfg(feature = "tokio")]
    #[tokio::test(start_paused = true)]
    async fn tokios_clock_stands_still_while_it_is_paused() {
        let start = TokioClock.now();
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(TokioClock.now() - start, Duration::from_secs(60));
    }
}
