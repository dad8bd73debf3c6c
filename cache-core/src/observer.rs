//! Who is told about an event.

use std::sync::Arc;

use crate::{CacheRecorder, Event, Recorder};

/// The recorder of one cache, of the engine, or none.
#[derive(Clone, Debug)]
pub(crate) enum Observer {
    Nobody,
    Cache(Arc<dyn CacheRecorder>),
    Engine(Arc<dyn Recorder>),
}

impl Observer {
    pub(crate) fn record(&self, event: Event) {
        match self {
            Self::Nobody => {}
            Self::Cache(recorder) => recorder.record(event),
            Self::Engine(recorder) => recorder.record(event),
        }
    }

    /// Whether anybody listens: what costs something to find out need not be found out else.
    pub(crate) fn listens(&self) -> bool {
        !matches!(self, Self::Nobody)
    }
}
