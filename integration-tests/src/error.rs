//! Why there is no server for a test, or why it could not be told to do something.

use std::{error::Error as StdError, fmt};

type Cause = Box<dyn StdError + Send + Sync>;

/// Says what the harness could not do, and what would let it.
#[derive(Debug)]
pub struct Error {
    text: String,
    source: Option<Cause>,
}

impl Error {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            source: None,
        }
    }

    pub(crate) fn because(text: impl Into<String>, source: impl Into<Cause>) -> Self {
        Self {
            text: text.into(),
            source: Some(source.into()),
        }
    }

    /// Returns the text of this error and of all that it stands on, for a panic.
    pub(crate) fn whole(&self) -> String {
        let mut whole = self.to_string();
        let mut source = self.source();
        while let Some(error) = source {
            let text = error.to_string();
            // Some errors say what their source says as well.
            if !whole.ends_with(&text) {
                whole.push_str(": ");
                whole.push_str(&text);
            }
            source = error.source();
        }
        whole
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}
