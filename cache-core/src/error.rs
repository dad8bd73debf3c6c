//! The one error of the cache, classified by what its receiver can do about it.

use std::{error::Error as StdError, fmt, sync::Arc};

/// Any error that can travel between threads: what loaders and codecs fail with.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// What went wrong, in terms a caller can act on.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ErrorKind {
    /// The loader answered an error; [`Error::loader_error`] has it.
    Loader,
    /// The loader panicked.
    Panicked,
    /// The loader took longer than the engine's load timeout.
    LoadTimeout,
    /// The loader asked, directly or through others, for the key it was loading.
    Recursive,
    /// Too many callers are waiting already, or too many loads run while the backend does not answer
    /// or the keys are not read; nothing was done.
    Overloaded,
    /// The backend did not answer, or not in time: the command may still take effect. Or the key is
    /// not read, because its removal is not confirmed yet.
    Unavailable,
    /// The load vanished with its runtime, and nobody else had a loader left.
    Abandoned,
    /// A miss outside any tokio runtime: there is nowhere to run the loader.
    NoRuntime,
    /// An argument the cache can never accept, for example a key that is too long.
    InvalidInput,
    /// The store, or the codec, will never accept this value.
    Rejected,
    /// The engine was shut down.
    Shutdown,
}

impl ErrorKind {
    /// Every kind, in the order of their declaration.
    pub const ALL: [Self; 11] = [
        Self::Loader,
        Self::Panicked,
        Self::LoadTimeout,
        Self::Recursive,
        Self::Overloaded,
        Self::Unavailable,
        Self::Abandoned,
        Self::NoRuntime,
        Self::InvalidInput,
        Self::Rejected,
        Self::Shutdown,
    ];

    /// A stable name, for metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loader => "loader",
            Self::Panicked => "panicked",
            Self::LoadTimeout => "load_timeout",
            Self::Recursive => "recursive",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
            Self::Abandoned => "abandoned",
            Self::NoRuntime => "no_runtime",
            Self::InvalidInput => "invalid_input",
            Self::Rejected => "rejected",
            Self::Shutdown => "shutdown",
        }
    }

    /// Whether repeating the same call may succeed without a change outside.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        match self {
            Self::Loader
            | Self::LoadTimeout
            | Self::Overloaded
            | Self::Unavailable
            | Self::Abandoned => true,
            Self::Panicked
            | Self::Recursive
            | Self::NoRuntime
            | Self::InvalidInput
            | Self::Rejected
            | Self::Shutdown => false,
        }
    }
}

/// An error of a cache or of its backend.
///
/// Cloning is one reference-count increment, so that one failed load can be handed to every
/// caller that waited for it.
///
/// # Formatting
///
/// [`Display`](fmt::Display) prints this level only, and never a key or a value; walk
/// [`source`](StdError::source) for the cause.
#[derive(Clone, Debug)]
pub struct Error {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    text: &'static str,
    source: Option<BoxError>,
}

impl Error {
    /// Makes an error of `kind`. `text` says what happened and, where there is one, the remedy.
    #[must_use]
    pub fn new(kind: ErrorKind, text: &'static str) -> Self {
        Self::build(kind, text, None)
    }

    /// Makes an error of `kind` that was caused by `source`.
    #[must_use]
    pub fn with_source(kind: ErrorKind, text: &'static str, source: impl Into<BoxError>) -> Self {
        Self::build(kind, text, Some(source.into()))
    }

    fn build(kind: ErrorKind, text: &'static str, source: Option<BoxError>) -> Self {
        Self {
            inner: Arc::new(Inner { kind, text, source }),
        }
    }

    /// What went wrong, in terms a caller can act on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The loader's own error, if this is one and its type is `E`.
    ///
    /// Looks through the whole chain of sources, so a loader's error that wraps an `E` is found
    /// too. An `anyhow::Error` keeps its inner error reachable when the loader converts it with
    /// `anyhow::Error::reallocate_into_boxed_dyn_error_without_backtrace`.
    ///
    /// # Examples
    ///
    /// ```
    /// use cache_core::{Error, ErrorKind};
    ///
    /// let err = Error::with_source(ErrorKind::Loader, "the loader failed", std::fmt::Error);
    ///
    /// assert_eq!(err.loader_error::<std::fmt::Error>(), Some(&std::fmt::Error));
    /// assert!(err.loader_error::<std::io::Error>().is_none());
    /// ```
    #[must_use]
    pub fn loader_error<E: StdError + 'static>(&self) -> Option<&E> {
        let mut cause = self.source();
        while let Some(error) = cause {
            if let Some(found) = error.downcast_ref::<E>() {
                return Some(found);
            }
            cause = error.source();
        }
        None
    }
}

#[cfg(feature = "actor")]
impl Error {
    /// What [`Display`](fmt::Display) prints.
    pub(crate) fn text(&self) -> &'static str {
        self.inner.text
    }

    /// Whether the backend that failed a call like this did not answer.
    ///
    /// If it [rejected](ErrorKind::Rejected) the call it did, and if it can never accept its
    /// [input](ErrorKind::InvalidInput); if there was [no runtime](ErrorKind::NoRuntime) to await it
    /// on, it was not asked.
    pub(crate) fn is_silence(&self) -> bool {
        self.is_witness() && self.kind() != ErrorKind::Rejected
    }

    /// Whether a read that failed like this is one that the backend can answer at other times.
    ///
    /// A read that is [rejected](ErrorKind::Rejected), for want of a permission perhaps, will be
    /// for other keys as well. It is not so for a key that the backend can
    /// [never](ErrorKind::InvalidInput) accept.
    pub(crate) fn is_witness(&self) -> bool {
        !matches!(self.kind(), ErrorKind::InvalidInput | ErrorKind::NoRuntime)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.inner.text)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.inner.source {
            Some(source) => Some(source.as_ref()),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] fmt::Error);

    #[test]
    fn the_loaders_error_is_found_below_others() {
        let err = Error::with_source(ErrorKind::Loader, "the loader failed", Outer(fmt::Error));

        assert!(err.loader_error::<Outer>().is_some());
        assert_eq!(err.loader_error::<fmt::Error>(), Some(&fmt::Error));
        assert_eq!(err.to_string(), "the loader failed", "one level only");
    }

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        let mut names: Vec<_> = ErrorKind::ALL.iter().map(|kind| kind.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ErrorKind::ALL.len());
    }

    #[test]
    fn errors_travel_between_threads() {
        fn travels<T: Send + Sync + Clone + 'static>() {}
        travels::<Error>();
    }
}
