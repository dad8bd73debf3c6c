//! Where the servers of an entry are, and who to be there.

use percent_encoding::percent_decode_str;
use redis::{
    ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo,
};
use url::Url;

#[cfg(feature = "tls")]
use crate::Tls;
use crate::{
    NodeConfig,
    config::{Kind, TlsConfig},
    connect::ConnectError,
    secret::Secret,
};

const DEFAULT_HOST: &str = "127.0.0.1";

const DEFAULT_PORT: u16 = 6379;

const DEFAULT_PORT_OF_SENTINELS: u16 = 26379;

/// Where the servers of an entry are, and who to be there.
#[derive(Debug)]
pub(crate) struct Address {
    /// One at least.
    servers: Vec<(String, u16)>,
    user: Option<String>,
    pass: Option<Secret>,
    db: u32,
    is_tls: bool,
}

impl Address {
    /// Puts together what the URL and the single settings say.
    pub(crate) fn new(url: Option<&Secret>, config: &NodeConfig) -> Result<Self, ConnectError> {
        let kind = config.kind.unwrap_or_default();
        let mut address = match (url, &config.host) {
            (Some(_), Some(_)) => {
                let problem = "it is in the `url` already: set one of them";
                return Err(ConnectError::setting("host", problem));
            }
            (Some(_), None) if kind == Kind::Sentinel => {
                let problem = "it says who to be at redis, and where the sentinels are not: set \
                               `host`, `user` and `pass` instead";
                return Err(ConnectError::setting("url", problem));
            }
            (Some(url), None) => Self::of_url(&url.0)?,
            (None, Some(host)) => Self::of_hosts(&host.0, kind)?,
            (None, None) => Self::of_hosts(DEFAULT_HOST, kind)?,
        };
        set_once("user", &mut address.user, config.user.clone())?;
        set_once("pass", &mut address.pass, config.pass.clone())?;
        let mut db = Some(address.db).filter(|db| *db != 0);
        set_once("db", &mut db, config.db)?;
        address.db = db.unwrap_or(0);
        if address.user.is_some() && address.pass.is_none() {
            let problem = "a user needs a password: set `pass` too";
            return Err(ConnectError::setting("user", problem));
        }
        if kind == Kind::Cluster && address.db != 0 {
            let problem = "a cluster has the database 0 only: leave it out";
            return Err(ConnectError::setting("db", problem));
        }
        Ok(address)
    }

    /// The servers of a `host`, which are several for a cluster or sentinels.
    fn of_hosts(hosts: &str, kind: Kind) -> Result<Self, ConnectError> {
        let wrong = |problem| ConnectError::setting("host", problem);
        if hosts.trim().is_empty() {
            return Err(wrong(
                "it is empty: give `name` or `name:port`, or leave it out",
            ));
        }
        if kind == Kind::Node && hosts.contains(',') {
            return Err(wrong(
                "a node is one server: for a cluster set `type: cluster`, for sentinels \
                 `type: sentinel`, and for a ring make an entry for each server",
            ));
        }
        let default_port = match kind {
            Kind::Sentinel => DEFAULT_PORT_OF_SENTINELS,
            Kind::Node | Kind::Cluster => DEFAULT_PORT,
        };
        let servers = hosts
            .split(',')
            .map(|host| server(host.trim(), default_port));
        Ok(Self::at(servers.collect::<Result<_, _>>()?))
    }

    fn at(servers: Vec<(String, u16)>) -> Self {
        Self {
            servers,
            user: None,
            pass: None,
            db: 0,
            is_tls: false,
        }
    }

