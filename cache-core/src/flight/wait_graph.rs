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
    /// All that `flights` are, and wait for, directly or through others. A load that is among
    /// them would wait for itself if it waited for one of `flights`.
    pub(crate) fn reached(&self, flights: &[FlightId]) -> HashSet<FlightId> {
        let mut to_visit = flights.to_vec();
        let mut reached = HashSet::new();
        while let Some(flight) = to_visit.pop() {
            if !reached.insert(flight) {
                continue;
            }
            for call in self.by_load.get(&flight).into_iter().flatten() {
                to_visit.extend(self.calls.get(call).map(|call| call.joined));
            }
            to_visit.extend(self.holders.get(&flight).into_iter().flatten());
        }
        reached
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Key,
        flight::{CacheId, FlightTable, Occupied, Rules},
    };

    struct Anyone;

    impl Occupied for Anyone {
        fn is_occupied(&self) -> bool {
            true
        }
    }

    /// How many flights, and how many calls, there are to choose from.
    const FLIGHTS: usize = 6;
    const SEATS: u64 = 8;

    fn flights() -> Vec<FlightId> {
        let mut table = FlightTable::new(0, Rules::default());
        let names = 0..u8::try_from(FLIGHTS).unwrap();
        names
            .map(|name| table.join(&Key::new(&[name]), CacheId(0), Anyone))
            .collect()
    }

    /// What may happen, with flights by their place.
    #[derive(Clone, Debug)]
    enum Step {
        Wait {
            seat: u64,
            load: usize,
            joined: usize,
        },
        End {
            seat: u64,
        },
        Hold {
            flight: usize,
            holders: Vec<usize>,
        },
        Begun {
            flight: usize,
        },
    }

    fn step() -> impl Strategy<Value = Step> {
        let flight = || 0..FLIGHTS;
        let wait = (0..SEATS, flight(), flight());
        prop_oneof![
            4 => wait.prop_map(|(seat, load, joined)| Step::Wait { seat, load, joined }),
            2 => (0..SEATS).prop_map(|seat| Step::End { seat }),
            2 => (flight(), prop::collection::vec(flight(), 0..=2))
                .prop_map(|(flight, holders)| Step::Hold { flight, holders }),
            1 => flight().prop_map(|flight| Step::Begun { flight }),
        ]
    }

    /// The same graph, as a list of edges.
    #[derive(Default)]
    struct Model {
        calls: HashMap<u64, (usize, usize)>,
        holders: HashMap<usize, Vec<usize>>,
    }

    impl Model {
        /// Which flight leads to which, over one edge or more.
        fn reach(&self) -> [[bool; FLIGHTS]; FLIGHTS] {
            let mut reach = [[false; FLIGHTS]; FLIGHTS];
            for (load, joined) in self.calls.values() {
                reach[*load][*joined] = true;
            }
            for (flight, holders) in &self.holders {
                for holder in holders {
                    reach[*flight][*holder] = true;
                }
            }
            for over in 0..FLIGHTS {
                for from in 0..FLIGHTS {
                    for to in 0..FLIGHTS {
                        reach[from][to] |= reach[from][over] && reach[over][to];
                    }
                }
            }
            reach
        }

        fn would_close(&self, load: usize, flights: &[usize]) -> bool {
            let reach = self.reach();
            let leads_back = |flight: &usize| *flight == load || reach[*flight][load];
            flights.iter().any(leads_back)
        }
    }

    /// Takes a step in the graph and in the model.
    fn take(graph: &mut WaitGraph, model: &mut Model, ids: &[FlightId], step: Step) {
        match step {
            Step::Wait { seat, load, joined } => {
                // A call is made inside one load for as long as it lasts.
                let load = model.calls.get(&seat).map_or(load, |(load, _)| *load);
                graph.wait(SeatId(seat), ids[load], ids[joined]);
                model.calls.insert(seat, (load, joined));
            }
            Step::End { seat } => {
                graph.end(SeatId(seat));
                model.calls.remove(&seat);
            }
            Step::Hold { flight, holders } => {
                let named: Vec<_> = holders.iter().map(|holder| ids[*holder]).collect();
                graph.hold(ids[flight], &named);
                model.holders.insert(flight, holders);
            }
            Step::Begun { flight } => {
                graph.begun(ids[flight]);
                model.holders.remove(&flight);
            }
        }
    }

    proptest! {
        #[test]
        fn a_circle_is_found_exactly_where_one_would_close(
            steps in prop::collection::vec(step(), 0..40),
            others in prop::collection::vec(0..FLIGHTS, 0..3),
        ) {
            let ids = flights();
            let (mut graph, mut model) = (WaitGraph::default(), Model::default());
            for step in steps {
                take(&mut graph, &mut model, &ids, step);
                prop_assert_eq!(graph.len(), model.calls.len() + model.holders.len());
            }
            let named: Vec<_> = others.iter().map(|other| ids[*other]).collect();
            for (load, id) in ids.iter().enumerate() {
                prop_assert_eq!(
                    graph.reached(&named).contains(id),
                    model.would_close(load, &others)
                );
            }
        }

        #[test]
        fn a_graph_that_is_asked_before_each_wait_never_holds_a_circle(
            steps in prop::collection::vec(step(), 0..60),
        ) {
            let ids = flights();
            let (mut graph, mut model) = (WaitGraph::default(), Model::default());
            for step in steps {
                let (from, to) = match &step {
                    Step::Wait { seat, load, joined } => {
                        // A call that moves no longer waits for what it waited for.
                        let load = model.calls.get(seat).map_or(*load, |(load, _)| *load);
                        (load, vec![*joined])
                    }
                    Step::Hold { flight, holders } => (*flight, holders.clone()),
                    Step::End { .. } | Step::Begun { .. } => (0, Vec::new()),
                };
                let named: Vec<_> = to.iter().map(|flight| ids[*flight]).collect();
                if !graph.reached(&named).contains(&ids[from]) {
                    take(&mut graph, &mut model, &ids, step);
                }
                for (flight, reached) in model.reach().iter().enumerate() {
                    prop_assert!(!reached[flight], "{flight} waits for itself");
                }
            }
        }

        #[test]
        fn what_has_ended_leaves_nothing(steps in prop::collection::vec(step(), 0..40)) {
            let ids = flights();
            let (mut graph, mut model) = (WaitGraph::default(), Model::default());
            for step in steps {
                take(&mut graph, &mut model, &ids, step);
            }
            for seat in 0..SEATS {
                graph.end(SeatId(seat));
            }
            for flight in &ids {
                graph.begun(*flight);
            }
            prop_assert_eq!(graph.len(), 0);
            prop_assert!(graph.by_load.is_empty(), "no load is left with its calls");
        }
    }
}
