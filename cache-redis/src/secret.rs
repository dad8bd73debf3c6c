//! Texts that are shown to nobody.

use std::fmt;

use serde::Deserialize;

/// A password, or a key in PEM: its `Debug` shows nothing of it.
#[derive(Clone, Default, Deserialize, Eq, PartialEq)]
#[serde(transparent)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
