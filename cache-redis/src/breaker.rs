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
//! - a command that waited for its deadline while no lane answered anything: the node hangs, and
//!   whoever asks next would wait as long;
//! - five failures in a row;
//! - half of at least twenty commands failing within a second or two.
//!
//! The crates that were looked at let every caller through once the time is over, and wait for the
//! next caller to find out; see the decision page on the breaker.

use std::time::Duration;

use tokio::time::Instant;

/// For how long it stays open at first, and at most.
const OPEN_FOR: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));

/// So many failures in a row open it.
const IN_A_ROW: u32 = 5;

/// A window of the failure rate, and from how many commands on it says something.
const WINDOW: Duration = Duration::from_secs(1);
const ENOUGH: u64 = 20;

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
    /// How many commands were answered until the last failure.
    answers: u64,
    /// Answers and failures of this window and of the one before.
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
    answers: u64,
    failures: u64,
}

impl Breaker {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            state: State::Closed,
            open_for: OPEN_FOR.0,
            failures_in_a_row: 0,
            answers: 0,
            windows: [Window::default(); 2],
            window_ends: now + WINDOW,
        }
    }

    /// Takes note of a command that failed. `answers` is how many were answered, ever: those are
    /// many, and none of them is to wait for a lock or look at the time.
    ///
    /// While it is not closed, what fails was sent before and says nothing new.
    pub(crate) fn failed(
        &mut self,
        failure: Failure,
        answers: u64,
        now: Instant,
    ) -> Option<Change> {
        let answered = answers.saturating_sub(self.answers);
        self.answers = answers;
        if self.state != State::Closed {
            return None;
        }
        if answered > 0 {
            self.failures_in_a_row = 0;
            self.windows[0].answers += answered;
        }
        self.turn_windows(now);
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
            *self = Self {
                answers: self.answers,
                ..Self::new(now)
            };
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
        let failures = new.failures + old.failures;
        let commands = new.answers + old.answers + failures;
        commands >= ENOUGH && 2 * failures >= commands
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

    /// A breaker, and how many commands were answered.
    struct Node {
        breaker: Breaker,
        answers: u64,
    }

    impl Node {
        fn new(now: Instant) -> Self {
            Self {
                breaker: Breaker::new(now),
                answers: 0,
            }
        }

        fn fails(&mut self, failure: Failure, now: Instant) -> Option<Change> {
            self.breaker.failed(failure, self.answers, now)
        }

        /// So many failures in a row, none of which may open it.
        fn fails_harmlessly(&mut self, times: u32, now: Instant) {
            for _ in 0..times {
                assert_eq!(self.fails(Failure::Failed, now), None);
            }
        }

        /// An answer and a failure in turns, until it opens.
        fn alternates(&mut self, rounds: u32, now: Instant) -> Option<Change> {
            (0..rounds).find_map(|_| {
                self.answers += 1;
                self.fails(Failure::Failed, now)
            })
        }
    }

    #[test]
    fn a_hung_node_opens_it_at_once_and_a_failure_does_not() {
        let now = Instant::now();
        let mut node = Node::new(now);
        node.fails_harmlessly(1, now);
        assert_eq!(node.fails(Failure::Hung, now), Some(Change::Opened));
        assert_eq!(node.fails(Failure::Hung, now), None, "it is open already");
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_an_answer_between_them_does_not() {
        let now = Instant::now();
        let mut node = Node::new(now);
        node.fails_harmlessly(4, now);
        node.answers += 1;
        node.fails_harmlessly(4, now);
        assert_eq!(node.fails(Failure::Failed, now), Some(Change::Opened));
    }

    #[test]
    fn half_of_twenty_failing_opens_it_and_half_of_nineteen_does_not() {
        let now = Instant::now();
        let mut node = Node::new(now);
        assert_eq!(node.alternates(9, now), None, "eighteen");
        node.answers += 1;
        assert_eq!(node.fails(Failure::Failed, now), Some(Change::Opened));
    }

    #[test]
    fn less_than_half_of_many_failing_does_not_open_it() {
        let now = Instant::now();
        let mut node = Node::new(now);
        node.answers += 1;
        for _ in 0..100 {
            assert_eq!(node.alternates(1, now), None);
            node.answers += 1;
        }
    }

    #[test]
    fn failures_are_forgotten_after_two_windows() {
        let now = Instant::now();
        for (later, change) in [
            (ms(999), Some(Change::Opened)),
            (ms(1_999), Some(Change::Opened)),
            (ms(2_000), None),
        ] {
            let mut node = Node::new(now);
            assert_eq!(node.alternates(9, now), None);
            assert_eq!(node.alternates(1, now + later), change, "{later:?}");
        }
    }

    #[test]
    fn what_was_answered_an_hour_ago_does_not_weigh_up_failures_of_now() {
        let now = Instant::now();
        let mut node = Node::new(now);
        node.answers += 1_000_000;
        let later = now + Duration::from_secs(3600);
        assert_eq!(node.alternates(9, later), None);
        assert_eq!(node.alternates(2, later), Some(Change::Opened));
    }

    #[test]
    fn it_opens_for_twice_as_long_after_each_failed_probe_up_to_a_second() {
        let mut now = Instant::now();
        let mut node = Node::new(now);
        assert_eq!(node.breaker.probe_due(), None);
        node.fails(Failure::Hung, now);
        let mut breaker = node.breaker;
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
        let mut node = Node::new(now);
        node.answers = 7;
        node.fails(Failure::Hung, now);
        node.breaker.probed(false, now);
        assert_eq!(node.breaker.probed(true, now), Some(Change::Closed));
        assert_eq!(node.breaker.probed(true, now), None);
        node.fails_harmlessly(4, now);
        assert_eq!(node.fails(Failure::Failed, now), Some(Change::Opened));
        let due = node.breaker.probe_due();
        assert_eq!(due, Some(now + OPEN_FOR.0), "as at first");
    }
}
