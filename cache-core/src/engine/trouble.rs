//! Says in the log why calls to the backend fail: once per cause and minute, however many fail.

use std::{
    error::Error as StdError,
    fmt,
    mem::{replace, take},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{field::display, warn};

use crate::{BackendCall, Error, ErrorKind};

/// For how long a cause that was told is not told again.
const PAUSE: Duration = Duration::from_secs(60);

/// How many causes are told apart. A backend has a dozen texts or two, so more of them within a
/// pause come from one that makes them up.
const CAUSES: usize = 32;

/// Why calls to the backend of an engine fail.
#[derive(Debug, Default)]
pub(crate) struct Trouble(Mutex<Told>);

impl Trouble {
    /// Takes note of a `call` to the `backend` that failed with `error`.
    #[cold]
    pub(super) fn hear(&self, backend: &str, call: BackendCall, error: &Error) {
        let (kind, now) = (error.kind(), Instant::now());
        // The lock is not held while it is told: whoever listens is the user's code.
        let due = self.0.lock().hear(kind, error.text(), now);
        let Some(Due { suppressed }) = due else {
            return;
        };
        let cause = error.source().map(|cause| display(Chain(cause)));
        warn!(
            backend,
            call = call.as_str(),
            kind = kind.as_str(),
            error = %error,
            cause,
            suppressed,
            "a call to the backend failed"
        );
    }
}

/// Whether it is the backend that such an error is about, and not its caller.
pub(crate) fn is_trouble(kind: ErrorKind) -> bool {
    !matches!(
        kind,
        ErrorKind::InvalidInput | ErrorKind::NoRuntime | ErrorKind::Shutdown
    )
}

/// What was told lately.
#[derive(Debug, Default)]
struct Told(Vec<Cause>);

/// Something that makes calls fail.
#[derive(Debug)]
struct Cause {
    kind: ErrorKind,
    text: &'static str,
    told: Instant,
    /// How many calls failed of it since then.
    suppressed: u64,
}

/// A cause is to be told now.
#[derive(Debug, Eq, PartialEq)]
struct Due {
    /// How many failures were not, since the last one of this cause that was.
    suppressed: u64,
}

impl Told {
    /// Takes note of a failure. One that comes a whole pause after the last that was told is told.
    fn hear(&mut self, kind: ErrorKind, text: &'static str, now: Instant) -> Option<Due> {
        let is_same = |cause: &&mut Cause| cause.kind == kind && cause.text == text;
        if let Some(cause) = self.0.iter_mut().find(is_same) {
            if !cause.is_over(now) {
                cause.suppressed += 1;
                return None;
            }
            cause.told = now;
            let suppressed = take(&mut cause.suppressed);
            return Some(Due { suppressed });
        }
        let cause = Cause {
            kind,
            text,
            told: now,
            suppressed: 0,
        };
        if self.0.len() < CAUSES {
            self.0.push(cause);
        } else {
            // Whose place is taken is no more than forgotten: that it is back is news.
            let oldest = self.0.iter_mut().min_by_key(|cause| cause.told)?;
            if !oldest.is_over(now) {
                return None;
            }
            drop(replace(oldest, cause));
        }
        Some(Due { suppressed: 0 })
    }
}

impl Cause {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.told) >= PAUSE
    }
}

/// An error and what is behind it. Not as `Debug`, which says more than it is meant to.
struct Chain<'a>(&'a (dyn StdError + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        match self.0.source() {
            Some(cause) => write!(f, ": {}", Chain(cause)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);

    fn due(suppressed: u64) -> Option<Due> {
        Some(Due { suppressed })
    }

    #[test]
    fn a_cause_is_told_again_when_the_pause_is_over_with_how_many_were_not() {
        let (mut told, start) = (Told::default(), Instant::now());
        let mut hear = |at| told.hear(ErrorKind::Unavailable, "away", start + at);
        assert_eq!(hear(Duration::ZERO), due(0));
        assert_eq!(hear(Duration::ZERO), None);
        assert_eq!(hear(PAUSE - MOMENT), None);
        assert_eq!(hear(PAUSE), due(2));
        assert_eq!(hear(2 * PAUSE - MOMENT), None, "counted from the last");
        assert_eq!(hear(2 * PAUSE), due(1));
        assert_eq!(hear(9 * PAUSE), due(0));
    }

    #[test]
    fn a_clock_that_is_behind_ends_no_pause() {
        let (mut told, start) = (Told::default(), Instant::now());
        let mut hear = |at| told.hear(ErrorKind::Unavailable, "away", start + at);
        assert_eq!(hear(PAUSE), due(0));
        assert_eq!(hear(Duration::ZERO), None);
    }

    #[test]
    fn kinds_and_texts_are_causes_of_their_own() {
        let (mut told, now) = (Told::default(), Instant::now());
        for (kind, text) in [
            (ErrorKind::Unavailable, "away"),
            (ErrorKind::Unavailable, "broken"),
            (ErrorKind::Rejected, "away"),
        ] {
            assert_eq!(told.hear(kind, text, now), due(0));
            assert_eq!(told.hear(kind, text, now), None);
        }
    }

    #[test]
    fn no_more_causes_are_kept_than_may_be() {
        // As many texts as are wanted: each the beginning of one.
        const TEXT: &str = "................................................................";
        let (mut told, start) = (Told::default(), Instant::now());
        let mut hear = |text: usize, at| told.hear(ErrorKind::Rejected, &TEXT[..text], start + at);
        for text in 0..CAUSES {
            assert_eq!(hear(text, MOMENT), due(0));
        }
        assert_eq!(hear(CAUSES, PAUSE), None, "all places are taken");
        assert_eq!(hear(CAUSES, PAUSE + MOMENT), due(0));
        assert_eq!(hear(1, PAUSE + MOMENT), due(0), "which is still known");
        assert_eq!(hear(1, PAUSE + 2 * MOMENT), None);
        assert_eq!(told.0.len(), CAUSES);
    }

    #[test]
    fn errors_that_are_the_callers_own_are_no_trouble() {
        let trouble: Vec<_> = ErrorKind::ALL
            .into_iter()
            .filter(|kind| !is_trouble(*kind))
            .collect();
        let own = [
            ErrorKind::NoRuntime,
            ErrorKind::InvalidInput,
            ErrorKind::Shutdown,
        ];
        assert_eq!(trouble, own);
    }
}
