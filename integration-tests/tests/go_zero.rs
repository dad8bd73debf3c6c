//! One Redis with a program of go-zero, which is played by the commands that it sends.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod support;

use std::{io, time::Duration};

use cache_core::{Cache, Engine, Lookup, codec::GoJson};
use integration_tests::{Server, eventually};
use serde::{Deserialize, Serialize};

use self::support::{connect, exists, owned};

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct User {
    id: i64,
    name: String,
    score: f64,
    #[serde(default)]
    note: Option<String>,
}

fn user(id: i64) -> User {
    User {
        id,
        name: "<Ada>".to_owned(),
        score: 3.0,
        note: None,
    }
}

/// The key that goctl would have made.
const KEY: &str = "cache:goZero:user:id:7";
const LEASE: &str = "{cache:goZero:user:id:7}~l";

/// As go-zero writes it.
const JSON: &str = r#"{"Id":7,"Name":"<Ada>","Score":3,"Note":null}"#;

async fn users(server: &Server) -> Cache<i64, User> {
    let engine = Engine::builder(connect(&server.url()).await).compat();
    let engine = engine.build().unwrap();
    let users = engine
        .cache("user")
        .prefix("cache:goZero:user:id:")
        .codec(GoJson)
        .ttl(Duration::from_millis(89_700))
        .negative_ttl(Duration::from_millis(30_300))
        .jitter(0.0);
    users.build().unwrap()
}

async fn load(users: &Cache<i64, User>, answer: Option<User>) -> Option<User> {
    let loaded = users.get_or_load(&7, || async { Ok::<_, io::Error>(answer) });
    loaded.await.unwrap().map(|user| (*user).clone())
}

fn nobody() -> io::Result<User> {
    panic!("it is cached: nothing is to be loaded")
}

/// Takes what is cached.
async fn hit(users: &Cache<i64, User>) -> Option<User> {
    let read = users.get_or_load(&7, || async { nobody().map(Some) });
    read.await.unwrap().map(|user| (*user).clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_what_go_zero_would_store() {
    let server = owned().start().await;
    let users = users(&server).await;
    load(&users, Some(user(7))).await;
    assert_eq!(server.query::<String>(&["GET", KEY]).await, JSON);
    assert_eq!(server.query::<String>(&["TYPE", KEY]).await, "string");
    let ttl: u64 = server.query(&["PTTL", KEY]).await;
    assert!(
        (89_700..=90_000).contains(&ttl),
        "{ttl} of 90 whole seconds"
    );

    users.invalidate(&7).await;
    assert!(!exists(&server, KEY).await);
    assert_eq!(load(&users, None).await, None);
    assert_eq!(server.query::<String>(&["GET", KEY]).await, "*");
    let ttl: u64 = server.query(&["PTTL", KEY]).await;
    assert!(
        (30_300..=31_000).contains(&ttl),
        "{ttl} of 31 whole seconds"
    );
    assert!(!exists(&server, LEASE).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_go_zero_stored_is_read() {
    let server = owned().start().await;
    let users = users(&server).await;
    for payload in [
        JSON,
        // Before v1.9.0 it escaped these.
        r#"{"Id":7,"Name":"\u003cAda\u003e","Score":3,"Note":null}"#,
        // A newer program has fields that this one has not, and an older one lacks some.
        r#"{"Id":7,"Name":"<Ada>","Score":3,"Level":9}"#,
    ] {
        server.cmd(&["SET", KEY, payload, "EX", "60"]).await;
        assert_eq!(hit(&users).await, Some(user(7)), "{payload}");
    }
    server.cmd(&["DEL", KEY]).await;
    server.cmd(&["SET", KEY, "*", "EX", "60", "NX"]).await;
    assert_eq!(hit(&users).await, None);
    assert!(matches!(users.get(&7).await, Ok(Lookup::Absent)));

    // Its `Del` makes room for the next load.
    server.cmd(&["DEL", KEY]).await;
    assert_eq!(load(&users, Some(user(7))).await, Some(user(7)));
    // What it cannot read it deletes and loads; so does this.
    for payload in ["", "{", r#"{"Id":"seven"}"#] {
        server.cmd(&["SET", KEY, payload, "EX", "60"]).await;
        assert_eq!(
            load(&users, Some(user(7))).await,
            Some(user(7)),
            "{payload}"
        );
        assert_eq!(server.query::<String>(&["GET", KEY]).await, JSON);
    }
}

/// What is stored after a load of an old row during which a program of go-zero deletes `keys`.
async fn deleted_during_a_load(keys: &[&str]) -> bool {
    let server = owned().start().await;
    let users = users(&server).await;
    let slow = users.get_or_load(&7, || async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok::<_, io::Error>(Some(user(7)))
    });
    let delete = async {
        eventually("the load has its lease", async || {
            exists(&server, LEASE).await.then_some(())
        })
        .await;
        let mut command = vec!["DEL"];
        command.extend(keys);
        server.cmd(&command).await;
    };
    let (loaded, ()) = tokio::join!(slow, delete);
    assert_eq!(loaded.unwrap().as_deref(), Some(&user(7)));
    exists(&server, KEY).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_go_writer_that_deletes_the_lease_as_well_is_fenced_and_one_that_does_not_is_not() {
    assert!(!deleted_during_a_load(&[KEY, LEASE]).await, "fenced");
    assert!(
        deleted_during_a_load(&[KEY]).await,
        "as between two programs of go-zero"
    );
}
