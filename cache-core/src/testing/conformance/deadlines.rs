//! When entries and leases are over: both sides of each boundary.

use std::time::Duration;

use super::{
    Harness,
    leases::lease_of_another_key,
    report::{Report, checks},
    samples::{HALF, LONG_HOLD, SHORT, assert_same, granted, held, key, long_ttl, short_ttl, ttl},
    store::empty,
};
use crate::{Acquire, Entry, Extend, Fill, Ttl};

pub(super) async fn run(harness: &impl Harness, report: &mut Report) {
    checks!(
        harness,
        report,
        [
            an_entry_is_there_until_its_ttl_has_elapsed,
            the_shortest_ttl_is_kept,
            a_long_ttl_is_kept,
            reading_does_not_prolong_an_entry,
            a_new_entry_ends_by_its_own_ttl,
            a_lease_lasts_until_its_hold_has_elapsed,
            a_seized_lease_lasts_until_its_hold_has_elapsed,
            retry_after_is_when_the_lease_ends_at_the_latest,
            an_extension_counts_from_when_it_is_made,
            an_attempt_of_another_does_not_prolong_a_lease,
            a_lease_that_was_asked_for_in_vain_is_not_prolonged,
        ]
    );
}

async fn an_entry_is_there_until_its_ttl_has_elapsed(harness: &impl Harness) {
    let store = empty(harness).await;
    let entries = [
        (key("value"), store.value(1)),
        (key("negative"), Entry::Absent),
        (key("odd"), store.odd()),
    ];
    for (key, entry) in &entries {
        store.put(key, entry.clone(), short_ttl()).await;
    }

    harness.advance(HALF).await;
    for (key, entry) in &entries {
        let rule = "an entry is there before its TTL has elapsed";
        assert_same(store.read(key).await.as_ref(), Some(entry), rule);
        let Acquire::Hit(hit) = store.acquire(key, LONG_HOLD).await else {
            panic!("{rule}, for `acquire` as well");
        };
        assert_same(Some(&hit), Some(entry), rule);
    }

    harness.advance(HALF).await;
    for (key, _) in &entries {
        let rule = "an entry is gone when its TTL has elapsed: the boundary itself is over";
        assert_same(store.read(key).await.as_ref(), None, rule);
        granted(store.acquire(key, LONG_HOLD).await, rule);
    }
}

async fn the_shortest_ttl_is_kept(harness: &impl Harness) {
    let store = empty(harness).await;
    let key = key("k");
    store.put(&key, store.value(1), Ttl::MIN).await;

    harness.advance(Ttl::MIN.get()).await;

    let rule = "an entry of the shortest TTL is gone when that has elapsed";
    assert_same(store.read(&key).await.as_ref(), None, rule);
}

async fn a_long_ttl_is_kept(harness: &impl Harness) {
    let store = empty(harness).await;
    let value = store.value(1);
    // What wraps around in a number of so many bits is a TTL of one millisecond.
    let bits = [16, 24, 31, 32, 36];
    let keys = bits.map(|bits: u32| key(&bits.to_string()));
    for (bits, key) in bits.iter().zip(&keys) {
        let long = Duration::from_millis((1 << bits) + 1);
        store.put(key, value.clone(), ttl(long)).await;
    }

    harness.advance(HALF).await;

    for (bits, key) in bits.iter().zip(&keys) {
        let rule = format!("a TTL of more than 2^{bits} ms does not end at once");
        assert_same(store.read(key).await.as_ref(), Some(&value), &rule);
    }
}

async fn reading_does_not_prolong_an_entry(harness: &impl Harness) {
    let store = empty(harness).await;
    let key = key("k");
    store.put(&key, store.value(1), short_ttl()).await;
    harness.advance(HALF).await;
    store.read(&key).await;
    store.acquire(&key, LONG_HOLD).await;

    harness.advance(HALF).await;

    let rule = "a TTL counts from the fill, not from the last read";
    assert_same(store.read(&key).await.as_ref(), None, rule);
}

async fn a_new_entry_ends_by_its_own_ttl(harness: &impl Harness) {
    let store = empty(harness).await;
    let (longer, shorter, after_expiry) = (key("longer"), key("shorter"), key("after expiry"));
    let value = store.value(2);

    store.put(&longer, store.value(1), ttl(HALF)).await;
    store.put(&longer, value.clone(), long_ttl()).await;
    store.put(&shorter, store.value(1), long_ttl()).await;
    store.put(&shorter, value.clone(), short_ttl()).await;
    store.put(&after_expiry, store.value(1), ttl(HALF)).await;

    harness.advance(HALF).await;
    let lease = granted(
        store.acquire(&after_expiry, LONG_HOLD).await,
        "it has expired",
    );
    store
        .fill(&after_expiry, lease, value.clone(), long_ttl())
        .await;

    harness.advance(HALF).await;
    for key in [&longer, &after_expiry] {
        let rule = "a new entry does not end with the one it replaced";
        assert_same(store.read(key).await.as_ref(), Some(&value), rule);
    }
    let rule = "a new entry does not live on the TTL of the one it replaced";
    assert_same(store.read(&shorter).await.as_ref(), None, rule);
}

