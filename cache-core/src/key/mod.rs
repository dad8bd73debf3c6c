//! Keys: how a typed key becomes the text under which its entry is stored.
//!
//! # Model
//!
//! A cache has a prefix (`user:`); a key writes itself behind it ([`KeyFor::write_key`]) into a
//! [`KeyBuf`] on the stack, so that looking up an integer key allocates nothing. Only what has
//! to outlive the call becomes an owned [`Key`].
//!
//! # Invariants
//!
//! 1. Within one cache, different keys have different texts: the parts of a tuple are joined by
//!    `:`, and `:` and `%` inside a part are written `%3A` and `%25`.
//! 2. A key that is one integer or one string is written plainly, so that other programs can
//!    read it.
//! 3. The text of a key never reaches `Debug`, a log line or an error.

mod buf;
mod key_for;
mod text;

#[cfg(feature = "actor")]
pub use self::text::CacheKey;
pub use self::{buf::KeyBuf, key_for::KeyFor, text::Key};
