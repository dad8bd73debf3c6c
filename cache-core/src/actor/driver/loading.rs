//! The load itself, on its caller's runtime, while the lease is kept.

use std::future::pending;

use tokio::time::{Instant, sleep_until};

use super::{Driver, abandoned, timed_out};
use crate::{
    BackendCall, ErrorKind, Event, Extend, Lease, LoadOutcome,
    actor::{
        Loading, Report,
        load::{self, Remote},
        shard::LostLease,
    },
    flight::Mark,
};

/// How users' code ended on its caller's runtime.
pub(super) enum Ended<T> {
    With(T),
    TimedOut,
    Vanished,
}

impl Driver {
    /// Runs the leader's loader, or the next one's if it vanishes with its runtime.
    pub(super) async fn load(&mut self, lease: &mut Option<Lease>) -> Report {
        loop {
            self.post(Mark::Load);
            let began = Instant::now();
            let ended = self.load_once(lease).await;
            self.observer.record(Event::Load {
                outcome: ended.outcome(),
                took: began.elapsed(),
            });
            match ended {
                Ended::With(report) => return report,
                Ended::TimedOut => return Report::Failed(timed_out()),
                Ended::Vanished if self.promote().await => {}
                Ended::Vanished => return Report::Failed(abandoned()),
            }
        }
    }

    async fn load_once(&mut self, lease: &mut Option<Lease>) -> Ended<Report> {
        let Some(leader) = self.leaders.last_mut() else {
            return Ended::Vanished;
        };
        let (Some(loader), Some(runtime)) = (leader.take_loader(), leader.runtime()) else {
            return Ended::Vanished;
        };
        let Loading { report, span } = loader.load();
        let loading = load::within(self.core.id, self.id, report);
        let remote = Remote::start(runtime, loading);
        let held = *lease;
        let lost = async {
            match held {
                Some(held) => self.keep(held).await,
                None => pending().await,
            }
        };
        let mut is_lost = false;
        let lost = async {
            lost.await;
            is_lost = true;
            self.observer.record(Event::LeaseLost);
            self.send(LostLease {
                key: self.key.clone(),
                id: self.id,
            });
            pending::<()>().await;
        };
        let ended = self.watch(remote, lost).await;
        if is_lost {
            *lease = None;
        }
        span.record("outcome", ended.outcome().as_str());
        ended
    }

    /// Waits for users' code, for at most the load timeout, while `meanwhile` runs beside it.
    pub(super) async fn watch<T: Send + 'static>(
        &self,
        mut remote: Remote<T>,
        meanwhile: impl Future<Output = ()>,
    ) -> Ended<T> {
        let deadline = Instant::now() + self.core.config.load_timeout;
        tokio::select! {
            biased;
            result = &mut remote.result => result.map_or(Ended::Vanished, Ended::With),
            () = sleep_until(deadline) => {
                remote.give_up();
                Ended::TimedOut
            }
            () = meanwhile => Ended::Vanished,
        }
    }

    /// Renews `lease` at each third of its hold; returns when it is lost.
    async fn keep(&self, lease: Lease) {
        let hold = self.core.config.lease_hold;
        let mut next = Instant::now();
        loop {
            next += hold / 3;
            sleep_until(next).await;
            let extend = self.core.backend.extend(&self.key, lease, hold);
            let extended = self
                .core
                .call(BackendCall::Extend, &self.observer, extend)
                .await;
            if let Ok(Extend::Lost) = extended {
                return;
            }
        }
    }
}

impl Ended<Report> {
    fn outcome(&self) -> LoadOutcome {
        match self {
            Self::With(Report::Loaded { found: Some(_), .. }) => LoadOutcome::Value,
            Self::With(Report::Loaded { found: None, .. }) => LoadOutcome::Absent,
            Self::With(Report::Failed(error)) if error.kind() == ErrorKind::Panicked => {
                LoadOutcome::Panicked
            }
            Self::With(Report::Failed(_)) => LoadOutcome::Failed,
            Self::TimedOut => LoadOutcome::TimedOut,
            Self::Vanished => LoadOutcome::Vanished,
        }
    }
}
