//! `fill`: the fence.

use super::{
    Harness,
    leases::{End, lease_of_another_key},
    report::{Report, checks},
    samples::{LONG_HOLD, State, assert_same, granted, held, key, long_ttl},
    store::empty,
};
use crate::{Entry, Extend, Fill};

pub(super) async fn run(harness: &impl Harness, report: &mut Report) {
    checks!(
        harness,
        report,
        [
            fill_stores_any_entry_under_its_lease,
            fill_ends_its_lease,
            fill_is_refused_once_its_lease_has_ended,
            fill_is_refused_without_a_lease_of_the_key,
            a_refused_fill_leaves_the_holder_of_the_lease_alone,
            fill_is_harmless_when_repeated,
            fill_is_harmless_when_it_comes_late,
        ]
    );
}

async fn fill_stores_any_entry_under_its_lease(harness: &impl Harness) {
    let store = empty(harness).await;
    for (name, entry) in [
        ("value", store.value(1)),
        ("negative", Entry::Absent),
        ("odd", store.odd()),
    ] {
        let key = key(name);
        let lease = granted(store.acquire(&key, LONG_HOLD).await, "a missing key");
        let filled = store.fill(&key, lease, entry.clone(), long_ttl()).await;
        assert_eq!(filled, Fill::Stored, "{name}: the lease is held");
        assert_same(
            store.read(&key).await.as_ref(),
            Some(&entry),
            &format!("{name}: what was filled is read"),
        );
    }
}

async fn fill_ends_its_lease(harness: &impl Harness) {
    let store = empty(harness).await;
    let key = key("k");
    let lease = granted(store.acquire(&key, LONG_HOLD).await, "a missing key");
    store.fill(&key, lease, store.value(1), long_ttl()).await;

    let extended = store.extend(&key, lease, LONG_HOLD).await;
    assert_eq!(extended, Extend::Lost, "a lease fills its key once");

    store.remove(std::slice::from_ref(&key)).await;
    let rule = "no lease is left behind by a `fill`";
    granted(store.acquire(&key, LONG_HOLD).await, rule);
}

async fn fill_is_refused_once_its_lease_has_ended(harness: &impl Harness) {
    for end in End::ALL {
        let store = empty(harness).await;
        let key = key("k");
        let lease = end.of_a_lease(harness, &store, &key).await;
        let before = store.read(&key).await;

        let filled = store.fill(&key, lease, store.value(1), long_ttl()).await;

        assert_eq!(filled, Fill::Superseded, "{end:?}: the lease has ended");
        assert_same(
            store.read(&key).await.as_ref(),
            before.as_ref(),
            &format!("{end:?}: a refused fill changes nothing"),
        );
    }
}

async fn fill_is_refused_without_a_lease_of_the_key(harness: &impl Harness) {
    for state in State::ALL {
        let store = empty(harness).await;
        let key = key("k");
        let expected = state.prepare(harness, &store, &key).await;
        let another = lease_of_another_key(&store).await;

        let filled = store.fill(&key, another, store.value(2), long_ttl()).await;

        assert_eq!(
            filled,
            Fill::Superseded,
            "{state:?}: the lease of another key does not open this one"
        );
        assert_same(
            store.read(&key).await.as_ref(),
            expected.as_ref(),
            &format!("{state:?}: a refused fill changes nothing"),
        );
    }
}

async fn a_refused_fill_leaves_the_holder_of_the_lease_alone(harness: &impl Harness) {
    let store = empty(harness).await;
    let key = key("k");
    let old = End::RanOut.of_a_lease(harness, &store, &key).await;
    let another = lease_of_another_key(&store).await;
    let new = granted(store.acquire(&key, LONG_HOLD).await, "the lease ran out");

    for refused in [old, another] {
        let filled = store.fill(&key, refused, store.value(1), long_ttl()).await;
        assert_eq!(filled, Fill::Superseded, "it is granted to someone else");
    }

    held(
        store.acquire(&key, LONG_HOLD).await,
        "a refused fill does not end the lease of the holder",
    );
    let value = store.value(2);
    let filled = store.fill(&key, new, value.clone(), long_ttl()).await;
    assert_eq!(filled, Fill::Stored, "the holder can fill");
    assert_same(
        store.read(&key).await.as_ref(),
        Some(&value),
        "the holder's value is stored",
    );
    let held_on = store
        .extend(&super::samples::key("another"), another, LONG_HOLD)
        .await;
    assert_eq!(
        held_on,
        Extend::Extended,
        "the other key's lease is untouched"
    );
}

async fn fill_is_harmless_when_repeated(harness: &impl Harness) {
    let store = empty(harness).await;
    let key = key("k");
    let lease = granted(store.acquire(&key, LONG_HOLD).await, "a missing key");
    let first = store.value(1);
    let filled = store.fill(&key, lease, first.clone(), long_ttl()).await;
    assert_eq!(filled, Fill::Stored, "the lease is held");

    for _ in 0..2 {
        let filled = store.fill(&key, lease, store.value(2), long_ttl()).await;
        assert_eq!(filled, Fill::Superseded, "a lease fills its key once");
    }
    assert_same(
        store.read(&key).await.as_ref(),
        Some(&first),
        "the first fill stands",
    );
}

async fn fill_is_harmless_when_it_comes_late(harness: &impl Harness) {
    let store = empty(harness).await;
    let key = key("k");
    let old = granted(store.acquire(&key, LONG_HOLD).await, "a missing key");
    store.remove(std::slice::from_ref(&key)).await;
    let new = granted(store.acquire(&key, LONG_HOLD).await, "a removed key");
    let value = store.value(2);
    store.fill(&key, new, value.clone(), long_ttl()).await;

    let filled = store.fill(&key, old, store.value(1), long_ttl()).await;
    assert_eq!(filled, Fill::Superseded, "the key was removed since");
    assert_same(
        store.read(&key).await.as_ref(),
        Some(&value),
        "the successor's value stands",
    );

    store.remove(std::slice::from_ref(&key)).await;
    let filled = store.fill(&key, new, store.value(3), long_ttl()).await;
    assert_eq!(filled, Fill::Superseded, "that lease was used");
    assert_same(
        store.read(&key).await.as_ref(),
        None,
        "what was removed does not come back",
    );
}
