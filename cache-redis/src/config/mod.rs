//! The settings of a connection, as they stand in a file.

mod scalar;

use std::{fmt, path::PathBuf, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};

use crate::secret::{self, Secret};

/// One entry of a configuration: a server, a cluster, or a primary behind sentinels.
///
/// It reads from any format that serde reads. Several of them make a ring, which places keys as
/// go-zero does. A setting that is left out has the default below; one that does not exist, or that
/// is given in both spellings, is an error. Durations are written like `250ms` or `1s`. Numbers,
/// durations, `true` and `false` may be texts, as environment variables are.
///
/// | setting | go-zero's spelling | is | default |
/// |---|---|---|---|
/// | `host` | `Host` | `name`, `name:port`, or `[ipv6]:port`; several of them, with commas between, for a cluster or sentinels | `127.0.0.1` |
/// | `type` | `Type` | `node`, `cluster` or `sentinel` | `node` |
/// | `user`, `pass` | `User`, `Pass` | the login, two texts; or `pass` alone | no login |
/// | `tls` | `Tls` | `true`, `false`, or a table of `ca_file`, `cert_file` and `key_file`, each in PEM | `false` |
/// | `weight` | `Weight` | a number: its share of a ring, where 100 is all that an entry can have, and 0 or less is none | 100 |
/// | `non_block` | `NonBlock` | `true`: [`non_blocking`](crate::RedisBuilder::non_blocking) | `false` |
/// | `ping_timeout` | `PingTimeout` | another name of `connect_timeout` | |
/// | `db` | `Db` | a number, not in a cluster | 0 |
/// | `master` | `Master` | by which name the sentinels know the primary | none: `type: sentinel` needs it |
/// | `sentinel_user`, `sentinel_pass` | `SentinelUser`, `SentinelPass` | the login at the sentinels, which is not that of redis | no login |
/// | `connect_timeout` | `ConnectTimeout` | a duration | 300 ms |
/// | `read_timeout` | `ReadTimeout` | a duration | 250 ms |
/// | `write_timeout` | `WriteTimeout` | a duration | 500 ms |
/// | `lanes` | `Lanes` | a number from 1 to 64 | 1 on up to four cores, else 2 |
/// | `wait_for_replicas` | `WaitForReplicas` | a table of `count`, a number, and `patience`, a duration | none |
///
/// The port is 6379 by default, and that of sentinels 26379. Spaces around the commas of `host` are
/// no part of an address, but in a ring `host` is what an entry is called, and is taken as it is
/// written: another order, or another space, places keys elsewhere.
///
/// # Where it differs from go-zero
///
/// - `Tls: true` verifies the server's certificate. go-zero's does not, so a configuration that works
///   there may need `tls: { ca_file: .. }` here.
/// - Without `PingTimeout` a connection has 300 ms to be made in, and not a second.
/// - `db`, sentinels, the deadlines and whatever else has no spelling there are ours.
///
/// # Examples
///
/// ```
/// use cache_redis::{NodeConfig, RedisBuilder};
///
/// let config: NodeConfig = serde_json::from_str(
///     r#"{ "host": "cache.internal:6379", "user": "app", "pass": "secret", "db": 2,
///          "tls": { "ca_file": "/etc/ssl/cache-ca.pem" }, "read_timeout": "100ms" }"#,
/// )?;
/// assert!(!format!("{config:?}").contains("secret"));
/// let builder = RedisBuilder::from(config); // and then `.connect().await?`
/// # drop(builder);
///
/// // As go-zero writes it: a ring of a server and a cluster.
/// let ring: Vec<NodeConfig> = serde_json::from_str(
///     r#"[ { "Host": "10.0.0.1:6379", "Weight": 50 },
///          { "Host": "10.0.1.1:7000,10.0.1.2:7000", "Type": "cluster" } ]"#,
/// )?;
/// let builder = RedisBuilder::from(ring);
/// # drop(builder);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeConfig {
    #[serde(alias = "Host", deserialize_with = "scalar::host")]
    pub(crate) host: Option<Host>,
    #[serde(rename = "type", alias = "Type", deserialize_with = "scalar::kind")]
    pub(crate) kind: Option<Kind>,
    #[serde(alias = "User", deserialize_with = "scalar::user")]
    pub(crate) user: Option<String>,
    #[serde(alias = "Pass", deserialize_with = "secret::pass")]
    pub(crate) pass: Option<Secret>,
    #[serde(alias = "Tls")]
    pub(crate) tls: Option<TlsConfig>,
    #[serde(alias = "Weight", deserialize_with = "scalar::weight")]
    pub(crate) weight: Option<i64>,
    #[serde(alias = "NonBlock", deserialize_with = "scalar::non_block")]
    pub(crate) non_block: Option<bool>,
    #[serde(alias = "PingTimeout", deserialize_with = "scalar::ping_timeout")]
    pub(crate) ping_timeout: Option<Duration>,
    #[serde(alias = "Db", deserialize_with = "scalar::db")]
    pub(crate) db: Option<u32>,
    #[serde(alias = "Master", deserialize_with = "scalar::master")]
    pub(crate) master: Option<String>,
    #[serde(alias = "SentinelUser", deserialize_with = "scalar::sentinel_user")]
    pub(crate) sentinel_user: Option<String>,
    #[serde(alias = "SentinelPass", deserialize_with = "secret::sentinel_pass")]
    pub(crate) sentinel_pass: Option<Secret>,
    #[serde(alias = "ConnectTimeout", deserialize_with = "scalar::connect_timeout")]
    pub(crate) connect_timeout: Option<Duration>,
    #[serde(alias = "ReadTimeout", deserialize_with = "scalar::read_timeout")]
    pub(crate) read_timeout: Option<Duration>,
    #[serde(alias = "WriteTimeout", deserialize_with = "scalar::write_timeout")]
    pub(crate) write_timeout: Option<Duration>,
    #[serde(alias = "Lanes", deserialize_with = "scalar::lanes")]
    pub(crate) lanes: Option<usize>,
    #[serde(alias = "WaitForReplicas")]
    pub(crate) wait_for_replicas: Option<ReplicasConfig>,
}

