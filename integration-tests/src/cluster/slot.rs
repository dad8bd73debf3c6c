//! Which slot a key is in.

/// The number of slots of every cluster.
pub(crate) const COUNT: u16 = 16_384;

/// Returns the slot of a key: of what is between its first braces, if that is anything.
pub(crate) fn slot_of(key: &[u8]) -> u16 {
    crc16(tag(key)) % COUNT
}

fn tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|&byte| byte == b'{') else {
        return key;
    };
    let rest = &key[open + 1..];
    match rest.iter().position(|&byte| byte == b'}') {
        None | Some(0) => key,
        Some(close) => &rest[..close],
    }
}

/// CRC16 as XMODEM has it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            let shifted = crc << 1;
            if crc & 0x8000 == 0 {
                shifted
            } else {
                shifted ^ 0x1021
            }
        })
    })
}

/// Returns the first and the last slot of one of `parts` equal parts.
pub(crate) fn part(number: usize, parts: usize) -> (u16, u16) {
    let edge = |number: usize| {
        let edge = usize::from(COUNT) * number / parts;
        u16::try_from(edge).unwrap_or(COUNT)
    };
    (edge(number), edge(number + 1) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_that_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        for (key, expected) in [
            ("", 0),
            ("foo", 12_182),
            ("{foo}", 12_182),
            ("a{foo}b{bar}", 12_182),
            ("{foo", slot_of(b"{foo")),
        ] {
            assert_eq!(slot_of(key.as_bytes()), expected, "{key}");
        }
    }

    #[test]
    fn only_what_is_between_the_first_braces_counts_if_it_is_anything() {
        for (key, expected) in [
            ("key", "key"),
            ("{key", "{key"),
            ("key}", "key}"),
            ("{}key", "{}key"),
            ("{}{key}", "{}{key}"),
            ("a{key}b", "key"),
            ("a{{key}}b", "{key"),
        ] {
            assert_eq!(tag(key.as_bytes()), expected.as_bytes());
        }
    }

    #[test]
    fn the_parts_hold_each_slot_once() {
        for parts in [1, 2, 3, 7, 16_384] {
            let mut next = 0;
            for number in 0..parts {
                let (first, last) = part(number, parts);
                assert_eq!(first, next);
                assert!(last >= first);
                next = last + 1;
            }
            assert_eq!(next, COUNT);
        }
    }
}
