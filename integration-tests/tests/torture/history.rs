//! What happened in a run, and the check of it.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

/// Something that one process did, between two readings of the clock that all share.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Event {
    pub(crate) what: What,
    pub(crate) key: u64,
    pub(crate) began: u64,
    pub(crate) ended: u64,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) enum What {
    /// A read was answered with a row, or that there is none.
    Read(Option<Row>),
    /// A read found nothing, or a call failed or was given up.
    Nothing,
    /// A version was written to the database.
    Committed(u64),
    /// The cache was told of the version, and confirmed it: who reads from now on sees it, or a
    /// newer one.
    Removed(u64),
    /// A put of this number was answered.
    Put(u64),
}

/// What is cached: a version, and the number of the put that wrote it, or 0 if it was loaded.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) version: u64,
    pub(crate) put: u64,
}

impl Row {
    pub(crate) fn packed(self) -> u64 {
        self.put << 32 | self.version
    }

    pub(crate) fn unpacked(packed: u64) -> Self {
        Self {
            version: packed & u64::from(u32::MAX),
            put: packed >> 32,
        }
    }
}

/// Every so many versions there is no row.
pub(crate) fn is_there(version: u64) -> bool {
    version % 7 != 3
}

/// What is known about one key.
#[derive(Default)]
struct Known {
    /// When the writing of each version began.
    commits: BTreeMap<u64, u64>,
    /// By when they ended: the version, when it was called, and the highest version so far.
    removals: Vec<(u64, u64, u64, u64)>,
}

/// Says what was read that may not have been.
pub(crate) fn violations(events: &[Event]) -> Vec<String> {
    let mut keys: HashMap<u64, Known> = HashMap::new();
    let mut puts: HashMap<u64, u64> = HashMap::new();
    for event in events {
        let known = keys.entry(event.key).or_default();
        match event.what {
            What::Committed(version) => {
                known.commits.insert(version, event.began);
            }
            What::Removed(version) => {
                known
                    .removals
                    .push((event.ended, version, event.began, version));
            }
            What::Put(put) => {
                puts.insert(put, event.ended);
            }
            What::Read(_) | What::Nothing => {}
        }
    }
    for known in keys.values_mut() {
        known.removals.sort_unstable();
        let mut highest = 0;
        for removal in &mut known.removals {
            highest = highest.max(removal.1);
            removal.3 = highest;
        }
    }
    let judged = events.iter().filter_map(|event| {
        let What::Read(row) = event.what else {
            return None;
        };
        let wrong = keys[&event.key].judge(event, row, &puts).err()?;
        Some(format!("{wrong}: {event:?}"))
    });
    judged.collect()
}

impl Known {
    fn judge(
        &self,
        read: &Event,
        row: Option<Row>,
        puts: &HashMap<u64, u64>,
    ) -> Result<(), &'static str> {
        let before = self.removals.partition_point(|it| it.0 < read.began);
        let before = &self.removals[..before];
        let floor = before.last().map_or(0, |it| it.3);
        let Some(row) = row else {
            let mut since = self.commits.range(floor..);
            let was_absent =
                since.any(|(&version, &began)| !is_there(version) && began <= read.ended);
            return was_absent.then_some(()).ok_or("absent, and was there");
        };
        if row.version > 0 {
            match self.commits.get(&row.version) {
                Some(&began) if began <= read.ended => {}
                _ => return Err("newer than the database"),
            }
        }
        let floor = if row.put == 0 {
            floor
        } else {
            // Writers in several engines may meet, and the last to reach the server wins: what was
            // put is held against the removals alone that were called when the put had ended.
            let Some(&put) = puts.get(&row.put) else {
                return Ok(());
            };
            let after = before.iter().filter(|it| it.2 > put);
            after.map(|it| it.1).max().unwrap_or(0)
        };
        if row.version < floor {
            return Err("older than what was invalidated");
        }
        Ok(())
    }
}

/// Shows that the check accepts what may be, and nothing else.
pub(crate) fn check_the_check() {
    let event = |what, began, ended| Event {
        what,
        key: 1,
        began,
        ended,
    };
    // Version 5 is confirmed at 20. Put 7 of version 4 ended at 12, before the removal was called;
    // put 8 ended at 16, while it was under way.
    let mut history: Vec<_> = (1..=9)
        .map(|version| event(What::Committed(version), version, version))
        .collect();
    history.push(event(What::Put(7), 10, 12));
    history.push(event(What::Put(8), 10, 16));
    history.push(event(What::Removed(5), 15, 20));
    history.push(event(What::Committed(11), 40, 41));
    let row = |version, put| Some(Row { version, put });
    for (read, began, is_good) in [
        (row(5, 0), 21, true),
        (row(9, 0), 21, true),
        (row(4, 0), 19, true),
        (row(4, 0), 20, true),
        (row(4, 0), 21, false),
        (row(4, 7), 21, false),
        (row(4, 8), 21, true),
        (row(10, 0), 21, false),
        (row(11, 0), 21, false),
        (row(11, 0), 41, true),
        (None, 19, true),
        (None, 21, false),
    ] {
        let mut history = history.clone();
        history.push(event(What::Read(read), began, began + 5));
        let found = violations(&history);
        assert_eq!(found.is_empty(), is_good, "{read:?} at {began}: {found:?}");
    }
}
