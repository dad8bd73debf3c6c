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
    /// Begins a put of `key`, dooming those in flight.
    pub(super) fn begin(&mut self, key: &Key) -> PutId {
        self.doom(key);
        let id = PutId(self.next_id);
        self.next_id += 1;
        let put = Put { id, doomed: false };
        self.by_key.entry(key.clone()).or_default().push(put);
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
    fn a_later_put_dooms_the_earlier_and_stays_good_itself() {
        let mut puts = Puts::default();
        let key = Key::new(b"k");
        let first = puts.begin(&key);
        assert!(puts.is_good(&key, first));

        let second = puts.begin(&key);
        assert!(!puts.is_good(&key, first));
        assert!(puts.is_good(&key, second));

        puts.doom(&key);
        assert!(!puts.is_good(&key, second));

        puts.end(&key, first);
        puts.end(&key, second);
        assert_eq!(puts.len(), 0);
        assert!(!puts.is_good(&key, second), "an ended put is not good");
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
