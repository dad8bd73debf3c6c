//! What a backend stores under a key.

use std::{any::Any, fmt, sync::Arc};

use bytes::Bytes;

/// A decoded value whose type only its cache knows.
pub type Object = Arc<dyn Any + Send + Sync>;

/// What is stored under a key.
#[expect(
    clippy::exhaustive_enums,
    reason = "the contract with implementors: every backend must handle all of them"
)]
#[derive(Clone)]
pub enum Entry {
    /// It is known that there is no such thing: a negative entry.
    Absent,
    /// The value as its codec wrote it.
    Encoded(Bytes),
    /// The value itself.
    Decoded {
        /// The value.
        value: Object,
        /// How many bytes it weighs; 0 unless the backend's [`Form`] asks for it.
        weight: usize,
    },
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("Absent"),
            Self::Encoded(bytes) => write!(f, "Encoded({} bytes)", bytes.len()),
            Self::Decoded { weight, .. } => write!(f, "Decoded(weight {weight})"),
        }
    }
}

/// What a backend wants to be given by [`fill`](crate::Backend::fill).
#[expect(
    clippy::exhaustive_enums,
    reason = "the contract with implementors: the core must know how to make each of them"
)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// [`Entry::Decoded`] with the weight 0.
    Object,
    /// [`Entry::Decoded`] with the value's weight in bytes.
    WeighedObject,
    /// [`Entry::Encoded`].
    Encoded,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_value() {
        let entry = Entry::Encoded(Bytes::from_static(b"secret"));
        assert_eq!(format!("{entry:?}"), "Encoded(6 bytes)");
    }
}
