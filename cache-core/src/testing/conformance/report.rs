//! What came of the checks.

use std::{any::Any, fmt::Write as _, panic::AssertUnwindSafe};

use futures_util::FutureExt as _;

/// Runs checks and remembers which failed.
#[derive(Debug, Default)]
pub(super) struct Report {
    checks: usize,
    failures: String,
}

impl Report {
    /// Runs one check to its end, or to its panic.
    pub(super) async fn check(&mut self, rule: &str, check: impl Future<Output = ()>) {
        self.checks += 1;
        // Boxed: the states of all checks in one future would overflow a test's stack.
        let outcome = AssertUnwindSafe(Box::pin(check)).catch_unwind().await;
        if let Err(payload) = outcome {
            let text = text_of(payload.as_ref());
            write!(self.failures, "\n- {rule}: {text}").expect("a String takes any text");
        }
    }

    /// Ends the run.
    pub(super) fn conclude(self) {
        let Self { checks, failures } = self;
        let failed = failures.matches("\n- ").count();
        assert!(
            failures.is_empty(),
            "the backend breaks {failed} of {checks} rules of its contract:{failures}"
        );
    }
}

fn text_of(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else if let Some(text) = payload.downcast_ref::<&str>() {
        text
    } else {
        "a panic without a text"
    }
}

/// Runs the checks of one file, each under its own name.
macro_rules! checks {
    ($harness:ident, $report:ident, [$($check:ident),+ $(,)?]) => {
        $($report.check(stringify!($check), $check($harness)).await;)+
    };
}

pub(super) use checks;
