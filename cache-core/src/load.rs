//! What a loader answers.

use std::{sync::Arc, time::Duration};

/// A loader's answer: a value or its absence, and how to cache it.
///
/// Loaders rarely name it: a `V`, an `Arc<V>` or an `Option<V>` becomes a `Load<V>` by itself.
/// Where `V` is itself an `Option`, `Ok(None)` does not say which is meant; write
/// `Ok(Load::value(None))` for the value `None`, or `Ok(Load::absent())` for "no such thing".
///
/// # Examples
///
/// ```
/// use cache_core::Load;
/// use std::time::Duration;
///
/// let short_lived = Load::value("token").with_ttl(Duration::from_secs(30));
/// let not_cached = Load::value("partial answer").no_store();
/// let unknown: Load<&str> = Load::absent();
/// # let _ = (short_lived, not_cached, unknown);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Load<V> {
    pub(crate) value: Option<Arc<V>>,
    pub(crate) keep: Keep,
}

/// How a load is to be cached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Keep {
    /// For the cache's own TTL.
    Default,
    /// For this long.
    For(Duration),
    /// Not at all.
    No,
}

impl<V> Load<V> {
    /// A value.
    pub fn value(value: V) -> Self {
        Self::from(Arc::new(value))
    }

    /// There is no such thing.
    pub const fn absent() -> Self {
        Self {
            value: None,
            keep: Keep::Default,
        }
    }

    /// Caches this answer for `ttl` instead of the cache's own TTL.
    ///
    /// A load that succeeded never fails for its TTL: one that is out of range is clamped, and
    /// zero means [`no_store`](Self::no_store). Jitter applies.
    pub fn with_ttl(self, ttl: Duration) -> Self {
        Self {
            keep: if ttl.is_zero() {
                Keep::No
            } else {
                Keep::For(ttl)
            },
            ..self
        }
    }

    /// Hands this answer to those who wait for it, without caching it.
    pub fn no_store(self) -> Self {
        Self {
            keep: Keep::No,
            ..self
        }
    }
}

impl<V> From<V> for Load<V> {
    fn from(value: V) -> Self {
        Self::value(value)
    }
}

impl<V> From<Arc<V>> for Load<V> {
    fn from(value: Arc<V>) -> Self {
        Self {
            value: Some(value),
            keep: Keep::Default,
        }
    }
}

impl<V> From<Option<V>> for Load<V> {
    fn from(value: Option<V>) -> Self {
        value.map_or_else(Self::absent, Self::value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_of_the_value_is_presence_and_an_optional_value_is_a_value() {
        assert!(Load::<u8>::from(None).value.is_none());
        let nested: Load<Option<u8>> = Load::value(None);
        assert_eq!(nested.value.as_deref(), Some(&None));
    }

    #[test]
    fn a_ttl_of_zero_means_do_not_store() {
        assert_eq!(Load::value(1).with_ttl(Duration::ZERO).keep, Keep::No);
    }
}
