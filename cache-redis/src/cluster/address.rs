//! Where a server of a cluster is.

use std::fmt;

/// Where a server of a cluster is.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Address {
    pub(crate) fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
        }
    }

    /// Reads what a redirection says: `host:port`, with an IPv6 address as it is, and without a host
    /// where that is the one of the server that was asked.
    pub(super) fn redirected(text: &str, asked: &Self) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = if is_unknown(host) { &asked.host } else { host };
        Some(Self::new(host, port.parse().ok()?))
    }
}

/// Whether a server does not know a host, its own or another's: an old one leaves it out, one that
/// is to name hosts and has no name says `?`.
pub(super) fn is_unknown(host: &str) -> bool {
    matches!(host, "" | "?")
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirection_names_host_and_port_or_the_port_alone() {
        let asked = Address::new("asked", 1);
        for (text, expected) in [
            ("10.0.0.1:7000", Some(("10.0.0.1", 7000))),
            ("cache.internal:7000", Some(("cache.internal", 7000))),
            ("::1:7000", Some(("::1", 7000))),
            (":6381", Some(("asked", 6381))),
            ("?:6381", Some(("asked", 6381))),
            ("10.0.0.1", None),
            ("10.0.0.1:port", None),
            ("10.0.0.1:70000", None),
            ("", None),
        ] {
            let expected = expected.map(|(host, port)| Address::new(host, port));
            assert_eq!(Address::redirected(text, &asked), expected, "{text}");
        }
    }
}
