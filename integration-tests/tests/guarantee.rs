//! How far the guarantee holds on a server, and who is told.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

use cache_core::{BreakerState, Event, Guarantee};
use cache_redis::{GuaranteeReport, Redis};
use integration_tests::{Server, within};

use self::support::{CEILING, Events, Loads, connect, engine, owned, users};

async fn report(server: &Server) -> GuaranteeReport {
    connect(&server.url()).await.guarantee().unwrap()
}

/// What it says of `server`: its level, and the only finding that weakens it, if there is one.
async fn weakness(server: &Server) -> (Guarantee, String) {
    let report = report(server).await;
    let weakening = report.findings.iter();
    let weakening = weakening.filter(|finding| finding.allows != Guarantee::Strict);
    let texts: Vec<_> = weakening.map(ToString::to_string).collect();
    assert!(texts.len() <= 1, "{texts:?}");
    (report.guarantee, texts.concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_depends_on_what_the_server_keeps_and_for_whom() {
    let server = owned().start().await;
    let strict = (Guarantee::Strict, String::new());
    assert_eq!(weakness(&server).await, strict);
    for (set, unset, remedy) in [
        (["save", "3600 1"], ["save", ""], "set `save \"\"`"),
        (
            ["appendonly", "yes"],
            ["appendonly", "no"],
            "set `appendonly no`",
        ),
    ] {
        server.cmd(&["CONFIG", "SET", set[0], set[1]]).await;
        let (level, text) = weakness(&server).await;
        assert_eq!(level, Guarantee::StrictUntilFailover, "{set:?}");
        assert!(text.contains(remedy), "{text}");
        server.cmd(&["CONFIG", "SET", unset[0], unset[1]]).await;
        assert_eq!(weakness(&server).await, strict);
    }

    let replica = owned().start_replica_of(&server).await;
    let (level, text) = weakness(&server).await;
    assert_eq!(level, Guarantee::StrictUntilFailover);
    assert!(text.contains("wait_for_replicas"), "{text}");
    drop(replica);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_the_settings_that_it_ships_with_is_strict_until_failover() {
    let server = owned().args(["--save", "3600 1 300 100 60 10000"]);
    let server = server.start().await;
    let (level, text) = weakness(&server).await;
    assert_eq!(level, Guarantee::StrictUntilFailover);
    assert!(text.contains("snapshots"), "{text}");
    let findings = report(&server).await.findings;
    let no_limit = findings
        .iter()
        .any(|finding| finding.remedy.contains("maxmemory"));
    assert!(no_limit, "{findings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_came_up_with_old_data_says_so() {
    let server = owned().args(["--save", "3600 1"]).start().await;
    server.cmd(&["SET", "key", "old"]).await;
    server.cmd(&["SAVE"]).await;
    server.restart().await;
    assert_eq!(server.query::<String>(&["GET", "key"]).await, "old");
    server.cmd(&["CONFIG", "SET", "save", ""]).await;
    let (level, text) = weakness(&server).await;
    assert_eq!(level, Guarantee::StrictUntilFailover);
    assert!(text.contains("FLUSHALL"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_looked_at_again_when_a_connection_is_made() {
    let server = owned().start().await;
    let events = Events::default();
    let builder = Redis::builder().url(server.url()).lanes(1);
    let redis = builder.recorder(events.clone()).connect().await.unwrap();
    assert_eq!(events.all(), [Event::Guarantee(Guarantee::Strict)]);
    let users = users(&engine(&redis));

    server.cmd(&["CONFIG", "SET", "save", "3600 1"]).await;
    server.cmd(&["CLIENT", "KILL", "TYPE", "normal"]).await;
    let weaker = Guarantee::StrictUntilFailover;
    within(CEILING, "it is looked at again", async || {
        Loads::default().get(&users, 1, "value").await;
        (redis.guarantee().unwrap().guarantee == weaker).then_some(())
    })
    .await;
    events.until(Event::Guarantee(weaker)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_state_of_the_breaker_is_told_once_and_in_order() {
    let server = owned().start().await;
    let events = Events::default();
    let builder = Redis::builder().url(server.url()).lanes(1);
    let redis = builder.recorder(events.clone()).connect().await.unwrap();
    let users = users(&engine(&redis));

    server.pause().await;
    Loads::default().get(&users, 1, "loaded").await;
    events.until(Event::Breaker(BreakerState::HalfOpen)).await;
    server.resume().await;
    events.until(Event::Breaker(BreakerState::Closed)).await;
    let states: Vec<_> = events
        .all()
        .into_iter()
        .filter(|event| matches!(event, Event::Breaker(_)))
        .collect();
    assert_eq!(states[0], Event::Breaker(BreakerState::Open));
    assert_eq!(states[1], Event::Breaker(BreakerState::HalfOpen));
    let last = states.last().unwrap();
    assert_eq!(*last, Event::Breaker(BreakerState::Closed));
    for pair in states.windows(2) {
        assert_ne!(pair[0], pair[1], "{states:?}");
    }
}
