//! JSON as go-zero writes and reads it.
//!
//! Go and `serde_json` differ in how a float looks, in what is escaped, and above all in what they
//! put up with when they read. What depends on a type, and not on JSON, is left to the type: names
//! of fields, base64 for bytes, the text of a time.

mod codec;
mod finite;
mod format;
mod mend;

pub use self::codec::GoJson;
