//! A codec whose type is forgotten.

use bytes::Bytes;

use crate::{
    BoxError,
    codec::{Codec, encoded_len},
};

/// A [`Codec`] as a cache keeps it.
pub(super) trait Coding<V>: Send + Sync {
    fn encode(&self, value: &V) -> Result<Bytes, BoxError>;
    fn encoded_len(&self, value: &V) -> Result<usize, BoxError>;
    fn decode(&self, payload: &[u8]) -> Result<V, BoxError>;
}

/// The payload would be taken for something else.
#[derive(Debug, thiserror::Error)]
#[error("the codec wrote nothing, or the marker of a negative entry")]
struct ReservedPayload;

impl<V, C: Codec<V>> Coding<V> for C {
    fn encode(&self, value: &V) -> Result<Bytes, BoxError> {
        let mut payload = Vec::new();
        Codec::encode(self, value, &mut payload)?;
        if payload.is_empty() || payload == b"*" {
            return Err(ReservedPayload.into());
        }
        Ok(payload.into())
    }

    fn encoded_len(&self, value: &V) -> Result<usize, BoxError> {
        encoded_len(self, value)
    }

    fn decode(&self, payload: &[u8]) -> Result<V, BoxError> {
        Codec::decode(self, payload)
    }
}
