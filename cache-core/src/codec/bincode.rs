//! Bincode 2, behind a feature of its own.

use std::io;

use serde::{Serialize, de::DeserializeOwned};

use super::{Codec, TrailingBytes, strip_format};
use crate::BoxError;

const FORMAT: u8 = 0x01;

/// A payload may say that a string is as long as it likes, and bincode makes room for it before it
/// looks further: without a limit, ten bytes of rubbish end the process.
const LIMIT: usize = 256 << 20;

/// Bincode 2.0.1, its standard configuration, behind the format byte `0x01`.
///
/// A value may take 256 MiB, written or in memory; what is larger is not encoded, and what claims
/// to be is not decoded.
///
/// The bincode project has ended, and its release 3.0.0 does not compile, on purpose; 2.0.1 is the
/// last that works and is pinned. `Postcard` is the maintained choice for a compact payload.
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a codec is chosen by writing its name"
)]
pub struct Bincode;

/// The value is larger than the codec's limit.
#[derive(Debug, thiserror::Error)]
#[error("the value is larger than 256 MiB")]
struct TooLarge;

impl<V: Serialize + DeserializeOwned> Codec<V> for Bincode {
    const ENCODES: bool = true;

    fn encode(&self, value: &V, mut out: &mut dyn io::Write) -> Result<(), BoxError> {
        out.write_all(&[FORMAT])?;
        let config = bincode::config::standard();
        if bincode::serde::encode_into_std_write(value, &mut out, config)? > LIMIT {
            return Err(TooLarge.into());
        }
        Ok(())
    }

    fn decode(&self, payload: &[u8]) -> Result<V, BoxError> {
        let body = strip_format(payload, FORMAT)?;
        let config = bincode::config::standard().with_limit::<LIMIT>();
        let (value, read) = bincode::serde::decode_from_slice(body, config)?;
        if read < body.len() {
            return Err(TrailingBytes.into());
        }
        Ok(value)
    }
}
