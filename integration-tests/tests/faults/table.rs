//! What goes wrong, where, and what is expected of it: plain data, and the words for it.

use std::{fmt, time::Duration};

use cache_core::ErrorKind;

use self::Fault as F;

/// What a cache runs on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    Node,
    Cluster,
    Ring,
}

impl Place {
    pub(crate) const ALL: [Self; 3] = [Self::Node, Self::Cluster, Self::Ring];

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Cluster => "cluster",
            Self::Ring => "ring",
        }
    }

    pub(crate) fn made_of(self) -> &'static str {
        match self {
            Self::Node => "one server",
            Self::Cluster => {
                "three primaries; where one is to fail over, each with a replica, and else none"
            }
            Self::Ring => "two servers",
        }
    }

    /// The order in which callers come: on the ring a write finds out, elsewhere a read.
    pub(crate) fn order(self) -> [Operation; 4] {
        let mut order = Operation::ALL;
        if self == Self::Ring {
            order.reverse();
        }
        order
    }

    /// How soon after the fault has ended all is as before. Ten times what it should take; a
    /// primary of a cluster that comes back waits two seconds before it serves.
    pub(crate) fn well_again(self) -> Duration {
        match self {
            Self::Node | Self::Ring => Duration::from_secs(10),
            Self::Cluster => Duration::from_secs(20),
        }
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    Killed,
    Restarted,
    Paused,
    CutOff,
    Slow,
    HalfOpen,
    FailedOver,
    OutOfMemory,
    BecameReplica,
    RefusesWrites,
    ScriptsFlushed,
    DataFlushed,
    PasswordChanged,
    Rubbish,
    ClockJump,
}

impl Fault {
    pub(crate) const ALL: [Self; 15] = [
        Self::Killed,
        Self::Restarted,
        Self::Paused,
        Self::CutOff,
        Self::Slow,
        Self::HalfOpen,
        Self::FailedOver,
        Self::OutOfMemory,
        Self::BecameReplica,
        Self::RefusesWrites,
        Self::ScriptsFlushed,
        Self::DataFlushed,
        Self::PasswordChanged,
        Self::Rubbish,
        Self::ClockJump,
    ];

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Restarted => "restarted, empty",
            Self::Paused => "paused",
            Self::CutOff => "cut off from the client",
            Self::Slow => "slow",
            Self::HalfOpen => "half-open connection",
            Self::FailedOver => "failed over",
            Self::OutOfMemory => "out of memory",
            Self::BecameReplica => "read-only: a replica",
            Self::RefusesWrites => "read-only: refuses writes",
            Self::ScriptsFlushed => "scripts flushed",
            Self::DataFlushed => "data flushed",
            Self::PasswordChanged => "password changed",
            Self::Rubbish => "rubbish values",
            Self::ClockJump => "clock jump of the client",
        }
    }

    pub(crate) fn begins(self) -> &'static str {
        match self {
            Self::Killed => "`kill -9`",
            Self::Restarted => {
                "`kill -9`, a start without data, and the client is connected again; until it is, it is as killed"
            }
            Self::Paused => "`SIGSTOP`: its sockets look alive",
            Self::CutOff => {
                "the client's connections are closed and new ones are refused; others are served"
            }
            Self::Slow => "replies are late by up to 120 ms",
            Self::HalfOpen => {
                "the open connections lose all that is sent, and nobody says so; new ones are refused; others are served"
            }
            Self::FailedOver => "a primary is killed",
            Self::OutOfMemory => "`maxmemory 1`, `noeviction`",
            Self::BecameReplica => "`REPLICAOF` a server that is not there",
            Self::RefusesWrites => "`min-replicas-to-write 1` without a replica",
            Self::ScriptsFlushed => "`SCRIPT FLUSH`",
            Self::DataFlushed => "`FLUSHALL`",
            Self::PasswordChanged => {
                "the user gets another password, which open connections do not notice, and then these are closed"
            }
            Self::Rubbish => "a list, a hash or bytes that do not decode take the values' places",
            Self::ClockJump => {
                "the client's clock is two hours later at once, which is beyond the TTL of all"
            }
        }
    }

    pub(crate) fn ends(self) -> &'static str {
        match self {
            Self::Killed => "it is started again, empty",
            Self::Paused => "`SIGCONT`",
            Self::CutOff => "connections are accepted again",
            Self::Slow => "no delay",
            Self::HalfOpen => "connections are accepted again; the old ones stay as they are",
            Self::FailedOver => "its replica has taken its place",
            Self::OutOfMemory => "`maxmemory 0`",
            Self::BecameReplica => "`REPLICAOF NO ONE`",
            Self::RefusesWrites => "`min-replicas-to-write 0`",
            Self::PasswordChanged => "it gets the old one back",
            Self::Restarted
            | Self::ScriptsFlushed
            | Self::DataFlushed
            | Self::Rubbish
            | Self::ClockJump => "by itself",
        }
    }

    /// Whether only this client is concerned: others are served all the time.
    pub(crate) fn is_of_the_client(self) -> bool {
        matches!(
            self,
            Self::CutOff | Self::Slow | Self::HalfOpen | Self::ClockJump
        )
    }
}

/// What `get` answers about a value that was cached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Read {
    Hit,
    Miss,
    Failed(ErrorKind),
}

