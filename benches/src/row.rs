//! The ways that are compared.

use std::{fmt, str::FromStr};

/// One way to read a key. Each is given an integer and makes its key of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Row {
    /// A `GET` on a clone of a multiplexed connection of the driver: of the one to the node, or the one
    /// to the key's primary. The base.
    Raw,
    /// A `GET` by the driver's own connection to a cluster.
    Driver,
    /// `Backend::get`: what the protocol costs, without cache and engine.
    Backend,
    /// `Cache::get` of a value in JSON.
    Get,
    /// `Cache::get_or_load` of a value in JSON.
    GetOrLoad,
    /// `Cache::get_or_load` of a value that is copied and not decoded, like that of the raw `GET`.
    Bytes,
    /// A raw `GET` that finds nothing and the `SET` that follows: cache-aside without a fence.
    Aside,
    /// `Cache::get_or_load` that finds nothing, with a loader that answers at once.
    Miss,
    /// For each primary one pipeline of `GET`s, all of them at once: the base of many keys.
    RawMany,
    /// `MGET` by the driver's own connection to a cluster.
    DriverMany,
    /// `Backend::get_many`.
    BackendMany,
    /// `Cache::get_many` of values that are copied and not decoded.
    GetMany,
}

impl Row {
    /// Those that find their key.
    pub const HITS: [Self; 5] = [
        Self::Raw,
        Self::Backend,
        Self::Get,
        Self::GetOrLoad,
        Self::Bytes,
    ];

    /// Those that do not, after the base.
    pub const MISSES: [Self; 3] = [Self::Raw, Self::Aside, Self::Miss];

    /// Those that find their key in a cluster.
    pub const CLUSTER: [Self; 5] = [
        Self::Raw,
        Self::Driver,
        Self::Backend,
        Self::GetOrLoad,
        Self::Bytes,
    ];

    /// Those that find many keys at once in a cluster.
    pub const MANY: [Self; 4] = [
        Self::RawMany,
        Self::DriverMany,
        Self::BackendMany,
        Self::GetMany,
    ];

    const ALL: [Self; 12] = [
        Self::Raw,
        Self::Driver,
        Self::Backend,
        Self::Get,
        Self::GetOrLoad,
        Self::Bytes,
        Self::Aside,
        Self::Miss,
        Self::RawMany,
        Self::DriverMany,
        Self::BackendMany,
        Self::GetMany,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Driver => "driver",
            Self::Backend => "backend",
            Self::Get => "get",
            Self::GetOrLoad => "get_or_load",
            Self::Bytes => "bytes",
            Self::Aside => "aside",
            Self::Miss => "miss",
            Self::RawMany => "raw_many",
            Self::DriverMany => "driver_many",
            Self::BackendMany => "backend_many",
            Self::GetMany => "get_many",
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Raw => "raw GET",
            Self::Driver => "driver's cluster GET",
            Self::Backend => "Backend::get",
            Self::Get => "Cache::get, JSON",
            Self::GetOrLoad => "get_or_load, JSON",
            Self::Bytes => "get_or_load, bytes",
            Self::Aside => "raw GET nil + SET",
            Self::Miss => "get_or_load, a miss",
            Self::RawMany => "raw pipelines",
            Self::DriverMany => "driver's cluster MGET",
            Self::BackendMany => "Backend::get_many",
            Self::GetMany => "Cache::get_many, bytes",
        })
    }
}

impl FromStr for Row {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|row| row.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("there is no row `{name}`: there are {names}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_found_by_its_name() {
        for row in Row::ALL {
            assert_eq!(row.name().parse(), Ok(row));
        }
        let text = "put".parse::<Row>().unwrap_err();
        assert!(text.contains("get_or_load, bytes"), "{text}");
    }
}