    fn of_url(url: &str) -> Result<Self, ConnectError> {
        let wrong = |problem| ConnectError::setting("url", problem);
        // What does not parse is not shown: it may hold a password.
        let url = Url::parse(url).map_err(|_unparsed| {
            wrong("it is no URL: give `redis://[user:password@]host[:port][/database]`, with `@`, `:` and `/` in the password percent-encoded")
        })?;
        let is_tls = match url.scheme() {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            _ => return Err(wrong("begin it with `redis://`, or `rediss://` for TLS")),
        };
        if url.fragment().is_some() {
            return Err(wrong(
                "leave out what is behind `#`: TLS is always verified; for a CA of your own use `Tls::ca_file`",
            ));
        }
        if url.query().is_some() {
            return Err(wrong(
                "leave out what is behind `?`: use the settings of the builder",
            ));
        }
        let server = host_of(&url).ok_or_else(|| wrong("it names no host"))?;
        let mut address = Self::at(vec![(server, url.port().unwrap_or(DEFAULT_PORT))]);
        address.is_tls = is_tls;
        let decode = |text: &str| {
            let text = percent_decode_str(text).decode_utf8();
            text.map(String::from)
                .map_err(|_not_utf8| wrong("user and password are to be UTF-8, percent-encoded"))
        };
        if !url.username().is_empty() {
            address.user = Some(decode(url.username())?);
        }
        if let Some(pass) = url.password() {
            address.pass = Some(Secret(decode(pass)?));
        }
        let db = url.path().trim_matches('/');
        if !db.is_empty() {
            address.db = db.parse().map_err(|_no_number| {
                wrong("what is behind the host is to be the number of a database")
            })?;
        }
        Ok(address)
    }

    /// What an entry is called that has no `host`.
    pub(crate) fn name(&self) -> String {
        let names = self.servers.iter();
        let names: Vec<String> = names.map(|(host, port)| format!("{host}:{port}")).collect();
        names.join(",")
    }

    /// The driver's description of each server.
    #[cfg(feature = "tls")]
    pub(crate) fn servers(
        self,
        tls: Option<&Tls>,
        config: Option<&TlsConfig>,
    ) -> Result<Vec<ConnectionInfo>, ConnectError> {
        let configured = match config {
            None => None,
            Some(TlsConfig::Switch(false)) => {
                if self.is_tls || tls.is_some() {
                    let problem = "it is off here and on elsewhere: leave one of them out";
                    return Err(ConnectError::setting("tls", problem));
                }
                None
            }
            Some(TlsConfig::Switch(true)) => Some(Tls::new()),
            Some(TlsConfig::Files(files)) => Some(files.tls()?),
        };
        if configured.is_some() && tls.is_some() {
            let problem = "it is set twice, as files and as `Tls`: leave one of them out";
            return Err(ConnectError::setting("tls", problem));
        }
        let default = self.is_tls.then(Tls::new);
        let tls = tls.cloned().or(configured).or(default);
        let info = self.info(tls.is_some())?;
        let info = match tls {
            Some(tls) => tls.complete(info)?,
            None => info,
        };
        Ok(self.each_like(&info))
    }

    /// The driver's description of each server.
    #[cfg(not(feature = "tls"))]
    pub(crate) fn servers(
        self,
        config: Option<&TlsConfig>,
    ) -> Result<Vec<ConnectionInfo>, ConnectError> {
        if self.is_tls || config.is_some_and(|config| !matches!(config, TlsConfig::Switch(false))) {
            let problem = "this build has no TLS: enable the feature `tls` of `cache-redis`";
            return Err(ConnectError::setting("tls", problem));
        }
        let info = self.info(false)?;
        Ok(self.each_like(&info))
    }

    fn each_like(self, info: &ConnectionInfo) -> Vec<ConnectionInfo> {
        let servers = self.servers.into_iter();
        servers
            .map(|(host, port)| elsewhere(info, host, port))
            .collect()
    }

