//! Waiting for a condition instead of for a while.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// The time between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(40);

/// Looks again and again until `look` answers, for ten seconds at most.
pub(crate) async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    within(Duration::from_secs(10), what, look).await
}

/// Looks again and again until `look` answers, for `limit` at most.
pub(crate) async fn within<T>(
    limit: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
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
