//! Texts that are shown to nobody.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};

/// A password, or a key in PEM: its `Debug` shows nothing of it.
#[derive(Clone, Default, Eq, PartialEq)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Text)
    }
}

/// Takes a text, and refuses a number without the words of serde, which quote it.
struct Text;

impl Text {
    fn refuse<E: Error>() -> E {
        E::custom("`pass` is to be a text: put it in quotes")
    }
}

impl Visitor<'_> for Text {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text for `pass`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret(text.to_owned()))
    }

    fn visit_u64<E: Error>(self, _number: u64) -> Result<Secret, E> {
        Err(Self::refuse())
    }

    fn visit_i64<E: Error>(self, _number: i64) -> Result<Secret, E> {
        Err(Self::refuse())
    }

    fn visit_u128<E: Error>(self, _number: u128) -> Result<Secret, E> {
        Err(Self::refuse())
    }

    fn visit_i128<E: Error>(self, _number: i128) -> Result<Secret, E> {
        Err(Self::refuse())
    }

    fn visit_f64<E: Error>(self, _number: f64) -> Result<Secret, E> {
        Err(Self::refuse())
    }
}
