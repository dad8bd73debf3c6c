//! A user who may do what the documentation says, and nothing more; and one without scripts.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cognitive_complexity,
    reason = "helpers of tests fail by panicking"
)]

mod support;

use std::time::Duration;

use cache_core::{
    Acquire, Backend, Entry, ErrorKind, Event, Extend, Fill, Guarantee, Invalidation, Key, Ttl,
};
use cache_redis::Redis;
use futures_util::future::join_all;
use integration_tests::{Proxy, Server, eventually};

use self::support::{Events, Loads, connect, engine, exists, key, lease_key, owned, users};

/// The permissions that the documentation of `cache-redis` names.
const DOCUMENTED: [&str; 10] = [
    "+get", "+mget", "+set", "+del", "+pttl", "+pexpire", "+eval", "+evalsha", "+ping", "+info",
];
const SETTINGS: &str = "+config|get";
const KEYS: &str = "~user:* ~{*";

const HOLD: Duration = Duration::from_secs(3);

async fn server(permissions: &str) -> Server {
    let user = format!("app on >secret {KEYS} {permissions}");
    let server = owned().user(user).start().await;
    // As a cache should be run: then a finding is one about permissions.
    server.cmd(&["CONFIG", "SET", "maxmemory", "100mb"]).await;
    let policy = ["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"];
    server.cmd(&policy).await;
    server
}

