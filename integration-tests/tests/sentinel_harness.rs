//! Sentinels and the servers that they watch do what a test tells them to, whichever way they run.
#![expect(clippy::panic, reason = "helpers of tests fail by panicking")]

use std::time::Duration;

use integration_tests::{Sentinels, SentinelsBuilder, Server, Tls, Way, within};
use redis::{Client, RedisResult};
use tokio::net::TcpStream;

/// Asks a sentinel or a server by its URL alone, as a client would.
async fn ask<T: redis::FromRedisValue>(url: &str, words: &[&str]) -> RedisResult<T> {
    let client = Client::open(url)?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(word);
    }
    command.query_async(&mut connection).await
}

/// Returns the primary that each seed names.
async fn named(sentinels: &Sentinels, login: &str) -> Vec<String> {
    let name = sentinels.master_name();
    let mut named = Vec::new();
    for seed in sentinels.seeds().split(',') {
        let url = format!("redis://{login}{seed}");
        let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", name];
        let (host, port): (String, u16) = ask(&url, &words)
            .await
            .unwrap_or_else(|error| panic!("the seed does not answer: {error}"));
        named.push(format!("{host}:{port}"));
    }
    named
}

fn address(server: &Server) -> String {
    format!("127.0.0.1:{}", server.port())
}

async fn write(server: &Server, value: &str) {
    let mut client = server.client().await;
    let (replicas,): (u64,) = redis::pipe()
        .set("key", value)
        .ignore()
        .cmd("WAIT")
        .arg(1)
        .arg(5_000)
        .query_async(&mut client)
        .await
        .unwrap_or_else(|error| panic!("cannot write: {error}"));
    assert_eq!(replicas, 1);
}

#[tokio::test]
async fn sentinels_name_a_primary_that_clients_reach() {
    for builder in SentinelsBuilder::each_way().await {
        let sentinels = builder.start().await;
        let primary = address(sentinels.primary());
        assert_eq!(named(&sentinels, "").await, [&*primary; 3]);
        write(sentinels.primary(), "value").await;
        let value: String = sentinels.replica().query(&["GET", "key"]).await;
        assert_eq!(value, "value");
    }
}

#[tokio::test]
async fn a_primary_that_was_killed_is_replaced_and_comes_back_as_a_replica() {
    for builder in SentinelsBuilder::each_way().await {
        let sentinels = builder.start().await;
        let old = sentinels.primary();
        write(old, "value").await;

        old.kill().await;
        let new = sentinels.until_failed_over(old).await;
        assert_eq!(new.port(), sentinels.replica().port());
        assert_eq!(named(&sentinels, "").await, [&*address(new); 3]);
        assert_eq!(new.query::<String>(&["GET", "key"]).await, "value");
        new.cmd(&["SET", "key", "new"]).await;

        old.start_again().await;
        sentinels.until_well().await;
        assert_eq!(old.query::<String>(&["GET", "key"]).await, "new");
    }
}

#[tokio::test]
async fn with_tls_all_speak_it_alone_and_a_replica_takes_over() {
    let tls = Tls::new();
    for builder in SentinelsBuilder::each_way().await {
        let sentinels = builder.tls(&tls).start().await;
        let old = sentinels.primary();
        let servers = [old, sentinels.replica()];
        for server in servers.into_iter().chain(sentinels.sentinels()) {
            assert!(server.url().starts_with("rediss://"), "{}", server.url());
            let plain = format!("redis://{}", address(server));
            let error = ask::<()>(&plain, &["PING"]).await.unwrap_err();
            assert!(
                error.is_io_error() || error.is_connection_dropped(),
                "{error:?}"
            );
        }
        write(old, "value").await;
        old.kill().await;
        let new = sentinels.until_failed_over(old).await;
        assert_eq!(new.query::<String>(&["GET", "key"]).await, "value");
        old.start_again().await;
        sentinels.until_well().await;
        sentinels.sentinels()[0].kill().await;
        sentinels.start_again(0).await;
        sentinels.until_well().await;
    }
}

#[tokio::test]
async fn a_primary_that_was_paused_is_replaced() {
    for builder in SentinelsBuilder::each_way().await {
        let sentinels = builder.start().await;
        let old = sentinels.primary();
        old.pause().await;
        let new = sentinels.until_failed_over(old).await;
        assert_eq!(named(&sentinels, "").await, [&*address(new); 3]);
        new.cmd(&["SET", "key", "new"]).await;
        old.resume().await;
        sentinels.until_well().await;
        assert_eq!(old.query::<String>(&["GET", "key"]).await, "new");
    }
}

