//! The guarantee as a property of histories: random callers, writes and losses on two keys,
//! driven as the drivers do it, over a model of the store.
//!
//! [`World`] acts and writes the history down; [`Checker`] reads it, and knows the rules and
//! nothing of the table.

mod checker;
mod world;
mod writes;

use std::cell::RefCell;

use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use self::{checker::Checker, world::World};
use super::{CacheId, FlightId, Landing, Mark};

/// Something that happened. Its place in the history is its time.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// Callers are numbered as they arrive.
    Arrived,
    /// A caller who waits is dropped.
    Left {
        caller: u32,
    },
    Seated {
        place: Place,
        flight: FlightId,
    },
    Began {
        flight: FlightId,
        key: usize,
    },
    Marked {
        flight: FlightId,
        mark: Mark,
    },
    Read,
    Doomed {
        key: usize,
    },
    LostLease {
        flight: FlightId,
    },
    /// The load vanished, and the next caller's took over.
    Promoted,
    /// The load vanished, and nobody else has a loader.
    Abandoned {
        flight: FlightId,
    },
    /// It was the turn of a flight that everybody had left.
    Emptied {
        flight: FlightId,
    },
    Landed {
        flight: FlightId,
        landing: Landing,
    },
    /// A caller was handed the outcome of a flight; its value, unless it is an error.
    Handed {
        caller: u32,
        flight: FlightId,
        value: Option<Value>,
    },
    /// A caller was not, and moves on.
    Moved {
        caller: u32,
        flight: FlightId,
    },
    /// An invalidation or a put was asked for. They are numbered as they are.
    Asked {
        key: usize,
    },
    Returned {
        write: usize,
    },
}

/// A value by its origin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Value {
    /// A load that read at this time.
    Loaded(usize),
    /// A put.
    Put(usize),
}

/// A key and a cache.
type Place = (usize, CacheId);

const KEYS: usize = 2;
const CACHES: u64 = 2;

/// How often the things happened that the rules are about.
#[derive(Debug, Default)]
struct Seen {
    moved: usize,
    promoted: usize,
    stored: usize,
    refused: usize,
    hits: usize,
    puts: usize,
}

impl Seen {
    fn count(&mut self, event: Event) {
        self.moved += usize::from(matches!(event, Event::Moved { .. }));
        self.promoted += usize::from(matches!(event, Event::Promoted));
        if let Event::Landed { landing, .. } = event {
            self.stored += usize::from(landing == Landing::Stored);
            self.refused += usize::from(landing == Landing::Unstored);
            self.hits += usize::from(landing == Landing::Hit);
        }
        if let Event::Handed { value, .. } = event {
            self.puts += usize::from(matches!(value, Some(Value::Put(_))));
        }
    }
}

fn check(actions: &[(u8, u8)], seen: &mut Seen) {
    let mut world = World::new();
    for (code, choice) in actions {
        world.act(*code, *choice);
        for key in 0..KEYS {
            let (running, waiting) = world.flights(key);
            assert!(
                waiting == 0 || running == 2,
                "{waiting} wait and {running} run"
            );
        }
    }
    world.come_to_rest();

    let mut checker = Checker::default();
    for (now, event) in world.history().iter().enumerate() {
        checker.read(now, *event);
        seen.count(*event);
    }
    checker.everybody_was_answered();
    assert_eq!(world.census(), (0, 0, 0), "nothing is left");
}

#[test]
fn nobody_is_handed_what_was_removed_before_they_came() {
    let config = Config {
        cases: 4_000,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let actions = prop::collection::vec((0..30_u8, any::<u8>()), 1..200);
    let seen = RefCell::new(Seen::default());
    let checked = runner.run(&actions, |actions| {
        check(&actions, &mut seen.borrow_mut());
        Ok(())
    });
    if let Err(failure) = checked {
        panic!("{failure}");
    }
    let seen = seen.into_inner();
    let Seen {
        moved,
        promoted,
        stored,
        refused,
        hits,
        puts,
    } = seen;
    let least = [moved, promoted, stored, refused, hits, puts]
        .into_iter()
        .min();
    assert!(least >= Some(100), "each rule was met: {seen:?}");
}
