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

/// A flight looks for seats that were left once it has this many, and then each time their number
/// has doubled.
const SWEEP_FROM: usize = 64;

/// A caller's seat, which its caller may have left.
pub(crate) trait Occupied {
    /// Whether somebody still waits here.
    fn is_occupied(&self) -> bool;
}

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
    /// In the order of arrival.
    seats: VecDeque<Seated<S>>,
    /// With how many seats to look for those that were left.
    sweep_at: usize,
}

/// A seat with the caller's place in the order of arrivals.
#[derive(Debug)]
pub(crate) struct Seated<S> {
    arrival: Arrival,
    pub(crate) seat: S,
}

/// A flight that waits no longer.
#[derive(Debug)]
pub(crate) struct TakeOff<S> {
    pub(crate) id: FlightId,
    /// The one who leads: the driver takes this seat's loader, and answers this seat itself. If
    /// everybody has left, the flight has ended instead.
    pub(crate) leader: Option<S>,
}

/// The seats of a flight that ended.
#[derive(Debug)]
pub(crate) struct Landed<S> {
    /// Those who may accept the outcome.
    pub(crate) covered: Vec<S>,
    /// Those who may not: they move on, by [`FlightTable::move_on`].
    pub(crate) rest: VecDeque<Seated<S>>,
    /// The cache they belong to.
    pub(crate) cache: Option<CacheId>,
}

impl<S: Occupied> FlightTable<S> {
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
        let flight = self.open(key, cache);
        if flight.seats.len() >= flight.sweep_at {
            flight.seats.retain(|seated| seated.seat.is_occupied());
            flight.sweep_at = SWEEP_FROM.max(2 * flight.seats.len());
        }
        flight.seats.push_back(Seated { arrival, seat });
        flight.id
    }

    /// Seats callers again who could not accept the outcome of a flight that landed.
    ///
    /// The open flight was opened after theirs was closed, so its marks cover them.
    pub(crate) fn move_on(
        &mut self,
        key: &Key,
        cache: CacheId,
        mut rest: VecDeque<Seated<S>>,
    ) -> FlightId {
        let flight = self.open(key, cache);
        let in_order = match (rest.back(), flight.seats.front()) {
            (Some(moved), Some(seated)) => moved.arrival < seated.arrival,
            _ => true,
        };
        rest.append(&mut flight.seats);
        if !in_order {
            rest.make_contiguous().sort_by_key(|seated| seated.arrival);
        }
        flight.seats = rest;
        flight.id
    }

    /// Begins a waiting flight of `key`, if two others do not run, or ends it, if everybody has
    /// left it. To be called until there is none, after each [`join`](Self::join), and after a
    /// landing once its rest has moved.
    pub(crate) fn take_off(&mut self, key: &Key) -> Option<TakeOff<S>> {
        let flights = self.keys.get_mut(key)?;
        if flights.iter().filter(|flight| flight.running).count() >= MAX_RUNNING {
            return None;
        }
        let place = flights.iter().position(|flight| !flight.running)?;
        let flight = &mut flights[place];
        let id = flight.id;
        let leader = flight.next_occupied();
        flight.running = true;
        if leader.is_none() {
            flights.remove(place);
            if flights.is_empty() {
                self.keys.remove(key);
            }
        }
        Some(TakeOff { id, leader })
    }

    /// The flights of `key` that still wait, with those that hold their places.
    pub(crate) fn waiting(&self, key: &Key) -> Vec<(FlightId, SmallVec<[FlightId; 2]>)> {
        let flights = self.keys.get(key).map_or(&[][..], |flights| flights);
        let waiting = flights.iter().filter(|flight| !flight.running);
        waiting
            .map(|flight| (flight.id, running(flights).collect()))
            .collect()
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
                let running: SmallVec<[_; 2]> = running(flights).collect();
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
    ///
    /// If there is none the flight is closed: who comes now has a loader, and gets a flight of
    /// their own.
    pub(crate) fn promote(&mut self, key: &Key, id: FlightId) -> Option<S> {
        let flight = self.flight_mut(key, id)?;
        let next = flight.next_occupied();
        flight.doomed |= next.is_none();
        next
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
        let (flights, seats) = self.keys.values().fold((0, 0), |(count, seats), flights| {
            let seated: usize = flights.iter().map(|flight| flight.seats.len()).sum();
            // A key without a flight would be something left behind, too.
            (count + flights.len().max(1), seats + seated)
        });
        (flights, seats, self.puts.len())
    }

    /// The open flight of `key`, made if there is none.
    fn open(&mut self, key: &Key, cache: CacheId) -> &mut Flight<S> {
        let flights = self.keys.entry(key.clone()).or_default();
        let open = flights
            .iter()
            .position(|flight| flight.is_open() && flight.cache == cache);
        let place = open.unwrap_or_else(|| {
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
                seats: VecDeque::new(),
                sweep_at: SWEEP_FROM,
            });
            flights.len() - 1
        });
        &mut flights[place]
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

/// The flights that run.
fn running<S>(flights: &[Flight<S>]) -> impl Iterator<Item = FlightId> + '_ {
    let running = flights.iter().filter(|flight| flight.running);
    running.map(|flight| flight.id)
}

impl<S: Occupied> Flight<S> {
    /// Takes the first seat out whose caller has not left, and drops those before it.
    fn next_occupied(&mut self) -> Option<S> {
        loop {
            let seat = self.seats.pop_front()?.seat;
            if seat.is_occupied() {
                return Some(seat);
            }
        }
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
