//! What is wrong with the settings is said by name, and no password is shown.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

use std::{error::Error, time::Duration};

use cache_redis::{ConnectError, NodeConfig, Redis, RedisBuilder};

const SECRET: &str = "hunter2";

/// All that an error shows.
fn shown(error: &dyn Error) -> String {
    let mut shown = format!("{error} | {error:?}");
    let mut source = error.source();
    while let Some(cause) = source {
        shown += &format!(" | {cause} | {cause:?}");
        source = cause.source();
    }
    assert!(!shown.contains(SECRET), "{shown}");
    shown
}

/// Asserts that the settings are refused by the name of the one at fault.
async fn refused(builder: RedisBuilder, setting: &str, remedy: &str) {
    assert!(!format!("{builder:?}").contains(SECRET));
    let error = builder.connect().await.unwrap_err();
    let text = shown(&error);
    assert!(text.starts_with(&format!("`{setting}`")), "{text}");
    assert!(text.contains(remedy), "{text}");
    assert!(matches!(error, ConnectError::Setting { .. }), "{text}");
}

fn parsed(json: &str) -> Result<NodeConfig, serde_json::Error> {
    serde_json::from_str(json)
}

fn parsed_list(json: &str) -> Vec<NodeConfig> {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// Settings in two spellings: as they are in this crate, and as in go-zero.
const SPELLINGS: [(&str, &str, &str); 17] = [
    ("host", "Host", r#""10.0.0.1:7000""#),
    ("type", "Type", r#""cluster""#),
    ("user", "User", r#""app""#),
    ("pass", "Pass", r#""hunter2""#),
    (
        "tls",
        "Tls",
        r#"{ "ca_file": "a", "CertFile": "b", "KeyFile": "c" }"#,
    ),
    ("weight", "Weight", "50"),
    ("non_block", "NonBlock", "true"),
    ("ping_timeout", "PingTimeout", r#""1s""#),
    ("db", "Db", "0"),
    ("master", "Master", r#""main""#),
    ("sentinel_user", "SentinelUser", r#""app""#),
    ("sentinel_pass", "SentinelPass", r#""hunter2""#),
    ("connect_timeout", "ConnectTimeout", r#""1s""#),
    ("read_timeout", "ReadTimeout", r#""1m30s""#),
    ("write_timeout", "WriteTimeout", r#""5ms""#),
    ("lanes", "Lanes", "3"),
    (
        "wait_for_replicas",
        "WaitForReplicas",
        r#"{ "Count": 1, "patience": "1s" }"#,
    ),
];

#[test]
fn both_spellings_of_a_setting_mean_the_same_and_not_both_at_once() {
    for (ours, go_zero, value) in SPELLINGS {
        let of = |name: &str| format!("{:?}", parsed(&format!(r#"{{ "{name}": {value} }}"#)));
        let left_out = format!("{:?}", parsed("{}"));
        assert_eq!(of(ours), of(go_zero), "{ours}");
        assert!(
            of(ours).starts_with("Ok") && of(ours) != left_out,
            "{ours}: {}",
            of(ours)
        );
        let both = parsed(&format!(r#"{{ "{ours}": {value}, "{go_zero}": {value} }}"#));
        let error = both.unwrap_err().to_string();
        assert!(
            error.contains(&format!("duplicate field `{ours}`")),
            "{error}"
        );
    }
}

#[test]
fn numbers_times_and_switches_may_be_texts_and_what_is_empty_is_left_out() {
    for (setting, text, value) in [
        ("db", r#""3""#, "3"),
        ("weight", r#""-1""#, "-1"),
        ("weight", r#"" 50 ""#, "50"),
        ("lanes", r#""2""#, "2"),
        ("non_block", r#""true""#, "true"),
        ("tls", r#""false""#, "false"),
        ("host", "7", r#""7""#),
        ("user", "7", r#""7""#),
        ("master", "null", "null"),
        ("pass", "null", "null"),
        (
            "wait_for_replicas",
            r#"{ "count": "2", "patience": "1s" }"#,
            r#"{ "count": 2, "patience": "1000ms" }"#,
        ),
    ] {
        let of = |value| format!("{:?}", parsed(&format!(r#"{{ "{setting}": {value} }}"#)));
        assert_eq!(of(text), of(value), "{setting}");
        assert!(of(text).starts_with("Ok"), "{}", of(text));
    }
}

#[test]
fn a_configuration_that_does_not_parse_says_what_is_wrong_and_what_is_right() {
    for (json, setting, remedy) in [
        (r#"{ "hosst": "hunter2" }"#, "`hosst`", "`host`"),
        (r#"{ "hosst": "hunter2" }"#, "`hosst`", "`Weight`"),
        (r#"{ "host": ["hunter2"] }"#, "`host`", "text"),
        (r#"{ "type": "clustr" }"#, "`type`", "`cluster`"),
        (r#"{ "type": 1 }"#, "`type`", "`sentinel`"),
        (r#"{ "tls": { "ca": "hunter2" } }"#, "`ca`", "ca_file"),
        (r#"{ "tls": "hunter2" }"#, "`tls`", "ca_file"),
        (r#"{ "tls": 1 }"#, "`tls`", "ca_file"),
        (r#"{ "weight": "hunter2" }"#, "`weight`", "whole number"),
        (r#"{ "weight": 1.5 }"#, "`weight`", "whole number"),
        (
            r#"{ "non_block": "hunter2" }"#,
            "`non_block`",
            "true or false",
        ),
        (r#"{ "non_block": 1 }"#, "`non_block`", "true or false"),
        (r#"{ "ping_timeout": "hunter2" }"#, "`ping_timeout`", "`1s`"),
        (
            r#"{ "connect_timeout": "soon" }"#,
            "`connect_timeout`",
            "`1s`",
        ),
        (r#"{ "read_timeout": "5" }"#, "`read_timeout`", "`1s`"),
        (r#"{ "write_timeout": 5 }"#, "`write_timeout`", "`1s`"),
        (r#"{ "db": -1 }"#, "`db`", "whole number from 0"),
        (r#"{ "db": "hunter2" }"#, "`db`", "whole number from 0"),
        (r#"{ "lanes": "hunter2" }"#, "`lanes`", "1 to 64"),
        (
            r#"{ "wait_for_replicas": { "count": 1 } }"#,
            "`patience`",
            "",
        ),
        (
            r#"{ "wait_for_replicas": { "count": -1, "patience": "1s" } }"#,
            "`wait_for_replicas.count`",
            "from 1",
        ),
        (
            r#"{ "wait_for_replicas": { "count": 1, "patience": "1 year ago" } }"#,
            "`wait_for_replicas.patience`",
            "`1s`",
        ),
        (
            r#"{ "wait_for_replicas": { "count": 1, "patience": "1s", "x": 1 } }"#,
            "`x`",
            "`count`",
        ),
    ] {
        let text = shown(&parsed(json).unwrap_err());
        assert!(
            text.contains(setting) && text.contains(remedy),
            "{json}: {text}"
        );
    }
}

#[test]
fn a_password_that_is_no_text_is_refused_and_not_repeated() {
    for setting in ["pass", "Pass", "sentinel_pass", "SentinelPass"] {
        for value in ["4711", "-4711", "4711.5", "true"] {
            let error = parsed(&format!(r#"{{ "{setting}": {value} }}"#)).unwrap_err();
            let text = format!("{error} {error:?}");
            let name = if setting.starts_with(['p', 'P']) {
                "`pass`"
            } else {
                "`sentinel_pass`"
            };
            assert!(text.contains(name) && text.contains("quotes"), "{text}");
            assert!(!text.contains(value), "{text}");
        }
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table")]
async fn a_configuration_that_contradicts_itself_is_refused_by_name() {
    for (json, setting, remedy) in [
        (r#"{ "user": "app" }"#, "user", "`pass`"),
        (r#"{ "lanes": 0 }"#, "lanes", "1 to 64"),
        (r#"{ "lanes": 65 }"#, "lanes", "1 to 64"),
        (r#"{ "host": "redis://cache" }"#, "host", "name:port"),
        (r#"{ "host": "app:hunter2@cache" }"#, "host", "name:port"),
        (r#"{ "host": "" }"#, "host", "leave it out"),
        (r#"{ "host": "  " }"#, "host", "leave it out"),
        (r#"{ "host": "a:1,b:2" }"#, "host", "`type: cluster`"),
        (
            r#"{ "host": "a:1,b:2", "type": "node" }"#,
            "host",
            "an entry for each",
        ),
        (
            r#"{ "host": "a:1,,b:2", "type": "cluster" }"#,
            "host",
            "two commas",
        ),
        (
            r#"{ "host": "a:1,", "type": "cluster" }"#,
            "host",
            "two commas",
        ),
        (
            r#"{ "host": "a,,b", "type": "sentinel", "master": "m" }"#,
            "host",
            "two commas",
        ),
        (
            r#"{ "host": "a:1 b:2", "type": "cluster" }"#,
            "host",
            "name:port",
        ),
        (r#"{ "db": 1, "type": "cluster" }"#, "db", "leave it out"),
        (r#"{ "master": "m" }"#, "master", "`type: sentinel`"),
        (
            r#"{ "master": "m", "type": "cluster" }"#,
            "master",
            "`type: sentinel`",
        ),
        (
            r#"{ "sentinel_user": "m" }"#,
            "sentinel_user",
            "`type: sentinel`",
        ),
        (
            r#"{ "sentinel_pass": "hunter2" }"#,
            "sentinel_pass",
            "`type: sentinel`",
        ),
        (r#"{ "type": "sentinel" }"#, "master", "sentinel monitor"),
        (
            r#"{ "type": "sentinel", "master": "" }"#,
            "master",
            "sentinel monitor",
        ),
        (
            r#"{ "type": "sentinel", "master": "m", "sentinel_user": "app" }"#,
            "sentinel_user",
            "`sentinel_pass`",
        ),
        (
            r#"{ "connect_timeout": "1s", "ping_timeout": "1s" }"#,
            "ping_timeout",
            "`connect_timeout`",
        ),
        (
            r#"{ "ping_timeout": "0s" }"#,
            "ping_timeout",
            "1 ms to 1 hour",
        ),
        (
            r#"{ "read_timeout": "0s" }"#,
            "read_timeout",
            "1 ms to 1 hour",
        ),
        (
            r#"{ "write_timeout": "61m" }"#,
            "write_timeout",
            "1 ms to 1 hour",
        ),
        (
            r#"{ "connect_timeout": "1us" }"#,
            "connect_timeout",
            "1 ms to 1 hour",
        ),
        (
            r#"{ "wait_for_replicas": { "count": 0, "patience": "1s" } }"#,
            "wait_for_replicas",
            "positive",
        ),
        (
            r#"{ "wait_for_replicas": { "count": 1, "patience": "0s" } }"#,
            "wait_for_replicas",
            "1 ms to 1 hour",
        ),
        (r#"{ "weight": 0 }"#, "weight", "leave it out"),
        (r#"{ "weight": -1 }"#, "weight", "no cache nodes"),
    ] {
        let config = parsed(json).unwrap();
        // Also where nobody waits for the connection.
        refused(config.clone().into(), setting, remedy).await;
        let builder = RedisBuilder::from(config);
        refused(builder.non_blocking(), setting, remedy).await;
    }
}

#[tokio::test]
async fn what_is_wrong_with_one_of_several_entries_is_said_with_its_number() {
    for (json, setting, remedy) in [
        (
            r#"[{ "Host": "a" }, { "Host": "b", "User": "app" }]"#,
            "user` of entry 2",
            "`pass`",
        ),
        (
            r#"[{ "Host": "a", "Weight": 0 }, { "Host": "b", "Weight": -1 }]"#,
            "weight",
            "no cache nodes",
        ),
        (
            r#"[{ "Host": "a,b" }, { "Host": "c" }]"#,
            "host` of entry 1",
            "`type: cluster`",
        ),
    ] {
        let error = RedisBuilder::from(parsed_list(json)).connect().await;
        let text = shown(&error.unwrap_err());
        assert!(text.starts_with(&format!("`{setting}")), "{json}: {text}");
        assert!(text.contains(remedy), "{json}: {text}");
    }
    let two = parsed_list(r#"[{ "Host": "a" }, { "Host": "b" }]"#);
    let with_url = RedisBuilder::from(two).url(format!("redis://:{SECRET}@cache"));
    refused(with_url, "url", "leave the others out").await;
}

#[test]
fn every_format_says_the_same() {
    use config::{Config, ConfigError, File, FileFormat};

    #[derive(Debug, serde::Deserialize)]
    struct Settings {
        cache: Vec<NodeConfig>,
    }

    let read = |text: &str, format| -> Result<Vec<NodeConfig>, ConfigError> {
        let read = Config::builder().add_source(File::from_str(text, format));
        let settings: Settings = read.build()?.try_deserialize()?;
        Ok(settings.cache)
    };
    let json = r#"{ "cache": [{ "host": "a,b", "type": "cluster", "pass": "hunter2", "db": 0,
                    "tls": { "ca_file": "x" }, "read_timeout": "1s" }] }"#;
    let yaml = "cache:\n- Host: a,b\n  Type: cluster\n  Pass: hunter2\n  db: '0'\n  \
                Tls: { ca_file: x }\n  read_timeout: 1s\n  user:\n";
    let toml = "[[cache]]\nhost = 'a,b'\nType = 'cluster'\npass = 'hunter2'\ndb = 0\n\
                ReadTimeout = '1s'\n[cache.tls]\nCaFile = 'x'\n";
    let shown = [
        (json, FileFormat::Json),
        (yaml, FileFormat::Yaml),
        (toml, FileFormat::Toml),
    ]
    .map(|(text, format)| format!("{:?}", read(text, format).unwrap()));
    assert!(shown[0].contains("read_timeout: 1s"), "{shown:?}");
    assert!(!shown[0].contains(SECRET), "{shown:?}");
    assert_eq!(shown[0], shown[1]);
    assert_eq!(shown[0], shown[2]);

    for (yaml, setting, remedy) in [
        ("cache: [{ hosst: hunter2 }]", "hosst", "`host`"),
        ("cache: [{ pass: 4711 }]", "`pass`", "quotes"),
        ("cache: [{ weight: hunter2 }]", "`weight`", "whole number"),
        ("cache: [{ tls: hunter2 }]", "`tls`", "ca_file"),
        ("cache: [{ type: [hunter2] }]", "`type`", "`cluster`"),
        ("cache: [{ host: a, Host: b }]", "`host`", "duplicate"),
    ] {
        let error = read(yaml, FileFormat::Yaml).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(
            text.contains(setting) && text.contains(remedy),
            "{yaml}: {text}"
        );
        assert!(!text.contains(SECRET) && !text.contains("4711"), "{text}");
    }
}

#[tokio::test]
async fn no_entry_at_all_is_refused() {
    let none = RedisBuilder::from(parsed_list("[]"));
    // A setter has no entry to set anything in.
    let error = none.host("cache").connect().await.unwrap_err();
    assert!(matches!(error, ConnectError::NoNodes), "{error:?}");
    assert!(error.to_string().contains("no cache nodes"), "{error}");
}

#[tokio::test]
async fn the_builder_is_checked_as_the_file_is() {
    refused(Redis::builder().cluster().db(1), "db", "leave it out").await;
    refused(Redis::builder().sentinel(""), "master", "sentinel monitor").await;
    let login = Redis::builder().sentinel_login("app", SECRET);
    refused(login, "sentinel_user", "`type: sentinel`").await;
    let url = format!("redis://:{SECRET}@127.0.0.1");
    refused(Redis::builder().url(url).sentinel("m"), "url", "`host`").await;
    refused(Redis::builder().host("a,b"), "host", "`type: cluster`").await;
    let ping = RedisBuilder::from(parsed(r#"{ "PingTimeout": "0s" }"#).unwrap());
    refused(ping.clone(), "ping_timeout", "1 ms").await;
    // A setter overrides what the file says, by its other name too.
    let redis = ping
        .connect_timeout(Duration::from_secs(1))
        .non_blocking()
        .connect()
        .await;
    assert!(redis.is_ok(), "{redis:?}");
}

#[tokio::test]
async fn one_entry_of_a_list_is_as_good_as_an_entry() {
    let json = r#"[{ "Host": "127.0.0.1:1", "Type": "node", "Pass": "hunter2", "Tls": false,
                     "Weight": 1, "NonBlock": true, "PingTimeout": "1s" }]"#;
    let redis = RedisBuilder::from(parsed_list(json)).connect().await;
    assert!(!format!("{redis:?}").contains(SECRET));
    assert_eq!(redis.unwrap().guarantee(), None);
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn tls_that_cannot_be_is_refused_by_name() {
    use cache_redis::Tls;

    for (json, setting, remedy) in [
        (
            r#"{ "tls": { "cert_file": "x" } }"#,
            "tls.key_file",
            "set it",
        ),
        (
            r#"{ "tls": { "key_file": "x" } }"#,
            "tls.cert_file",
            "set it",
        ),
        (
            r#"{ "tls": { "ca_file": "/no/such/file" } }"#,
            "tls.ca_file",
            "path",
        ),
    ] {
        refused(parsed(json).unwrap().into(), setting, remedy).await;
    }
    let off = || RedisBuilder::from(parsed(r#"{ "tls": false }"#).unwrap());
    refused(off().tls(Tls::new()), "tls", "leave one of them out").await;
    let url = format!("rediss://:{SECRET}@127.0.0.1");
    refused(off().url(url), "tls", "leave one of them out").await;
    let no_pem = Tls::new().client_pem(SECRET, SECRET);
    refused(Redis::builder().tls(no_pem), "tls", "PEM").await;
}

#[tokio::test]
async fn what_is_in_the_url_and_beside_it_is_refused_by_name() {
    let url = format!("redis://app:{SECRET}@127.0.0.1/1");
    let builder = || Redis::builder().url(&url);
    refused(builder().host("other"), "host", "one of them").await;
    refused(builder().user("other"), "user", "one of them").await;
    refused(builder().pass("hunter2too"), "pass", "one of them").await;
    refused(builder().db(2), "db", "one of them").await;
    let with_path = format!("redis://:{SECRET}@127.0.0.1/one");
    refused(Redis::builder().url(with_path), "url", "number").await;
}

#[tokio::test]
async fn nothing_that_can_be_printed_shows_a_password() {
    let config = parsed(&format!(
        r#"{{ "host": "127.0.0.1:1", "user": "app", "pass": "{SECRET}" }}"#
    ));
    let config = config.unwrap();
    assert!(!format!("{config:?}").contains(SECRET));
    let builder = RedisBuilder::from(config);
    assert!(!format!("{builder:?}").contains(SECRET));
    let redis = builder.non_blocking().connect().await.unwrap();
    assert!(!format!("{redis:?}").contains(SECRET));
    assert_eq!(redis.guarantee(), None);

    let builder = Redis::builder().url(format!("redis://app:{SECRET}@127.0.0.1:1"));
    assert!(!format!("{builder:?}").contains(SECRET));
    shown(&builder.connect().await.unwrap_err());
}

#[test]
fn outside_a_runtime_it_says_what_is_missing() {
    let connecting = Redis::builder()
        .read_timeout(Duration::from_secs(1))
        .connect();
    let error = futures_util::FutureExt::now_or_never(connecting)
        .unwrap()
        .unwrap_err();
    assert!(matches!(error, ConnectError::NoRuntime));
    assert!(error.to_string().contains("tokio runtime"), "{error}");
}
