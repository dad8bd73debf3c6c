//! What a trace shows of a call that this process could not answer, and of its load.
//!
//! Neither holds a key or a value.

use tracing::{Span, debug_span, dispatcher, field::Empty};

use crate::{Error, ErrorKind, LoadOutcome, actor::Origin};

/// Opens the span of a call, inside the one that its caller is in.
pub(super) fn of_call(cache: &str, backend: &str) -> Span {
    debug_span!(
        "cache.get_or_load",
        cache,
        backend,
        outcome = Empty,
        coalesced = Empty
    )
}

/// The span whose loads are to be inside it: `call`, or the caller's own where nobody listens to
/// that of the call.
pub(super) fn around_load(call: &Span) -> Span {
    if call.is_disabled() {
        Span::current()
    } else {
        call.clone()
    }
}

/// Opens the span of a load, inside `around`.
///
/// By the subscriber of `around`, which need not be the one of this thread: to that one the span
/// around would be another, or none.
pub(super) fn of_load(around: &Span, cache: &str) -> Span {
    let open = || debug_span!(parent: around, "cache.load", cache, outcome = Empty);
    around
        .with_subscriber(|(_, dispatch)| dispatcher::with_default(dispatch, open))
        .unwrap_or_else(Span::none)
}

/// Notes in the span of a `call` how it was answered.
pub(super) fn answered<V>(call: &Span, answer: &Result<Option<V>, Error>, origin: Origin) {
    if call.is_disabled() {
        return;
    }
    call.record("outcome", outcome(answer, origin));
    call.record("coalesced", is_coalesced(answer, origin));
}

fn outcome<V>(answer: &Result<Option<V>, Error>, origin: Origin) -> &'static str {
    match (answer, origin) {
        (Ok(Some(_)), Origin::Store) => "hit",
        (Ok(None), Origin::Store) => "negative_hit",
        (Ok(Some(_)), Origin::OwnLoad | Origin::OthersLoad) => LoadOutcome::Value.as_str(),
        (Ok(None), Origin::OwnLoad | Origin::OthersLoad) => LoadOutcome::Absent.as_str(),
        (Err(error), _) => error.kind().as_str(),
    }
}

/// Whether another caller's load said so, be it that it failed.
fn is_coalesced<V>(answer: &Result<Option<V>, Error>, origin: Origin) -> bool {
    let is_of_load = |error: &Error| {
        matches!(
            error.kind(),
            ErrorKind::Loader | ErrorKind::Panicked | ErrorKind::LoadTimeout
        )
    };
    // Who was turned away waited for nobody.
    origin == Origin::OthersLoad && answer.as_ref().err().is_none_or(is_of_load)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_its_name_and_a_load_of_another_is_told_apart() {
        let failed = |kind| Err(Error::new(kind, "so it is"));
        for (answer, origin, expected) in [
            (Ok(Some(())), Origin::Store, ("hit", false)),
            (Ok(None), Origin::Store, ("negative_hit", false)),
            (Ok(Some(())), Origin::OwnLoad, ("value", false)),
            (Ok(None), Origin::OwnLoad, ("absent", false)),
            (Ok(Some(())), Origin::OthersLoad, ("value", true)),
            (Ok(None), Origin::OthersLoad, ("absent", true)),
            (
                failed(ErrorKind::Loader),
                Origin::OwnLoad,
                ("loader", false),
            ),
            (
                failed(ErrorKind::Loader),
                Origin::OthersLoad,
                ("loader", true),
            ),
            (
                failed(ErrorKind::Panicked),
                Origin::OthersLoad,
                ("panicked", true),
            ),
            (
                failed(ErrorKind::LoadTimeout),
                Origin::OthersLoad,
                ("load_timeout", true),
            ),
            (
                failed(ErrorKind::Overloaded),
                Origin::OthersLoad,
                ("overloaded", false),
            ),
            (
                failed(ErrorKind::Abandoned),
                Origin::OthersLoad,
                ("abandoned", false),
            ),
        ] {
            let told = (outcome(&answer, origin), is_coalesced(&answer, origin));
            assert_eq!(told, expected, "{answer:?}, {origin:?}");
        }
    }
}
