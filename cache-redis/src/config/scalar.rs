//! Single values, each refused by the name of its setting: serde says where a value is wrong, and not
//! whose it is. What is refused is not repeated, since a password may have slipped into it.

use std::{fmt, str::FromStr, time::Duration};

use serde::{
    Deserializer,
    de::{Error, Visitor},
};

use super::{Host, Kind};

/// A single value, as text: whoever reads environment variables may have made a number of one, or may
/// not.
struct Scalar;

impl Visitor<'_> for Scalar {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a single value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<String>, E> {
        Ok(Some(text.to_owned()))
    }

    fn visit_bool<E: Error>(self, switch: bool) -> Result<Option<String>, E> {
        Ok(Some(switch.to_string()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Option<String>, E> {
        Ok(Some(number.to_string()))
    }

    fn visit_i128<E: Error>(self, number: i128) -> Result<Option<String>, E> {
        Ok(Some(number.to_string()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Option<String>, E> {
        Ok(Some(number.to_string()))
    }

    fn visit_u128<E: Error>(self, number: u128) -> Result<Option<String>, E> {
        Ok(Some(number.to_string()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Option<String>, E> {
        Ok(Some(number.to_string()))
    }

    // A setting without a value, as in a YAML of `pass:`, is one that is left out.
    fn visit_unit<E: Error>(self) -> Result<Option<String>, E> {
        Ok(None)
    }

    fn visit_none<E: Error>(self) -> Result<Option<String>, E> {
        Ok(None)
    }
}

/// The value of `setting`, which is to be `expected`.
fn read<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    setting: &str,
    expected: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, D::Error> {
    let wrong = || D::Error::custom(format_args!("`{setting}` is to be {expected}"));
    let text = deserializer.deserialize_any(Scalar);
    let text = text.map_err(|_no_single_value| wrong())?;
    text.map(|text| parse(text.trim()).ok_or_else(wrong))
        .transpose()
}

/// A function per setting: `deserialize_with` takes no arguments.
macro_rules! settings {
    ($($setting:ident: $value:ty, $expected:literal, $parse:expr;)*) => {$(
        pub(super) fn $setting<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<$value>, D::Error> {
            read(deserializer, stringify!($setting), $expected, $parse)
        }
    )*};
}

settings! {
    user: String, "a text", text;
    master: String, "a text", text;
    sentinel_user: String, "a text", text;
    weight: i64, "a whole number", number;
    db: u32, "a whole number from 0 on", number;
    lanes: usize, "a number from 1 to 64", number;
    non_block: bool, "true or false", number;
    ping_timeout: Duration, "a time, like `250ms` or `1s`", time;
    connect_timeout: Duration, "a time, like `250ms` or `1s`", time;
    read_timeout: Duration, "a time, like `250ms` or `1s`", time;
    write_timeout: Duration, "a time, like `250ms` or `1s`", time;
}

/// Untrimmed: it is what an entry is called in a ring.
pub(super) fn host<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Host>, D::Error> {
    let wrong = |_no_text| D::Error::custom("`host` is to be a text");
    let text = deserializer.deserialize_any(Scalar).map_err(wrong)?;
    Ok(text.map(Host))
}

pub(super) fn kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Kind>, D::Error> {
    let expected = "`node`, `cluster` or `sentinel`";
    read(deserializer, "type", expected, |text| match text {
        "node" => Some(Kind::Node),
        "cluster" => Some(Kind::Cluster),
        "sentinel" => Some(Kind::Sentinel),
        _ => None,
    })
}

pub(super) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let setting = "wait_for_replicas.count";
    let count = read(deserializer, setting, "a number from 1 on", number)?;
    count.ok_or_else(|| D::Error::missing_field("count"))
}

pub(super) fn patience<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let setting = "wait_for_replicas.patience";
    let time = read(deserializer, setting, "a time, like `250ms` or `1s`", time)?;
    time.ok_or_else(|| D::Error::missing_field("patience"))
}

#[expect(clippy::unnecessary_wraps, reason = "one of several parsers")]
fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn time(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}
