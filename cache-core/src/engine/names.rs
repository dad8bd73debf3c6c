//! The names and key prefixes that the caches of an engine use.

use std::sync::Arc;

use parking_lot::Mutex;
use tracing::warn;

use super::BuildError;

/// The prefixes in use, each with its cache's name. In order, so that which cache is named in an
/// error does not depend on chance.
#[derive(Debug)]
pub(crate) struct Names {
    claimed: Mutex<Vec<(String, String)>>,
    overlaps: Overlaps,
}

/// What is done about a prefix that begins another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Overlaps {
    Refused,
    /// For key texts that are given, as those of go-zero are.
    Logged,
}

impl Names {
    pub(super) const fn new(overlaps: Overlaps) -> Self {
        Self {
            claimed: Mutex::new(Vec::new()),
            overlaps,
        }
    }

    /// Claims `prefix` for the cache `name`.
    ///
    /// No prefix may begin another: `a:` and `a:b:` would both own the key `a:b:c`.
    pub(crate) fn claim(self: &Arc<Self>, name: &str, prefix: &str) -> Result<Name, BuildError> {
        let mut claimed = self.claimed.lock();
        let overlapping = claimed
            .iter()
            .filter(|(other, _)| other.starts_with(prefix) || prefix.starts_with(other.as_str()));
        for (other_prefix, other) in overlapping {
            match self.overlaps {
                Overlaps::Refused => {
                    return Err(BuildError::PrefixTaken {
                        prefix: prefix.to_owned(),
                        other: other.clone(),
                    });
                }
                Overlaps::Logged => warn!(
                    cache = name,
                    prefix,
                    other,
                    other_prefix,
                    "two caches may write under the same keys: see to it that no key of one is a \
                     key of the other, or that both mean the same by it"
                ),
            }
        }
        claimed.push((prefix.to_owned(), name.to_owned()));
        Ok(Name {
            names: Arc::clone(self),
            name: name.to_owned(),
            prefix: prefix.to_owned(),
        })
    }
}

/// A claimed prefix; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Name {
    names: Arc<Names>,
    name: String,
    prefix: String,
}

impl Name {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let mut claimed = self.names.claimed.lock();
        let own = claimed
            .iter()
            .position(|(prefix, name)| *prefix == self.prefix && *name == self.name);
        if let Some(own) = own {
            claimed.remove(own);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_prefix_begins_another() {
        let names = Arc::new(Names::new(Overlaps::Refused));
        let _user = names.claim("user", "user:").unwrap();
        for (prefix, free) in [
            ("user:", false),
            ("user:x:", false),
            ("us", false),
            ("users:", true),
            ("use:", true),
        ] {
            assert_eq!(names.claim("other", prefix).is_ok(), free, "{prefix}");
        }
    }

    #[test]
    fn a_dropped_claim_frees_its_prefix() {
        for overlaps in [Overlaps::Refused, Overlaps::Logged] {
            let names = Arc::new(Names::new(overlaps));
            let _order = names.claim("order", "order:").unwrap();
            drop(names.claim("user", "user:").unwrap());
            assert!(names.claim("user", "user:").is_ok());
            assert_eq!(names.claimed.lock().len(), 1, "and that alone");
        }
    }

    #[test]
    fn a_dropped_claim_leaves_its_equals() {
        let names = Arc::new(Names::new(Overlaps::Logged));
        let first = names.claim("user", "user:").unwrap();
        let _second = names.claim("user", "user:").unwrap();
        drop(first);
        assert_eq!(names.claimed.lock().len(), 1);
    }
}
