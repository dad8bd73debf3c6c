//! A load while the backend does not answer.

use super::{Driver, Origin, Report};
use crate::{
    Error, Event,
    actor::{Found, Outage},
    flight::Landing,
};

impl Driver {
    /// Runs a loader without lease and fill, if the engine's policy lets it through.
    pub(super) async fn load_through(
        &mut self,
        Outage {
            error,
            is_witnessed,
        }: Outage,
    ) -> (Landing, Origin, Result<Found, Error>) {
        if is_witnessed {
            self.outage = Some(error.clone());
        }
        // Held until the load has ended, whoever's loader that is then.
        let _permit = match self.core.outage_loads.let_through(error) {
            Ok(permit) => permit,
            // Nobody led a load.
            Err(refused) => return (Landing::Failed, Origin::OthersLoad, Err(refused)),
        };
        self.observer.record(Event::OutageLoad);
        match self.load(&mut None).await {
            Report::Failed(error) => (Landing::Failed, Origin::OwnLoad, Err(error)),
            Report::Loaded { found, .. } => (Landing::Unstored, Origin::OwnLoad, Ok(found)),
        }
    }
}
