//! Keys, entries and times for the checks.

use std::{sync::Arc, time::Duration};

use super::{Harness, store::Store};
use crate::{Acquire, Entry, Key, Lease, Ttl};

/// A time that a check lets pass. Also a real store, with a real wait, tells its half from it.
pub(super) const SHORT: Duration = Duration::from_millis(400);

/// Half of [`SHORT`].
pub(super) const HALF: Duration = Duration::from_millis(200);

/// A hold that no check outlives.
pub(super) const LONG_HOLD: Duration = Duration::from_secs(600);

/// A TTL that no check outlives.
pub(super) fn long_ttl() -> Ttl {
    ttl(Duration::from_secs(3600))
}

pub(super) fn short_ttl() -> Ttl {
    ttl(SHORT)
}

pub(super) fn ttl(ttl: Duration) -> Ttl {
    Ttl::clamp(ttl, Duration::MAX)
}

pub(super) fn key(name: &str) -> Key {
    Key::new(format!("conformance:{name}").as_bytes())
}

/// What may be found under a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    /// Nothing was ever stored there.
    Nothing,
    /// A value.
    Value,
    /// A negative entry.
    Negative,
    /// A value whose TTL has elapsed.
    Expired,
    /// Something that no cache can decode. A backend does not decode, and gives it back.
    Odd,
}

impl State {
    pub(super) const ALL: [Self; 5] = [
        Self::Nothing,
        Self::Value,
        Self::Negative,
        Self::Expired,
        Self::Odd,
    ];

    /// Brings `key` into this state, and answers what is to be read there then.
    pub(super) async fn prepare<H: Harness>(
        self,
        harness: &H,
        store: &Store<H::Backend>,
        key: &Key,
    ) -> Option<Entry> {
        let entry = match self {
            Self::Nothing => return None,
            Self::Value => store.value(1),
            Self::Negative => Entry::Absent,
            Self::Expired => {
                store.put(key, store.value(1), short_ttl()).await;
                harness.advance(SHORT).await;
                return None;
            }
            Self::Odd => store.odd(),
        };
        store.put(key, entry.clone(), long_ttl()).await;
        Some(entry)
    }
}

/// Whether both are the same entry, byte for byte or object for object.
pub(super) fn same(one: Option<&Entry>, other: Option<&Entry>) -> bool {
    match (one, other) {
        (None, None) | (Some(Entry::Absent), Some(Entry::Absent)) => true,
        (Some(Entry::Encoded(one)), Some(Entry::Encoded(other))) => one == other,
        (
            Some(Entry::Decoded { value, weight }),
            Some(Entry::Decoded {
                value: other,
                weight: other_weight,
            }),
        ) => Arc::ptr_eq(value, other) && weight == other_weight,
        (Some(_) | None, Some(_) | None) => false,
    }
}

#[track_caller]
pub(super) fn assert_same(found: Option<&Entry>, expected: Option<&Entry>, rule: &str) {
    assert!(
        same(found, expected),
        "{rule}: found {found:?}, expected {expected:?}"
    );
}

/// The lease of an `acquire` that has to be granted.
#[track_caller]
pub(super) fn granted(answer: Acquire, rule: &str) -> Lease {
    match answer {
        Acquire::Granted(lease) => lease,
        answer @ (Acquire::Hit(_) | Acquire::Held { .. }) => {
            panic!("{rule}: `acquire` answered {answer:?}")
        }
    }
}

/// The time that an `acquire` is told to wait, which has to be held off.
#[track_caller]
pub(super) fn held(answer: Acquire, rule: &str) -> Duration {
    match answer {
        Acquire::Held { retry_after } => retry_after,
        answer @ (Acquire::Hit(_) | Acquire::Granted(_)) => {
            panic!("{rule}: `acquire` answered {answer:?}")
        }
    }
}
