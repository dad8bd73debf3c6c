//! Texts that are shown to nobody.

use std::fmt;

use serde::{
    Deserializer,
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

/// The setting `pass`.
pub(crate) fn pass<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    deserializer.deserialize_any(Text("pass"))
}

/// The setting `sentinel_pass`.
pub(crate) fn sentinel_pass<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Secret>, D::Error> {
    deserializer.deserialize_any(Text("sentinel_pass"))
}

/// Takes a text for a setting, and refuses all else without the words of serde, which quote it. A
/// number is refused since it may have been written in another way, with a zero in front.
struct Text(&'static str);

impl Text {
    fn refuse<T, E: Error>(&self) -> Result<T, E> {
        let setting = self.0;
        Err(E::custom(format_args!(
            "`{setting}` is to be a text: put it in quotes"
        )))
    }
}

impl Visitor<'_> for Text {
    type Value = Option<Secret>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a text for `{}`", self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<Secret>, E> {
        Ok(Some(Secret(text.to_owned())))
    }

    fn visit_unit<E: Error>(self) -> Result<Option<Secret>, E> {
        Ok(None)
    }

    fn visit_none<E: Error>(self) -> Result<Option<Secret>, E> {
        Ok(None)
    }

    fn visit_bool<E: Error>(self, _switch: bool) -> Result<Option<Secret>, E> {
        self.refuse()
    }

    fn visit_u64<E: Error>(self, _number: u64) -> Result<Option<Secret>, E> {
        self.refuse()
    }

    fn visit_i64<E: Error>(self, _number: i64) -> Result<Option<Secret>, E> {
        self.refuse()
    }

    fn visit_u128<E: Error>(self, _number: u128) -> Result<Option<Secret>, E> {
        self.refuse()
    }

    fn visit_i128<E: Error>(self, _number: i128) -> Result<Option<Secret>, E> {
        self.refuse()
    }

    fn visit_f64<E: Error>(self, _number: f64) -> Result<Option<Secret>, E> {
        self.refuse()
    }
}
