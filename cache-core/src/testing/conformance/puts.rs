//! `seize`, and the fill that follows it: a put.

use super::{
    Harness,
    report::{Report, checks},
    samples::{LONG_HOLD, State, assert_same, granted, held, key, long_ttl},
    store::empty,
};
use crate::{Extend, Fill};

pub(super) async fn run(harness: &impl Harness, report: &mut Report) {
    checks!(
        harness,
        report,
        [
            seize_removes_what_is_there_and_holds_others_off,
            seize_takes_the_lease_from_its_holder,
            a_put_replaces_what_is_there,
            a_put_during_a_load_wins_whichever_fills_first,
            of_two_puts_the_last_to_seize_wins_whichever_fills_first,
            a_seized_key_can_be_released,
        ]
    );
}

async fn seize_removes_what_is_there_and_holds_others_off(harness: &impl Harness) {
    for state in State::ALL {
        let store = empty(harness).await;
        let key = key("k");
        state.prepare(harness, &store, &key).await;

        let lease = store.seize(&key, LONG_HOLD).await;

        assert_same(
            store.read(&key).await.as_ref(),
            None,
            &format!("{state:?}: `seize` removes what is there"),
        );
        held(
            store.acquire(&key, LONG_HOLD).await,
            &format!("{state:?}: a seized key is held"),
        );
        let extended = store.extend(&key, lease, LONG_HOLD).await;
        assert_eq!(extended, Extend::Extended, "{state:?}: it is a lease");
    }
}

async fn seize_takes_the_lease_from_its_holder(harness: &impl Harness) {
    let store = empty(harness).await;
    let key = key("k");
    let loader = granted(store.acquire(&key, LONG_HOLD).await, "a missing key");

    let writer = store.seize(&key, LONG_HOLD).await;

    assert_ne!(loader, writer, "the lease is a new one");
    let extended = store.extend(&key, loader, LONG_HOLD).await;
    assert_eq!(extended, Extend::Lost, "the former holder has lost it");
    store.release(&key, loader).await;
    let rule = "a `release` by the former holder does not free the key";
    held(store.acquire(&key, LONG_HOLD).await, rule);
}

async fn a_put_replaces_what_is_there(harness: &impl Harness) {
    for state in State::ALL {
        let store = empty(harness).await;
        let key = key("k");
        state.prepare(harness, &store, &key).await;
        let new = store.value(2);

        store.put(&key, new.clone(), long_ttl()).await;

        assert_same(
            store.read(&key).await.as_ref(),
            Some(&new),
            &format!("{state:?}: what was put is read"),
        );
    }
}

async fn a_put_during_a_load_wins_whichever_fills_first(harness: &impl Harness) {
    for load_fills_first in [true, false] {
        let store = empty(harness).await;
        let key = key("k");
        let (loaded, written) = (store.value(1), store.value(2));
        let loader = granted(store.acquire(&key, LONG_HOLD).await, "a missing key");
        let writer = store.seize(&key, LONG_HOLD).await;

        let (filled, put) = if load_fills_first {
            let filled = store.fill(&key, loader, loaded, long_ttl()).await;
            assert_same(
                store.read(&key).await.as_ref(),
                None,
                "between `seize` and `fill` there is nothing",
            );
            let put = store.fill(&key, writer, written.clone(), long_ttl()).await;
            (filled, put)
        } else {
            let put = store.fill(&key, writer, written.clone(), long_ttl()).await;
            let filled = store.fill(&key, loader, loaded, long_ttl()).await;
            (filled, put)
        };

        assert_eq!(put, Fill::Stored, "the writer has the lease");
        assert_eq!(filled, Fill::Superseded, "the load began before the write");
        assert_same(
            store.read(&key).await.as_ref(),
            Some(&written),
            "what was written stands",
        );
    }
}

async fn of_two_puts_the_last_to_seize_wins_whichever_fills_first(harness: &impl Harness) {
    for first_fills_first in [true, false] {
        let store = empty(harness).await;
        let key = key("k");
        let (one, two) = (store.value(1), store.value(2));
        let first = store.seize(&key, LONG_HOLD).await;
        let second = store.seize(&key, LONG_HOLD).await;
        assert_ne!(first, second, "each `seize` has a lease of its own");

        let mut fills = [
            (first, one, Fill::Superseded),
            (second, two.clone(), Fill::Stored),
        ];
        if !first_fills_first {
            fills.reverse();
        }
        for (lease, value, expected) in fills {
            let filled = store.fill(&key, lease, value, long_ttl()).await;
            assert_eq!(filled, expected, "the second `seize` ended the first");
        }
        assert_same(
            store.read(&key).await.as_ref(),
            Some(&two),
            "the last to seize wins",
        );
    }
}

async fn a_seized_key_can_be_released(harness: &impl Harness) {
    let store = empty(harness).await;
    let key = key("k");
    store.put(&key, store.value(1), long_ttl()).await;
    let writer = store.seize(&key, LONG_HOLD).await;

    store.release(&key, writer).await;

    assert_same(
        store.read(&key).await.as_ref(),
        None,
        "what a `seize` removed stays removed",
    );
    let rule = "a seized key is free once it is released";
    granted(store.acquire(&key, LONG_HOLD).await, rule);
}
