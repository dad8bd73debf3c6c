//! What a store may hold, and what an entry costs of it.

use cache_core::{Entry, Key};

/// The limit of a store.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// So many entries, whatever they weigh.
    Entries(u64),
    /// So many bytes.
    Bytes(u64),
}

impl Limit {
    /// Whether an entry of this weight can be stored at all.
    pub(crate) fn admits(self, weight: u64) -> bool {
        match self {
            Self::Entries(_) => true,
            // moka counts the weight of one entry in 32 bits.
            Self::Bytes(limit) => weight <= limit && weight <= u64::from(u32::MAX),
        }
    }
}

/// The bytes that `entry` takes up under `key`.
pub(crate) fn weight(key: &Key, entry: &Entry) -> u64 {
    let value = match entry {
        Entry::Absent => 0,
        Entry::Encoded(bytes) => bytes.len(),
        Entry::Decoded { weight, .. } => *weight,
    };
    OVERHEAD
        .saturating_add(bytes(key.as_bytes().len()))
        .saturating_add(bytes(value))
}

/// The same, as moka wants it.
pub(crate) fn moka_weight(key: &Key, entry: &Entry) -> u32 {
    u32::try_from(weight(key, entry)).unwrap_or(u32::MAX)
}

fn bytes(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// What an entry takes up besides the bytes of its key and its value: moka's bookkeeping, which
/// holds the slot, and the reference counts of key and value.
///
/// Measured with an allocator that counts, 1,000 to 300,000 entries: 346 to 353 bytes for a
/// negative entry, 362 to 368 for an object, 370 to 377 for encoded bytes, and 8 to 16 in moka's
/// frequency sketch once the store is half full.
pub(crate) const OVERHEAD: u64 = 400;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ::bytes::Bytes;

    use super::*;

    #[test]
    fn an_entry_weighs_its_key_its_value_and_what_is_around_them() {
        let key = Key::new(b"user:42");
        let object = Entry::Decoded {
            value: Arc::new(()),
            weight: 1_000,
        };
        let encoded = Entry::Encoded(Bytes::from_static(b"{}"));
        assert_eq!(weight(&key, &Entry::Absent), OVERHEAD + 7);
        assert_eq!(weight(&key, &encoded), OVERHEAD + 7 + 2);
        assert_eq!(weight(&key, &object), OVERHEAD + 7 + 1_000);
        assert_eq!(moka_weight(&key, &encoded), 409);
    }

    #[test]
    fn a_weight_beyond_all_bounds_does_not_wrap() {
        let entry = Entry::Decoded {
            value: Arc::new(()),
            weight: usize::MAX,
        };
        assert_eq!(weight(&Key::new(b"k"), &entry), u64::MAX);
        assert_eq!(moka_weight(&Key::new(b"k"), &entry), u32::MAX);
    }

    #[test]
    fn the_limit_itself_is_admitted_and_nothing_above_it() {
        let four_gib = u64::from(u32::MAX) + 1;
        for (limit, weight, admitted) in [
            (Limit::Bytes(1_000), 1_000, true),
            (Limit::Bytes(1_000), 1_001, false),
            (Limit::Bytes(u64::MAX), four_gib - 1, true),
            (Limit::Bytes(u64::MAX), four_gib, false),
            (Limit::Entries(1), u64::MAX, true),
        ] {
            assert_eq!(limit.admits(weight), admitted, "{limit:?}, {weight}");
        }
    }
}
