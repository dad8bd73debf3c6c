//! The settings of a connection, as they stand in a file.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use crate::secret::Secret;

/// The settings of a connection, for a configuration file in any format that serde reads.
///
/// A setting that is left out has the default of [`RedisBuilder`](crate::RedisBuilder). A setting that does not
/// exist is an error. Durations are written like `250ms` or `1s`.
///
/// | setting | is |
/// |---|---|
/// | `host` | `name`, `name:port`, or `[ipv6]:port` |
/// | `user`, `pass` | texts |
/// | `db` | a number |
/// | `tls` | `true`, `false`, or a table of `ca_file`, `cert_file` and `key_file`, each in PEM |
/// | `connect_timeout`, `read_timeout`, `write_timeout` | durations |
/// | `lanes` | a number |
/// | `non_block` | `true`: [`non_blocking`](crate::RedisBuilder::non_blocking) |
/// | `wait_for_replicas` | a table of `count`, a number, and `patience`, a duration |
///
/// # Examples
///
/// ```
/// use cache_redis::{RedisBuilder, NodeConfig};
///
/// let config: NodeConfig = serde_json::from_str(
///     r#"{ "host": "cache.internal:6379", "user": "app", "pass": "secret", "db": 2,
///          "tls": { "ca_file": "/etc/ssl/cache-ca.pem" }, "read_timeout": "100ms" }"#,
/// )?;
/// assert!(!format!("{config:?}").contains("secret"));
///
/// let builder = RedisBuilder::from(config); // and then `.connect().await?`
/// # drop(builder);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeConfig {
    pub(crate) host: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) pass: Option<Secret>,
    pub(crate) db: Option<u32>,
    pub(crate) tls: Option<TlsConfig>,
    #[serde(deserialize_with = "time::connect_timeout")]
    pub(crate) connect_timeout: Option<Duration>,
    #[serde(deserialize_with = "time::read_timeout")]
    pub(crate) read_timeout: Option<Duration>,
    #[serde(deserialize_with = "time::write_timeout")]
    pub(crate) write_timeout: Option<Duration>,
    pub(crate) lanes: Option<usize>,
    pub(crate) non_block: Option<bool>,
    pub(crate) wait_for_replicas: Option<ReplicasConfig>,
}

/// `tls: true`, or the files to use.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "`tls` is true, false, or a table of `ca_file`, `cert_file`, `key_file`"
)]
pub(crate) enum TlsConfig {
    Switch(bool),
    Files(
        #[cfg_attr(
            not(feature = "tls"),
            expect(dead_code, reason = "without TLS it is refused unread")
        )]
        TlsFiles,
    ),
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TlsFiles {
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) cert_file: Option<PathBuf>,
    pub(crate) key_file: Option<PathBuf>,
}

/// For how many replicas a removal waits, and for how long.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplicasConfig {
    pub(crate) count: u32,
    #[serde(deserialize_with = "time::patience")]
    pub(crate) patience: Duration,
}

/// Durations, each refused by its name: serde says where a value is wrong, and not whose it is.
mod time {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, de::Error};

    fn named<'de, T, D>(deserializer: D, setting: &str) -> Result<T, D::Error>
    where
        humantime_serde::Serde<T>: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        let time = humantime_serde::Serde::<T>::deserialize(deserializer);
        time.map(humantime_serde::Serde::into_inner)
            .map_err(|error| D::Error::custom(format_args!("`{setting}`: {error}")))
    }

    pub(super) fn connect_timeout<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        named(deserializer, "connect_timeout")
    }

    pub(super) fn read_timeout<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        named(deserializer, "read_timeout")
    }

    pub(super) fn write_timeout<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        named(deserializer, "write_timeout")
    }

    pub(super) fn patience<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        named(deserializer, "wait_for_replicas.patience")
    }
}

#[cfg(feature = "tls")]
impl TlsFiles {
    pub(crate) fn tls(&self) -> Result<crate::Tls, crate::ConnectError> {
        let mut tls = crate::Tls::new();
        if let Some(ca) = &self.ca_file {
            tls = tls.ca_file(ca);
        }
        match (&self.cert_file, &self.key_file) {
            (Some(certificate), Some(key)) => Ok(tls.client_files(certificate, key)),
            (None, None) => Ok(tls),
            (Some(_), None) => Err(crate::ConnectError::setting(
                "tls.key_file",
                "a certificate needs its key: set it too, or leave `cert_file` out",
            )),
            (None, Some(_)) => Err(crate::ConnectError::setting(
                "tls.cert_file",
                "a key needs its certificate: set it too, or leave `key_file` out",
            )),
        }
    }
}
