//! A server that answers, and refuses, or has something else than was expected.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking"
)]

mod support;

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;
use cache_core::{
    Acquire, Backend, Cache, CacheRecorder, Engine, Entry, ErrorKind, Event, Invalidation, Key,
    Lookup, OutagePolicy, Recorder, Ttl,
};
use cache_redis::Redis;
use futures_util::future::join_all;
use integration_tests::{Proxy, Server, within};

use self::support::{
    APP, CEILING, Events, Loads, connect, connections, engine, exists, key, lease_key, owned, sent,
    users, users_at,
};

const HOLD: Duration = Duration::from_secs(3);

/// A cache whose recorder keeps the events.
async fn watched(server: &Server) -> (Cache<u64, String>, Events) {
    let events = Events::default();
    let builder = Engine::builder(connect(&server.url()).await).recorder(events.clone());
    (users(&builder.build().unwrap()), events)
}

/// Waits until loads are stored and hit again.
async fn until_well(server: &Server, users: &Cache<u64, String>, id: u64) {
    let loads = Loads::default();
    within(CEILING, "a load is stored again", async || {
        loads.get(users, id, "value").await;
        exists(server, &key(id)).await.then_some(())
    })
    .await;
    let before = loads.count();
    assert_eq!(loads.get(users, id, "other").await, "value");
    assert_eq!(loads.count(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_memory_hits_and_invalidations_go_on_and_loads_are_not_stored() {
    let server = owned().start().await;
    let (users, events) = watched(&server).await;
    let loads = Loads::default();
    loads.get(&users, 1, "cached").await;
    loads.get(&users, 2, "cached").await;

    server.cmd(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert_eq!(loads.get(&users, 1, "other").await, "cached");
    assert_eq!(loads.get(&users, 3, "loaded").await, "loaded");
    assert!(!exists(&server, &key(3)).await);
    assert!(!exists(&server, &lease_key(3)).await);
    assert_eq!(users.invalidate(&1).await, Invalidation::Done);
    assert!(!exists(&server, &key(1)).await);
    // It cannot be stored, but what was there before is gone.
    let put = users.put(&2, "put".to_owned()).await;
    assert_eq!(put.unwrap_err().kind(), ErrorKind::Rejected);
    assert!(!exists(&server, &key(2)).await);
    let rejected = Some(ErrorKind::Rejected);
    let refused =
        |event: &Event| matches!(event, Event::Backend { error, .. } if *error == rejected);
    assert!(events.all().iter().any(refused));

    server.cmd(&["CONFIG", "SET", "maxmemory", "0"]).await;
    until_well(&server, &users, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_became_a_replica_is_left_until_it_is_a_primary_again() {
    let server = owned().start().await;
    let users = users_at(&server.url()).await;
    let loads = Loads::default();
    loads.get(&users, 1, "cached").await;
    let nobody = owned().start().await;
    let port = nobody.port().to_string();
    nobody.kill().await;

    server.cmd(&["REPLICAOF", "127.0.0.1", &port]).await;
    // The first write finds out; from then on nothing is read there either.
    assert_eq!(loads.get(&users, 2, "loaded").await, "loaded");
    within(CEILING, "the lane is gone", async || {
        (loads.get(&users, 1, "loaded").await == "loaded").then_some(())
    })
    .await;
    assert_eq!(users.invalidate(&1).await, Invalidation::Queued);
    let error = Redis::connect(&server.url()).await.unwrap_err();
    assert!(support::shown(&error).contains("replica"), "{error}");

    server.cmd(&["REPLICAOF", "NO", "ONE"]).await;
    within(CEILING, "the removal is delivered", async || {
        (!exists(&server, &key(1)).await).then_some(())
    })
    .await;
    until_well(&server, &users, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_was_changed_is_an_outage_until_it_is_changed_back() {
    let server = owned().password("sesame").user(APP).start().await;
    let users = users_at(&server.url_as("app", "secret")).await;
    let loads = Loads::default();
    loads.get(&users, 1, "cached").await;

    server
        .cmd(&["ACL", "SETUSER", "app", "resetpass", ">other"])
        .await;
    server.cmd(&["CLIENT", "KILL", "USER", "app"]).await;
    assert_eq!(loads.get(&users, 2, "loaded").await, "loaded");
    assert_eq!(users.invalidate(&1).await, Invalidation::Queued);
    assert!(exists(&server, &key(1)).await);

    server.cmd(&["ACL", "SETUSER", "app", ">secret"]).await;
    within(CEILING, "the removal is delivered", async || {
        (!exists(&server, &key(1)).await).then_some(())
    })
    .await;
    until_well(&server, &users, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_read_under_the_key_of_a_value_is_replaced_by_a_load() {
    let server = owned().start().await;
    let (users, events) = watched(&server).await;
    for (id, words) in [
        (1, &["RPUSH", "user:1", "x"][..]),
        (2, &["HSET", "user:2", "x", "y"]),
        (3, &["SET", "user:3", "\u{1}rubbish"]),
        (4, &["SET", "user:4", ""]),
    ] {
        server.cmd(words).await;
        assert!(
            matches!(users.get(&id).await, Ok(Lookup::Miss)),
            "{words:?}"
        );
        let loads = Loads::default();
        assert_eq!(loads.get(&users, id, "loaded").await, "loaded");
        assert_eq!(loads.count(), 1);
        within(CEILING, "the load is stored", async || {
            let stored = server.query::<String>(&["TYPE", &key(id)]).await == "string";
            (stored && loads.get(&users, id, "again").await == "loaded").then_some(())
        })
        .await;
        assert_eq!(loads.count(), 1, "{words:?}");
    }
    assert!(events.has(Event::Undecodable));
    // In a batch it is no entry, and spoils nothing for the others.
    server.cmd(&["RPUSH", "user:9", "x"]).await;
    let many = users.get_many(&[1, 9, 2]).await;
    let found: Vec<_> = many.iter().map(|one| format!("{one:?}")).collect();
    assert_eq!(
        found,
        ["Ok(Value(\"loaded\"))", "Ok(Miss)", "Ok(Value(\"loaded\"))"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_lease_under_the_key_of_one_costs_the_lease_wait_and_an_invalidation_mends_it() {
    let server = owned().start().await;
    let builder = Engine::builder(connect(&server.url()).await);
    let builder = builder.lease_hold(Duration::from_millis(100));
    let builder = builder.lease_wait(Duration::from_millis(200));
    let users = users(&builder.build().unwrap());
    let loads = Loads::default();
    for words in [
        &["RPUSH", "{user:1}~l", "x"][..],
        &["SET", "{user:1}~l", "rubbish"],
    ] {
        server.cmd(words).await;
        assert_eq!(loads.get(&users, 1, "loaded").await, "loaded");
        assert!(!exists(&server, &key(1)).await, "nothing proves it is new");
        assert_eq!(users.invalidate(&1).await, Invalidation::Done);
        until_well(&server, &users, 1).await;
        users.invalidate(&1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_became_something_else_is_refused_and_nothing_is_stored() {
    let server = owned().start().await;
    let redis = connect(&server.url()).await;
    let k = Key::new(b"user:1");
    let Acquire::Granted(lease) = redis.acquire(&k, HOLD).await.unwrap() else {
        panic!("free");
    };
    server.cmd(&["DEL", "{user:1}~l"]).await;
    server.cmd(&["RPUSH", "{user:1}~l", "x"]).await;
    let minute = Duration::from_secs(60);
    let ttl = Ttl::new(minute, minute).unwrap();
    let entry = Entry::Encoded(Bytes::from_static(b"1"));
    let error = redis.fill(&k, lease, entry, ttl).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert!(!exists(&server, "user:1").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_forgot_its_scripts_is_told_them_again_under_the_same_token() {
    let server = owned().start().await;
    let proxy = Proxy::before(&server).await;
    let redis = connect(proxy.url()).await;
    let users = users(&engine(&redis));
    let loads = Loads::default();
    // Between all steps of a load, and before each.
    for id in 0..20 {
        server.cmd(&["SCRIPT", "FLUSH"]).await;
        loads.get(&users, id, "value").await;
        assert_eq!(loads.get(&users, id, "other").await, "value");
    }
    assert_eq!(loads.count(), 20);

    // While a step is on its way.
    let k = Key::new(b"a");
    proxy.duplicate_later(|request| request.mentions("{a}~l"));
    proxy.hold_matching(|request| request.is("EVALSHA"));
    let (granted, ()) = futures_util::join!(redis.acquire(&k, HOLD), async {
        proxy.until_held(1).await;
        server.cmd(&["SCRIPT", "FLUSH"]).await;
        proxy.release_held();
    });
    let Acquire::Granted(lease) = granted.unwrap() else {
        panic!("free");
    };
    let asked = proxy.recorded();
    assert_eq!((sent(&asked, "EVALSHA"), sent(&asked, "EVAL")), (1, 1));
    let token = |at: usize| asked[at].words()[5].clone();
    assert_eq!(token(0), token(1), "the first attempt did not run");
    let held: String = server.query(&["GET", "{a}~l"]).await;
    assert_eq!(held.into_bytes(), token(1));

    server.cmd(&["SCRIPT", "FLUSH"]).await;
    redis.release(&k, lease).await.unwrap();
    let Acquire::Granted(next) = redis.acquire(&k, HOLD).await.unwrap() else {
        panic!("it was released");
    };
    assert_ne!(next, lease);
}

/// One connection carries many steps at once, so all of them meet the server that forgot its scripts.
#[tokio::test(flavor = "multi_thread")]
async fn many_steps_in_one_pipeline_each_tell_a_forgotten_script_again() {
    let server = owned().start().await;
    let redis = connect(&server.url()).await;
    for round in 0..5 {
        server.cmd(&["SCRIPT", "FLUSH"]).await;
        let keys: Vec<Key> = (0..64)
            .map(|number| Key::new(format!("{round}:{number}").as_bytes()))
            .collect();
        let asked = keys.iter().map(|key| redis.acquire(key, HOLD));
        let granted = join_all(asked).await;
        let leases: HashSet<_> = granted
            .into_iter()
            .map(|answer| {
                let Acquire::Granted(lease) = answer.unwrap() else {
                    panic!("free");
                };
                lease
            })
            .collect();
        assert_eq!(leases.len(), keys.len(), "each is another");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_a_flush_overtakes_is_answered_and_not_stored() {
    let server = owned().start().await;
    let (users, events) = watched(&server).await;
    // The flush took the lease along, and without it nothing proves that the load is newer.
    let url = server.url();
    let loader = move || async move {
        let client = redis::Client::open(url)?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let flush = redis::cmd("FLUSHALL").exec_async(&mut connection).await;
        flush.map(|()| "loaded".to_owned())
    };
    let found = users.get_or_load(&1, loader).await.unwrap().unwrap();
    assert_eq!(*found, "loaded");
    events.until(Event::FillSuperseded).await;
    assert_eq!(server.query::<u64>(&["DBSIZE"]).await, 0);
    until_well(&server, &users, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_whose_connection_is_killed_are_all_answered() {
    let server = owned().user(APP).start().await;
    let proxy = Proxy::before(&server).await;
    let url = proxy.url().replace("redis://", "redis://app:secret@");
    let redis = connect(&url).await;
    let policy = OutagePolicy::LoadThrough {
        max_concurrent: 1_000,
    };
    let builder = Engine::builder(redis.clone()).outage(policy);
    let users = users(&builder.build().unwrap());
    let loads = Loads::default();
    loads.get(&users, 0, "value").await;

    for _ in 0..3 {
        // Enough of them that batches wait behind those that are under way.
        proxy.hold_matching(|request| request.is("GET") || request.is("MGET"));
        let readers = join_all((0..600_u64).map(|id| {
            let redis = redis.clone();
            let k = Key::new(format!("user:{}", id % 50).as_bytes());
            tokio::spawn(async move { redis.get(&k).await.map_err(|error| error.kind()) })
        }));
        let (answers, ()) = futures_util::join!(readers, async {
            proxy.until_held(1).await;
            server.cmd(&["CLIENT", "KILL", "TYPE", "normal"]).await;
            proxy.release_held();
        });
        for answer in answers {
            let answer = answer.unwrap();
            assert!(
                matches!(answer, Ok(_) | Err(ErrorKind::Unavailable)),
                "{answer:?}"
            );
        }
        let callers = (0..600).map(|id| loads.get(&users, id % 300, "value"));
        let (answers, ()) = futures_util::join!(join_all(callers), async {
            server.cmd(&["CLIENT", "KILL", "TYPE", "normal"]).await;
        });
        assert!(answers.iter().all(|answer| answer == "value"));
        within(CEILING, "a connection again", async || {
            // A lane that dies idle is found out by the next call.
            redis.ping().await.ok();
            (connections(&server).await.len() == 1).then_some(())
        })
        .await;
    }
    until_well(&server, &users, 1_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_became_a_replica_is_noticed_though_nobody_writes() {
    let server = owned().start().await;
    let redis = connect(&server.url()).await;
    let key = Key::new(b"a");
    let get = async || redis.get(&key).await;

    server.cmd(&["REPLICAOF", "127.0.0.1", "1"]).await;
    within(CEILING, "it is read no more", async || {
        get().await.is_err().then_some(())
    })
    .await;

    server.cmd(&["REPLICAOF", "NO", "ONE"]).await;
    within(CEILING, "it is read again", async || {
        get().await.is_ok().then_some(())
    })
    .await;
}

/// A recorder that cannot take it.
#[derive(Debug)]
struct Panics;

impl Recorder for Panics {
    fn cache(&self, _name: &str) -> Arc<dyn CacheRecorder> {
        panic!("a backend has no caches")
    }

    fn record(&self, event: Event) {
        panic!("{event:?}")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorder_that_panics_harms_nobody() {
    let server = owned().start().await;
    let builder = Redis::builder().url(server.url()).lanes(1);
    let redis = builder.recorder(Panics).connect().await.unwrap();
    let key = Key::new(b"a");
    let get = async || redis.get(&key).await;

    server.pause().await;
    assert!(get().await.is_err(), "and the breaker opens");
    server.resume().await;
    within(CEILING, "the probe closes it", async || {
        get().await.is_ok().then_some(())
    })
    .await;
}
