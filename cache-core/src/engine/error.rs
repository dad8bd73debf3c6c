//! Why an engine or a cache could not be built.

use crate::policy::{InvalidJitter, InvalidTtl};

/// Why an engine or a cache could not be built.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A setting that must be positive is zero.
    #[error("`{setting}` is zero: give a positive value, or leave the default")]
    Zero {
        /// The setting's name.
        setting: &'static str,
    },
    /// No load may run in an outage, and callers are not to fail fast.
    #[error(
        "`max_concurrent` of `outage` is zero: give a positive value, or choose \
         `OutagePolicy::FailFast` to let no load run"
    )]
    NoOutageLoads,
    /// A duration is too long to count with.
    #[error("`{setting}` is longer than ten years: give a shorter one")]
    TooLong {
        /// The setting's name.
        setting: &'static str,
    },
    /// The lease wait is not longer than the lease hold.
    #[error(
        "`lease_wait` must be longer than `lease_hold`, or a lease whose holder died is never \
         waited out: raise `lease_wait` or lower `lease_hold`"
    )]
    LeaseWaitTooShort,
    /// No whole second fits into the longest time-to-live.
    #[error(
        "`longest_ttl` is shorter than a second, and with `compat` each time-to-live is a whole \
         number of them: raise it, or leave out `compat`"
    )]
    NoWholeSecond,
    /// A time-to-live is out of range.
    #[error("`{setting}`: {source}")]
    Ttl {
        /// The setting's name.
        setting: &'static str,
        /// What is wrong with it.
        source: InvalidTtl,
    },
    /// The cache's TTL was not set.
    #[error("`ttl` is not set: say how long entries of this cache live")]
    NoTtl,
    /// The jitter is out of range.
    #[error("`jitter`: {0}")]
    Jitter(InvalidJitter),
    /// The cache's name is empty.
    #[error("the cache's name is empty: name it, for example \"user\"")]
    EmptyName,
    /// Two caches of one engine would write under the same keys.
    #[error(
        "the key prefix `{prefix}` collides with the cache `{other}` of this engine: choose \
         another `prefix` or name"
    )]
    PrefixTaken {
        /// The rejected prefix.
        prefix: String,
        /// The name of the cache it collides with.
        other: String,
    },
    /// The prefix leaves no room for keys.
    #[error(
        "the key prefix is {length} bytes long and `max_key_len` is {limit}: shorten the prefix or \
         raise the limit"
    )]
    PrefixTooLong {
        /// The length of the prefix in bytes.
        length: usize,
        /// The engine's limit.
        limit: usize,
    },
    /// The backend keeps bytes, and the codec makes none.
    #[error(
        "the backend `{backend}` keeps encoded entries and the codec `InProcess` makes none: \
         choose another `codec` or a backend that keeps objects"
    )]
    InProcessCodec {
        /// The backend's name.
        backend: &'static str,
    },
    /// The backend is limited by bytes, and nothing can say what a value weighs.
    #[error(
        "the backend `{backend}` is limited by bytes and the codec `InProcess` cannot measure a \
         value: set `weigher`, or limit the backend by entries"
    )]
    NoWeigher {
        /// The backend's name.
        backend: &'static str,
    },
    /// The engine was to run on the current actix system, and there is none.
    #[error(
        "there is no actix system on this thread: build the engine inside one, or leave out \
         `on_current_system`"
    )]
    NoSystem,
    /// The threads of the shard actors could not be started.
    #[error(
        "the threads of the shard actors could not be started: the system may be out of threads"
    )]
    Threads,
}
