//! After a load: its answer goes to the store.

use super::Driver;
use crate::{
    BackendCall, Event, Fill, Lease,
    actor::Filling,
    flight::{Landing, Mark},
};
#[cfg(feature = "testing")]
use crate::{Entry, Ttl, testing::Mutant};

impl Driver {
    /// Stores a load's answer under the lease `held`, which ends if the backend says so.
    pub(super) async fn fill(
        &self,
        filling: Filling,
        held: Lease,
        lease: &mut Option<Lease>,
    ) -> Landing {
        self.post(Mark::Fill);
        #[cfg(feature = "testing")]
        let entry = filling.entry.clone();
        let Filling { entry: filled, ttl } = filling;
        let fill = self.core.backend.fill(&self.key, held, filled, ttl);
        match self
            .core
            .call(BackendCall::Fill, &self.observer, fill)
            .await
        {
            Ok(Fill::Stored) => {
                *lease = None;
                self.observer.record(Event::FillStored);
                Landing::Stored
            }
            Ok(Fill::Superseded) => {
                *lease = None;
                self.observer.record(Event::FillSuperseded);
                #[cfg(feature = "testing")]
                if self.core.config.rules.mutant == Some(Mutant::PlainSet) {
                    return self.plain_set(entry, ttl).await;
                }
                Landing::Unstored
            }
            Err(error) => {
                self.observer.record(Event::FillFailed(error.kind()));
                Landing::Unstored
            }
        }
    }

    /// What a cache without a fence does: it stores what it loaded, whatever happened meanwhile.
    #[cfg(feature = "testing")]
    async fn plain_set(&self, entry: Entry, ttl: Ttl) -> Landing {
        let backend = &self.core.backend;
        if let Ok(lease) = backend.seize(&self.key, self.core.config.lease_hold).await {
            backend.fill(&self.key, lease, entry, ttl).await.ok();
        }
        Landing::Stored
    }
}
