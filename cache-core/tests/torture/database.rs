//! A versioned database, and the check of what callers were answered.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// What is cached: a version of a row, and how it came into the cache.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Row {
    pub(crate) key: u64,
    pub(crate) version: u64,
    /// The put that wrote it, if it was not loaded.
    pub(crate) put: Option<usize>,
}

/// The rows by their keys, each with a version that writers bump. Every so many versions there is
/// no row. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Database(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    versions: HashMap<u64, u64>,
    /// By key, the removals that were confirmed.
    removals: HashMap<u64, Vec<Removal>>,
    puts: Vec<PutTimes>,
    engines: u64,
    operations: usize,
    queued: usize,
    violations: Vec<String>,
}

/// A write to the cache that returned: who reads afterwards sees `version` or a newer one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Removal {
    pub(crate) version: u64,
    pub(crate) called: Instant,
}

#[derive(Clone, Copy, Debug)]
struct PutTimes {
    called: Instant,
    returned: Option<Instant>,
}

/// What a read has to see at least.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Floor {
    key: u64,
    version: u64,
    /// How many removals had returned when the read began.
    removals: usize,
}

/// How long a put may be under way.
const WRITE_DEADLINE: Duration = Duration::from_secs(1);

fn is_there(version: u64) -> bool {
    version % 7 != 3
}

impl Database {
    pub(crate) fn new(engines: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            versions: HashMap::new(),
            removals: HashMap::new(),
            puts: Vec::new(),
            engines,
            operations: 0,
            queued: 0,
            violations: Vec::new(),
        })))
    }

    pub(crate) fn read(&self, key: u64) -> Option<Row> {
        let version = self.version(key);
        is_there(version).then_some(Row {
            key,
            version,
            put: None,
        })
    }

    pub(crate) fn version(&self, key: u64) -> u64 {
        self.0.lock().versions.get(&key).copied().unwrap_or(0)
    }

    /// Writes a new version of the row, which is there if `there` says so.
    pub(crate) fn commit(&self, key: u64, there: bool) -> u64 {
        let mut state = self.0.lock();
        let version = state.versions.entry(key).or_default();
        *version += 1;
        if there && !is_there(*version) {
            *version += 1;
        }
        *version
    }

    /// Notes that a removal which was called at `removal.called` has returned.
    pub(crate) fn removed(&self, key: u64, removal: Removal) {
        let mut state = self.0.lock();
        state.removals.entry(key).or_default().push(removal);
    }

    pub(crate) fn put_called(&self) -> usize {
        let mut state = self.0.lock();
        state.puts.push(PutTimes {
            called: Instant::now(),
            returned: None,
        });
        state.puts.len() - 1
    }

    pub(crate) fn put_returned(&self, put: usize) {
        self.0.lock().puts[put].returned = Some(Instant::now());
    }

    /// What a read that begins now has to see.
    pub(crate) fn floor(&self, key: u64) -> Floor {
        let state = self.0.lock();
        let removals = state.removals.get(&key).map_or(&[][..], Vec::as_slice);
        Floor {
            key,
            version: removals.iter().map(|it| it.version).max().unwrap_or(0),
            removals: removals.len(),
        }
    }

    pub(crate) fn is_of_one_engine(&self) -> bool {
        self.0.lock().engines == 1
    }

    /// How many operations have ended.
    pub(crate) fn operations(&self) -> usize {
        self.0.lock().operations
    }

    /// Counts an invalidation that was queued.
    pub(crate) fn count_queued(&self) {
        self.0.lock().queued += 1;
    }

    /// How many invalidations were queued.
    pub(crate) fn queued(&self) -> usize {
        self.0.lock().queued
    }

    pub(crate) fn is_violated(&self) -> bool {
        !self.0.lock().violations.is_empty()
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.0.lock().violations.clone()
    }

    /// Counts an operation that ended without an answer to check.
    pub(crate) fn count(&self) {
        self.0.lock().operations += 1;
    }

    /// Checks what a read that began with `floor` was answered.
    pub(crate) fn check(&self, floor: Floor, answer: Option<&Row>) {
        let mut state = self.0.lock();
        state.operations += 1;
        if let Err(text) = state.judge(floor, answer) {
            state
                .violations
                .push(format!("{text}: {answer:?}, {floor:?}"));
        }
    }
}

impl State {
    fn judge(&self, floor: Floor, answer: Option<&Row>) -> Result<(), &'static str> {
        let newest = self.versions.get(&floor.key).copied().unwrap_or(0);
        let Some(row) = answer else {
            let mut since = floor.version..=newest;
            let was_absent = since.any(|version| !is_there(version));
            return was_absent.then_some(()).ok_or("absent, and was there");
        };
        if row.key != floor.key {
            return Err("the row of another key");
        }
        if row.version > newest {
            return Err("newer than the database");
        }
        if row.version < self.floor_of(floor, row) {
            return Err("older than what was invalidated");
        }
        Ok(())
    }

    /// What a read with `floor` has to see at least if it sees `row`.
    ///
    /// Two engines may write a key at the same time, and the last to reach the store wins: what a
    /// put wrote is held against the removals alone that were called when it had ended.
    fn floor_of(&self, floor: Floor, row: &Row) -> u64 {
        let Some(put) = row.put.filter(|_| self.engines > 1) else {
            return floor.version;
        };
        let put = self.puts[put];
        let removals = self.removals.get(&floor.key).map_or(&[][..], Vec::as_slice);
        let after_put = removals[..floor.removals].iter().filter(|removal| {
            put.returned
                .is_some_and(|returned| returned <= removal.called)
                || put.called + WRITE_DEADLINE < removal.called
        });
        after_put.map(|removal| removal.version).max().unwrap_or(0)
    }
}
