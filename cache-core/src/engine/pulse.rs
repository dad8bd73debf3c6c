//! Whether the backend answered when it was last asked.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::Error;

/// Notices that the backend answers reads again.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    is_silent: AtomicBool,
}

impl Pulse {
    /// Takes note of the answer to a read; whether it is the first after one that was not answered.
    pub(super) fn hear(&self, answer: Result<(), &Error>) -> bool {
        match answer {
            // A read that follows another that was answered costs no more than this look.
            Ok(()) => {
                self.is_silent.load(Ordering::Relaxed)
                    && self.is_silent.swap(false, Ordering::Relaxed)
            }
            Err(error) => {
                if error.is_silence() {
                    self.is_silent.store(true, Ordering::Relaxed);
                }
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn only_the_first_answer_after_silence_is_a_comeback() {
        let pulse = Pulse::default();
        let silence = Error::new(ErrorKind::Unavailable, "no answer");
        let refusal = Error::new(ErrorKind::Rejected, "an answer, if no good one");
        let never = Error::new(ErrorKind::InvalidInput, "another, about one key");
        for (answer, is_comeback) in [
            (Ok(()), false),
            (Err(&refusal), false),
            (Ok(()), false),
            (Err(&never), false),
            (Ok(()), false),
            (Err(&silence), false),
            (Err(&silence), false),
            (Ok(()), true),
            (Ok(()), false),
        ] {
            assert_eq!(pulse.hear(answer), is_comeback, "{answer:?}");
        }
    }
}