async fn a_lease_lasts_until_its_hold_has_elapsed(harness: &impl Harness) {
    let store = empty(harness).await;
    let (used, unused) = (key("used"), key("unused"));
    let in_time = granted(store.acquire(&used, SHORT).await, "a missing key");
    let too_late = granted(store.acquire(&unused, SHORT).await, "a missing key");

    harness.advance(HALF).await;
    held(
        store.acquire(&unused, LONG_HOLD).await,
        "a lease lasts before its hold has elapsed",
    );
    let filled = store.fill(&used, in_time, store.value(1), long_ttl()).await;
    assert_eq!(
        filled,
        Fill::Stored,
        "a lease fills before its hold elapses"
    );

    harness.advance(HALF).await;
    let value = store.value(2);
    let filled = store.fill(&unused, too_late, value, long_ttl()).await;
    assert_eq!(
        filled,
        Fill::Superseded,
        "a lease is over when its hold has elapsed: the boundary itself is over"
    );
    granted(
        store.acquire(&unused, LONG_HOLD).await,
        "a key is free when the hold has elapsed",
    );
}

async fn a_seized_lease_lasts_until_its_hold_has_elapsed(harness: &impl Harness) {
    let store = empty(harness).await;
    let (used, unused) = (key("used"), key("unused"));
    let in_time = store.seize(&used, SHORT).await;
    let too_late = store.seize(&unused, SHORT).await;

    harness.advance(HALF).await;
    held(store.acquire(&unused, LONG_HOLD).await, "it lasts before");
    let filled = store.fill(&used, in_time, store.value(1), long_ttl()).await;
    assert_eq!(filled, Fill::Stored, "it fills before");

    harness.advance(HALF).await;
    let value = store.value(2);
    let filled = store.fill(&unused, too_late, value, long_ttl()).await;
    assert_eq!(filled, Fill::Superseded, "it is over at the boundary");
    granted(store.acquire(&unused, LONG_HOLD).await, "the key is free");
}

async fn retry_after_is_when_the_lease_ends_at_the_latest(harness: &impl Harness) {
    let store = empty(harness).await;
    let key = key("k");
    granted(store.acquire(&key, SHORT).await, "a missing key");
    harness.advance(HALF).await;

    let retry_after = held(store.acquire(&key, LONG_HOLD).await, "half a hold is left");
    assert!(
        !retry_after.is_zero() && retry_after <= HALF,
        "what is left is half of the hold at most, not {retry_after:?}"
    );

    harness.advance(retry_after).await;
    granted(
        store.acquire(&key, LONG_HOLD).await,
        "the key is free after the time that an `acquire` was told",
    );
}

async fn an_extension_counts_from_when_it_is_made(harness: &impl Harness) {
    let store = empty(harness).await;
    let (used, unused) = (key("used"), key("unused"));
    let in_time = granted(store.acquire(&used, SHORT).await, "a missing key");
    let too_late = granted(store.acquire(&unused, SHORT).await, "a missing key");
    harness.advance(HALF).await;
    for (key, lease) in [(&used, in_time), (&unused, too_late)] {
        let extended = store.extend(key, lease, SHORT).await;
        assert_eq!(extended, Extend::Extended, "the lease is held");
    }

    harness.advance(HALF).await;
    let filled = store.fill(&used, in_time, store.value(1), long_ttl()).await;
    assert_eq!(
        filled,
        Fill::Stored,
        "an extended lease outlives the hold it was granted for"
    );
    held(
        store.acquire(&unused, LONG_HOLD).await,
        "an extended lease holds others off beyond its first hold",
    );

    harness.advance(HALF).await;
    let extended = store.extend(&unused, too_late, SHORT).await;
    assert_eq!(extended, Extend::Lost, "the extension has elapsed as well");
    granted(
        store.acquire(&unused, LONG_HOLD).await,
        "a key is free when the extension has elapsed",
    );
}

async fn an_attempt_of_another_does_not_prolong_a_lease(harness: &impl Harness) {
    let store = empty(harness).await;
    let key = key("k");
    let another = lease_of_another_key(&store).await;
    let lease = granted(store.acquire(&key, SHORT).await, "a missing key");
    harness.advance(HALF).await;
    let extended = store.extend(&key, another, LONG_HOLD).await;
    assert_eq!(extended, Extend::Lost, "it is the lease of another key");

    harness.advance(HALF).await;

    let filled = store.fill(&key, lease, store.value(1), long_ttl()).await;
    assert_eq!(filled, Fill::Superseded, "nobody extended this lease");
}

async fn a_lease_that_was_asked_for_in_vain_is_not_prolonged(harness: &impl Harness) {
    let store = empty(harness).await;
    let key = key("k");
    granted(store.acquire(&key, SHORT).await, "a missing key");
    harness.advance(HALF).await;
    held(store.acquire(&key, LONG_HOLD).await, "it lasts before");

    harness.advance(HALF).await;

    granted(
        store.acquire(&key, LONG_HOLD).await,
        "asking for a held lease does not prolong it",
    );
}
