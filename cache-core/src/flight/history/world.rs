//! Drivers, writers and other processes, a step of one of them at a time.

use std::{
    cell::Cell,
    collections::{HashMap, VecDeque},
    rc::Rc,
};

use super::{
    CACHES, Event, KEYS, Place, Value,
    writes::{Writing, WritingAt},
};
use crate::{
    Key,
    flight::{CacheId, FlightId, FlightTable, Landing, Mark, Occupied, Rules, TakeOff},
};

/// What the store has under a key.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stored {
    pub(super) value: Option<Value>,
    pub(super) lease: Option<u64>,
}

/// A flight that runs, with what its driver knows.
#[derive(Debug)]
struct Flying {
    id: FlightId,
    key: usize,
    leaders: Vec<Seat>,
    lease: Option<u64>,
    value: Option<Value>,
    at: At,
}

/// What the driver does next.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    /// The store is about to see its `acquire`.
    Acquire,
    /// The answer is about to arrive: a hit, a grant or neither.
    Acquired,
    /// The loader is about to read.
    Load,
    /// The loader is about to answer.
    Loaded,
    /// The store is about to see its `fill`.
    Fill,
    /// The answer is about to arrive.
    Filled(Landing),
    /// The load vanished, and nobody else has a loader.
    Gone,
}

/// A caller's seat, which the caller may have left.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    caller: u32,
    has_left: Rc<Cell<bool>>,
}

