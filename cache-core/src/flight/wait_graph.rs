//! Finds loads that would wait for themselves.

use std::collections::{HashMap, HashSet};

use super::FlightId;

/// Names one call that was made inside a load.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct SeatId(pub(crate) u64);

/// Which load waits for which flight, for calls that were made inside a load.
///
/// A flight and the load it runs are one node. An edge leads from a load to each flight it has
/// joined, and from a flight that waits for its turn to the two that hold its place. A join that
/// would close a circle would wait for ever: it is refused.
#[derive(Debug, Default)]
pub(crate) struct WaitGraph {
    /// What each call made inside a load waits for.
    calls: HashMap<SeatId, Call>,
    /// The calls of each load.
    by_load: HashMap<FlightId, Vec<SeatId>>,
    /// Which flights hold the place of one that waits for its turn.
    holders: HashMap<FlightId, Vec<FlightId>>,
}

#[derive(Debug)]
struct Call {
    load: FlightId,
    joined: FlightId,
}

impl WaitGraph {
    /// Whether `load` would wait for itself if it waited for one of `flights`.
    pub(crate) fn would_close(&self, load: FlightId, flights: &[FlightId]) -> bool {
        let mut to_visit = flights.to_vec();
        let mut visited = HashSet::new();
        while let Some(flight) = to_visit.pop() {
            if flight == load {
                return true;
            }
            if !visited.insert(flight) {
                continue;
            }
            for call in self.by_load.get(&flight).into_iter().flatten() {
                to_visit.extend(self.calls.get(call).map(|call| call.joined));
            }
            to_visit.extend(self.holders.get(&flight).into_iter().flatten());
        }
        false
    }

    /// Notes that the call `seat`, made inside `load`, waits for `joined`, and for nothing else.
    pub(crate) fn wait(&mut self, seat: SeatId, load: FlightId, joined: FlightId) {
        if self.calls.insert(seat, Call { load, joined }).is_none() {
            self.by_load.entry(load).or_default().push(seat);
        }
    }

    /// Notes that `flight` waits for its turn behind `holders`.
    pub(crate) fn hold(&mut self, flight: FlightId, holders: &[FlightId]) {
        self.holders.insert(flight, holders.to_vec());
    }

    /// Notes that `flight` has begun.
    pub(crate) fn begun(&mut self, flight: FlightId) {
        self.holders.remove(&flight);
    }

    /// Notes that the call `seat` has ended, answered or dropped.
    pub(crate) fn end(&mut self, seat: SeatId) {
        let Some(Call { load, .. }) = self.calls.remove(&seat) else {
            return;
        };
        if let Some(calls) = self.by_load.get_mut(&load) {
            calls.retain(|call| *call != seat);
            if calls.is_empty() {
                self.by_load.remove(&load);
            }
        }
    }

    /// How many edges there are.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn len(&self) -> usize {
        self.calls.len() + self.holders.len()
    }
}
