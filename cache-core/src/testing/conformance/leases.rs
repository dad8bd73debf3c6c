//! `acquire`, `extend` and `release`.

use std::collections::HashSet;

use super::{
    Harness,
    report::{Report, checks},
    samples::{LONG_HOLD, SHORT, State, assert_same, granted, held, key, long_ttl, short_ttl},
    store::{Store, empty},
};
use crate::{Acquire, Backend, Extend, Fill, Key, Lease};

pub(super) async fn run(harness: &impl Harness, report: &mut Report) {
    checks!(
        harness,
        report,
        [
            acquire_hits_what_is_stored_and_grants_what_is_not,
            acquire_on_a_present_key_grants_nothing,
            a_lease_holds_others_off,
            a_lease_is_for_its_key_alone,
            release_frees_the_key_at_once,
            release_is_harmless_when_repeated_and_late,
            release_of_a_lease_that_is_not_the_keys_does_nothing,
            extend_keeps_a_lease_that_is_held,
            extend_of_a_lease_that_is_not_the_keys_is_lost,
            extend_of_a_lease_that_has_ended_is_lost_and_revives_nothing,
            extend_and_release_leave_the_entry_alone,
            no_lease_is_granted_twice,
        ]
    );
}

/// A lease that was granted on another key, and is held.
pub(super) async fn lease_of_another_key<B: Backend>(store: &Store<B>) -> Lease {
    let rule = "another key can be acquired";
    granted(store.acquire(&key("another"), LONG_HOLD).await, rule)
}

/// The ways in which a lease ends before it is used.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Released,
    Removed,
    Seized,
    PutBySomeoneElse,
    Cleared,
    RanOut,
    GrantedToSomeoneElse,
}

impl End {
    pub(super) const ALL: [Self; 7] = [
        Self::Released,
        Self::Removed,
        Self::Seized,
        Self::PutBySomeoneElse,
        Self::Cleared,
        Self::RanOut,
        Self::GrantedToSomeoneElse,
    ];

    /// Has a lease on `key` granted, and ended in this way. What is left on the key after that is
    /// neither an entry nor a lease, except as the name says.
    pub(super) async fn of_a_lease<H: Harness>(
        self,
        harness: &H,
        store: &Store<H::Backend>,
        key: &Key,
    ) -> Lease {
        let lease = granted(store.acquire(key, SHORT).await, "a missing key is granted");
        match self {
            Self::Released => store.release(key, lease).await,
            Self::Removed => store.remove(std::slice::from_ref(key)).await,
            Self::Seized => {
                store.seize(key, LONG_HOLD).await;
            }
            Self::PutBySomeoneElse => store.put(key, store.value(77), long_ttl()).await,
            Self::Cleared => store.clear().await,
            Self::RanOut => harness.advance(SHORT).await,
            Self::GrantedToSomeoneElse => {
                harness.advance(SHORT).await;
                let rule = "a key is free when its lease ran out";
                granted(store.acquire(key, LONG_HOLD).await, rule);
            }
        }
        lease
    }
}

async fn acquire_hits_what_is_stored_and_grants_what_is_not(harness: &impl Harness) {
    for state in State::ALL {
        let store = empty(harness).await;
        let key = key("k");
        let expected = state.prepare(harness, &store, &key).await;
        match (store.acquire(&key, LONG_HOLD).await, expected) {
            (Acquire::Hit(found), Some(expected)) => {
                let rule = format!("{state:?}: `acquire` hits what was stored");
                assert_same(Some(&found), Some(&expected), &rule);
            }
            (Acquire::Granted(_), None) => {}
            (answer, _) => panic!("{state:?}: `acquire` answered {answer:?}"),
        }
    }
}

async fn acquire_on_a_present_key_grants_nothing(harness: &impl Harness) {
    let store = empty(harness).await;
    let key = key("k");
    store.put(&key, store.value(1), short_ttl()).await;
    let answer = store.acquire(&key, LONG_HOLD).await;
    assert!(
        matches!(answer, Acquire::Hit(_)),
        "a present key is a hit, not {answer:?}"
    );

    harness.advance(SHORT).await;

    let rule = "an `acquire` that hit left no lease behind";
    granted(store.acquire(&key, LONG_HOLD).await, rule);
}

async fn a_lease_holds_others_off(harness: &impl Harness) {
    let store = empty(harness).await;
    let key = key("k");
    granted(store.acquire(&key, LONG_HOLD).await, "a missing key");
    for _ in 0..3 {
        let retry_after = held(
            store.acquire(&key, LONG_HOLD).await,
            "a key whose lease is held is not granted again",
        );
        assert!(
            !retry_after.is_zero() && retry_after <= LONG_HOLD,
            "the lease ends within its hold, not {retry_after:?}"
        );
    }
}

async fn a_lease_is_for_its_key_alone(harness: &impl Harness) {
    let store = empty(harness).await;
    let (one, two) = (key("1"), key("2"));
    let lease_of_one = granted(store.acquire(&one, LONG_HOLD).await, "a missing key");
    let rule = "a lease on one key does not hold others off another";
    let lease_of_two = granted(store.acquire(&two, LONG_HOLD).await, rule);
    assert_ne!(lease_of_one, lease_of_two);

    store.remove(std::slice::from_ref(&one)).await;

    let kept = store.extend(&two, lease_of_two, LONG_HOLD).await;
    assert_eq!(kept, Extend::Extended, "removing one key ends one lease");
}