impl Occupied for Seat {
    fn is_occupied(&self) -> bool {
        !self.has_left.get()
    }
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) table: FlightTable<Seat>,
    pub(super) keys: [Key; KEYS],
    pub(super) store: [Stored; KEYS],
    /// The load of another process, under the lease.
    pub(super) foreign: [Option<(u64, Value)>; KEYS],
    /// How often a key was doomed.
    pub(super) dooms: [usize; KEYS],
    flying: Vec<Flying>,
    pub(super) writing: Vec<Writing>,
    callers: Vec<Seat>,
    leases: u64,
    pub(super) writes: usize,
    places: HashMap<FlightId, Place>,
    history: Vec<Event>,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            table: FlightTable::new(0, Rules::default()),
            keys: [Key::new(b"0"), Key::new(b"1")],
            store: Default::default(),
            foreign: Default::default(),
            dooms: Default::default(),
            flying: Vec::new(),
            writing: Vec::new(),
            callers: Vec::new(),
            leases: 0,
            writes: 0,
            places: HashMap::new(),
            history: Vec::new(),
        }
    }

    /// Does what `code` says, to what `choice` names.
    pub(super) fn act(&mut self, code: u8, choice: u8) {
        let choice = usize::from(choice);
        let key = choice % KEYS;
        match code {
            0..5 => {
                let cache = CacheId((choice / KEYS) as u64 % CACHES);
                // Sometimes a crowd.
                let callers = if choice >= 250 { 70 } else { 1 };
                (0..callers).for_each(|_| self.join(key, cache));
            }
            5..15 => self.with_flight(choice, Self::step),
            15 => self.with_flight(choice, |world, flying| world.land(flying, Landing::Failed)),
            16 => self.with_flight(choice, Self::vanish),
            17 => self.with_flight(choice, Self::lose),
            18 => self.write(key, WritingAt::Doom),
            19 => self.write(key, WritingAt::Remove),
            20 => self.write(key, WritingAt::BeginPut),
            21..24 if !self.writing.is_empty() => {
                let writing = self.writing.swap_remove(choice % self.writing.len());
                self.step_write(writing);
            }
            24..26 => self.step_foreign(key),
            26 => self.store[key].value = None,
            27 => self.store[key].lease = None,
            28 => {
                self.table.doom_all();
                for key in 0..KEYS {
                    self.doomed(key);
                    self.write(key, WritingAt::Remove);
                }
            }
            29 => self.leave(choice),
            _ => {}
        }
    }

    fn with_flight(&mut self, choice: usize, act: impl FnOnce(&mut Self, Flying)) {
        if !self.flying.is_empty() {
            let flying = self.flying.swap_remove(choice % self.flying.len());
            act(self, flying);
        }
    }

    pub(super) fn note(&mut self, event: Event) -> usize {
        self.history.push(event);
        self.history.len() - 1
    }

    pub(super) fn grant(&mut self, key: usize) -> u64 {
        self.leases += 1;
        self.store[key].lease = Some(self.leases);
        self.leases
    }

    fn join(&mut self, key: usize, cache: CacheId) {
        let seat = Seat {
            caller: u32::try_from(self.callers.len()).unwrap(),
            has_left: Rc::default(),
        };
        self.callers.push(seat.clone());
        self.note(Event::Arrived);
        let flight = self.table.join(&self.keys[key], cache, seat);
        self.seated((key, cache), flight);
        self.take_off(key);
    }

    fn leave(&mut self, choice: usize) {
        if !self.callers.is_empty() {
            let seat = &self.callers[choice % self.callers.len()];
            seat.has_left.set(true);
            let caller = seat.caller;
            self.note(Event::Left { caller });
        }
    }

    pub(super) fn history(&self) -> &[Event] {
        &self.history
    }

    pub(super) fn census(&self) -> (usize, usize, usize) {
        self.table.census()
    }

    fn seated(&mut self, place: Place, flight: FlightId) {
        self.places.insert(flight, place);
        self.note(Event::Seated { place, flight });
    }

    fn take_off(&mut self, key: usize) {
        while let Some(TakeOff { id, leader }) = self.table.take_off(&self.keys[key]) {
            let Some(leader) = leader else {
                self.note(Event::Emptied { flight: id });
                continue;
            };
            self.note(Event::Began { flight: id, key });
            let flying = Flying {
                id,
                key,
                leaders: vec![leader],
                lease: None,
                value: None,
                at: At::Acquire,
            };
            self.send(flying, Mark::Acquire, At::Acquire);
        }
    }

    /// Marks a command and sends it.
    fn send(&mut self, mut flying: Flying, mark: Mark, at: At) {
        self.table.mark(&self.keys[flying.key], flying.id, mark);
        let flight = flying.id;
        self.note(Event::Marked { flight, mark });
        flying.at = at;
        self.flying.push(flying);
    }

    fn step(&mut self, mut flying: Flying) {
        let key = flying.key;
        match flying.at {
            At::Acquire => {
                flying.value = self.store[key].value;
                if self.store[key].value.is_none() && self.store[key].lease.is_none() {
                    flying.lease = Some(self.grant(key));
                }
                flying.at = At::Acquired;
                self.flying.push(flying);
            }
            At::Acquired if flying.value.is_some() => self.land(flying, Landing::Hit),
            At::Acquired if flying.lease.is_some() => self.send(flying, Mark::Load, At::Load),
            At::Acquired => self.send(flying, Mark::Acquire, At::Acquire),
            At::Load => {
                flying.value = Some(Value::Loaded(self.note(Event::Read)));
                flying.at = At::Loaded;
                self.flying.push(flying);
            }
            At::Loaded if flying.lease.is_some() => self.send(flying, Mark::Fill, At::Fill),
            At::Loaded => self.land(flying, Landing::Unstored),
            At::Fill => {
                let is_held = self.store[key].lease == flying.lease;
                if is_held {
                    self.store[key].lease = None;
                    self.store[key].value = flying.value;
                }
                let landing = if is_held {
                    Landing::Stored
                } else {
                    Landing::Unstored
                };
                flying.at = At::Filled(landing);
                self.flying.push(flying);
            }
            At::Filled(landing) => self.land(flying, landing),
            At::Gone => self.land(flying, Landing::Failed),
        }
    }

    /// The load vanishes with its runtime.
    fn vanish(&mut self, mut flying: Flying) {
        if !matches!(flying.at, At::Load | At::Loaded) {
            self.flying.push(flying);
            return;
        }
        match self.table.promote(&self.keys[flying.key], flying.id) {
            Some(leader) => {
                flying.leaders.push(leader);
                self.note(Event::Promoted);
                self.send(flying, Mark::Load, At::Load);
            }
            None => {
                self.note(Event::Abandoned { flight: flying.id });
                flying.at = At::Gone;
                self.flying.push(flying);
            }
        }
    }

    /// What can get lost at this moment gets lost: the wait for the lease, the lease, an answer.
    fn lose(&mut self, mut flying: Flying) {
        let stored = &mut self.store[flying.key];
        match flying.at {
            At::Acquired if flying.value.is_none() => {
                self.release(&flying);
                flying.lease = None;
                self.send(flying, Mark::Load, At::Load);
            }
            At::Load | At::Loaded if flying.lease.is_some() && stored.lease != flying.lease => {
                flying.lease = None;
                self.table.lost_lease(&self.keys[flying.key], flying.id);
                self.note(Event::LostLease { flight: flying.id });
                self.flying.push(flying);
            }
            At::Loaded | At::Filled(_) => self.land(flying, Landing::Unstored),
            At::Acquire | At::Acquired | At::Load | At::Fill | At::Gone => self.flying.push(flying),
        }
    }

    fn release(&mut self, flying: &Flying) {
        let lease = &mut self.store[flying.key].lease;
        if *lease == flying.lease {
            *lease = None;
        }
    }

    fn land(&mut self, flying: Flying, landing: Landing) {
        if flying.lease.is_some() {
            self.release(&flying);
        }
        let (flight, key) = (flying.id, flying.key);
        let landed = self.table.land(&self.keys[key], flight, landing);
        self.note(Event::Landed { flight, landing });
        let value = flying.value.filter(|_| landing != Landing::Failed);
        for seat in flying.leaders.into_iter().chain(landed.covered) {
            let caller = seat.caller;
            self.note(Event::Handed {
                caller,
                flight,
                value,
            });
        }
        let mut rest: VecDeque<_> = landed.rest;
        rest.retain(|seated| seated.seat.is_occupied());
        for seated in &rest {
            let caller = seated.seat.caller;
            self.note(Event::Moved { caller, flight });
        }
        if !rest.is_empty() {
            let place = self.places[&flight];
            let next = self.table.move_on(&self.keys[key], place.1, rest);
            self.seated(place, next);
        }
        self.take_off(key);
    }

    /// How many flights of `key` run, and how many wait.
    pub(super) fn flights(&self, key: usize) -> (usize, usize) {
        let running = self.flying.iter().filter(|it| it.key == key).count();
        (running, self.table.waiting(&self.keys[key]).len())
    }

    /// Lets everything that is under way end.
    pub(super) fn come_to_rest(&mut self) {
        for _ in 0..100_000 {
            if let Some(writing) = self.writing.pop() {
                self.step_write(writing);
            } else if !self.flying.is_empty() {
                for key in 0..KEYS {
                    if self.foreign[key].is_some() {
                        self.step_foreign(key);
                    }
                }
                self.with_flight(0, Self::step);
            } else {
                return;
            }
        }
        panic!("something never ends: {self:?}");
    }
}
