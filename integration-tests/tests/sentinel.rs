//! A primary behind sentinels: a failover is followed without a restart.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests fail by panicking"
)]

mod support;

use std::time::Duration;

use cache_core::{Cache, Invalidation};
use cache_redis::{ConnectError, Redis, RedisBuilder, Tls};
use futures_util::future::join_all;
use integration_tests::{
    Proxy, Sentinels, SentinelsBuilder, Server, Tls as Certificates, eventually, within,
};
use tokio::time::{Instant, timeout};

use self::support::{APP, CEILING, Loads, connections, engine, exists, key, shown, users};

/// How long the sentinels may take to fail over, and redis to be used again.
const FAILOVER: Duration = Duration::from_secs(30);

/// As long as a busy machine may need for a connection.
const CONNECT: Duration = Duration::from_secs(2);

fn owned() -> SentinelsBuilder {
    Sentinels::builder().prefer_process().user(APP)
}

/// As the user `app`, on one lane, with TLS if they have it.
fn through(sentinels: &Sentinels) -> RedisBuilder {
    let builder = through_seeds(sentinels.seeds(), sentinels.master_name());
    match sentinels.tls() {
        Some(tls) => builder.tls(Tls::new().ca_pem(tls.ca())),
        None => builder,
    }
}

fn through_seeds(seeds: String, master: &str) -> RedisBuilder {
    let builder = Redis::builder().host(seeds).sentinel(master);
    let builder = builder.user("app").pass("secret").lanes(1);
    builder.connect_timeout(CONNECT)
}

async fn users_through(sentinels: &Sentinels) -> Cache<u64, String> {
    users(&engine(&through(sentinels).connect().await.unwrap()))
}

/// Waits until what is loaded is stored at `server`, and removed from there.
async fn until_used(users: &Cache<u64, String>, server: &Server, ids: std::ops::Range<u64>) {
    let loads = Loads::default();
    for id in ids {
        within(FAILOVER, "it is stored at the new primary", async || {
            loads.get(users, id, "loaded").await;
            exists(server, &key(id)).await.then_some(())
        })
        .await;
        assert_eq!(users.invalidate(&id).await, Invalidation::Done);
        assert!(!exists(server, &key(id)).await, "a removal works");
    }
}

/// Brings an entry back at the replica, as if it had not been told of the removal.
async fn forget_removal(replica: &Server, id: u64) {
    replica
        .cmd(&["CONFIG", "SET", "replica-read-only", "no"])
        .await;
    let value = r#""old""#;
    replica.cmd(&["SET", &key(id), value, "EX", "3600"]).await;
}

/// A primary is killed that did not pass a removal on, which is done again at the new one.
async fn a_primary_is_killed(sentinels: &Sentinels) {
    let users = users_through(sentinels).await;
    let loads = Loads::default();
    let old = sentinels.primary();
    assert_eq!(loads.get(&users, 1, "old").await, "old");
    eventually("it is stored", async || {
        exists(old, &key(1)).await.then_some(())
    })
    .await;
    assert_eq!(users.invalidate(&1).await, Invalidation::Done);
    forget_removal(sentinels.replica(), 1).await;

    old.kill().await;
    let new = sentinels.until_failed_over(old).await;
    until_used(&users, new, 10..13).await;
    assert!(!exists(new, &key(1)).await, "it is removed once more");
    assert_eq!(loads.get(&users, 1, "new").await, "new");
    comes_back(sentinels, &users, old, new).await;
}

