//! Why there is no connection at start: each text names the setting and the remedy, and no
//! password.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests fail by panicking"
)]

mod support;

use std::time::Duration;

use cache_redis::{ConnectError, Redis, RedisBuilder, Tls};
use integration_tests::{Server, Tls as Certificates};
use tokio::time::timeout;

use self::support::{CEILING, owned, shown};

/// Occurs in no text but that of the password.
const SECRET: &str = "hunter2";

/// Why it cannot connect, and all that is shown of it.
async fn refusal(builder: RedisBuilder) -> (ConnectError, String) {
    assert!(!format!("{builder:?}").contains(SECRET), "{builder:?}");
    let connected = timeout(CEILING, builder.connect()).await;
    let error = connected.expect("it hangs").unwrap_err();
    let text = shown(&error);
    assert!(!text.contains(SECRET), "{text}");
    (error, text)
}

async fn server() -> Server {
    owned().password(SECRET).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_listens_the_host_is_to_blame() {
    let server = server().await;
    server.kill().await;
    let (error, text) = refusal(Redis::builder().url(server.url())).await;
    assert!(matches!(error, ConnectError::Unreachable(_)), "{text}");
    assert!(text.starts_with("`host`"), "{text}");
    assert!(
        text.contains("is it running") && text.contains("refused"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_known_is_to_blame_itself() {
    let builder = Redis::builder().host("no-such-host.invalid").pass(SECRET);
    let builder = builder.connect_timeout(Duration::from_secs(5));
    let (_, text) = refusal(builder).await;
    assert!(text.contains("`host`"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_refused_blames_user_and_pass() {
    let server = server().await;
    let bare = format!("redis://127.0.0.1:{}", server.port());
    let with_wrong = bare.replace("://", "://:hunter2-not@");
    let with_user = bare.replace("://", "://nobody:hunter2@");
    for url in [bare, with_wrong, with_user] {
        let (error, text) = refusal(Redis::builder().url(url)).await;
        assert!(matches!(error, ConnectError::Login(_)), "{text}");
        assert!(text.starts_with("`user`, `pass`"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_there_is_named_by_its_setting() {
    let server = server().await;
    let (error, text) = refusal(Redis::builder().url(server.url()).db(16)).await;
    let ConnectError::Setting { setting, .. } = error else {
        panic!("{text}");
    };
    assert_eq!(setting, "db");
    assert!(text.contains("`databases`"), "{text}");
    let builder = Redis::builder().url(server.url());
    let redis = builder.db(15).connect().await.unwrap();
    assert!(!format!("{redis:?}").contains(SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_on_one_side_only_is_asked_about() {
    let certificates = Certificates::new();
    let (plain, tls) = (server().await, owned().password(SECRET).tls(&certificates));
    let tls = tls.start().await;
    let trusting = Tls::new().ca_pem(certificates.ca());
    for (server, builder) in [
        (
            &plain,
            Redis::builder().url(plain.url()).tls(trusting.clone()),
        ),
        (
            &tls,
            Redis::builder().url(tls.url().replace("rediss", "redis")),
        ),
    ] {
        let (_, text) = refusal(builder).await;
        assert!(text.contains("TLS"), "{}: {text}", server.url());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_and_a_cluster_are_refused_with_what_to_do() {
    let primary = server().await;
    let replica = owned().password(SECRET).start_replica_of(&primary).await;
    let (error, text) = refusal(Redis::builder().url(replica.url())).await;
    assert!(matches!(error, ConnectError::Unusable(_)), "{text}");
    assert!(
        text.contains("`host`") && text.contains("the primary"),
        "{text}"
    );

    let cluster = owned().args(["--cluster-enabled", "yes"]);
    let cluster = cluster.password(SECRET).start().await;
    let (error, text) = refusal(Redis::builder().url(cluster.url())).await;
    assert!(matches!(error, ConnectError::Unusable(_)), "{text}");
    assert!(
        text.contains("`host`") && text.contains("cluster"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_blames_the_time() {
    let server = server().await;
    server.pause().await;
    let builder = Redis::builder().url(server.url());
    let builder = builder.connect_timeout(Duration::from_millis(100));
    let (error, text) = refusal(builder).await;
    assert!(matches!(error, ConnectError::TimedOut), "{text}");
    assert!(text.starts_with("`connect_timeout`"), "{text}");
    server.resume().await;
}
