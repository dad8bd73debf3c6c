//! Why a command was not answered.

use cache_core::Error;
use redis::RedisError;

use crate::error::Fault;

/// Why a command was not answered.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub(crate) fault: Fault,
    cause: Option<RedisError>,
}

impl Failed {
    /// Where the key is, `host:port`, if the server said so.
    pub(crate) fn redirection(&self) -> Option<&str> {
        let (address, _slot) = self.cause.as_ref()?.redirect_node()?;
        Some(address)
    }
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self { fault, cause: None }
    }
}

impl From<RedisError> for Failed {
    fn from(error: RedisError) -> Self {
        Self {
            fault: Fault::of(&error),
            cause: Some(error),
        }
    }
}

impl From<Failed> for Error {
    fn from(Failed { fault, cause }: Failed) -> Self {
        match cause {
            Some(cause) => fault.error_from(&cause),
            None => fault.error(),
        }
    }
}
