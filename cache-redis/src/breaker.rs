//! Whether a node is asked at all: a circuit breaker, as plain data.
//!
//! # Model
//!
//! *Closed*, commands go out. When the node stops answering it *opens*: callers are turned away
//! without a wait, for 200 ms, doubled at each failed probe up to 1 s. When that time is over one
//! *probe* is sent by the background, never by a caller; its answer closes the breaker, or opens
//! it anew.
//!
//! It opens on any of
//!
//! - a command that waited for its whole deadline on a lane that answered nothing meanwhile: the
//!   node hangs, and whoever asks next would wait as long;
//! - five failures in a row;
//! - half of at least twenty commands failing within a second or two.
//!
//! The crates that were looked at let every caller through once the time is over, or wait for the
//! next caller to find out; see the decision page on outages.

use std::time::Duration;

use tokio::time::Instant;

/// For how long it stays open at first, and at most.
const OPEN_FOR: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));

/// So many failures in a row open it.
const IN_A_ROW: u32 = 5;

/// A window of the failure rate, and from how many commands on it says something.
const WINDOW: Duration = Duration::from_secs(1);
const ENOUGH: u32 = 20;

/// How a command failed. One that was answered, be it with an error about this command alone,
/// has not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Failure {
    /// The connection broke, or the node says that it cannot serve.
    Failed,
    /// The deadline passed, and nothing came back on the lane meanwhile.
    Hung,
}

/// What the state of a breaker became.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    Opened,
    Probing,
    Closed,
}

/// A circuit breaker. Time is an argument.
#[derive(Debug)]
pub(crate) struct Breaker {
    state: State,
    /// For how long it opens next.
    open_for: Duration,
    failures_in_a_row: u32,
    /// Commands and failures of this window and of the one before.
    windows: [Window; 2],
    window_ends: Instant,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Closed,
    Open { until: Instant },
    Probing,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    commands: u32,
    failures: u32,
}