#[tokio::test]
async fn passwords_are_asked_for_and_do_not_hinder_a_failover() {
    for builder in SentinelsBuilder::each_way().await {
        let sentinels = builder
            .password("sesame")
            .sentinel_password("secret")
            .user("app on >word ~* +@all")
            .args(["--maxmemory", "3mb"])
            .start()
            .await;
        for server in [sentinels.primary(), sentinels.replica()] {
            let set: (String, u64) = server.query(&["CONFIG", "GET", "maxmemory"]).await;
            assert_eq!(set.1, 3 << 20);
            let pong: String = ask(&server.url_as("app", "word"), &["PING"]).await.unwrap();
            assert_eq!(pong, "PONG");
            let bare = format!("redis://{}", address(server));
            let refused = ask::<()>(&bare, &["PING"]).await.unwrap_err();
            assert_eq!(refused.code(), Some("NOAUTH"));
        }
        let primary = address(sentinels.primary());
        assert_eq!(named(&sentinels, ":secret@").await, [&*primary; 3]);
        let bare = format!("redis://{}", address(&sentinels.sentinels()[0]));
        let refused = ask::<()>(&bare, &["PING"]).await.unwrap_err();
        assert_eq!(refused.code(), Some("NOAUTH"));

        let old = sentinels.primary();
        let new = sentinels.fail_over(old).await;
        sentinels.until_well().await;
        write(new, "value").await;
        assert_eq!(old.query::<String>(&["GET", "key"]).await, "value");
        assert_eq!(sentinels.fail_over(new).await.port(), old.port());
    }
}

#[tokio::test]
async fn a_sentinel_that_is_down_is_no_hindrance_and_comes_back() {
    for builder in SentinelsBuilder::each_way().await {
        let sentinels = builder.start().await;
        let old = sentinels.primary();
        let down = &sentinels.sentinels()[0];
        down.kill().await;
        old.kill().await;
        let new = sentinels.until_failed_over(old).await;

        sentinels.start_again(0).await;
        let same = sentinels.until_failed_over(old).await;
        assert_eq!(same.port(), new.port());
        assert_eq!(named(&sentinels, "").await, [&*address(new); 3]);
    }
}

#[tokio::test]
async fn one_sentinel_alone_decides() {
    for builder in SentinelsBuilder::each_way().await {
        let sentinels = builder
            .sentinels(1)
            .down_after(Duration::from_millis(700))
            .start()
            .await;
        assert!(!sentinels.seeds().contains(','));
        let old = sentinels.primary();
        old.kill().await;
        let new = sentinels.until_failed_over(old).await;
        new.cmd(&["SET", "key", "new"]).await;
    }
}

/// Returns the ports on which somebody still listens.
async fn open(ports: &[u16]) -> Vec<u16> {
    let mut open = Vec::new();
    for &port in ports {
        if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            open.push(port);
        }
    }
    open
}

fn ports(sentinels: &Sentinels) -> Vec<u16> {
    let servers = [sentinels.primary(), sentinels.replica()];
    let all = servers.into_iter().chain(sentinels.sentinels());
    all.map(Server::port).collect()
}

#[tokio::test]
async fn nothing_is_left_of_sentinels_that_are_dropped() {
    for builder in SentinelsBuilder::each_way().await {
        let sentinels = builder.start().await;
        let ports = ports(&sentinels);
        assert_eq!(open(&ports).await, ports);
        sentinels.primary().pause().await;
        sentinels.sentinels()[1].kill().await;
        drop(sentinels);
        assert_eq!(open(&ports).await, [0; 0]);
    }
}

#[tokio::test]
async fn nothing_is_left_of_sentinels_after_a_panic() {
    for builder in SentinelsBuilder::each_way().await {
        let (tell, told) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            let sentinels = builder.start().await;
            tell.send(ports(&sentinels)).unwrap();
            panic!("as a test that fails");
        });
        let ports = told.await.unwrap();
        assert!(task.await.unwrap_err().is_panic());
        within(Duration::from_secs(2), "all ports are closed", async || {
            open(&ports).await.is_empty().then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_the_setting_at_fault() {
    for (builder, part) in [
        (Sentinels::builder().sentinels(0), "sentinels()"),
        (
            Sentinels::builder().down_after(Duration::ZERO),
            "down_after()",
        ),
        (Sentinels::builder().only(Way::Url), "REDIS_URL"),
        (
            Sentinels::builder().args(["--no-such-setting", "1"]),
            "no-such-setting",
        ),
    ] {
        let text = format!("{:?}", builder.try_start().await.unwrap_err());
        assert!(text.contains(part), "{text}");
    }
}
