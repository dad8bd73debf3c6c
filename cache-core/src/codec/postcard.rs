//! Postcard, behind a feature.

use std::io;

use serde::{Serialize, de::DeserializeOwned};

use super::{Codec, TrailingBytes, strip_format};
use crate::BoxError;

const FORMAT: u8 = 0x02;

/// Postcard, a compact binary format that is maintained, behind the format byte `0x02`.
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a codec is chosen by writing its name"
)]
pub struct Postcard;

impl<V: Serialize + DeserializeOwned> Codec<V> for Postcard {
    const ENCODES: bool = true;

    fn encode(&self, value: &V, mut out: &mut dyn io::Write) -> Result<(), BoxError> {
        out.write_all(&[FORMAT])?;
        postcard::to_io(value, &mut out)?;
        Ok(())
    }

    fn decode(&self, payload: &[u8]) -> Result<V, BoxError> {
        let body = strip_format(payload, FORMAT)?;
        let (value, rest) = postcard::take_from_bytes(body)?;
        if !rest.is_empty() {
            return Err(TrailingBytes.into());
        }
        Ok(value)
    }
}