/// Shows what is set, and no password.
impl fmt::Debug for NodeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn shown<T: fmt::Debug>(value: &Option<T>) -> Option<&dyn fmt::Debug> {
            value.as_ref().map(|value| value as &dyn fmt::Debug)
        }
        let Self {
            host,
            kind,
            user,
            pass,
            tls,
            weight,
            non_block,
            ping_timeout,
            db,
            master,
            sentinel_user,
            sentinel_pass,
            connect_timeout,
            read_timeout,
            write_timeout,
            lanes,
            wait_for_replicas,
        } = self;
        let settings = [
            ("host", shown(host)),
            ("type", shown(kind)),
            ("user", shown(user)),
            ("pass", shown(pass)),
            ("tls", shown(tls)),
            ("weight", shown(weight)),
            ("non_block", shown(non_block)),
            ("ping_timeout", shown(ping_timeout)),
            ("db", shown(db)),
            ("master", shown(master)),
            ("sentinel_user", shown(sentinel_user)),
            ("sentinel_pass", shown(sentinel_pass)),
            ("connect_timeout", shown(connect_timeout)),
            ("read_timeout", shown(read_timeout)),
            ("write_timeout", shown(write_timeout)),
            ("lanes", shown(lanes)),
            ("wait_for_replicas", shown(wait_for_replicas)),
        ];
        let mut debug = f.debug_struct("NodeConfig");
        for (name, value) in settings {
            if let Some(value) = value {
                debug.field(name, value);
            }
        }
        debug.finish()
    }
}

/// A `host`, as it is written.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Host(pub(crate) String);

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // There is to be no login in it, but who puts one there is not to find it in a log.
        match self.0.rsplit_once('@') {
            Some((_login, host)) => write!(f, "***@{host}"),
            None => fmt::Debug::fmt(&self.0, f),
        }
    }
}

/// What an entry points at.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Kind {
    #[default]
    Node,
    Cluster,
    Sentinel,
}

/// `tls: true`, or the files to use.
#[derive(Clone, Debug)]
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
    #[serde(alias = "CaFile")]
    pub(crate) ca_file: Option<PathBuf>,
    #[serde(alias = "CertFile")]
    pub(crate) cert_file: Option<PathBuf>,
    #[serde(alias = "KeyFile")]
    pub(crate) key_file: Option<PathBuf>,
}

impl<'de> Deserialize<'de> for TlsConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SwitchOrFiles)
    }
}

struct SwitchOrFiles;

impl<'de> Visitor<'de> for SwitchOrFiles {
    type Value = TlsConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`tls` to be true, false, or a table of `ca_file`, `cert_file`, `key_file`")
    }

    fn visit_bool<E: Error>(self, switch: bool) -> Result<TlsConfig, E> {
        Ok(TlsConfig::Switch(switch))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<TlsConfig, E> {
        let switch = text.parse().map_err(|_neither| {
            E::custom(
                "`tls` is to be true, false, or a table of `ca_file`, `cert_file`, `key_file`",
            )
        })?;
        Ok(TlsConfig::Switch(switch))
    }

    fn visit_map<A: MapAccess<'de>>(self, files: A) -> Result<TlsConfig, A::Error> {
        TlsFiles::deserialize(MapAccessDeserializer::new(files)).map(TlsConfig::Files)
    }
}

/// For how many replicas a removal waits, and for how long.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplicasConfig {
    #[serde(alias = "Count", deserialize_with = "scalar::count")]
    pub(crate) count: u32,
    #[serde(alias = "Patience", deserialize_with = "scalar::patience")]
    pub(crate) patience: Duration,
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
