//! Name, form, sign of life.

use super::{
    Harness,
    report::{Report, checks},
    samples::key,
    store::empty,
};
use crate::Backend as _;

pub(super) async fn run(harness: &impl Harness, report: &mut Report) {
    checks!(
        harness,
        report,
        [
            name_and_form_never_change,
            ping_answers,
            debug_shows_no_key_and_no_value,
        ]
    );
}

async fn name_and_form_never_change(harness: &impl Harness) {
    let store = empty(harness).await;
    let (name, form) = (store.backend().name(), store.backend().form());
    assert!(!name.is_empty(), "a backend has a name");

    store.clear().await;

    assert_eq!(store.backend().name(), name);
    assert_eq!(store.backend().form(), form);
}

async fn ping_answers(harness: &impl Harness) {
    let store = empty(harness).await;
    store.ping().await;
    store.ping().await;
}

async fn debug_shows_no_key_and_no_value(harness: &impl Harness) {
    let store = empty(harness).await;
    store
        .put(
            &key("secret-key"),
            store.value(20_406_080),
            super::samples::long_ttl(),
        )
        .await;
    let text = format!("{:?}", store.backend());
    assert!(
        !text.contains("secret-key") && !text.contains("20406080"),
        "`Debug` of a backend shows no content: {text}"
    );
}
