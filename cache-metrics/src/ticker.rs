//! Something that is done again and again.

use std::{
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    task::AbortHandle,
    time::{Instant, MissedTickBehavior, interval_at},
};

use crate::SetupError;

/// The task that does it; it ends with this.
#[derive(Debug)]
pub(crate) struct Ticker(AbortHandle);

impl Ticker {
    /// Calls `tick` every `interval` until it breaks. `setting` is the method that asks for it.
    ///
    /// What it calls is other people's code, a subscriber or an exporter: if that panics, which the
    /// hook has reported then, it is called again the next time.
    pub(crate) fn start(
        interval: Duration,
        setting: &'static str,
        mut tick: impl FnMut() -> ControlFlow<()> + Send + 'static,
    ) -> Result<Self, SetupError> {
        if interval.is_zero() {
            return Err(SetupError::ZeroInterval { setting });
        }
        let Ok(runtime) = Handle::try_current() else {
            return Err(SetupError::NoRuntime { setting });
        };
        // A time that no clock can tell is never.
        let Some(first) = Instant::now().checked_add(interval) else {
            return Ok(Self(runtime.spawn(async {}).abort_handle()));
        };
        // Whether a runtime has timers, tokio tells only by a panic.
        let ticks = catch_unwind(AssertUnwindSafe(|| interval_at(first, interval)));
        let Ok(mut ticks) = ticks else {
            return Err(SetupError::NoRuntime { setting });
        };
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let task = runtime.spawn(async move {
            loop {
                ticks.tick().await;
                if let Ok(ControlFlow::Break(())) = catch_unwind(AssertUnwindSafe(&mut tick)) {
                    return;
                }
            }
        });
        Ok(Self(task.abort_handle()))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::{task::yield_now, time::advance};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn it_ticks_until_it_is_dropped() {
        let (told, ticks) = mpsc::channel();
        let ticker = Ticker::start(SECOND, "it", move || {
            told.send(()).unwrap();
            ControlFlow::Continue(())
        });
        let ticker = ticker.unwrap();
        yield_now().await;
        advance(SECOND - Duration::from_millis(1)).await;
        yield_now().await;
        assert_eq!(ticks.try_iter().count(), 0, "not at once");
        advance(Duration::from_millis(1)).await;
        yield_now().await;
        assert_eq!(ticks.try_iter().count(), 1);
        // A process that was stopped for a while does not catch up.
        advance(5 * SECOND).await;
        for _ in 0..10 {
            yield_now().await;
        }
        assert_eq!(ticks.try_iter().count(), 1);
        drop(ticker);
        yield_now().await;
        assert_eq!(
            ticks.recv(),
            Err(mpsc::RecvError),
            "the task has ended and dropped what it had"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_when_it_breaks() {
        let (told, ticks) = mpsc::channel();
        let _ticker = Ticker::start(SECOND, "it", move || {
            told.send(()).unwrap();
            ControlFlow::Break(())
        });
        tokio::time::sleep(5 * SECOND).await;
        assert_eq!(ticks.iter().count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_after_a_panic() {
        let (told, ticks) = mpsc::channel();
        let _ticker = Ticker::start(SECOND, "it", move || {
            told.send(()).unwrap();
            panic!("so does a subscriber");
        });
        tokio::time::sleep(3 * SECOND + SECOND / 2).await;
        assert_eq!(ticks.try_iter().count(), 3);
    }

    #[tokio::test]
    async fn an_interval_is_not_zero_and_may_be_for_ever() {
        let nothing = || ControlFlow::Continue(());
        let zero = Ticker::start(Duration::ZERO, "it", nothing).unwrap_err();
        assert!(matches!(zero, SetupError::ZeroInterval { setting: "it" }));
        drop(Ticker::start(Duration::MAX, "it", nothing).unwrap());
    }

    #[test]
    fn it_needs_a_runtime_with_timers() {
        let nothing = || ControlFlow::Continue(());
        let none = Ticker::start(SECOND, "it", nothing).unwrap_err();
        assert!(matches!(none, SetupError::NoRuntime { setting: "it" }));
        let timeless = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let _inside = timeless.enter();
        let none = Ticker::start(SECOND, "it", nothing).unwrap_err();
        assert!(matches!(none, SetupError::NoRuntime { setting: "it" }));
    }
}
