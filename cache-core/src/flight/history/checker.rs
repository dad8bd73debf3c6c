//! What a history must look like.

use std::collections::{HashMap, HashSet};

use super::{Event, KEYS, Place, Value};
use crate::flight::{FlightId, Landing, Mark};

/// What a history says of one flight.
#[derive(Debug, Default)]
struct Course {
    acquire: Option<usize>,
    load: Option<usize>,
    fill: Option<usize>,
    key: usize,
    is_doomed: bool,
    landing: Option<Landing>,
}

impl Course {
    /// The time before which those arrived whom the outcome covers; the table of the module's
    /// documentation.
    fn covers_before(&self) -> usize {
        let mark = match self.landing {
            None => Some(0),
            Some(Landing::Failed) => Some(usize::MAX),
            Some(Landing::Hit) => self.acquire,
            Some(Landing::Stored) if !self.is_doomed => self.fill,
            Some(Landing::Stored | Landing::Unstored) => self.load,
        };
        mark.expect("what has an outcome was marked")
    }
}

/// What is checked of a history, read from its beginning to its end.
#[derive(Debug, Default)]
pub(super) struct Checker {
    arrivals: Vec<usize>,
    handed: Vec<usize>,
    left: HashSet<u32>,
    moved: Vec<usize>,
    flights: HashMap<FlightId, Course>,
    running: [usize; KEYS],
    open: HashMap<Place, FlightId>,
    /// By their number: the key, when it was asked for, and when it returned.
    writes: Vec<(usize, usize, Option<usize>)>,
}

impl Checker {
    /// Reads what happened next.
    pub(super) fn read(&mut self, now: usize, event: Event) {
        match event {
            Event::Arrived => {
                self.arrivals.push(now);
                self.handed.push(0);
                self.moved.push(0);
            }
            Event::Left { caller } => {
                self.left.insert(caller);
            }
            Event::Abandoned { flight } => self.course(flight).is_doomed = true,
            Event::Emptied { flight } => self.course(flight).landing = Some(Landing::Failed),
            Event::Seated { place, flight } => self.seated(place, flight),
            Event::Began { flight, key } => {
                self.course(flight).key = key;
                self.running[key] += 1;
                assert!(self.running[key] <= 2, "more than two flights of a key run");
            }
            Event::Marked { flight, mark } => {
                let course = self.course(flight);
                match mark {
                    Mark::Acquire => course.acquire = Some(now),
                    Mark::Load => course.load = Some(now),
                    Mark::Fill => course.fill = Some(now),
                }
            }
            Event::Doomed { key } => {
                let of_key = self.flights.values_mut().filter(|it| it.key == key);
                of_key.for_each(|course| course.is_doomed |= course.load.is_some());
            }
            Event::LostLease { flight } => self.course(flight).is_doomed = true,
            Event::Landed { flight, landing } => {
                let course = self.course(flight);
                course.landing = Some(landing);
                let key = course.key;
                self.running[key] -= 1;
            }
            Event::Handed {
                caller,
                flight,
                value,
            } => self.handed(caller, flight, value),
            Event::Moved { caller, flight } => {
                let arrival = self.arrivals[caller as usize];
                let covered = self.flights[&flight].covers_before();
                assert!(arrival > covered, "caller {caller} was covered and moves");
                self.moved[caller as usize] += 1;
                assert_eq!(
                    self.moved[caller as usize], 1,
                    "caller {caller} moves twice"
                );
            }
            Event::Asked { key } => self.writes.push((key, now, None)),
            Event::Returned { write } => self.writes[write].2 = Some(now),
            Event::Read | Event::Promoted => {}
        }
    }

    fn course(&mut self, flight: FlightId) -> &mut Course {
        self.flights.entry(flight).or_default()
    }

    /// A seat is in the one open flight of its place, or in a new one if there is none.
    fn seated(&mut self, place: Place, flight: FlightId) {
        let is_new = !self.flights.contains_key(&flight);
        self.course(flight).key = place.0;
        if let Some(open) = self
            .open
            .insert(place, flight)
            .filter(|open| *open != flight)
        {
            let course = &self.flights[&open];
            assert!(
                is_new,
                "{flight:?} was left for {open:?} and takes seats again"
            );
            assert!(
                course.is_doomed || course.landing.is_some(),
                "two flights are open"
            );
        }
        let course = &self.flights[&flight];
        assert!(
            !course.is_doomed && course.landing.is_none(),
            "it is not open"
        );
    }

    fn handed(&mut self, caller: u32, flight: FlightId, value: Option<Value>) {
        let arrival = self.arrivals[caller as usize];
        let course = &self.flights[&flight];
        self.handed[caller as usize] += 1;
        assert!(
            arrival < course.covers_before(),
            "caller {caller} stands behind the mark"
        );
        let Some(value) = value else { return };
        for (write, (key, asked, returned)) in self.writes.iter().enumerate() {
            let had_returned = returned.is_some_and(|returned| returned < arrival);
            let is_older = match value {
                Value::Loaded(at) => at < *asked,
                Value::Put(put) => self.writes[put].2.is_some_and(|ended| ended < *asked),
            };
            assert!(
                *key != course.key || !had_returned || !is_older,
                "caller {caller} was handed {value:?}, which write {write} had removed"
            );
        }
    }

    /// To be called at the end: everybody who did not leave was answered, and exactly once.
    pub(super) fn everybody_was_answered(&self) {
        for (caller, handed) in (0..).zip(&self.handed) {
            let least = usize::from(!self.left.contains(&caller));
            assert!(
                (least..=1).contains(handed),
                "caller {caller}: {handed} answers"
            );
        }
    }
}
