//! Who is told about an event.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use crate::{CacheRecorder, Event, Recorder};

/// The recorder of one cache, of the engine, or none.
#[derive(Clone, Debug)]
pub(crate) enum Observer {
    Nobody,
    Cache(Arc<dyn CacheRecorder>),
    Engine(Arc<dyn Recorder>),
}

impl Observer {
    #[inline]
    pub(crate) fn record(&self, event: Event) {
        if self.listens() {
            self.tell(event);
        }
    }

    fn tell(&self, event: Event) {
        // A recorder is the user's code, and is called where a panic would harm others.
        let recorded = match self {
            Self::Nobody => return,
            Self::Cache(recorder) => catch_unwind(AssertUnwindSafe(|| recorder.record(event))),
            Self::Engine(recorder) => catch_unwind(AssertUnwindSafe(|| recorder.record(event))),
        };
        drop(recorded);
    }

    /// Whether anybody listens: what costs something to find out need not be found out else.
    #[inline]
    pub(crate) fn listens(&self) -> bool {
        !matches!(self, Self::Nobody)
    }
}
