//! The flights of one shard, as plain data.

use std::collections::{HashMap, VecDeque};

use smallvec::SmallVec;

use super::{
    marks::{Arrival, Landing, Mark, Marks, Rules},
    puts::{PutId, Puts},
};
use crate::Key;

/// How many loads of one key may run at once: the one that an invalidation doomed, and the one
/// that serves those who came after it.
const MAX_RUNNING: usize = 2;

/// Names one cache of an engine.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct CacheId(pub(crate) u64);

/// Names one flight of an engine.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct FlightId {
    table: u64,
    number: u64,
}

/// The flights of one shard, with callers' seats of type `S`.
#[derive(Debug)]
pub(crate) struct FlightTable<S> {
    keys: HashMap<Key, Flights<S>, ahash::RandomState>,
    puts: Puts,
    rules: Rules,
    /// Sets the flights of this table apart from those of any other of the engine.
    id: u64,
    next_flight: u64,
    next_arrival: u64,
}

/// The flights of one key: a few at most.
type Flights<S> = SmallVec<[Flight<S>; 1]>;

#[derive(Debug)]
struct Flight<S> {
    id: FlightId,
    cache: CacheId,
    /// Whether it has a driver. If not, it waits for one of two running flights to land.
    running: bool,
    doomed: bool,
    marks: Marks,
    seats: VecDeque<Seated<S>>,
}

/// A seat with the caller's place in the order of arrivals.
#[derive(Debug)]
pub(crate) struct Seated<S> {
    arrival: Arrival,
    pub(crate) seat: S,
}

/// A flight that begins: its driver takes this seat's loader, and answers this seat itself.
#[derive(Debug)]
pub(crate) struct TakeOff<S> {
    pub(crate) id: FlightId,
    pub(crate) leader: S,
}

/// The seats of a flight that ended.
#[derive(Debug)]
pub(crate) struct Landed<S> {
    /// Those who may accept the outcome.
    pub(crate) covered: Vec<S>,
    /// Those who may not: they move on, by [`FlightTable::reseat`].
    pub(crate) rest: VecDeque<Seated<S>>,
    /// The cache they belong to.
    pub(crate) cache: Option<CacheId>,
}

impl<S> FlightTable<S> {
    /// An empty table. `id` is one that no other table of the engine has, or had.
    pub(crate) fn new(id: u64, rules: Rules) -> Self {
        Self {
            keys: HashMap::default(),
            puts: Puts::default(),
            rules,
            id,
            next_flight: 0,
            next_arrival: 0,
        }
    }

    /// Seats a caller who just arrived in the open flight of `key`, making one if there is none.
    ///
    /// A flight that was made here has yet to [`take_off`](Self::take_off).
    pub(crate) fn join(&mut self, key: &Key, cache: CacheId, seat: S) -> FlightId {
        let arrival = self.arrive();
        self.reseat(key, cache, Seated { arrival, seat })
    }

    /// Seats a caller again who arrived before.
    pub(crate) fn reseat(&mut self, key: &Key, cache: CacheId, seated: Seated<S>) -> FlightId {
        let flights = self.keys.entry(key.clone()).or_default();
        let open = flights
            .iter_mut()
            .find(|flight| flight.is_open() && flight.cache == cache);
        if let Some(open) = open {
            // Those who move on arrived before those who sit here: the oldest leads.
            let place = open
                .seats
                .partition_point(|other| other.arrival < seated.arrival);
            open.seats.insert(place, seated);
            return open.id;
        }
        let id = FlightId {
            table: self.id,
            number: self.next_flight,
        };
        self.next_flight += 1;
        flights.push(Flight {
            id,
            cache,
            running: false,
            doomed: false,
            marks: Marks::default(),
            seats: VecDeque::from([seated]),
        });
        id
    }

    /// Begins a waiting flight of `key`, if two others do not run.
    ///
    /// To be called after [`join`](Self::join), and after a landing once its rest has moved.
    pub(crate) fn take_off(&mut self, key: &Key) -> Option<TakeOff<S>> {
        let flights = self.keys.get_mut(key)?;
        if flights.iter().filter(|flight| flight.running).count() >= MAX_RUNNING {
            return None;
        }
        let flight = flights.iter_mut().find(|flight| !flight.running)?;
        let leader = flight.seats.pop_front()?.seat;
        flight.running = true;
        let id = flight.id;
        Some(TakeOff { id, leader })
    }

