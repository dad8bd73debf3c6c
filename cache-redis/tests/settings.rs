//! What is wrong with the settings is said by name, and no password is shown.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

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

#[test]
fn a_configuration_that_does_not_parse_says_where() {
    for (json, word) in [
        (r#"{ "hosst": "cache" }"#, "hosst"),
        (r#"{ "tls": { "ca": "x" } }"#, "ca_file"),
        (r#"{ "tls": "yes" }"#, "`tls`"),
        (r#"{ "connect_timeout": "soon" }"#, "`connect_timeout`"),
        (r#"{ "read_timeout": "5" }"#, "`read_timeout`"),
        (r#"{ "write_timeout": 5 }"#, "`write_timeout`"),
        (r#"{ "db": -1 }"#, "u32"),
        (r#"{ "wait_for_replicas": { "count": 1 } }"#, "patience"),
        (
            r#"{ "wait_for_replicas": { "count": 1, "patience": "1 year ago" } }"#,
            "`wait_for_replicas.patience`",
        ),
        (
            r#"{ "wait_for_replicas": { "count": 1, "patience": "1s", "x": 1 } }"#,
            "`x`",
        ),
    ] {
        let error = parsed(json).unwrap_err();
        assert!(error.to_string().contains(word), "{json}: {error}");
    }
}

#[test]
fn a_password_that_is_a_number_is_refused_and_not_repeated() {
    for number in ["4711", "-4711", "4711.5"] {
        let error = parsed(&format!(r#"{{ "pass": {number} }}"#)).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains("`pass`") && text.contains("quotes"), "{text}");
        assert!(!text.contains("4711"), "{text}");
    }
}

#[tokio::test]
async fn a_configuration_that_contradicts_itself_is_refused_by_name() {
    for (json, setting, remedy) in [
        (r#"{ "user": "app" }"#, "user", "`pass`"),
        (r#"{ "lanes": 0 }"#, "lanes", "1 to 64"),
        (r#"{ "lanes": 65 }"#, "lanes", "1 to 64"),
        (r#"{ "host": "redis://cache" }"#, "host", "name:port"),
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
    ] {
        let config = parsed(json).unwrap();
        // Also where nobody waits for the connection.
        refused(config.clone().into(), setting, remedy).await;
        let builder = RedisBuilder::from(config);
        refused(builder.non_blocking(), setting, remedy).await;
    }
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
