//! The side key of a lease: in the slot of its value's key, whatever the text of that.
//!
//! A cluster hashes what is between the first `{` and the next `}`, if that is not empty, and else
//! the whole key ([cluster specification](https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags)).
//!
//! | the value's key `K` | its lease's key |
//! |---|---|
//! | has a hash tag `t` | `{t}~l:K` |
//! | has none, and no `}` | `{K}~l` |
//! | has none, but a `}`, or is empty | `{n}~l:K`, with a number `n` of the same slot |
//!
//! No two keys share a lease key: only the second form ends in `}~l` without a `:`, and the others
//! end in the whole of `K`.

use std::{collections::HashMap, sync::LazyLock};

use cache_core::Key;
use crc::{CRC_16_XMODEM, Crc};

pub(crate) const SLOTS: u16 = 16_384;

const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

/// The slot of a key.
pub(crate) fn slot(key: &[u8]) -> u16 {
    CRC.checksum(tag(key).unwrap_or(key)) % SLOTS
}

/// The keys, those of one slot together.
pub(crate) fn by_slot(keys: &[Key]) -> Vec<Vec<Key>> {
    let mut slots: HashMap<u16, Vec<Key>> = HashMap::new();
    for key in keys {
        let group = slots.entry(slot(key.as_bytes())).or_default();
        group.push(key.clone());
    }
    slots.into_values().collect()
}

/// What is between the first `{` and the next `}`, unless that is nothing.
fn tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|byte| *byte == b'{')?;
    let rest = &key[open + 1..];
    let close = rest.iter().position(|byte| *byte == b'}')?;
    (close > 0).then(|| &rest[..close])
}

/// The key of the lease on `key`.
pub(crate) fn lease_key(key: &[u8]) -> Vec<u8> {
    if let Some(tag) = tag(key) {
        return tagged(tag, key);
    }
    // An empty tag is none, so the empty key cannot be its own.
    if key.is_empty() || key.contains(&b'}') {
        return tagged(tag_of_slot(slot(key)).as_bytes(), key);
    }
    let mut lease = Vec::with_capacity(key.len() + 4);
    lease.push(b'{');
    lease.extend_from_slice(key);
    lease.extend_from_slice(b"}~l");
    lease
}

fn tagged(tag: &[u8], key: &[u8]) -> Vec<u8> {
    let mut lease = Vec::with_capacity(tag.len() + key.len() + 5);
    lease.push(b'{');
    lease.extend_from_slice(tag);
    lease.extend_from_slice(b"}~l:");
    lease.extend_from_slice(key);
    lease
}

/// Whether a key's text is one that a lease may have: no entry may be stored there.
pub(crate) fn is_reserved(key: &[u8]) -> bool {
    let Some(rest) = key.strip_prefix(b"{") else {
        return false;
    };
    let close = rest.iter().position(|byte| *byte == b'}');
    close.is_some_and(|close| {
        let suffix = &rest[close..];
        suffix == b"}~l" || suffix.starts_with(b"}~l:")
    })
}

/// A number whose text hashes to `slot`.
fn tag_of_slot(slot: u16) -> String {
    static TAGS: LazyLock<Box<[u32]>> = LazyLock::new(tags_of_slots);
    TAGS[usize::from(slot)].to_string()
}

fn tags_of_slots() -> Box<[u32]> {
    let mut tags: Vec<Option<u32>> = vec![None; usize::from(SLOTS)];
    let mut missing = tags.len();
    // About 170,000 numbers reach every slot.
    for number in 0_u32.. {
        if missing == 0 {
            break;
        }
        let place = &mut tags[usize::from(slot(number.to_string().as_bytes()))];
        if place.is_none() {
            *place = Some(number);
            missing -= 1;
        }
    }
    tags.into_iter().map(Option::unwrap_or_default).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        // The check value of CRC16/XMODEM, and slots that `CLUSTER KEYSLOT` of Redis 7.0 gave.
        assert_eq!(CRC.checksum(b"123456789"), 0x31C3);
        for (key, expected) in [
            ("foo", 12_182),
            ("{foo}bar", 12_182),
            ("bar{foo}", 12_182),
            ("", 0),
        ] {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
    }

    #[test]
    fn each_form_of_a_key_has_its_lease() {
        for (key, lease) in [
            ("user:42", "{user:42}~l"),
            ("a{b", "{a{b}~l"),
            ("cache:{u1}:x", "{u1}~l:cache:{u1}:x"),
            ("x{y}z{w}", "{y}~l:x{y}z{w}"),
            ("{{a}}", "{{a}~l:{{a}}"),
        ] {
            assert_eq!(lease_key(key.as_bytes()), lease.as_bytes(), "{key}");
        }
    }

    #[test]
    fn every_slot_has_a_tag() {
        for slot_number in 0..SLOTS {
            assert_eq!(slot(tag_of_slot(slot_number).as_bytes()), slot_number);
        }
    }

    /// Keys rich in what matters here.
    fn keys() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            proptest::collection::vec(proptest::sample::select(&b"{}~l:a*"[..]), 0..12),
            proptest::collection::vec(any::<u8>(), 0..40),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3_000))]

        #[test]
        fn a_lease_is_in_the_slot_of_its_key(key in keys()) {
            prop_assert_eq!(slot(&lease_key(&key)), slot(&key));
        }

        #[test]
        fn a_lease_key_is_reserved_so_no_entry_meets_it(key in keys()) {
            prop_assert!(is_reserved(&lease_key(&key)));
        }

        #[test]
        fn no_two_keys_share_a_lease(keys in proptest::collection::vec(keys(), 2..40)) {
            let mut owners: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
            for key in keys {
                let owner = owners.entry(lease_key(&key)).or_insert_with(|| key.clone());
                prop_assert_eq!(&*owner, &key);
            }
        }
    }

    #[test]
    fn ordinary_keys_are_not_reserved() {
        for key in [
            "user:42",
            "{user}:42",
            "{user}~li",
            "user:{1}~l",
            "~l",
            "{}~",
            "",
        ] {
            assert!(!is_reserved(key.as_bytes()), "{key}");
        }
    }
}
