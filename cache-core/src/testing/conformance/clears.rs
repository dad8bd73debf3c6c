//! `clear`.

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
            clear_removes_every_entry,
            clear_ends_every_lease,
            a_cleared_store_can_be_filled_at_once,
            clear_is_harmless_when_repeated,
        ]
    );
}

async fn clear_removes_every_entry(harness: &impl Harness) {
    for state in State::ALL {
        let store = empty(harness).await;
        let keys: Vec<_> = (0..50).map(|number| key(&number.to_string())).collect();
        let of_state = key("k");
        state.prepare(harness, &store, &of_state).await;
        for key in &keys {
            store.put(key, store.value(1), long_ttl()).await;
        }

        store.clear().await;

        for key in keys.iter().chain([&of_state]) {
            assert_same(
                store.read(key).await.as_ref(),
                None,
                &format!("{state:?}: nothing is left by a `clear`"),
            );
        }
        let rule = format!("{state:?}: a cleared key can be acquired");
        granted(store.acquire(&of_state, LONG_HOLD).await, &rule);
    }
}

async fn clear_ends_every_lease(harness: &impl Harness) {
    let store = empty(harness).await;
    let mut leases = Vec::new();
    for number in 0..50_u32 {
        let key = key(&number.to_string());
        let lease = if number % 2 == 0 {
            granted(store.acquire(&key, LONG_HOLD).await, "a missing key")
        } else {
            store.seize(&key, LONG_HOLD).await
        };
        leases.push((key, lease));
    }

    store.clear().await;

    for (key, lease) in leases {
        let filled = store.fill(&key, lease, store.value(1), long_ttl()).await;
        assert_eq!(
            filled,
            Fill::Superseded,
            "what was loaded before a `clear` is not stored after it"
        );
        let extended = store.extend(&key, lease, LONG_HOLD).await;
        assert_eq!(extended, Extend::Lost, "a `clear` ends every lease");
        granted(
            store.acquire(&key, LONG_HOLD).await,
            "a `clear` leaves no lease behind",
        );
    }
}

async fn a_cleared_store_can_be_filled_at_once(harness: &impl Harness) {
    let store = empty(harness).await;
    let key = key("k");
    for round in 0..3 {
        let value = store.value(round);
        let lease = granted(store.acquire(&key, LONG_HOLD).await, "a cleared key");
        let filled = store.fill(&key, lease, value.clone(), long_ttl()).await;
        assert_eq!(filled, Fill::Stored, "the lease is younger than the clear");
        assert_same(
            store.read(&key).await.as_ref(),
            Some(&value),
            "what is stored after a `clear` is there, however soon it follows",
        );

        store.clear().await;

        assert_same(
            store.read(&key).await.as_ref(),
            None,
            "what was stored before a `clear` is gone, however soon it followed",
        );
    }
}

async fn clear_is_harmless_when_repeated(harness: &impl Harness) {
    let store = empty(harness).await;
    for _ in 0..3 {
        store.clear().await;
    }
    let value = store.value(1);
    store.put(&key("k"), value.clone(), long_ttl()).await;
    assert_same(
        store.read(&key("k")).await.as_ref(),
        Some(&value),
        "a cleared store works as any",
    );
}
