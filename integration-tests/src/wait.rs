//! Waiting for a condition instead of for a while.

use std::{fmt::Display, future::Future, time::Duration};

use tokio::time::{Instant, sleep};

/// The time between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks again and again until `look` answers, and returns the answer.
///
/// # Panics
///
/// Panics with `what` if there is no answer within ten seconds.
///
/// # Cancel safety
///
/// As safe as the futures that `look` makes: a drop ends the waiting and the current look.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    look: impl FnMut() -> F,
) -> T {
    within(Duration::from_secs(10), what, look).await
}

/// Looks again and again until `look` answers, and returns the answer.
///
/// # Panics
///
/// Panics with `what` if there is no answer within `limit`.
///
/// # Cancel safety
///
/// As safe as the futures that `look` makes: a drop ends the waiting and the current look.
pub async fn within<T, F: Future<Output = Option<T>>>(
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = look().await {
            return answer;
        }
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        sleep(PAUSE).await;
    }
}

/// Tries again and again until `attempt` succeeds; after `limit` the last error is the answer.
pub(crate) async fn until_ok<T, E: Display, F: Future<Output = Result<T, E>>>(
    limit: Duration,
    mut attempt: impl FnMut() -> F,
) -> Result<T, E> {
    let end = Instant::now() + limit;
    loop {
        match attempt().await {
            Err(_) if Instant::now() < end => sleep(PAUSE).await,
            outcome => return outcome,
        }
    }
}
