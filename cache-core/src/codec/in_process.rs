//! The codec for values that never leave the process.

use std::io;

use super::Codec;
use crate::BoxError;

/// For values that cannot be serialised: they stay in this process, as they are.
///
/// ```
/// use cache_core::{CacheBuilder, codec::InProcess};
/// use std::sync::mpsc::SyncSender;
///
/// fn stay<C>(
///     builder: CacheBuilder<u64, SyncSender<u8>, C>,
/// ) -> CacheBuilder<u64, SyncSender<u8>, InProcess> {
///     builder.codec(InProcess)
/// }
/// # let _ = stay::<InProcess>;
/// ```
///
/// Works only with a backend that keeps objects; building a cache with it over any other is a
/// [`BuildError`](crate::BuildError).
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a codec is chosen by writing its name"
)]
pub struct InProcess;

#[derive(Debug, thiserror::Error)]
#[error("values of this cache stay in the process")]
struct StaysInProcess;

impl<V> Codec<V> for InProcess {
    const ENCODES: bool = false;

    fn encode(&self, _value: &V, _out: &mut dyn io::Write) -> Result<(), BoxError> {
        Err(StaysInProcess.into())
    }

    fn decode(&self, _payload: &[u8]) -> Result<V, BoxError> {
        Err(StaysInProcess.into())
    }
}
