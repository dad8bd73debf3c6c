//! `Redis` over TLS, and as whom it logs in.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests fail by panicking"
)]

mod support;

use std::{fs, path::Path};

use cache_core::Backend;
use cache_redis::{NodeConfig, Redis, RedisBuilder, Tls};
use integration_tests::{Server, Tls as Certificates};

use self::support::{Loads, engine, owned, shown, users};

/// It connects, and it is a cache.
async fn works(builder: RedisBuilder) {
    let redis = builder.connect().await.unwrap();
    redis.ping().await.unwrap();
    let users = users(&engine(&redis));
    let loads = Loads::default();
    redis.clear().await.unwrap();
    loads.get(&users, 1, "value").await;
    assert_eq!(loads.get(&users, 1, "other").await, "value");
}

async fn refused(builder: RedisBuilder, word: &str) {
    let text = shown(&builder.connect().await.unwrap_err());
    assert!(text.contains(word), "{text}");
    assert!(!text.contains("PRIVATE KEY"), "{text}");
}

fn at(server: &Server) -> RedisBuilder {
    Redis::builder().url(server.url())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_server_of_a_trusted_authority_is_spoken_to() {
    let (tls, foreign) = (Certificates::new(), Certificates::new());
    let server = owned().tls(&tls).start().await;
    works(at(&server).tls(Tls::new().ca_pem(tls.ca()))).await;
    let client = Tls::new().ca_pem(tls.ca());
    works(at(&server).tls(client.client_pem(tls.client_certificate(), tls.client_key()))).await;
    for trusted in [Tls::new().ca_pem(foreign.ca()), Tls::new()] {
        refused(
            at(&server).tls(trusted),
            "`tls`: the certificates do not fit",
        )
        .await;
    }
    refused(at(&server), "`ca_file` is to hold").await;
    for empty in ["no PEM", tls.client_key()] {
        let trusting = Tls::new().ca_pem(empty);
        refused(
            at(&server).tls(trusting),
            "`tls.ca_file`: there is no certificate",
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_a_certificate_gets_it() {
    let (tls, foreign) = (Certificates::new(), Certificates::new());
    let server = owned().mutual_tls(&tls).start().await;
    let trusting = || Tls::new().ca_pem(tls.ca());
    let shown = trusting().client_pem(tls.client_certificate(), tls.client_key());
    works(at(&server).tls(shown)).await;
    let of_another = trusting().client_pem(foreign.client_certificate(), foreign.client_key());
    for tls in [trusting(), of_another] {
        refused(at(&server).tls(tls), "`cert_file` and `key_file`").await;
    }
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).expect("a file in a folder of the test");
    path.to_string_lossy().into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_user_and_password_may_come_from_a_configuration() {
    let tls = Certificates::new();
    let server = owned().mutual_tls(&tls).user("app on >sec/ret@ ~* +@all");
    let server = server.start().await;
    let folder = tempfile::tempdir().unwrap();
    let ca = write(folder.path(), "ca.pem", tls.ca());
    let certificate = write(folder.path(), "client.pem", tls.client_certificate());
    let key = write(folder.path(), "client.key", tls.client_key());
    let host = format!("localhost:{}", server.port());
    let config = |ca: &str| -> NodeConfig {
        let tls = serde_json::json!({ "ca_file": ca, "cert_file": certificate, "key_file": key });
        let config = serde_json::json!({
            "host": host, "user": "app", "pass": "sec/ret@", "db": 3, "lanes": 2, "tls": tls,
        });
        serde_json::from_value(config).unwrap()
    };
    works(RedisBuilder::from(config(&ca))).await;
    assert_eq!(server.query::<u64>(&["DBSIZE"]).await, 0, "it is in 3");
    let missing = format!("{ca}.not");
    refused(RedisBuilder::from(config(&missing)), "`tls.ca_file`").await;

    // The same in a URL, where the password is percent-encoded.
    let url = server.url_as("app", "sec%2Fret%40");
    let files = Tls::new().ca_file(&ca).client_files(&certificate, &key);
    works(Redis::builder().url(&url).tls(files)).await;
}
