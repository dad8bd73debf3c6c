//! `peek`, `get` and `get_many`.

use super::{
    Harness,
    report::{Report, checks},
    samples::{LONG_HOLD, State, assert_same, granted, held, key, long_ttl},
    store::empty,
};
use crate::{Entry, Key};

pub(super) async fn run(harness: &impl Harness, report: &mut Report) {
    checks!(
        harness,
        report,
        [
            what_is_stored_is_read_as_it_was_given,
            get_many_keeps_order_and_duplicates,
            get_many_of_no_keys_answers_nothing,
            get_many_of_many_keys_answers_each,
            keys_that_resemble_each_other_are_different_keys,
            reading_ends_no_lease_and_grants_none,
        ]
    );
}

async fn what_is_stored_is_read_as_it_was_given(harness: &impl Harness) {
    for state in State::ALL {
        let store = empty(harness).await;
        let key = key("k");
        let expected = state.prepare(harness, &store, &key).await;
        for time in ["once", "again"] {
            assert_same(
                store.read(&key).await.as_ref(),
                expected.as_ref(),
                &format!("{state:?} is read {time} as what was stored"),
            );
        }
    }
}

async fn get_many_keeps_order_and_duplicates(harness: &impl Harness) {
    let store = empty(harness).await;
    let (one, two, negative, missing) = (key("1"), key("2"), key("negative"), key("missing"));
    let (value_of_one, value_of_two) = (store.value(1), store.value(2));
    store.put(&one, value_of_one.clone(), long_ttl()).await;
    store.put(&two, value_of_two.clone(), long_ttl()).await;
    store.put(&negative, Entry::Absent, long_ttl()).await;

    let asked = [
        (&two, Some(&value_of_two)),
        (&missing, None),
        (&one, Some(&value_of_one)),
        (&two, Some(&value_of_two)),
        (&negative, Some(&Entry::Absent)),
        (&missing, None),
        (&two, Some(&value_of_two)),
    ];
    let keys = asked.map(|(key, _)| key.clone());
    let answers = store.get_many(&keys).await;

    assert_eq!(
        answers.len(),
        asked.len(),
        "`get_many` gives one answer for each key, also for one that is asked for again"
    );
    for (position, (answer, (_, expected))) in answers.iter().zip(asked).enumerate() {
        assert_same(
            answer.as_ref(),
            expected,
            &format!("answer {position} of `get_many` is that of key {position}"),
        );
    }
}

async fn get_many_of_no_keys_answers_nothing(harness: &impl Harness) {
    let store = empty(harness).await;
    assert!(store.get_many(&[]).await.is_empty());
}

async fn get_many_of_many_keys_answers_each(harness: &impl Harness) {
    let store = empty(harness).await;
    let mut asked = Vec::new();
    for number in 0..300 {
        let key = key(&number.to_string());
        let entry = (number % 3 != 0).then(|| store.value(number));
        if let Some(entry) = &entry {
            store.put(&key, entry.clone(), long_ttl()).await;
        }
        asked.push((key, entry));
    }
    let keys: Vec<_> = asked.iter().map(|(key, _)| key.clone()).collect();

    let answers = store.get_many(&keys).await;

    assert_eq!(answers.len(), asked.len(), "one answer for each key");
    for (answer, (_, expected)) in answers.iter().zip(&asked) {
        assert_same(answer.as_ref(), expected.as_ref(), "each key has its own");
    }
}

async fn keys_that_resemble_each_other_are_different_keys(harness: &impl Harness) {
    let store = empty(harness).await;
    let keys: Vec<_> = [
        b"k".as_slice(),
        b"K",
        b"k ",
        b"k\0",
        b"k\n",
        b"k:",
        b"k:1",
        b"k~",
        b"{k}",
        b"{k}k",
        b"k*",
        b"\xffk",
        &[b'k'; 511],
        &[b'k'; 512],
    ]
    .map(Key::new)
    .into();
    let mut entries = Vec::new();
    for (key, number) in keys.iter().zip(0_u32..) {
        assert_same(
            store.read(key).await.as_ref(),
            None,
            "nothing was stored under this key, only under others",
        );
        let entry = store.value(number);
        store.put(key, entry.clone(), long_ttl()).await;
        entries.push(entry);
    }
    for (key, entry) in keys.iter().zip(&entries) {
        assert_same(
            store.read(key).await.as_ref(),
            Some(entry),
            "a key keeps its entry when others are written",
        );
        store.remove(std::slice::from_ref(key)).await;
    }
}

async fn reading_ends_no_lease_and_grants_none(harness: &impl Harness) {
    let store = empty(harness).await;
    let key = key("k");
    assert_same(store.read(&key).await.as_ref(), None, "nothing is there");

    let rule = "a key that was only read can be acquired";
    let lease = granted(store.acquire(&key, LONG_HOLD).await, rule);
    assert_same(
        store.read(&key).await.as_ref(),
        None,
        "a key with a lease reads as a miss",
    );

    let rule = "a lease lasts while its key is read";
    held(store.acquire(&key, LONG_HOLD).await, rule);
    store.release(&key, lease).await;
}
