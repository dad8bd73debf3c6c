//! Text that Go reads and `serde_json` does not.

/// `payload` with what is no text in it replaced by U+FFFD, as Go does when it reads a string: each
/// byte that is no UTF-8, and each escaped surrogate without its other half.
pub(super) fn mend(payload: &[u8]) -> String {
    let mut text = String::with_capacity(payload.len());
    for chunk in payload.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    mend_surrogates(&text)
}

fn mend_surrogates(text: &str) -> String {
    let mut mended = String::with_capacity(text.len());
    let mut rest = text;
    // Outside of a string there is no backslash in JSON, so strings need not be looked for.
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        mended.push_str(before);
        let length = match (unit(escape), escape.get(6..).and_then(unit)) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => 12,
            (Some(0xd800..0xe000), _) => {
                mended.push_str("\\ufffd");
                rest = &escape[6..];
                continue;
            }
            // The backslash, and what is escaped by it: another backslash begins no escape.
            _ => 1 + escape[1..].chars().next().map_or(0, char::len_utf8),
        };
        let (kept, behind) = escape.split_at(length);
        mended.push_str(kept);
        rest = behind;
    }
    mended.push_str(rest);
    mended
}

/// The number of the escape, `\uXXXX`, with which `text` begins.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    // A sign is taken for a digit, but what has one is too small for a surrogate.
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_text_becomes_a_replacement_character() {
        for (payload, mended) in [
            (&b"\"a\xffb\""[..], "\"a\u{fffd}b\""),
            // Each byte for itself, and not what belongs together.
            (b"\xe2\x80", "\u{fffd}\u{fffd}"),
            (b"\xed\xa0\x80", "\u{fffd}\u{fffd}\u{fffd}"),
            (br"\ud800", r"\ufffd"),
            (br"\uDFFF", r"\ufffd"),
            (br"\ud7ff\ue000", r"\ud7ff\ue000"),
            (br"\ud83d\ude00", r"\ud83d\ude00"),
            (br"\udbff\udc00\ud800\udfff", r"\udbff\udc00\ud800\udfff"),
            (br"\ude00\ud83d", r"\ufffd\ufffd"),
            (br"\ud800\ud83d\ude00", r"\ufffd\ud83d\ude00"),
            (br"\ud800\u0041", r"\ufffd\u0041"),
            (br"\\ud800", r"\\ud800"),
            (br"\\\ud800", r"\\\ufffd"),
            (br"\ud80", r"\ud80"),
            (br"\u+800", r"\u+800"),
            (br"\ud800\", r"\ufffd\"),
            ("\\é\\ud800é".as_bytes(), "\\é\\ufffdé"),
            (b"", ""),
        ] {
            assert_eq!(mend(payload), mended, "{payload:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(payload in proptest::collection::vec(any::<u8>(), 0..64)) {
            drop(mend(&payload));
        }

        #[test]
        fn escapes_of_any_sort_make_it_panic_neither(text in r#"(\\|u|d[89a-f]|[0-9]|"|é|.){0,24}"#) {
            let mended = mend(text.as_bytes());
            prop_assert_eq!(mend(mended.as_bytes()), mended, "once is enough");
        }
    }
}
