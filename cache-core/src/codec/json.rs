//! JSON, the default codec.

use std::io;

use serde::{Serialize, de::DeserializeOwned};

use super::Codec;
use crate::BoxError;

/// Bare JSON: any program can read it, and a payload is never the negative marker `*`.
///
/// What JSON cannot say is lost: `serde_json` writes NaN and infinities as `null`, which is no
/// number, so that a value with one is loaded again each time; and `null` is `None`, so that
/// `Some(())` or `Some(f64::NAN)` come back as `None`. Another codec keeps them.
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a codec is chosen by writing its name"
)]
pub struct Json;

impl<V: Serialize + DeserializeOwned> Codec<V> for Json {
    const ENCODES: bool = true;

    fn encode(&self, value: &V, out: &mut dyn io::Write) -> Result<(), BoxError> {
        Ok(serde_json::to_writer(out, value)?)
    }

    fn decode(&self, payload: &[u8]) -> Result<V, BoxError> {
        Ok(serde_json::from_slice(payload)?)
    }
}
