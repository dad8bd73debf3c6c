//! The buffer a key writes itself into.

use std::fmt;

#[cfg(feature = "actor")]
use crate::{Error, ErrorKind};

/// What fits on the stack; longer keys move to the heap.
const INLINE: usize = 128;

/// The text of a key in the making: the cache's prefix, then what the key writes.
///
/// It never grows beyond the engine's limit for keys: what is written past that is counted as
/// overflow and thrown away, and the call answers
/// [`InvalidInput`](crate::ErrorKind::InvalidInput).
// Not a `SmallVec`: this is on the path of a hit, where that cost a tenth of it.
pub struct KeyBuf {
    inline: [u8; INLINE],
    /// The whole text, once it does not fit inline any more.
    spilled: Vec<u8>,
    len: usize,
    limit: usize,
    overflowed: bool,
    unwritable: bool,
}

impl KeyBuf {
    /// Starts a key text of at most `limit` bytes with `prefix`.
    #[inline]
    #[must_use]
    pub fn new(prefix: &str, limit: usize) -> Self {
        let mut buf = Self {
            inline: [0; INLINE],
            spilled: Vec::new(),
            len: 0,
            limit,
            overflowed: false,
            unwritable: false,
        };
        buf.push_str(prefix);
        buf
    }

    /// Appends `part`.
    #[inline]
    pub fn push_str(&mut self, part: &str) {
        self.push_bytes(part.as_bytes());
    }

    /// Appends an integer in decimal.
    #[inline]
    pub fn push_integer(&mut self, integer: impl itoa::Integer) {
        self.push_str(itoa::Buffer::new().format(integer));
    }

    /// Appends the [`Display`](fmt::Display) text of `part`.
    pub fn push_display(&mut self, part: impl fmt::Display) {
        if fmt::write(self, format_args!("{part}")).is_err() {
            // What it has written is not its text.
            self.unwritable = true;
        }
    }

    /// Appends one part of a compound key, with `:` and `%` inside it escaped, so that parts
    /// joined by `:` can be told apart.
    pub fn push_part(&mut self, write: impl FnOnce(&mut Self)) {
        let start = self.len;
        write(self);
        let part = &self.written()[start..];
        if part.iter().any(|byte| escape(*byte).is_some()) {
            let part = part.to_vec();
            self.len = start;
            self.spilled.truncate(start);
            for byte in part {
                match escape(byte) {
                    Some(escaped) => self.push_bytes(escaped),
                    None => self.push_bytes(&[byte]),
                }
            }
        }
    }

    #[inline]
    fn push_bytes(&mut self, part: &[u8]) {
        let end = self.len + part.len();
        if end > self.limit {
            self.overflowed = true;
        } else if end <= INLINE && self.spilled.is_empty() {
            self.inline[self.len..end].copy_from_slice(part);
            self.len = end;
        } else {
            self.spill(part);
        }
    }

    #[cold]
    fn spill(&mut self, part: &[u8]) {
        if self.spilled.is_empty() {
            self.spilled.extend_from_slice(&self.inline[..self.len]);
        }
        self.spilled.extend_from_slice(part);
        self.len = self.spilled.len();
    }

    /// Why there is no text.
    #[cfg(feature = "actor")]
    pub(crate) fn flaw(&self) -> Error {
        let text = if self.unwritable {
            "the key could not be written: its `Display` failed"
        } else {
            "the key is too long: shorten it, or raise the engine's `max_key_len`"
        };
        Error::new(ErrorKind::InvalidInput, text)
    }

    #[inline]
    fn written(&self) -> &[u8] {
        if self.spilled.is_empty() {
            &self.inline[..self.len]
        } else {
            &self.spilled
        }
    }

    /// The text, or `None` if it was longer than the limit or could not be written.
    #[inline]
    #[must_use]
    pub fn text(&self) -> Option<&[u8]> {
        (!self.overflowed && !self.unwritable).then(|| self.written())
    }
}

fn escape(byte: u8) -> Option<&'static [u8]> {
    match byte {
        b':' => Some(b"%3A"),
        b'%' => Some(b"%25"),
        _ => None,
    }
}

impl fmt::Write for KeyBuf {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.push_str(part);
        Ok(())
    }
}

impl fmt::Debug for KeyBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyBuf")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_key_fits_and_one_byte_more_does_not() {
        let mut buf = KeyBuf::new("user:", 8);
        buf.push_str("abc");
        assert_eq!(buf.text(), Some(b"user:abc".as_slice()));
        buf.push_str("d");
        assert_eq!(buf.text(), None);
    }

    #[test]
    fn what_overflows_is_not_kept() {
        let mut buf = KeyBuf::new("", 16);
        buf.push_str(&"x".repeat(1 << 20));
        buf.push_str("y");
        assert_eq!(buf.text(), None, "a later part that fits does not hide it");
        assert!(buf.len <= 16 && buf.spilled.is_empty());
    }

    #[test]
    fn a_long_key_is_the_same_text_wherever_it_outgrows_the_stack() {
        for prefix in [0, 1, INLINE - 1, INLINE, INLINE + 1] {
            let mut buf = KeyBuf::new(&"p".repeat(prefix), 1 << 10);
            let mut expected = "p".repeat(prefix);
            for part in ["a", "b:%", &"c:".repeat(40), "", "d"] {
                buf.push_part(|buf| buf.push_str(part));
                expected += &part.replace('%', "%25").replace(':', "%3A");
                assert_eq!(buf.text(), Some(expected.as_bytes()), "behind {prefix}");
            }
        }
    }

    #[test]
    fn escaping_counts_towards_the_limit() {
        let mut buf = KeyBuf::new("", 4);
        buf.push_part(|buf| buf.push_str("::"));
        assert_eq!(buf.text(), None);
    }
}
