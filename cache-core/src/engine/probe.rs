//! What tests may know about an engine's inside (feature `testing`).

use std::sync::atomic::Ordering;

use super::Engine;

/// A count of everything an engine holds for calls that are under way.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Census {
    /// Flights in the shards' tables.
    pub flights: usize,
    /// Seats of waiting callers in those flights; a flight's driver holds its leader's besides.
    pub seats: usize,
    /// Puts in flight.
    pub puts: usize,
    /// Callers who hold a permit to wait.
    pub waiting: usize,
    /// Edges in the graph of loads that wait for others.
    pub wait_edges: usize,
    /// Background tasks: flights, puts, invalidations, clears.
    pub running: usize,
    /// Permits of loads that run although the backend does not answer.
    pub outage_loads: usize,
    /// Removals owed to the backend.
    pub owed: usize,
}

impl Engine {
    /// Counts what this engine holds for calls that are under way.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn census(&self) -> Census {
        let core = &self.inner.core;
        let mut census = Census {
            waiting: core.admission.waiting(),
            wait_edges: core.waits.lock().len(),
            running: core.running(),
            outage_loads: core.outage_loads.running(),
            owed: core.outbox.len(),
            ..Census::default()
        };
        for (flights, seats, puts) in self.inner.shards.census().await {
            census.flights += flights;
            census.seats += seats;
            census.puts += puts;
        }
        census
    }

    /// How many messages callers have sent to the threads of this engine's shards.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.inner.core.messages.load(Ordering::Relaxed)
    }

    /// Makes the shard actor of `key` panic in a handler.
    pub fn kill_shard(&self, key: &crate::CacheKey) {
        if let Some(key) = &key.0 {
            self.inner.shards.kill(key);
        }
    }
}
