//! A cluster over TLS: who is let in, and what is said to who is not.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod clusters;
mod support;

use std::{slice, time::Duration};

use cache_core::{Backend, Key};
use cache_redis::{ConnectError, Redis, RedisBuilder, Tls};
use integration_tests::{Cluster, Tls as Certificates};

use self::{
    clusters::{builder, encrypted, keys_of_all_slots, plain},
    support::shown,
};

/// As long as a busy machine may need for a handshake.
const CONNECT: Duration = Duration::from_secs(2);

/// A cluster that announces its nodes by this name, whichever way it runs.
async fn announced_as(name: &str, tls: &Certificates) -> Cluster {
    let by_name = ["--cluster-preferred-endpoint-type", "hostname"];
    let cluster = plain().replicas(0).tls(tls).args(by_name);
    let name = ["--cluster-announce-hostname", name];
    cluster.args(name).start().await
}

/// It connects to every node, and reads and removes there.
async fn works(builder: RedisBuilder) {
    let redis = builder.connect().await.unwrap();
    redis.ping().await.unwrap();
    for text in keys_of_all_slots() {
        let key = Key::new(text.as_bytes());
        assert!(redis.get(&key).await.unwrap().is_none());
        assert!(redis.remove(slice::from_ref(&key)).await[0].is_ok());
    }
}

async fn refused(builder: RedisBuilder, words: &[&str]) -> ConnectError {
    let error = builder.connect().await.unwrap_err();
    let text = shown(&error);
    for word in words {
        assert!(text.contains(word), "{text}");
    }
    assert!(!text.contains("PRIVATE KEY"), "{text}");
    error
}

/// By one member, at this host.
fn at(host: &str, cluster: &Cluster) -> RedisBuilder {
    let seed = format!("{host}:{}", cluster.port_of(0));
    let builder = Redis::builder().host(seed).cluster().lanes(1);
    builder.connect_timeout(CONNECT)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_cluster_of_a_trusted_authority_is_spoken_to() {
    let foreign = Certificates::new();
    let cluster = encrypted().replicas(0).start().await;
    works(builder(&cluster)).await;
    let to_trust = ["`tls`: the certificates do not fit", "`ca_file` is to hold"];
    for tls in [Tls::new().ca_pem(foreign.ca()), Tls::new()] {
        refused(at("127.0.0.1", &cluster).tls(tls), &to_trust).await;
    }
    refused(Redis::builder().url(cluster.url_of(0)).cluster(), &to_trust).await;
    let plain = at("127.0.0.1", &cluster);
    refused(plain, &["`host`", "with TLS or without as set?"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_asks_for_a_certificate_gets_it_at_every_node() {
    let (tls, foreign) = (Certificates::new(), Certificates::new());
    let cluster = plain().replicas(0).mutual_tls(&tls).start().await;
    let trusting = || Tls::new().ca_pem(tls.ca());
    let shown = trusting().client_pem(tls.client_certificate(), tls.client_key());
    works(at("127.0.0.1", &cluster).tls(shown)).await;
    let of_another = trusting().client_pem(foreign.client_certificate(), foreign.client_key());
    for tls in [trusting(), of_another] {
        let builder = at("127.0.0.1", &cluster).tls(tls);
        refused(builder, &["`tls`", "`cert_file` and `key_file`"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_certificate_is_made_out_to_another_host_is_not_spoken_to() {
    let tls = Certificates::made_out_to(&["127.0.0.1"]);
    let cluster = announced_as("127.0.0.1", &tls).await;
    let trusting = || Tls::new().ca_pem(tls.ca());
    works(at("127.0.0.1", &cluster).tls(trusting())).await;
    refused(
        at("localhost", &cluster).tls(trusting()),
        &["`tls`", "made out to this `host`", "localhost"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cluster_announces_is_to_be_in_its_certificates() {
    let tls = Certificates::made_out_to(&["127.0.0.1"]);
    let cluster = announced_as("localhost", &tls).await;
    refused(
        at("127.0.0.1", &cluster).tls(Tls::new().ca_pem(tls.ca())),
        &["`tls`", "cluster-announce-hostname", "localhost"],
    )
    .await;

    let tls = Certificates::new();
    let cluster = announced_as("localhost", &tls).await;
    works(at("127.0.0.1", &cluster).tls(Tls::new().ca_pem(tls.ca()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_login_is_refused_without_a_word_of_it() {
    let cluster = encrypted().replicas(0).user("app on >sesame ~* +@all");
    let cluster = cluster.start().await;
    works(builder(&cluster).user("app").pass("sesame")).await;
    for user in ["app", "nobody"] {
        let login = builder(&cluster).user(user).pass("s3cret");
        let error = refused(login, &["`user`, `pass`"]).await;
        assert!(matches!(error, ConnectError::Login(_)), "{error:?}");
        let text = shown(&error);
        assert!(!text.contains("s3cret"), "{text}");
    }
}
