//! What went wrong between this process and a server, classified once.

use std::fmt;

use cache_core::{Error, ErrorKind};
use redis::{ErrorKind as RedisKind, RedisError, ServerErrorKind};

use crate::breaker::Failure;

/// What went wrong with a command, in terms of what is to be done about it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// The deadline passed. The command may have run, or may run yet.
    TimedOut,
    /// The connection broke. The command may have run.
    Broken,
    /// Nothing was sent: there is no connection, or the breaker is open.
    Away,
    /// Nothing was sent: too many reads wait already.
    Crowded,
    /// The server is no primary, or has none: reads of it would be old.
    NotPrimary,
    /// The server is not ready yet, or its cluster is not.
    NotReady,
    /// The key's slot belongs to another server. The command did not run.
    Moved,
    /// The key is where its slot is moving to. The command did not run.
    Asked,
    /// The command's keys are on both sides of a slot that is moving. It did not run.
    Torn,
    /// The server answers, and refuses to write for now.
    NoWrites,
    /// This user may not do this.
    Denied,
    /// The server asks who this is: the connection lost its login.
    LoggedOut,
    /// The server does not know the script. It did not run.
    NoScript,
    /// What is stored there is no string.
    WrongType,
    /// The server answered something that makes no sense here.
    Unexpected,
}

impl Fault {
    /// Classifies an error of the driver.
    pub(crate) fn of(error: &RedisError) -> Self {
        match error.kind() {
            RedisKind::Io | RedisKind::Parse => Self::Broken,
            RedisKind::AuthenticationFailed => Self::Denied,
            RedisKind::Server(kind) => Self::of_server(kind),
            _ => Self::of_code(error.code().unwrap_or_default()),
        }
    }

    fn of_server(kind: ServerErrorKind) -> Self {
        match kind {
            ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown => Self::NotPrimary,
            ServerErrorKind::BusyLoading | ServerErrorKind::ClusterDown => Self::NotReady,
            ServerErrorKind::Moved => Self::Moved,
            ServerErrorKind::Ask => Self::Asked,
            ServerErrorKind::TryAgain => Self::Torn,
            ServerErrorKind::NoScript => Self::NoScript,
            ServerErrorKind::NoPerm => Self::Denied,
            _ => Self::Unexpected,
        }
    }

    /// Classifies by the first word of an answer that the driver has no kind for.
    fn of_code(code: &str) -> Self {
        match code {
            "OOM" | "MISCONF" | "NOREPLICAS" => Self::NoWrites,
            "BUSY" => Self::NotReady,
            "WRONGTYPE" => Self::WrongType,
            "WRONGPASS" => Self::Denied,
            "NOAUTH" => Self::LoggedOut,
            _ => Self::Unexpected,
        }
    }

    /// What it says is wrong with the node, if anything.
    pub(crate) fn failure(self) -> Option<Failure> {
        match self {
            Self::TimedOut | Self::Broken | Self::NotPrimary | Self::NotReady | Self::LoggedOut => {
                Some(Failure::Failed)
            }
            Self::Away
            | Self::Crowded
            | Self::Moved
            | Self::Asked
            | Self::Torn
            | Self::NoWrites
            | Self::Denied
            | Self::NoScript
            | Self::WrongType
            | Self::Unexpected => None,
        }
    }

    /// Whether the key is on another server of the cluster.
    pub(crate) fn is_elsewhere(self) -> bool {
        matches!(self, Self::Moved | Self::Asked)
    }

    /// Whether the connection is no good any more.
    pub(crate) fn replaces_lane(self) -> bool {
        matches!(self, Self::Broken | Self::NotPrimary | Self::LoggedOut)
    }

    fn kind(self) -> ErrorKind {
        match self {
            Self::TimedOut
            | Self::Broken
            | Self::Away
            | Self::Crowded
            | Self::NotPrimary
            | Self::NotReady
            | Self::Moved
            | Self::Asked
            | Self::Torn
            | Self::LoggedOut => ErrorKind::Unavailable,
            Self::NoWrites | Self::Denied | Self::NoScript | Self::WrongType | Self::Unexpected => {
                ErrorKind::Rejected
            }
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::TimedOut => {
                "redis did not answer within the deadline of `read_timeout` or `write_timeout`"
            }
            Self::Broken => "the connection to redis broke",
            Self::Away => {
                "redis is away: there is no connection, or it stopped answering a moment ago"
            }
            Self::Crowded => "too many reads of redis wait already",
            Self::NotPrimary => "the redis server is a replica: point `host` at the primary",
            Self::NotReady => "the redis server is not ready to serve",
            Self::Moved | Self::Asked => {
                "the key is on another server of a redis cluster: set `type: cluster`, unless it is just moving"
            }
            Self::Torn => "the slot of the key is moving to another server of the redis cluster",
            Self::NoWrites => {
                "redis refuses to write: look at its memory limit, its disk and its replicas"
            }
            Self::Denied => {
                "the redis user may not do this: see the permissions in the documentation of `cache-redis`"
            }
            Self::LoggedOut => "redis asks for a login anew",
            Self::NoScript => "redis forgets scripts as soon as it was given them",
            Self::WrongType => "another type of value is stored in redis where a lease belongs",
            Self::Unexpected => "redis answered what makes no sense here",
        }
    }

    /// The error for the core.
    pub(crate) fn error(self) -> Error {
        Error::new(self.kind(), self.text())
    }

