//! Before a load: the lease, or the entry that is there after all.

use std::{future::pending, time::Duration};

use tokio::time::{Instant, sleep};
use tracing::debug;

use super::{Driver, abandoned, loading::Ended, timed_out};
use crate::{
    Acquire, BackendCall, Entry, Error, Event, Lease,
    actor::{Found, Outage, Seat, Unreadable, discard::discard, load::Remote},
    flight::Mark,
};

#[cfg(feature = "testing")]
use crate::testing::Mutant;

/// The first and the longest pause between two attempts to get a lease that another holds. Of those
/// who wait, half learn within 6 ms that it is free, and each asks some eighty times a second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(16));

/// What the backend says before a load.
pub(super) enum Approach {
    /// The entry is there after all.
    Hit(Found),
    /// The loader is to run, under a lease or without.
    Load(Option<Lease>),
    /// It does not answer.
    Outage(Outage),
    /// There is nobody left to load or to decode.
    Ended(Error),
}

impl Driver {
    /// Asks for the lease until it is granted, the entry is there, or the wait is over.
    pub(super) async fn approach(&mut self) -> Approach {
        let give_up = Instant::now() + self.core.config.lease_wait;
        let mut pause = BACKOFF.0;
        let mut removed = false;
        loop {
            // A caller whose read was not answered pays for no other.
            if let Some(outage) = self.leaders.last().and_then(Seat::outage) {
                return Approach::Outage(outage.clone());
            }
            self.post(Mark::Acquire);
            // After the mark: whoever stands before it and arrived after the key was queued, which
            // may be at this very moment, finds it queued here.
            if let Some(error) = self.core.bypass(self.key.as_bytes()) {
                return Approach::Outage(Outage::of_key(error));
            }
            #[cfg(feature = "testing")]
            if self.core.config.rules.mutant == Some(Mutant::LookBeforeMark) {
                sleep(BACKOFF.0).await;
                self.post(Mark::Acquire);
            }
            match self.acquire().await {
                Ok(Acquire::Granted(lease)) => return Approach::Load(Some(lease)),
                Ok(Acquire::Hit(entry)) => match self.decode(entry).await {
                    Ended::With(Ok(found)) => return Approach::Hit(found),
                    Ended::With(Err(Unreadable)) if removed => return Approach::Load(None),
                    Ended::With(Err(Unreadable)) => match self.remove().await {
                        Ok(()) => removed = true,
                        Err(error) => return unanswered(error),
                    },
                    Ended::TimedOut => return Approach::Ended(timed_out()),
                    Ended::Vanished if self.promote().await => {}
                    Ended::Vanished => return Approach::Ended(abandoned()),
                },
                Ok(Acquire::Held { retry_after }) => {
                    self.observer.record(Event::LeaseHeld);
                    let left = give_up.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        self.observer.record(Event::LeaseWaitExceeded);
                        return Approach::Load(None);
                    }
                    let spread = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
                    sleep(
                        spread
                            .min(retry_after)
                            .min(left)
                            .max(Duration::from_millis(1)),
                    )
                    .await;
                    pause = (pause * 2).min(BACKOFF.1);
                }
                Err(error) => return unanswered(error),
            }
        }
    }

    async fn acquire(&self) -> Result<Acquire, Error> {
        let hold = self.core.config.lease_hold;
        let acquire = self.core.backend.acquire(&self.key, hold);
        let acquire = self
            .core
            .call(BackendCall::Acquire, &self.observer, acquire);
        let answer = acquire.await;
        self.core.hear(&answer);
        answer
    }

    /// Decodes a stored entry on the leader's runtime: decoders are the user's code. An entry
    /// that is not encoded needs none of it.
    async fn decode(&mut self, entry: Entry) -> Ended<Result<Found, Unreadable>> {
        let leader = self.leaders.last();
        let Some((values, runtime)) =
            leader.and_then(|leader| Some((leader.values()?, leader.runtime()?.clone())))
        else {
            return Ended::Vanished;
        };
        let kept = entry.clone();
        let decoded = if matches!(entry, Entry::Encoded(_)) {
            let remote = Remote::start(&runtime, async move { values.decode(entry) });
            self.watch(remote, pending()).await
        } else {
            Ended::With(values.decode(entry))
        };
        if matches!(decoded, Ended::With(Err(Unreadable))) {
            // It may hold the last of a value of another type.
            discard(Some(runtime), kept);
            self.observer.record(Event::Undecodable);
            debug!("an entry could not be decoded and will be loaded again");
        }
        decoded
    }

    /// Removes an entry that cannot be decoded.
    async fn remove(&self) -> Result<(), Error> {
        let keys = [self.key.clone()];
        let remove = async { self.core.backend.remove(&keys).await };
        let answers = self
            .core
            .call_each(BackendCall::Remove, &self.observer, remove)
            .await;
        answers?.into_iter().collect()
    }
}

/// Without a lease, and through an outage unless the store did answer, and only refused.
fn unanswered(error: Error) -> Approach {
    if error.is_silence() {
        Approach::Outage(Outage::witnessed(error))
    } else {
        Approach::Load(None)
    }
}