impl Breaker {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            state: State::Closed,
            open_for: OPEN_FOR.0,
            failures_in_a_row: 0,
            windows: [Window::default(); 2],
            window_ends: now + WINDOW,
        }
    }

    /// Takes note of a command that was answered. It is on the way of every hit, so it does not
    /// look at the time: that is for the next failure to do.
    pub(crate) fn answered(&mut self) {
        let commands = &mut self.windows[0].commands;
        *commands = commands.saturating_add(1);
        self.failures_in_a_row = 0;
    }

    /// Takes note of a command that was not answered.
    ///
    /// While it is not closed, what fails was sent before and says nothing new.
    pub(crate) fn failed(&mut self, failure: Failure, now: Instant) -> Option<Change> {
        if self.state != State::Closed {
            return None;
        }
        self.turn_windows(now);
        self.windows[0].commands = self.windows[0].commands.saturating_add(1);
        self.windows[0].failures += 1;
        self.failures_in_a_row += 1;
        let trips =
            failure == Failure::Hung || self.failures_in_a_row >= IN_A_ROW || self.fails_often();
        trips.then(|| self.open(now))
    }

    /// When the next probe is due; `None` while none is wanted.
    pub(crate) fn probe_due(&self) -> Option<Instant> {
        match self.state {
            State::Open { until } => Some(until),
            State::Closed | State::Probing => None,
        }
    }

    /// Lets one probe through, if it is due.
    pub(crate) fn begin_probe(&mut self, now: Instant) -> Option<Change> {
        match self.state {
            State::Open { until } if until <= now => {
                self.state = State::Probing;
                Some(Change::Probing)
            }
            State::Open { .. } | State::Closed | State::Probing => None,
        }
    }

    /// Takes note of the answer to a probe, or of any other proof of the node's health.
    pub(crate) fn probed(&mut self, is_well: bool, now: Instant) -> Option<Change> {
        if self.state == State::Closed {
            return None;
        }
        if is_well {
            *self = Self::new(now);
            return Some(Change::Closed);
        }
        self.open_for = (self.open_for * 2).min(OPEN_FOR.1);
        Some(self.open(now))
    }

    fn open(&mut self, now: Instant) -> Change {
        let until = now + self.open_for;
        self.state = State::Open { until };
        Change::Opened
    }

    fn fails_often(&self) -> bool {
        let [new, old] = self.windows;
        let commands = new.commands.saturating_add(old.commands);
        commands >= ENOUGH && new.failures + old.failures >= commands / 2
    }

    fn turn_windows(&mut self, now: Instant) {
        if now < self.window_ends {
            return;
        }
        let is_next = now < self.window_ends + WINDOW;
        let old = if is_next {
            self.windows[0]
        } else {
            Window::default()
        };
        self.windows = [Window::default(), old];
        self.window_ends = now + WINDOW;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_hung_node_opens_it_at_once_and_a_failure_does_not() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        assert_eq!(breaker.failed(Failure::Failed, now), None);
        assert_eq!(breaker.failed(Failure::Hung, now), Some(Change::Opened));
        assert_eq!(
            breaker.failed(Failure::Hung, now),
            None,
            "it is open already"
        );
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_an_answer_between_them_does_not() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        for _ in 0..4 {
            assert_eq!(breaker.failed(Failure::Failed, now), None);
        }
        breaker.answered();
        for _ in 0..4 {
            assert_eq!(breaker.failed(Failure::Failed, now), None);
        }
        assert_eq!(breaker.failed(Failure::Failed, now), Some(Change::Opened));
    }

    /// Records `rounds` of an answer and a failure, each at `at`.
    fn alternate(breaker: &mut Breaker, rounds: u32, at: Instant) -> Option<Change> {
        (0..rounds).find_map(|_| {
            breaker.answered();
            breaker.failed(Failure::Failed, at)
        })
    }

    #[test]
    fn half_of_twenty_failing_opens_it_and_half_of_nineteen_does_not() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        assert_eq!(alternate(&mut breaker, 9, now), None, "eighteen");
        breaker.answered();
        assert_eq!(breaker.failed(Failure::Failed, now), Some(Change::Opened));
    }

    #[test]
    fn failures_are_forgotten_after_two_windows() {
        let now = Instant::now();
        for (later, change) in [
            (ms(999), Some(Change::Opened)),
            (ms(1_999), Some(Change::Opened)),
            (ms(2_000), None),
        ] {
            let mut breaker = Breaker::new(now);
            assert_eq!(alternate(&mut breaker, 9, now), None);
            assert_eq!(alternate(&mut breaker, 1, now + later), change, "{later:?}");
        }
    }

    #[test]
    fn it_opens_for_twice_as_long_after_each_failed_probe_up_to_a_second() {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(now);
        assert_eq!(breaker.probe_due(), None);
        breaker.failed(Failure::Hung, now);
        for open_for in [200, 400, 800, 1_000, 1_000].map(ms) {
            assert_eq!(breaker.probe_due(), Some(now + open_for));
            assert_eq!(breaker.begin_probe(now + open_for - ms(1)), None);
            now += open_for;
            assert_eq!(breaker.begin_probe(now), Some(Change::Probing));
            assert_eq!(breaker.begin_probe(now), None, "one probe at a time");
            assert_eq!(breaker.probed(false, now), Some(Change::Opened));
        }
    }

    #[test]
    fn a_probe_that_is_answered_closes_it_and_forgets_everything() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        breaker.failed(Failure::Hung, now);
        breaker.probed(false, now);
        assert_eq!(breaker.probed(true, now), Some(Change::Closed));
        assert_eq!(breaker.probed(true, now), None);
        for _ in 0..4 {
            assert_eq!(breaker.failed(Failure::Failed, now), None);
        }
        assert_eq!(breaker.failed(Failure::Failed, now), Some(Change::Opened));
        assert_eq!(breaker.probe_due(), Some(now + OPEN_FOR.0), "as at first");
    }
}
