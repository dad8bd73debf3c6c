//! What the proxy does to the traffic at the moment.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

use super::held::Matchers;

/// Where bytes go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Direction {
    /// From the client to the server.
    Requests,
    /// From the server to the client.
    Replies,
}

impl Direction {
    fn index(self) -> usize {
        match self {
            Self::Requests => 0,
            Self::Replies => 1,
        }
    }
}

/// What is done to one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lane {
    pub(crate) hold: bool,
    pub(crate) swallow: bool,
    /// The longest delay, and the seed of the draws.
    pub(crate) delay: Option<(Duration, u64)>,
}

/// What is done to all connections.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    lanes: [Lane; 2],
    pub(crate) refuse: bool,
    /// Connections with a smaller number lose all that is sent on them.
    pub(crate) lost_before: u64,
    /// Grows by one with each cut.
    pub(crate) cuts: u64,
}

impl Faults {
    pub(crate) fn lane(&self, direction: Direction) -> Lane {
        self.lanes[direction.index()]
    }

    /// Whether what the connection of this number reads in this direction is swallowed.
    pub(crate) fn swallows(&self, direction: Direction, number: u64) -> bool {
        self.lane(direction).swallow || number < self.lost_before
    }

    pub(crate) fn lane_mut(&mut self, direction: Direction) -> &mut Lane {
        &mut self.lanes[direction.index()]
    }
}

/// What the test and all connections share.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) faults: watch::Sender<Faults>,
    pub(crate) matchers: Matchers,
    pub(crate) listening: AtomicBool,
    pub(crate) accepted: AtomicU64,
    pub(crate) open: AtomicUsize,
    passed: [AtomicU64; 2],
    /// How many bytes of replies may pass until the connection that carries the last is cut.
    budget: Mutex<Option<usize>>,
}

impl State {
    pub(crate) fn change(&self, change: impl FnOnce(&mut Faults)) {
        self.faults.send_modify(change);
    }

    pub(crate) fn count(&self, direction: Direction, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.passed[direction.index()].fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn passed(&self, direction: Direction) -> u64 {
        self.passed[direction.index()].load(Ordering::Relaxed)
    }

    pub(crate) fn set_budget(&self, bytes: usize) {
        *self.budget.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes);
    }

    /// Returns how many of these bytes of a reply may pass, if the connection is cut after them.
    pub(crate) fn cut_within(&self, bytes: usize) -> Option<usize> {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let left = (*budget)?;
        if bytes < left {
            *budget = Some(left - bytes);
            return None;
        }
        *budget = None;
        Some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_came_after_the_loss_loses_nothing() {
        let faults = Faults {
            lost_before: 2,
            ..Faults::default()
        };
        let swallows = |number| faults.swallows(Direction::Replies, number);
        assert_eq!([1, 2, 3].map(swallows), [true, false, false]);
    }

    #[test]
    fn the_chunk_that_reaches_the_budget_is_the_one_that_is_cut() {
        let state = State::default();
        assert_eq!(state.cut_within(100), None, "there is none yet");
        state.set_budget(10);
        assert_eq!(state.cut_within(9), None);
        assert_eq!(state.cut_within(1), Some(1));
        assert_eq!(state.cut_within(100), None, "it holds once");
        state.set_budget(0);
        assert_eq!(state.cut_within(5), Some(0));
    }
}
