//! What can be wrong when something is set up.

/// Something could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// An interval is zero.
    #[error("the interval of `{setting}` is zero: give it a time, such as one minute")]
    #[non_exhaustive]
    ZeroInterval {
        /// The method it was given to.
        setting: &'static str,
    },
    /// There is no runtime to run on.
    #[error(
        "`{setting}` needs a tokio runtime with timers and, to listen, with I/O: call it inside one"
    )]
    #[non_exhaustive]
    NoRuntime {
        /// The method that was called.
        setting: &'static str,
    },
    /// An address cannot be listened on.
    #[error(
        "cannot listen on {address}: choose an address of this machine and a port that is free"
    )]
    #[non_exhaustive]
    Bind {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Several stats that are exported together have the same engine name, or none.
    #[error(
        "two stats of one exporter have the engine name {name:?}: make each by `Stats::named` with a \
         name of its own"
    )]
    #[non_exhaustive]
    SameEngine {
        /// The name, which is empty if they have none.
        name: String,
    },
}