/// The old primary comes back and is made a replica, which is not connected to.
async fn comes_back(sentinels: &Sentinels, users: &Cache<u64, String>, old: &Server, new: &Server) {
    old.start_again().await;
    sentinels.until_well().await;
    until_used(users, new, 20..23).await;
    assert_eq!(connections(old).await, [0; 0]);
    assert_eq!(connections(new).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_primary_did_not_pass_on_is_removed_again_at_the_new_one() {
    a_primary_is_killed(&owned().start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_primary_did_not_pass_on_is_removed_again_over_tls() {
    let sentinels = owned().tls(&Certificates::new()).start().await;
    a_primary_is_killed(&sentinels).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_of_another_authority_are_not_asked() {
    let (tls, foreign) = (Certificates::new(), Certificates::new());
    let sentinels = owned().tls(&tls).start().await;
    for tls in [Tls::new().ca_pem(foreign.ca()), Tls::new()] {
        let wrong = refused(through(&sentinels).tls(tls)).await.to_string();
        assert!(wrong.starts_with("`tls`"), "{wrong}");
        assert!(wrong.contains("`ca_file`"), "{wrong}");
    }
    let plain = through_seeds(sentinels.seeds(), sentinels.master_name());
    let wrong = refused(plain).await;
    assert!(shown(&wrong).contains("TLS"), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_hangs_is_left_though_its_connection_never_fails() {
    let sentinels = owned().start().await;
    let users = users_through(&sentinels).await;
    let loads = Loads::default();
    let old = sentinels.primary();
    loads.get(&users, 1, "value").await;

    old.pause().await;
    let new = sentinels.until_failed_over(old).await;
    until_used(&users, new, 10..13).await;

    // It takes itself for the primary until a sentinel tells it otherwise.
    old.resume().await;
    until_used(&users, new, 20..23).await;
    eventually("it is not connected to", async || {
        connections(old).await.is_empty().then_some(())
    })
    .await;
    sentinels.until_well().await;
    until_used(&users, new, 30..33).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_demoted_while_it_is_up_is_left() {
    let sentinels = owned().start().await;
    let users = users_through(&sentinels).await;
    Loads::default().get(&users, 1, "value").await;
    let old = sentinels.primary();
    let new = sentinels.fail_over(old).await;
    until_used(&users, new, 10..13).await;
    eventually("the old one is left", async || {
        connections(old).await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_makes_no_storm_of_connections_at_the_sentinels() {
    let sentinels = owned().start().await;
    let mut proxies = Vec::new();
    for sentinel in sentinels.sentinels() {
        proxies.push(Proxy::before(sentinel).await);
    }
    let seeds: Vec<_> = proxies
        .iter()
        .map(|proxy| format!("127.0.0.1:{}", proxy.port()))
        .collect();
    let redis = through_seeds(seeds.join(","), sentinels.master_name());
    let users = users(&engine(&redis.connect().await.unwrap()));
    let loads = Loads::default();
    loads.get(&users, 1, "value").await;

    let before: Vec<u64> = proxies.iter().map(Proxy::accepted).collect();
    let began = Instant::now();
    sentinels.primary().kill().await;
    let mut asked = 0;
    while began.elapsed() < Duration::from_secs(3) {
        // Callers do not connect.
        let calls = (asked..asked + 20).map(|id| loads.get(&users, id, "loaded"));
        join_all(calls).await;
        asked += 20;
    }
    let new = sentinels.until_failed_over(sentinels.primary()).await;
    until_used(&users, new, 100_000..100_001).await;
    // The pauses are 25 ms at least, and from the fifth on 250 ms.
    let most = 8 + began.elapsed().as_millis() / 250;
    for (proxy, before) in proxies.iter().zip(before) {
        let accepted = proxy.accepted() - before;
        assert!(u128::from(accepted) <= most, "{accepted} of {most}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_that_are_down_or_hang_are_done_without() {
    let sentinels = owned().start().await;
    let [down, hung, ..] = sentinels.sentinels() else {
        panic!("there are three");
    };
    down.kill().await;
    hung.pause().await;
    let began = Instant::now();
    let redis = through(&sentinels).connect().await.unwrap();
    // For the sentinels, for the connection, and for the look at the server.
    assert!(began.elapsed() < CONNECT * 3, "{:?}", began.elapsed());
    let users = users(&engine(&redis));
    until_used(&users, sentinels.primary(), 1..3).await;
    hung.resume().await;
}

/// Why it does not connect, soon.
async fn refused(builder: RedisBuilder) -> ConnectError {
    let connected = timeout(CEILING, builder.connect()).await;
    let error = connected.expect("it takes too long").unwrap_err();
    let text = shown(&error);
    assert!(
        !text.contains("secret") && !text.contains("sesame"),
        "{text}"
    );
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn why_sentinels_lead_nowhere_is_said_by_the_setting() {
    let sentinels = owned().start().await;
    let wrong = refused(through(&sentinels).sentinel("nobody")).await;
    let text = wrong.to_string();
    assert!(text.starts_with("`master`"), "{text}");
    assert!(text.contains("sentinel monitor"), "{text}");

    let no_sentinel = format!("127.0.0.1:{}", sentinels.primary().port());
    let text = refused(through_seeds(no_sentinel, "main").user("default").pass("")).await;
    let text = text.to_string();
    assert!(
        text.starts_with("`host`") && text.contains("26379"),
        "{text}"
    );

    for sentinel in sentinels.sentinels() {
        sentinel.pause().await;
    }
    let hung = refused(through(&sentinels).connect_timeout(Duration::from_millis(300))).await;
    assert!(matches!(hung, ConnectError::TimedOut), "{hung:?}");
    for sentinel in sentinels.sentinels() {
        sentinel.kill().await;
    }
    let down = refused(through(&sentinels)).await;
    assert!(matches!(down, ConnectError::Unreachable(_)), "{down:?}");
    assert!(shown(&down).contains("none of the sentinels"), "{down:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sentinels_have_a_login_of_their_own() {
    let sentinels = owned().sentinel_password("sesame").start().await;
    let with = |login: &str| through(&sentinels).sentinel_login("default", login);
    let redis = with("sesame").connect().await.unwrap();
    assert!(!format!("{redis:?}").contains("sesame"));
    until_used(&users(&engine(&redis)), sentinels.primary(), 1..3).await;

    for builder in [through(&sentinels), with("secret")] {
        let text = refused(builder).await.to_string();
        assert!(text.starts_with("`sentinel_pass`"), "{text}");
        assert!(text.contains("not that of redis"), "{text}");
    }
    let wrong = refused(with("sesame").pass("sesame")).await;
    assert!(matches!(wrong, ConnectError::Login(_)), "{wrong:?}");
}
