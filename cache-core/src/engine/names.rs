//! The names and key prefixes that the caches of an engine use.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

use super::BuildError;

/// The prefixes in use, each with its cache's name.
#[derive(Debug, Default)]
pub(crate) struct Names {
    by_prefix: Mutex<BTreeMap<String, String>>,
}

impl Names {
    /// Claims `prefix` for the cache `name`.
    ///
    /// No prefix may begin another: `a:` and `a:b:` would both own the key `a:b:c`.
    pub(crate) fn claim(self: &Arc<Self>, name: &str, prefix: &str) -> Result<Name, BuildError> {
        let mut by_prefix = self.by_prefix.lock();
        let taken = by_prefix
            .iter()
            .find(|(other, _)| other.starts_with(prefix) || prefix.starts_with(other.as_str()));
        if let Some((_, other)) = taken {
            return Err(BuildError::PrefixTaken {
                prefix: prefix.to_owned(),
                other: other.clone(),
            });
        }
        by_prefix.insert(prefix.to_owned(), name.to_owned());
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
        self.names.by_prefix.lock().remove(&self.prefix);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_prefix_begins_another() {
        let names = Arc::new(Names::default());
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
        let names = Arc::new(Names::default());
        drop(names.claim("user", "user:").unwrap());
        assert!(names.claim("user", "user:").is_ok());
    }
}
