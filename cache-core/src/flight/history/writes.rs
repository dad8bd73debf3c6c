//! What writes to the store besides flights: invalidations, puts and other processes.

use super::{
    Event, Value,
    world::{Stored, World},
};
use crate::flight::PutId;

/// A write under way, here or in another process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writing {
    id: usize,
    key: usize,
    at: WritingAt,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum WritingAt {
    Doom,
    Remove,
    BeginPut,
    Seize(PutId, usize),
    Seized(PutId, usize, u64),
    Fill(PutId, u64),
    RemovePut(PutId),
    Return,
}

impl Writing {
    /// Whether this is a put of `key` that has begun.
    fn is_put_of(self, key: usize) -> bool {
        self.key == key
            && match self.at {
                WritingAt::Seize(..)
                | WritingAt::Seized(..)
                | WritingAt::Fill(..)
                | WritingAt::RemovePut(_) => true,
                WritingAt::Doom | WritingAt::Remove | WritingAt::BeginPut | WritingAt::Return => {
                    false
                }
            }
    }
}

impl World {
    pub(super) fn doomed(&mut self, key: usize) {
        self.dooms[key] += 1;
        self.note(Event::Doomed { key });
    }

    pub(super) fn write(&mut self, key: usize, at: WritingAt) {
        let id = self.writes;
        self.writes += 1;
        self.note(Event::Asked { key });
        self.writing.push(Writing { id, key, at });
    }

    pub(super) fn step_write(&mut self, writing: Writing) {
        let Writing { id, key, at } = writing;
        let text = self.keys[key].clone();
        let next = match at {
            WritingAt::Doom => {
                self.table.doom(&text);
                self.doomed(key);
                WritingAt::Remove
            }
            WritingAt::Remove => {
                self.store[key] = Stored::default();
                WritingAt::Return
            }
            WritingAt::BeginPut => {
                let meets = self.writing.iter().any(|other| other.is_put_of(key));
                let put = self.table.begin_put(&text);
                self.doomed(key);
                // One that meets another is doomed from the start.
                let dooms = if meets { 0 } else { self.dooms[key] };
                WritingAt::Seize(put, dooms)
            }
            WritingAt::Seize(put, dooms) => {
                self.store[key].value = None;
                WritingAt::Seized(put, dooms, self.grant(key))
            }
            WritingAt::Seized(put, dooms, lease) => {
                let is_good = self.table.put_is_good(&text, put);
                assert_eq!(
                    is_good,
                    self.dooms[key] == dooms,
                    "a put that was met is not good"
                );
                if is_good {
                    WritingAt::Fill(put, lease)
                } else {
                    WritingAt::RemovePut(put)
                }
            }
            WritingAt::Fill(put, lease) => {
                if self.store[key].lease == Some(lease) {
                    let value = Some(Value::Put(id));
                    self.store[key] = Stored { value, lease: None };
                }
                self.table.end_put(&text, put);
                WritingAt::Return
            }
            WritingAt::RemovePut(put) => {
                self.store[key] = Stored::default();
                self.table.end_put(&text, put);
                WritingAt::Return
            }
            WritingAt::Return => {
                self.note(Event::Returned { write: id });
                return;
            }
        };
        self.writing.push(Writing { id, key, at: next });
    }

    pub(super) fn step_foreign(&mut self, key: usize) {
        let stored = self.store[key];
        match self.foreign[key].take() {
            None if stored.value.is_none() && stored.lease.is_none() => {
                let lease = self.grant(key);
                let value = Value::Loaded(self.note(Event::Read));
                self.foreign[key] = Some((lease, value));
            }
            Some((lease, value)) if stored.lease == Some(lease) => {
                let value = Some(value);
                self.store[key] = Stored { value, lease: None };
            }
            None | Some(_) => {}
        }
    }
}