async fn release_frees_the_key_at_once(harness: &impl Harness) {
    let store = empty(harness).await;
    let key = key("k");
    let lease = granted(store.acquire(&key, LONG_HOLD).await, "a missing key");
    store.release(&key, lease).await;
    let rule = "a released key can be acquired at once";
    granted(store.acquire(&key, LONG_HOLD).await, rule);
}

async fn release_is_harmless_when_repeated_and_late(harness: &impl Harness) {
    let store = empty(harness).await;
    let key = key("k");
    let old = granted(store.acquire(&key, LONG_HOLD).await, "a missing key");
    store.release(&key, old).await;
    store.release(&key, old).await;

    let new = granted(store.acquire(&key, LONG_HOLD).await, "a released key");
    store.release(&key, old).await;

    let rule = "a late `release` does not end the lease of a successor";
    held(store.acquire(&key, LONG_HOLD).await, rule);
    let filled = store.fill(&key, new, store.value(1), long_ttl()).await;
    assert_eq!(filled, Fill::Stored, "{rule}");
}

async fn release_of_a_lease_that_is_not_the_keys_does_nothing(harness: &impl Harness) {
    let store = empty(harness).await;
    let key = key("k");
    let another = lease_of_another_key(&store).await;
    granted(store.acquire(&key, LONG_HOLD).await, "a missing key");

    store.release(&key, another).await;

    let rule = "only its own lease is ended by a `release`";
    held(store.acquire(&key, LONG_HOLD).await, rule);
}

async fn extend_keeps_a_lease_that_is_held(harness: &impl Harness) {
    let store = empty(harness).await;
    let key = key("k");
    let lease = granted(store.acquire(&key, LONG_HOLD).await, "a missing key");
    for _ in 0..3 {
        let extended = store.extend(&key, lease, LONG_HOLD).await;
        assert_eq!(extended, Extend::Extended, "a held lease is extended");
    }
    held(store.acquire(&key, LONG_HOLD).await, "and holds others off");
    let filled = store.fill(&key, lease, store.value(1), long_ttl()).await;
    assert_eq!(filled, Fill::Stored, "and fills the key");
}

async fn extend_of_a_lease_that_is_not_the_keys_is_lost(harness: &impl Harness) {
    for state in State::ALL {
        let store = empty(harness).await;
        let key = key("k");
        let expected = state.prepare(harness, &store, &key).await;
        let another = lease_of_another_key(&store).await;

        let extended = store.extend(&key, another, LONG_HOLD).await;

        assert_eq!(
            extended,
            Extend::Lost,
            "{state:?}: the lease of another key is nothing here"
        );
        if expected.is_none() {
            let rule = format!("{state:?}: a lost lease holds nobody off");
            granted(store.acquire(&key, LONG_HOLD).await, &rule);
        }
    }
}

async fn extend_of_a_lease_that_has_ended_is_lost_and_revives_nothing(harness: &impl Harness) {
    for end in End::ALL {
        let store = empty(harness).await;
        let key = key("k");
        let lease = end.of_a_lease(harness, &store, &key).await;

        for _ in 0..2 {
            let extended = store.extend(&key, lease, LONG_HOLD).await;
            assert_eq!(extended, Extend::Lost, "{end:?}: an ended lease is lost");
        }

        let filled = store.fill(&key, lease, store.value(1), long_ttl()).await;
        assert_eq!(
            filled,
            Fill::Superseded,
            "{end:?}: extending a lost lease does not bring it back"
        );
        if matches!(
            end,
            End::Released | End::Removed | End::Cleared | End::RanOut
        ) {
            let rule = format!("{end:?}: a lost lease holds nobody off");
            granted(store.acquire(&key, LONG_HOLD).await, &rule);
        }
    }
}

async fn extend_and_release_leave_the_entry_alone(harness: &impl Harness) {
    for state in State::ALL {
        let store = empty(harness).await;
        let key = key("k");
        let old = granted(store.acquire(&key, LONG_HOLD).await, "a missing key");
        let expected = state.prepare(harness, &store, &key).await;

        store.extend(&key, old, LONG_HOLD).await;
        store.release(&key, old).await;

        assert_same(
            store.read(&key).await.as_ref(),
            expected.as_ref(),
            &format!("{state:?}: a lease that has ended does nothing to the entry"),
        );
    }
}

async fn no_lease_is_granted_twice(harness: &impl Harness) {
    let store = empty(harness).await;
    let mut seen = HashSet::new();
    for name in ["1", "2", "1"] {
        let key = key(name);
        for end in End::ALL {
            store.remove(std::slice::from_ref(&key)).await;
            let lease = end.of_a_lease(harness, &store, &key).await;
            assert!(seen.insert(lease), "{end:?}: it was granted before");
            let lease = store.seize(&key, LONG_HOLD).await;
            assert!(seen.insert(lease), "{end:?}: `seize` granted it again");
        }
    }
}
