//! Puts in flight: two writers of one key who meet leave it to the next load.

use std::collections::HashMap;

use crate::Key;

/// Names one put in its shard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PutId(u64);

/// The puts of a shard that have begun and not ended.
#[derive(Debug, Default)]
pub(super) struct Puts {
    by_key: HashMap<Key, Vec<Put>>,
    next_id: u64,
}

#[derive(Debug)]
struct Put {
    id: PutId,
    doomed: bool,
}

impl Puts {
    /// Begins a put of `key`. If it meets others, all of them are doomed, this one too: nobody
    /// knows which of them was committed last.
    pub(super) fn begin(&mut self, key: &Key) -> PutId {
        self.doom(key);
        let id = PutId(self.next_id);
        self.next_id += 1;
        let puts = self.by_key.entry(key.clone()).or_default();
        let doomed = !puts.is_empty();
        puts.push(Put { id, doomed });
        id
    }

    /// Dooms the puts of `key` that are in flight.
    pub(super) fn doom(&mut self, key: &Key) {
        if let Some(puts) = self.by_key.get_mut(key) {
            for put in puts {
                put.doomed = true;
            }
        }
    }

    /// Dooms every put in flight.
    pub(super) fn doom_all(&mut self) {
        for put in self.by_key.values_mut().flatten() {
            put.doomed = true;
        }
    }

    /// Whether nothing has doomed the put since it began.
    pub(super) fn is_good(&self, key: &Key, id: PutId) -> bool {
        let puts = self.by_key.get(key).map_or(&[][..], Vec::as_slice);
        puts.iter().any(|put| put.id == id && !put.doomed)
    }

    /// Ends a put.
    pub(super) fn end(&mut self, key: &Key, id: PutId) {
        if let Some(puts) = self.by_key.get_mut(key) {
            puts.retain(|put| put.id != id);
            if puts.is_empty() {
                self.by_key.remove(key);
            }
        }
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn len(&self) -> usize {
        self.by_key.values().map(Vec::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_that_meet_are_all_doomed_and_one_alone_is_good() {
        let mut puts = Puts::default();
        let key = Key::new(b"k");
        let first = puts.begin(&key);
        assert!(puts.is_good(&key, first));

        let second = puts.begin(&key);
        assert!(!puts.is_good(&key, first));
        assert!(!puts.is_good(&key, second));
        puts.end(&key, first);
        assert!(!puts.is_good(&key, second), "what it met it has met");
        puts.end(&key, second);
        assert_eq!(puts.len(), 0);

        let third = puts.begin(&key);
        assert!(puts.is_good(&key, third));
        puts.doom(&key);
        assert!(!puts.is_good(&key, third));
        puts.end(&key, third);
        assert!(!puts.is_good(&key, third), "an ended put is not good");
    }

    #[test]
    fn keys_do_not_touch_each_other() {
        let mut puts = Puts::default();
        let (left, right) = (Key::new(b"l"), Key::new(b"r"));
        let put = puts.begin(&left);
        puts.doom(&right);
        assert!(puts.is_good(&left, put));
        puts.doom_all();
        assert!(!puts.is_good(&left, put));
    }
}