    /// The error for the core, with what the driver said as its cause.
    pub(crate) fn error_from(self, error: &RedisError) -> Error {
        Error::with_source(self.kind(), self.text(), Cause::of(error))
    }
}

/// What the driver said, less what may quote a command: a server that does not know a command
/// repeats its arguments, which are keys and values.
#[derive(Debug)]
pub(crate) enum Cause {
    /// The first word of the server's answer.
    Server(String),
    /// An error of the connection.
    Io(String),
    /// Another error, made on this side.
    Driver(String),
}

impl Cause {
    pub(crate) fn of(error: &RedisError) -> Self {
        if let Some(code) = error.code() {
            return Self::Server(code.to_owned());
        }
        if error.is_io_error() {
            // Words of the operating system or of TLS, which know nothing of commands.
            return Self::Io(error.to_string());
        }
        Self::Driver(error.category().to_owned())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(code) => write!(f, "the server answered {code}"),
            Self::Io(text) | Self::Driver(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Cause {}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// The error that the driver makes of this line of the server's.
    fn server(line: &str) -> RedisError {
        let reply = format!("-{line}\r\n");
        let value = redis::parse_redis_value(reply.as_bytes()).unwrap();
        value.extract_error().unwrap_err()
    }

    fn io(kind: io::ErrorKind) -> RedisError {
        RedisError::from(io::Error::from(kind))
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one table")]
    fn each_error_of_the_driver_has_its_class() {
        for (error, fault, kind) in [
            // The kernel gave the connection up: the deadlines of commands are not the driver's.
            (
                io(io::ErrorKind::TimedOut),
                Fault::Broken,
                ErrorKind::Unavailable,
            ),
            (
                io(io::ErrorKind::BrokenPipe),
                Fault::Broken,
                ErrorKind::Unavailable,
            ),
            (
                io(io::ErrorKind::ConnectionRefused),
                Fault::Broken,
                ErrorKind::Unavailable,
            ),
            (
                io(io::ErrorKind::Other),
                Fault::Broken,
                ErrorKind::Unavailable,
            ),
            (
                server("READONLY You can't write"),
                Fault::NotPrimary,
                ErrorKind::Unavailable,
            ),
            (
                server("MASTERDOWN Link with MASTER"),
                Fault::NotPrimary,
                ErrorKind::Unavailable,
            ),
            (
                server("LOADING Redis is loading"),
                Fault::NotReady,
                ErrorKind::Unavailable,
            ),
            (
                server("CLUSTERDOWN The cluster"),
                Fault::NotReady,
                ErrorKind::Unavailable,
            ),
            (
                server("TRYAGAIN Multiple keys"),
                Fault::Torn,
                ErrorKind::Unavailable,
            ),
            (
                server("MOVED 12182 127.0.0.1:7403"),
                Fault::Moved,
                ErrorKind::Unavailable,
            ),
            (
                server("ASK 12182 127.0.0.1:7403"),
                Fault::Asked,
                ErrorKind::Unavailable,
            ),
            (
                server("BUSY Redis is busy"),
                Fault::NotReady,
                ErrorKind::Unavailable,
            ),
            (
                server("NOAUTH Authentication"),
                Fault::LoggedOut,
                ErrorKind::Unavailable,
            ),
            (
                server("OOM command not allowed"),
                Fault::NoWrites,
                ErrorKind::Rejected,
            ),
            (
                server("MISCONF Redis is configured"),
                Fault::NoWrites,
                ErrorKind::Rejected,
            ),
            (
                server("NOREPLICAS Not enough"),
                Fault::NoWrites,
                ErrorKind::Rejected,
            ),
            (
                server("NOPERM this user"),
                Fault::Denied,
                ErrorKind::Rejected,
            ),
            (
                server("WRONGPASS invalid"),
                Fault::Denied,
                ErrorKind::Rejected,
            ),
            (
                server("NOSCRIPT No matching"),
                Fault::NoScript,
                ErrorKind::Rejected,
            ),
            (
                server("WRONGTYPE Operation"),
                Fault::WrongType,
                ErrorKind::Rejected,
            ),
            (
                server("ERR unknown command"),
                Fault::Unexpected,
                ErrorKind::Rejected,
            ),
            (
                server("SOMETHING new"),
                Fault::Unexpected,
                ErrorKind::Rejected,
            ),
        ] {
            assert_eq!(Fault::of(&error), fault, "{error}");
            assert_eq!(Fault::of(&error).error().kind(), kind, "{error}");
        }
    }

    #[test]
    fn what_breaks_a_connection_or_says_it_is_the_wrong_one_replaces_the_lane() {
        for (fault, replaces) in [
            (Fault::Broken, true),
            (Fault::NotPrimary, true),
            (Fault::LoggedOut, true),
            (Fault::TimedOut, false),
            (Fault::NotReady, false),
            (Fault::Moved, false),
            (Fault::Torn, false),
            (Fault::NoWrites, false),
            (Fault::Denied, false),
        ] {
            assert_eq!(fault.replaces_lane(), replaces, "{fault:?}");
        }
    }

    #[test]
    fn no_key_and_no_value_gets_into_an_error() {
        let line = "ERR unknown command 'GET', with args beginning with: 'user:secret' 'value'";
        let error = Fault::Unexpected.error_from(&server(line));
        let mut shown = format!("{error} {error:?}");
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            shown += &format!("{cause} {cause:?}");
            source = cause.source();
        }
        assert!(shown.contains("ERR"), "{shown}");
        assert!(
            !shown.contains("secret") && !shown.contains("'value'"),
            "{shown}"
        );
    }
}
