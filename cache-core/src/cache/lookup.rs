//! What a cache answers.

use std::sync::Arc;

/// The answer to [`Cache::get`](crate::Cache::get), which does not load.
#[expect(
    clippy::exhaustive_enums,
    reason = "three answers by definition; callers must handle all"
)]
#[derive(Debug, Eq, PartialEq)]
pub enum Lookup<V> {
    /// The value is in the cache.
    Value(Arc<V>),
    /// The cache knows that there is no such thing.
    Absent,
    /// The cache knows nothing.
    Miss,
}

impl<V> Lookup<V> {
    /// The value, if there is one.
    #[must_use]
    pub fn value(self) -> Option<Arc<V>> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Miss => None,
        }
    }
}

impl<V> Clone for Lookup<V> {
    fn clone(&self) -> Self {
        match self {
            Self::Value(value) => Self::Value(Arc::clone(value)),
            Self::Absent => Self::Absent,
            Self::Miss => Self::Miss,
        }
    }
}

/// The answer to [`Cache::put`](crate::Cache::put).
#[expect(
    clippy::exhaustive_enums,
    reason = "two answers by definition; callers must handle both"
)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Put {
    /// The value was stored.
    Stored,
    /// Another write or invalidation of the key met this one: the key is left to the next load.
    Superseded,
}