impl fmt::Display for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hit => f.write_str("hit"),
            Self::Miss => f.write_str("miss"),
            Self::Failed(kind) => write!(f, "`{kind:?}`"),
        }
    }
}

/// What becomes of the load of a key that was not cached. Its caller is answered with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Load {
    Stored,
    NotStored,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stored => "loads, stored",
            Self::NotStored => "loads, not stored",
        })
    }
}

/// What `invalidate` answers about a value that was cached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Invalidated {
    Done,
    Queued,
}

impl fmt::Display for Invalidated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self:?}`")
    }
}

/// What `put` answers about a key whose value was cached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Written {
    Stored,
    Failed(ErrorKind),
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stored => f.write_str("`Stored`"),
            Self::Failed(kind) => write!(f, "`{kind:?}`"),
        }
    }
}

/// What the first `get` finds after the fault of a value that was cached before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cached {
    Kept,
    Gone,
}

impl fmt::Display for Cached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kept => "hit",
            Self::Gone => "miss",
        })
    }
}

/// What is expected of one fault at one place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Expected {
    pub(crate) read: Read,
    pub(crate) load: Load,
    pub(crate) invalidate: Invalidated,
    pub(crate) put: Written,
    /// After the fault.
    pub(crate) cached: Cached,
}

/// Nothing is to be seen of it.
const NOTHING: Expected = Expected {
    read: Read::Hit,
    load: Load::Stored,
    invalidate: Invalidated::Done,
    put: Written::Stored,
    cached: Cached::Kept,
};

/// The server does not answer.
const OUTAGE: Expected = Expected {
    read: Read::Failed(ErrorKind::Unavailable),
    load: Load::NotStored,
    invalidate: Invalidated::Queued,
    put: Written::Failed(ErrorKind::Unavailable),
    cached: Cached::Kept,
};

/// The server has lost what it had.
const EMPTY: Expected = Expected {
    read: Read::Miss,
    cached: Cached::Gone,
    ..NOTHING
};

/// What is expected, or why the fault cannot be there.
pub(crate) fn expected(place: Place, fault: Fault) -> Result<Expected, &'static str> {
    Ok(match (fault, place) {
        (F::FailedOver, Place::Node) => {
            return Err("a server alone has nobody who takes its place; one behind sentinels has");
        }
        (F::FailedOver, Place::Ring) => {
            return Err(
                "servers of a ring know nothing of each other; an entry that is a cluster is as one",
            );
        }
        (F::BecameReplica, Place::Cluster) => {
            return Err("a primary of a cluster becomes a replica only by a failover");
        }
        (F::Killed, _) => Expected {
            cached: Cached::Gone,
            ..OUTAGE
        },
        // The replica has what its primary had.
        (F::Paused | F::CutOff | F::HalfOpen | F::PasswordChanged | F::FailedOver, _) => OUTAGE,
        (F::Restarted | F::DataFlushed | F::Rubbish, _) => EMPTY,
        (F::Slow | F::ScriptsFlushed | F::ClockJump, _) => NOTHING,
        (F::OutOfMemory, _) => Expected {
            load: Load::NotStored,
            put: Written::Failed(ErrorKind::Rejected),
            ..NOTHING
        },
        // The first write finds out, which is the load; from then on nothing is read there either.
        (F::BecameReplica, Place::Node) => Expected {
            read: Read::Hit,
            ..OUTAGE
        },
        (F::BecameReplica, Place::Ring) => OUTAGE,
        (F::RefusesWrites, _) => Expected {
            load: Load::NotStored,
            invalidate: Invalidated::Queued,
            put: Written::Failed(ErrorKind::Rejected),
            ..NOTHING
        },
    })
}

/// What a caller does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Operation {
    Read,
    Load,
    Invalidate,
    Put,
}

impl Operation {
    pub(crate) const ALL: [Self; 4] = [Self::Read, Self::Load, Self::Invalidate, Self::Put];

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Read => "read: `get` of a cached key",
            Self::Load => "load: `get_or_load` of one that is not cached",
            Self::Invalidate => "invalidate: of a cached key",
            Self::Put => "put: of a cached key",
        }
    }

    /// What it should take at most, as the defaults are: a load is a read and a write, a put is two
    /// writes.
    pub(crate) fn deadline(self) -> Duration {
        Duration::from_millis(match self {
            Self::Read => 250,
            Self::Load => 750,
            Self::Invalidate => 500,
            Self::Put => 1_000,
        })
    }

    /// What tells an answer from a call that hangs.
    pub(crate) fn ceiling(self) -> Duration {
        self.deadline() * 10
    }
}

/// By default every fault is tried on the node, and these besides.
const BESIDES: [(Place, Fault); 7] = [
    (Place::Cluster, F::Killed),
    (Place::Cluster, F::CutOff),
    (Place::Cluster, F::FailedOver),
    (Place::Cluster, F::RefusesWrites),
    (Place::Ring, F::Killed),
    (Place::Ring, F::HalfOpen),
    (Place::Ring, F::PasswordChanged),
];

pub(crate) fn is_default(place: Place, fault: Fault) -> bool {
    place == Place::Node || BESIDES.contains(&(place, fault))
}
