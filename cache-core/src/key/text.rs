//! Owned key texts.

use std::{borrow::Borrow, fmt, sync::Arc};

/// The text under which an entry is stored: prefix and key.
///
/// Cloning is one reference-count increment. Hashes and compares like its bytes, so that a map
/// of `Key`s can be asked with a `&[u8]`.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key(Arc<[u8]>);

impl Key {
    /// Copies `text`.
    #[must_use]
    pub fn new(text: &[u8]) -> Self {
        Self(text.into())
    }

    /// The bytes of the text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("len", &self.0.len())
            .finish_non_exhaustive()
    }
}

/// One key of one cache, for [`Engine::invalidate`](crate::Engine::invalidate).
///
/// Made by [`Cache::key`](crate::Cache::key). A key that is longer than the engine's limit is
/// kept as such: nothing can be stored under it, so invalidating it is done at once.
#[cfg(feature = "actor")]
#[derive(Clone, Debug)]
pub struct CacheKey(pub(crate) Option<Key>);

#[cfg(all(test, feature = "actor"))]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_text() {
        assert!(!format!("{:?}", CacheKey(Some(Key::new(b"secret")))).contains("secret"));
    }
}
