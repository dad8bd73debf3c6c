//! Codecs: how values become bytes, and back.
//!
//! A codec is chosen per cache. [`Json`] is bare JSON, so that other programs read it. Any other
//! codec begins its payload with a format byte of its own and rejects trailing bytes, so that one
//! codec never misreads another: what it cannot read is loaded again, not guessed at. [`GoJson`] is
//! JSON as Go writes and reads it, which puts up with more.

#[cfg(feature = "actor")]
mod count;
mod go_json;
mod in_process;
mod json;

#[cfg(feature = "bincode")]
mod bincode;
#[cfg(feature = "postcard")]
mod postcard;

use std::io;

#[cfg(feature = "bincode")]
pub use self::bincode::Bincode;
#[cfg(feature = "actor")]
pub(crate) use self::count::encoded_len;
#[cfg(feature = "postcard")]
pub use self::postcard::Postcard;
pub use self::{go_json::GoJson, in_process::InProcess, json::Json};

use crate::BoxError;

/// Turns values of type `V` into bytes, and back.
///
/// # Contract
///
/// - `decode` gives back what `encode` was given.
/// - A payload is never empty and never the single byte `*`, which marks a negative entry where
///   entries are bytes. (A cache does not store such a payload.)
/// - A payload of another codec, or one with trailing bytes, is an error ([`GoJson`] alone takes
///   the latter, as Go does): begin yours with a byte that no other uses. Taken: `0x01`, `0x02`, and everything JSON can begin with.
pub trait Codec<V>: Send + Sync + 'static {
    /// Whether values can become bytes at all; `false` only for [`InProcess`].
    const ENCODES: bool;

    /// Writes `value` to `out`.
    ///
    /// # Errors
    ///
    /// Whatever makes this value impossible to write. It is then not cached.
    fn encode(&self, value: &V, out: &mut dyn io::Write) -> Result<(), BoxError>;

    /// Reads a value from `payload`, all of it.
    ///
    /// # Errors
    ///
    /// Whatever makes this payload unreadable. The entry is then removed and loaded again.
    fn decode(&self, payload: &[u8]) -> Result<V, BoxError>;
}

/// The payload was written by another codec.
#[cfg(any(feature = "bincode", feature = "postcard"))]
#[derive(Debug, thiserror::Error)]
#[error("the payload begins with another codec's format byte")]
struct ForeignFormat;

/// The payload goes on behind the value.
#[cfg(any(feature = "bincode", feature = "postcard"))]
#[derive(Debug, thiserror::Error)]
#[error("the payload goes on behind the value")]
struct TrailingBytes;

/// Cuts the format byte off `payload`.
#[cfg(any(feature = "bincode", feature = "postcard"))]
fn strip_format(payload: &[u8], format: u8) -> Result<&[u8], ForeignFormat> {
    match payload.split_first() {
        Some((first, rest)) if *first == format => Ok(rest),
        _ => Err(ForeignFormat),
    }
}

#[cfg(test)]
mod tests;
