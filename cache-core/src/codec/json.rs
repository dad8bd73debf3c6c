//! JSON, the default codec.

use std::io;

use serde::{Serialize, de::DeserializeOwned};

use super::Codec;
use crate::BoxError;

/// Bare JSON: any program can read it, and a payload is never the negative marker `*`.
///
/// JSON has no infinities and no NaN: `serde_json` writes them as `null`, which is no number, so
/// a value with one in it decodes to an error and is loaded again each time.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
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