/// All that is sent of a user who needs no more than a cache: whatever is refused is an error.
async fn every_step(redis: &Redis) -> Result<(), cache_core::Error> {
    let k = Key::new(b"user:1");
    let minute = Duration::from_secs(60);
    let ttl = Ttl::new(minute, minute).unwrap();
    let payload = bytes::Bytes::from_static(b"1");
    redis.ping().await?;
    for answer in redis.remove(std::slice::from_ref(&k)).await {
        answer?;
    }
    assert!(redis.get(&k).await?.is_none());
    let Acquire::Granted(lease) = redis.acquire(&k, HOLD).await? else {
        panic!("free");
    };
    let held = redis.acquire(&k, HOLD).await?;
    assert!(matches!(held, Acquire::Held { .. }));
    assert_eq!(redis.extend(&k, lease, HOLD).await?, Extend::Extended);
    let entry = Entry::Encoded(payload.clone());
    assert_eq!(redis.fill(&k, lease, entry, ttl).await?, Fill::Stored);
    for answer in redis.get_many(&[k.clone(), k.clone()]).await {
        assert!(matches!(answer?, Some(Entry::Encoded(found)) if found == payload));
    }
    let lease = redis.seize(&k, HOLD).await?;
    redis.release(&k, lease).await?;
    assert!(redis.get(&k).await?.is_none());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_permissions_are_enough() {
    let permissions = format!("{} {SETTINGS}", DOCUMENTED.join(" "));
    let documentation = include_str!("../../cache-redis/src/lib.rs");
    assert!(documentation.contains(&permissions), "it has this line");
    let server = server(&permissions).await;
    let redis = connect(&server.url_as("app", "secret")).await;
    every_step(&redis).await.unwrap();
    let report = redis.guarantee().unwrap();
    assert_eq!(report.guarantee, Guarantee::Strict);
    assert_eq!(report.findings, []);

    let error = redis.clear().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
    server.cmd(&["ACL", "SETUSER", "app", "+flushdb"]).await;
    redis.clear().await.unwrap();

    let stranger = Key::new(b"other:1");
    let error = redis.get(&stranger).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert!(error.to_string().contains("permissions"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_documented_permission_is_needed() {
    let permissions = format!("{} {SETTINGS}", DOCUMENTED.join(" "));
    let server = server(&permissions).await;
    let url = server.url_as("app", "secret");
    for permission in DOCUMENTED.iter().copied().chain([SETTINGS]) {
        let without = permission.replace('+', "-");
        server.cmd(&["SCRIPT", "FLUSH"]).await;
        server.cmd(&["ACL", "SETUSER", "app", &without]).await;
        let works = match Redis::connect(&url).await {
            Ok(redis) => {
                let is_strict = redis.guarantee().unwrap().guarantee == Guarantee::Strict;
                is_strict && every_step(&redis).await.is_ok()
            }
            Err(_) => false,
        };
        assert!(!works, "{permission} is not needed");
        server.cmd(&["ACL", "SETUSER", "app", permission]).await;
    }
    let redis = connect(&url).await;
    every_step(&redis).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_scripts_it_says_so_and_two_engines_still_share_a_load() {
    let permissions = format!("{} {SETTINGS} -eval -evalsha", DOCUMENTED.join(" "));
    let server = server(&permissions).await;
    let url = server.url_as("app", "secret");
    let events = Events::default();
    let builder = Redis::builder().url(&url).lanes(1);
    let first = builder.recorder(events.clone()).connect().await.unwrap();
    let report = first.guarantee().unwrap();
    assert_eq!(report.guarantee, Guarantee::Unfenced);
    assert!(events.has(Event::Guarantee(Guarantee::Unfenced)));
    let [finding] = &report.findings[..] else {
        panic!("{report:?}");
    };
    assert_eq!(finding.allows, Guarantee::Unfenced);
    assert!(finding.to_string().contains("+eval"), "{finding}");
    every_step(&first).await.unwrap();

    let second = connect(&url).await;
    let caches = [users(&engine(&first)), users(&engine(&second))];
    let loads = Loads::default();
    let callers = (0..40).map(|caller| loads.get(&caches[caller % 2], 7, "value"));
    let answers = join_all(callers).await;
    assert!(answers.iter().all(|answer| answer == "value"));
    assert_eq!(loads.count(), 1);
    for users in &caches {
        assert_eq!(loads.get(users, 7, "other").await, "value");
    }
    assert_eq!(caches[0].invalidate(&7).await, Invalidation::Done);
    assert!(!exists(&server, &key(7)).await && !exists(&server, &lease_key(7)).await);
    assert_eq!(loads.get(&caches[1], 7, "new").await, "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_scripts_what_was_stored_before_the_lease_was_taken_is_not_loaded_again() {
    let server = server("+@all -@scripting").await;
    let proxy = Proxy::before(&server).await;
    let url = proxy.url().replace("redis://", "redis://app:secret@");
    let (first, second) = (
        connect(&server.url_as("app", "secret")).await,
        connect(&url).await,
    );
    let k = Key::new(b"user:1");
    proxy.hold_matching(|request| request.is("SET"));
    let (late, ()) = futures_util::join!(second.acquire(&k, HOLD), async {
        proxy.until_held(1).await;
        a_whole_load(&first, &k).await.unwrap();
        proxy.release_held();
    });
    assert!(matches!(late.unwrap(), Acquire::Hit(_)));
    eventually("the lease is given back", async || {
        (!exists(&server, &lease_key(1)).await).then_some(())
    })
    .await;
}

/// A load of another process, from its lease to its end.
async fn a_whole_load(redis: &Redis, k: &Key) -> Result<(), cache_core::Error> {
    let Acquire::Granted(lease) = redis.acquire(k, HOLD).await? else {
        panic!("free");
    };
    let minute = Duration::from_secs(60);
    let entry = Entry::Encoded(bytes::Bytes::from_static(b"1"));
    let ttl = Ttl::new(minute, minute).unwrap();
    assert_eq!(redis.fill(k, lease, entry, ttl).await?, Fill::Stored);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_waits_for_replicas_needs_two_more() {
    let permissions = format!("{} {SETTINGS} +wait +unwatch", DOCUMENTED.join(" "));
    let server = server(&permissions).await;
    let replica = support::replica_of(&server).await;
    let patience = Duration::from_millis(200);
    let builder = Redis::builder()
        .url(server.url_as("app", "secret"))
        .lanes(1);
    let redis = builder.wait_for_replicas(1, patience).connect().await;
    let redis = redis.unwrap();
    let removed = async || redis.remove(&[Key::new(b"user:1")]).await.remove(0);
    removed().await.unwrap();
    let before = support::connections(&server).await;
    removed().await.unwrap();
    assert_eq!(support::connections(&server).await, before, "it is kept");

    server.cmd(&["ACL", "SETUSER", "app", "-unwatch"]).await;
    removed().await.unwrap();
    eventually("a connection for each", async || {
        (support::connections(&server).await != before).then_some(())
    })
    .await;
    server.cmd(&["ACL", "SETUSER", "app", "-wait"]).await;
    assert_eq!(removed().await.unwrap_err().kind(), ErrorKind::Rejected);
    drop(replica);
}