    /// The flights that a caller who joined `key` now would wait for: the open one if it runs,
    /// those that hold its place if it waits or would have to, and none if one would begin.
    pub(crate) fn prospect(&self, key: &Key, cache: CacheId) -> SmallVec<[FlightId; 2]> {
        let Some(flights) = self.keys.get(key) else {
            return SmallVec::new();
        };
        let open = flights
            .iter()
            .find(|flight| flight.is_open() && flight.cache == cache);
        match open {
            Some(open) if open.running => SmallVec::from_slice(&[open.id]),
            _ => {
                let running: SmallVec<[_; 2]> = flights
                    .iter()
                    .filter(|flight| flight.running)
                    .map(|flight| flight.id)
                    .collect();
                if running.len() < MAX_RUNNING {
                    SmallVec::new()
                } else {
                    running
                }
            }
        }
    }

    /// Notes that the driver of a flight is about to send a command.
    pub(crate) fn mark(&mut self, key: &Key, id: FlightId, mark: Mark) {
        let at = self.arrive();
        if let Some(flight) = self.flight_mut(key, id) {
            flight.marks.set(mark, at);
        }
    }

    /// Dooms what runs on `key`: loads that have begun take no more seats, puts do not store.
    ///
    /// A flight that waits or still acquires is left alone: its marks are yet to come.
    pub(crate) fn doom(&mut self, key: &Key) {
        self.puts.doom(key);
        if let Some(flights) = self.keys.get_mut(key) {
            flights.iter_mut().for_each(Flight::doom);
        }
    }

    /// Dooms what runs on every key.
    pub(crate) fn doom_all(&mut self) {
        self.puts.doom_all();
        self.keys.values_mut().flatten().for_each(Flight::doom);
    }

    /// Dooms one flight, which lost its lease: later arrivals need not wait for it.
    pub(crate) fn lost_lease(&mut self, key: &Key, id: FlightId) {
        if let Some(flight) = self.flight_mut(key, id) {
            flight.doom();
        }
    }

    /// Takes the next seat out of a flight whose load vanished, to go on with its loader.
    pub(crate) fn promote(&mut self, key: &Key, id: FlightId) -> Option<S> {
        let next = self.flight_mut(key, id)?.seats.pop_front()?;
        Some(next.seat)
    }

    /// Ends a flight. Nothing happens if it has ended already.
    ///
    /// The caller moves the rest and then lets a waiting flight [`take_off`](Self::take_off).
    pub(crate) fn land(&mut self, key: &Key, id: FlightId, landing: Landing) -> Landed<S> {
        let mut landed = Landed {
            covered: Vec::new(),
            rest: VecDeque::new(),
            cache: None,
        };
        let Some(flights) = self.keys.get_mut(key) else {
            return landed;
        };
        let Some(place) = flights.iter().position(|flight| flight.id == id) else {
            return landed;
        };
        let flight = flights.remove(place);
        if flights.is_empty() {
            self.keys.remove(key);
        }
        let covered = flight.marks.covered(landing, flight.doomed, self.rules);
        landed.cache = Some(flight.cache);
        for seated in flight.seats {
            if covered.includes(seated.arrival) {
                landed.covered.push(seated.seat);
            } else {
                landed.rest.push_back(seated);
            }
        }
        landed
    }

    /// Begins a put of `key`, dooming whatever runs on it.
    pub(crate) fn begin_put(&mut self, key: &Key) -> PutId {
        self.doom(key);
        self.puts.begin(key)
    }

    /// Whether nothing has doomed the put since it began.
    pub(crate) fn put_is_good(&self, key: &Key, id: PutId) -> bool {
        self.puts.is_good(key, id)
    }

    /// Ends a put.
    pub(crate) fn end_put(&mut self, key: &Key, id: PutId) {
        self.puts.end(key, id);
    }

    /// How many flights, seats in them, and puts there are.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn census(&self) -> (usize, usize, usize) {
        let flights = self.keys.values().flatten();
        let (flights, seats) = flights.fold((0, 0), |(flights, seats), flight| {
            (flights + 1, seats + flight.seats.len())
        });
        (flights, seats, self.puts.len())
    }

    fn arrive(&mut self) -> Arrival {
        let arrival = Arrival(self.next_arrival);
        self.next_arrival += 1;
        arrival
    }

    fn flight_mut(&mut self, key: &Key, id: FlightId) -> Option<&mut Flight<S>> {
        let mut flights = self.keys.get_mut(key)?.iter_mut();
        flights.find(|flight| flight.id == id)
    }
}

impl<S> Flight<S> {
    /// Whether it takes seats.
    fn is_open(&self) -> bool {
        !self.doomed
    }

    fn doom(&mut self) {
        if self.marks.load_began() {
            self.doomed = true;
        }
    }
}
