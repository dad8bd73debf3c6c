//! The codec: what is written, and what is tried in turn when reading.

use std::io;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Deserializer, Serializer, Value};

use super::{finite::Finite, format::GoFormatter, mend::mend};
use crate::{BoxError, codec::Codec};

/// Bare JSON, written and read as go-zero's `jsonx` does: for a cache whose entries Go services
/// share.
///
/// Written:
///
/// - Floats as in Go, the same for `f32` and `f64`: `3` for 3.0, which a Go integer can read, too;
///   `1e+21` and `1e-7` from 1e21 and below 1e-6.
/// - NaN and infinities not at all: the value is then not cached.
/// - U+2028 and U+2029 escaped, `<`, `>` and `&` as they are.
/// - Maps in their own order: Go sorts keys, and so does a [`BTreeMap`](std::collections::BTreeMap).
///
/// Read:
///
/// - Bytes behind the first value are ignored. So this is the one codec that takes what is longer
///   than a value of its own.
/// - Of a field that is there twice the last counts.
/// - Bytes that are no UTF-8, and surrogates without their other half, become U+FFFD.
/// - A field that is missing is an error unless it has `#[serde(default)]`; one that is unknown is
///   ignored unless the type says otherwise. Names of fields are matched exactly, where Go ignores
///   case: use `#[serde(alias = "..")]`.
/// - `null` is `None`. For anything that is no `Option` it is an error, and the entry is loaded
///   again, where Go leaves its variable as it was. Go writes `null` for a slice or a map that is
///   nil: that is an `Option<Vec<_>>`.
///
/// What Go calls an integer is one here as well: `1.0` is an error.
///
/// # Examples
///
/// ```
/// use cache_core::codec::{Codec, GoJson};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, Deserialize, PartialEq, Serialize)]
/// #[serde(rename_all = "PascalCase")]
/// struct Account {
///     id: i64,
///     balance: f64,
/// }
///
/// let account: Account = GoJson.decode(br#"{"Id":7,"Balance":1,"Balance":3}"#)?;
/// assert_eq!(account, Account { id: 7, balance: 3.0 });
///
/// let mut payload = Vec::new();
/// GoJson.encode(&account, &mut payload)?;
/// assert_eq!(payload, br#"{"Id":7,"Balance":3}"#);
/// # Ok::<(), cache_core::BoxError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a codec is chosen by writing its name"
)]
pub struct GoJson;

impl<V: Serialize + DeserializeOwned> Codec<V> for GoJson {
    const ENCODES: bool = true;

    fn encode(&self, value: &V, out: &mut dyn io::Write) -> Result<(), BoxError> {
        // `serde_json` writes a float that is not finite as `null`, and asks no formatter.
        value.serialize(Finite)?;
        value.serialize(&mut Serializer::with_formatter(out, GoFormatter))?;
        Ok(())
    }

    fn decode(&self, payload: &[u8]) -> Result<V, BoxError> {
        let error = match first_value(payload) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let text = mend(payload);
        first_value(text.as_bytes())
            .or_else(|_| last_fields(text.as_bytes()))
            // What was wrong with the payload itself, not with what was made of it.
            .map_err(|_mended: serde_json::Error| error.into())
    }
}

/// Reads one value, and leaves what is behind it.
fn first_value<V: DeserializeOwned>(text: &[u8]) -> serde_json::Result<V> {
    V::deserialize(&mut Deserializer::from_slice(text))
}

/// Reads one value, of whose fields the last of each name counts.
///
/// Only after all else has failed: an integer beyond 64 bits does not get through here. It is
/// refused, not rounded.
fn last_fields<V: DeserializeOwned>(text: &[u8]) -> serde_json::Result<V> {
    serde_json::from_value(first_value::<Value>(text)?)
}
