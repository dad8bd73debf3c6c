//! A value that needs no decoding to speak of.

use std::io::Write;

use cache_core::{BoxError, codec::Codec};

/// What a payload begins with, so that no other codec takes it for its own.
const FORMAT: u8 = 0x7f;

/// Bytes as they are. To read one is to copy it, as the driver does for a raw `GET`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Blob(Box<[u8]>);

impl Blob {
    /// Makes a value whose payload has `size` bytes, at least one.
    #[must_use]
    pub fn of_payload(size: usize) -> Self {
        Self(vec![b'x'; size.saturating_sub(1)].into())
    }
}

/// The codec of [`Blob`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Bytewise;

impl Codec<Blob> for Bytewise {
    const ENCODES: bool = true;

    fn encode(&self, value: &Blob, out: &mut dyn Write) -> Result<(), BoxError> {
        out.write_all(&[FORMAT])?;
        Ok(out.write_all(&value.0)?)
    }

    fn decode(&self, payload: &[u8]) -> Result<Blob, BoxError> {
        match payload.split_first() {
            Some((&FORMAT, body)) => Ok(Blob(body.into())),
            _ => Err("the payload begins with another codec's format byte".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_has_the_size_that_was_asked_for_and_round_trips() {
        for size in [1, 2, 100, 4096] {
            let blob = Blob::of_payload(size);
            let mut payload = Vec::new();
            Bytewise.encode(&blob, &mut payload).unwrap();
            assert_eq!(payload.len(), size);
            assert_eq!(Bytewise.decode(&payload).unwrap(), blob);
        }
    }

    #[test]
    fn what_another_codec_wrote_is_refused() {
        for payload in [&b""[..], b"*", b"\"text\"", b"\x01"] {
            let refused = Bytewise.decode(payload).unwrap_err();
            assert!(refused.to_string().contains("another codec"), "{payload:?}");
        }
    }
}
