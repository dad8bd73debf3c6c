//! `remove`.

use super::{
    Harness,
    report::{Report, checks},
    samples::{LONG_HOLD, State, assert_same, granted, key, long_ttl},
    store::empty,
};
use crate::{Extend, Fill};

pub(super) async fn run(harness: &impl Harness, report: &mut Report) {
    checks!(
        harness,
        report,
        [
            remove_removes_whatever_is_there,
            remove_ends_the_lease_on_its_key,
            remove_answers_for_each_key_and_touches_no_other,
            remove_of_no_keys_removes_nothing,
            remove_is_harmless_when_repeated,
        ]
    );
}

async fn remove_removes_whatever_is_there(harness: &impl Harness) {
    for state in State::ALL {
        let store = empty(harness).await;
        let key = key("k");
        state.prepare(harness, &store, &key).await;

        store.remove(std::slice::from_ref(&key)).await;

        assert_same(
            store.read(&key).await.as_ref(),
            None,
            &format!("{state:?}: a removed key is missing"),
        );
        let rule = format!("{state:?}: a removed key can be acquired");
        granted(store.acquire(&key, LONG_HOLD).await, &rule);
    }
}

async fn remove_ends_the_lease_on_its_key(harness: &impl Harness) {
    let store = empty(harness).await;
    let key = key("k");
    let acquired = granted(store.acquire(&key, LONG_HOLD).await, "a missing key");
    for lease in [acquired, store.seize(&key, LONG_HOLD).await] {
        store.remove(std::slice::from_ref(&key)).await;

        let filled = store.fill(&key, lease, store.value(1), long_ttl()).await;
        assert_eq!(
            filled,
            Fill::Superseded,
            "what was loaded before a removal is not stored after it"
        );
        let extended = store.extend(&key, lease, LONG_HOLD).await;
        assert_eq!(extended, Extend::Lost, "a removal ends the lease");
    }
    let rule = "a removal leaves no lease behind";
    granted(store.acquire(&key, LONG_HOLD).await, rule);
}

async fn remove_answers_for_each_key_and_touches_no_other(harness: &impl Harness) {
    let store = empty(harness).await;
    let (one, two, leased, missing, kept) = (
        key("1"),
        key("2"),
        key("leased"),
        key("missing"),
        key("kept"),
    );
    let value = store.value(3);
    store.put(&one, store.value(1), long_ttl()).await;
    store.put(&two, store.value(2), long_ttl()).await;
    store.put(&kept, value.clone(), long_ttl()).await;
    let lease = granted(store.acquire(&leased, LONG_HOLD).await, "a missing key");

    // That there is one answer for each, duplicates included, is checked with every `remove`.
    store
        .remove(&[
            two.clone(),
            missing,
            one.clone(),
            two.clone(),
            leased.clone(),
        ])
        .await;

    for key in [&one, &two, &leased] {
        assert_same(
            store.read(key).await.as_ref(),
            None,
            "each key of one `remove` is removed",
        );
    }
    let filled = store.fill(&leased, lease, store.value(4), long_ttl()).await;
    assert_eq!(filled, Fill::Superseded, "each lease is ended");
    assert_same(
        store.read(&kept).await.as_ref(),
        Some(&value),
        "a key that was not named is kept",
    );
}

async fn remove_of_no_keys_removes_nothing(harness: &impl Harness) {
    let store = empty(harness).await;
    let key = key("k");
    let value = store.value(1);
    store.put(&key, value.clone(), long_ttl()).await;

    store.remove(&[]).await;

    assert_same(
        store.read(&key).await.as_ref(),
        Some(&value),
        "no key was named",
    );
}

async fn remove_is_harmless_when_repeated(harness: &impl Harness) {
    let store = empty(harness).await;
    let key = key("k");
    store.put(&key, store.value(1), long_ttl()).await;
    for _ in 0..3 {
        store.remove(std::slice::from_ref(&key)).await;
    }
    let value = store.value(2);
    let lease = granted(store.acquire(&key, LONG_HOLD).await, "a removed key");
    let filled = store.fill(&key, lease, value.clone(), long_ttl()).await;
    assert_eq!(
        filled,
        Fill::Stored,
        "the lease is younger than the removal"
    );
    assert_same(
        store.read(&key).await.as_ref(),
        Some(&value),
        "a removal does nothing to what comes after it",
    );
}
