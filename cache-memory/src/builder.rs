//! How a [`Memory`] is made.

use std::sync::Arc;

use cache_core::Form;

use crate::{
    Clock, Memory, SystemClock,
    store::Store,
    weight::{Limit, OVERHEAD},
};

/// Builder for [`Memory`].
///
/// Setters only record; every check happens in [`build`](Self::build).
///
/// | setting | default |
/// |---|---|
/// | [`max_entries`](Self::max_entries) or [`max_bytes`](Self::max_bytes) | none: exactly one must be set |
/// | [`keep_encoded`](Self::keep_encoded) | off: values are kept as the objects they are |
/// | [`clock`](Self::clock) | [`SystemClock`] |
///
/// # Examples
///
/// ```
/// use cache_memory::{BuildError, Memory};
///
/// let memory = Memory::builder().max_bytes(64 * 1024 * 1024).build()?;
/// assert_eq!(memory.size_bytes(), Some(0));
///
/// assert_eq!(Memory::builder().build().unwrap_err(), BuildError::NoLimit);
/// # Ok::<(), BuildError>(())
/// ```
#[must_use = "a builder does nothing until `build` is called"]
#[derive(Clone, Debug)]
pub struct MemoryBuilder {
    max_entries: Option<u64>,
    max_bytes: Option<u64>,
    keep_encoded: bool,
    clock: Arc<dyn Clock>,
}

impl MemoryBuilder {
    pub(crate) fn new() -> Self {
        Self {
            max_entries: None,
            max_bytes: None,
            keep_encoded: false,
            clock: Arc::new(SystemClock),
        }
    }

    /// Limits the store to so many entries, whatever their size. No default: this or
    /// [`max_bytes`](Self::max_bytes) must be set.
    pub fn max_entries(self, max_entries: u64) -> Self {
        Self {
            max_entries: Some(max_entries),
            ..self
        }
    }

    /// Limits the store to so many bytes. No default: this or
    /// [`max_entries`](Self::max_entries) must be set.
    ///
    /// An entry counts with its key, its value (as its cache's weigher says, or else its encoded
    /// length), and 400 bytes for what is kept around it. On top of the limit come about
    /// 150 KiB that any store needs, and what has been removed and is freed a little later. From
    /// 4 MiB up that stays within a fifth of the limit.
    ///
    /// An entry that alone is heavier than the limit, or than 4 GiB, is
    /// [`Rejected`](cache_core::ErrorKind::Rejected).
    pub fn max_bytes(self, max_bytes: u64) -> Self {
        Self {
            max_bytes: Some(max_bytes),
            ..self
        }
    }

    /// Keeps values as their codec's bytes instead of as objects, so that a test with this store
    /// exercises the codec too. Default: off.
    pub fn keep_encoded(self) -> Self {
        Self {
            keep_encoded: true,
            ..self
        }
    }

    /// Sets what decides when entries and leases are over. Default: [`SystemClock`].
    pub fn clock(self, clock: impl Clock) -> Self {
        Self {
            clock: Arc::new(clock),
            ..self
        }
    }

    /// Makes the store.
    ///
    /// # Errors
    ///
    /// [`BuildError`] unless exactly one limit is set, and large enough for an entry.
    pub fn build(self) -> Result<Memory, BuildError> {
        let limit = match (self.max_entries, self.max_bytes) {
            (None, None) => return Err(BuildError::NoLimit),
            (Some(_), Some(_)) => return Err(BuildError::TwoLimits),
            (Some(0), None) => return Err(BuildError::NoEntries),
            (Some(max_entries), None) => Limit::Entries(max_entries),
            (None, Some(max_bytes)) if max_bytes <= OVERHEAD => {
                return Err(BuildError::TooFewBytes {
                    max_bytes,
                    overhead: OVERHEAD,
                });
            }
            (None, Some(max_bytes)) => Limit::Bytes(max_bytes),
        };
        let form = match (self.keep_encoded, limit) {
            (true, _) => Form::Encoded,
            (false, Limit::Entries(_)) => Form::Object,
            (false, Limit::Bytes(_)) => Form::WeighedObject,
        };
        Ok(Memory::new(Store::new(limit, self.clock), form))
    }
}

/// Why a [`Memory`] could not be built.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BuildError {
    /// Neither limit is set.
    #[error("the memory has no limit: set `max_entries` or `max_bytes`")]
    NoLimit,
    /// Both limits are set.
    #[error("the memory has two limits: set `max_entries` or `max_bytes`, not both")]
    TwoLimits,
    /// The limit is no entry at all.
    #[error("`max_entries` is 0, so that nothing could be stored: set at least 1")]
    NoEntries,
    /// The limit is too small for any entry.
    #[error(
        "`max_bytes` is {max_bytes}, so that nothing could be stored: an entry takes {overhead} \
         bytes besides its key and its value, set more than that"
    )]
    TooFewBytes {
        /// The rejected limit.
        max_bytes: u64,
        /// What an entry takes besides its key and its value.
        overhead: u64,
    },
}

#[cfg(test)]
mod tests {
    use cache_core::Backend;

    use super::*;

    fn builder() -> MemoryBuilder {
        Memory::builder()
    }

    fn error(builder: MemoryBuilder) -> String {
        builder.build().unwrap_err().to_string()
    }

    #[test]
    fn exactly_one_limit_is_required() {
        assert_eq!(
            error(builder()),
            "the memory has no limit: set `max_entries` or `max_bytes`"
        );
        assert_eq!(
            error(builder().max_entries(1).max_bytes(1 << 20)),
            "the memory has two limits: set `max_entries` or `max_bytes`, not both"
        );
        builder().max_entries(1).build().expect("one limit");
        builder().max_bytes(1 << 20).build().expect("one limit");
    }

    #[test]
    fn a_limit_under_which_nothing_could_be_stored_is_refused() {
        assert!(error(builder().max_entries(0)).contains("`max_entries` is 0"));
        assert!(error(builder().max_bytes(0)).contains("`max_bytes` is 0"));
        assert_eq!(
            builder().max_bytes(OVERHEAD).build().unwrap_err(),
            BuildError::TooFewBytes {
                max_bytes: OVERHEAD,
                overhead: OVERHEAD
            }
        );
        builder()
            .max_bytes(OVERHEAD + 1)
            .build()
            .expect("an entry of one byte fits");
    }

    #[test]
    fn the_form_follows_from_the_limit_and_the_switch() {
        let form = |builder: MemoryBuilder| builder.build().unwrap().form();
        assert_eq!(form(builder().max_entries(1)), Form::Object);
        assert_eq!(form(builder().max_bytes(1 << 20)), Form::WeighedObject);
        assert_eq!(form(builder().max_entries(1).keep_encoded()), Form::Encoded);
        assert_eq!(
            form(builder().max_bytes(1 << 20).keep_encoded()),
            Form::Encoded
        );
    }
}