    /// The driver's description of a server of this entry, whichever it is.
    fn info(&self, is_tls: bool) -> Result<ConnectionInfo, ConnectError> {
        let Self {
            servers: _,
            user,
            pass,
            db,
            is_tls: _,
        } = self;
        let (host, port) = (String::new(), DEFAULT_PORT);
        let address = if is_tls {
            ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let login = login(user.as_deref(), pass.as_ref()).set_db(i64::from(*db));
        let info = address.into_connection_info();
        let info = info.map_err(|_error| ConnectError::setting("host", "it cannot be used"))?;
        Ok(info.set_redis_settings(login))
    }
}

/// Who to be, and how to speak.
pub(crate) fn login(user: Option<&str>, pass: Option<&Secret>) -> RedisConnectionInfo {
    let mut login = RedisConnectionInfo::default()
        .set_protocol(ProtocolVersion::RESP3)
        .set_lib_name(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    if let Some(user) = user {
        login = login.set_username(user);
    }
    if let Some(pass) = pass {
        login = login.set_password(&pass.0);
    }
    login
}

/// One server of a `host`.
fn server(host: &str, default_port: u16) -> Result<(String, u16), ConnectError> {
    let wrong = |problem| ConnectError::setting("host", problem);
    if host.is_empty() {
        return Err(wrong(
            "there is nothing between two commas: leave one of them out",
        ));
    }
    let problem = "give `name`, `name:port`, or `[ipv6]:port`, and nothing else";
    let url = Url::parse(&format!("redis://{host}")).map_err(|_unparsed| wrong(problem))?;
    let is_bare = matches!(url.path(), "" | "/")
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none()
        && !host.contains('@');
    let name = host_of(&url).filter(|_| is_bare);
    let name = name.ok_or_else(|| wrong(problem))?;
    Ok((name, url.port().unwrap_or(default_port)))
}

fn host_of(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then(|| host.to_owned())
}

/// Another server, to be connected to in the same way: with the same login, and TLS if that has it.
pub(crate) fn elsewhere(server: &ConnectionInfo, host: String, port: u16) -> ConnectionInfo {
    let address = match server.addr().clone() {
        ConnectionAddr::TcpTls {
            insecure,
            tls_params,
            ..
        } => ConnectionAddr::TcpTls {
            host,
            port,
            insecure,
            tls_params,
        },
        _ => ConnectionAddr::Tcp(host, port),
    };
    server.clone().set_addr(address)
}

/// Sets what is not set yet; what is set twice is a contradiction.
fn set_once<T>(
    setting: &'static str,
    place: &mut Option<T>,
    value: Option<T>,
) -> Result<(), ConnectError> {
    match (&place, value) {
        (Some(_), Some(_)) => {
            let problem = "it is in the `url` already: set one of them";
            Err(ConnectError::setting(setting, problem))
        }
        (None, Some(value)) => {
            *place = Some(value);
            Ok(())
        }
        (_, None) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Host;

    fn of_url(url: &str) -> Result<Address, ConnectError> {
        Address::new(Some(&Secret(url.to_owned())), &NodeConfig::default())
    }

    #[test]
    fn a_url_says_where_and_who() {
        let address = of_url("rediss://app:p%40ss@cache.internal:7000/3").unwrap();
        assert_eq!(address.servers, [("cache.internal".to_owned(), 7000)]);
        assert_eq!((address.db, address.is_tls), (3, true));
        assert_eq!(address.user.as_deref(), Some("app"));
        assert_eq!(address.pass, Some(Secret("p@ss".to_owned())));

        let address = of_url("redis://:secret@[::1]").unwrap();
        assert_eq!(address.servers, [("::1".to_owned(), 6379)]);
        assert_eq!((address.db, address.is_tls), (0, false));
        assert_eq!(address.user, None);
        assert_eq!(address.pass, Some(Secret("secret".to_owned())));
    }

    #[test]
    fn a_wrong_url_is_refused_with_a_remedy_and_without_its_password() {
        for (url, remedy) in [
            ("redis//x:secret@host", "redis://"),
            ("http://x:secret@host", "redis://"),
            ("redis://x:sec/ret@host", "percent-encoded"),
            ("rediss://x:secret@host/#insecure", "always verified"),
            ("redis://x:secret@host/?protocol=resp3", "builder"),
            ("redis://x:secret@host/one", "number"),
            ("redis://x:secret@host/-1", "number"),
            ("redis://:secret@", "URL"),
            ("redis://x@host", "password"),
            ("unix:///tmp/redis.sock", "redis://"),
        ] {
            let error = of_url(url).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(remedy), "{url}: {shown}");
            assert!(
                !shown.contains("secret") && !shown.contains("sec/"),
                "{shown}"
            );
        }
    }

    fn of_host(host: &str, kind: Kind) -> Result<Address, ConnectError> {
        let config = NodeConfig {
            host: Some(Host(host.to_owned())),
            kind: Some(kind),
            ..NodeConfig::default()
        };
        Address::new(None, &config)
    }

    #[test]
    fn a_host_is_a_name_with_or_without_a_port() {
        for (host, expected) in [
            ("cache", Some(("cache", 6379))),
            (" cache ", Some(("cache", 6379))),
            ("cache:7000", Some(("cache", 7000))),
            ("10.0.0.1:7000", Some(("10.0.0.1", 7000))),
            ("[::1]:7000", Some(("::1", 7000))),
            ("", None),
            (" ", None),
            ("cache:port", None),
            ("cache:65536", None),
            ("user:secret@cache", None),
            ("cache/3", None),
            ("redis://cache", None),
            ("one:1,two:2", None),
        ] {
            let address = of_host(host, Kind::Node).ok();
            let expected = expected.map(|(host, port)| vec![(host.to_owned(), port)]);
            assert_eq!(address.map(|address| address.servers), expected, "{host}");
        }
    }

    #[test]
    fn a_cluster_and_sentinels_are_several_servers() {
        for (hosts, kind, expected) in [
            ("a", Kind::Cluster, "a:6379"),
            ("a", Kind::Sentinel, "a:26379"),
            ("a:1,b", Kind::Cluster, "a:1,b:6379"),
            (" a:1 , b", Kind::Sentinel, "a:1,b:26379"),
            ("a:1,a:1", Kind::Cluster, "a:1,a:1"),
        ] {
            assert_eq!(of_host(hosts, kind).unwrap().name(), expected, "{hosts}");
        }
        for hosts in [",", "a:1,,b:2", "a:1,", ",a:1", "a:1, ,b:2", "a,b/1"] {
            let error = of_host(hosts, Kind::Cluster).unwrap_err();
            assert!(error.to_string().starts_with("`host`"), "{hosts}: {error}");
        }
    }

    #[test]
    fn another_server_is_connected_to_with_the_same_login_and_the_same_tls() {
        let config = NodeConfig {
            pass: Some(Secret("hunter2".to_owned())),
            db: Some(3),
            ..NodeConfig::default()
        };
        let address = Address::new(None, &config).unwrap();
        for is_tls in [false, true] {
            let other = elsewhere(&address.info(is_tls).unwrap(), "other".to_owned(), 1);
            assert_eq!(other.addr().to_string(), "other:1");
            let has_tls = matches!(
                other.addr(),
                ConnectionAddr::TcpTls {
                    insecure: false,
                    ..
                }
            );
            assert_eq!(has_tls, is_tls);
            assert_eq!(other.redis_settings().password(), Some("hunter2"));
            assert_eq!(other.redis_settings().db(), 3);
        }
    }

    #[test]
    fn what_is_set_twice_is_refused_by_name() {
        let url = Secret("redis://app:secret@host/1".to_owned());
        let text = |text: &str| Some(text.to_owned());
        for (setting, config) in [
            (
                "host",
                NodeConfig {
                    host: text("other").map(Host),
                    ..NodeConfig::default()
                },
            ),
            (
                "user",
                NodeConfig {
                    user: text("other"),
                    ..NodeConfig::default()
                },
            ),
            (
                "pass",
                NodeConfig {
                    pass: text("other").map(Secret),
                    ..NodeConfig::default()
                },
            ),
            (
                "db",
                NodeConfig {
                    db: Some(2),
                    ..NodeConfig::default()
                },
            ),
        ] {
            let error = Address::new(Some(&url), &config).unwrap_err();
            assert!(
                error.to_string().starts_with(&format!("`{setting}`")),
                "{error}"
            );
        }
    }

    #[test]
    fn debug_shows_no_password() {
        let address = of_url("redis://app:hunter2@host").unwrap();
        assert!(!format!("{address:?}").contains("hunter2"));
    }
}
