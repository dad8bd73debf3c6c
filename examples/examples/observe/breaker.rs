//! A breaker: a store that did not answer is not asked for a while, so that nobody waits in vain.

use std::time::Duration;

use cache_core::BreakerState;
use tokio::time::Instant;

/// How often in a row there is no answer until nobody asks any more.
const LIMIT: u32 = 5;
/// How long nobody asks, and how long the one who then does is waited for.
const PAUSE: Duration = Duration::from_millis(500);

/// Lets calls through, or not. It has no clock: `now` is an argument.
#[derive(Debug, Default)]
pub(crate) struct Breaker(State);

#[derive(Clone, Copy, Debug)]
enum State {
    Closed {
        unanswered: u32,
    },
    Open {
        until: Instant,
    },
    /// One was let through. It may have been dropped, so another is after a while.
    HalfOpen {
        until: Instant,
    },
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { unanswered: 0 }
    }
}

impl Breaker {
    pub(crate) fn state(&self) -> BreakerState {
        match self.0 {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Whether a call is let through.
    pub(crate) fn admits(&mut self, now: Instant) -> bool {
        match self.0 {
            State::Closed { .. } => true,
            State::Open { until } | State::HalfOpen { until } => {
                let admits = now >= until;
                if admits {
                    self.0 = State::HalfOpen { until: now + PAUSE };
                }
                admits
            }
        }
    }

    pub(crate) fn answered(&mut self) {
        self.0 = State::default();
    }

    pub(crate) fn unanswered(&mut self, now: Instant) {
        self.0 = match self.0 {
            State::Closed { unanswered } if unanswered + 1 < LIMIT => State::Closed {
                unanswered: unanswered + 1,
            },
            // Who was let through before it opened does not keep it open for longer.
            State::Open { until } => State::Open { until },
            State::Closed { .. } | State::HalfOpen { .. } => State::Open { until: now + PAUSE },
        };
    }
}
