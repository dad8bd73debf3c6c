//! A cluster that speaks TLS does so with everybody, whichever way it runs.
#![expect(clippy::panic, reason = "helpers of tests fail by panicking")]

use integration_tests::{Cluster, ClusterBuilder, Server, Tls, Way};
use redis::{Client, FromRedisValue, RedisError, RedisResult, TlsCertificates};
use tokio::net::TcpStream;

/// Runs a command at whoever listens on a port.
async fn ask<T: FromRedisValue>(client: RedisResult<Client>, words: &[&str]) -> RedisResult<T> {
    let mut connection = client?.get_multiplexed_async_connection().await?;
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(word);
    }
    command.query_async(&mut connection).await
}

async fn ping(url: &str, certificates: TlsCertificates) -> RedisResult<String> {
    ask(Client::build_with_tls(url, certificates), &["PING"]).await
}

/// Runs a command at a node that may not serve the key, as a client without a certificate.
async fn ask_node<T: FromRedisValue>(
    cluster: &Cluster,
    node: usize,
    words: &[&str],
) -> RedisResult<T> {
    let Some(tls) = cluster.tls() else {
        panic!("the cluster speaks plain text");
    };
    let client = Client::build_with_tls(cluster.url_of(node), without_client(tls));
    ask(client, words).await
}

fn without_client(tls: &Tls) -> TlsCertificates {
    TlsCertificates {
        client_tls: None,
        ..tls.certificates()
    }
}

/// Returns the kind and the port of a redirection.
fn target(error: &RedisError) -> (String, u16) {
    let Some((address, _)) = error.redirect_node() else {
        panic!("this is no redirection: {error}");
    };
    let port = address.rsplit_once(':').map_or("0", |(_, port)| port);
    let kind = error.code().unwrap_or_default();
    (kind.to_owned(), port.parse().unwrap_or_default())
}

/// Returns the port on which a node talks to the others.
async fn bus_of(server: &Server) -> u16 {
    let nodes: String = server.query(&["CLUSTER", "NODES"]).await;
    let own = nodes.lines().find(|line| line.contains("myself"));
    let port = own.and_then(|line| {
        let (_, rest) = line.split_once('@')?;
        rest.split([' ', ',']).next()?.parse().ok()
    });
    port.unwrap_or_else(|| panic!("it does not say where its bus is: {nodes}"))
}

async fn setting(server: &Server, name: &str) -> String {
    let (_, value): (String, String) = server.query(&["CONFIG", "GET", name]).await;
    value
}

#[tokio::test]
async fn every_node_speaks_tls_alone_with_clients_replicas_and_the_other_nodes() {
    let (tls, foreign) = (Tls::new(), Tls::new());
    for builder in ClusterBuilder::each_way().await {
        let cluster = builder.tls(&tls).start().await;
        for (number, server) in cluster.nodes().iter().enumerate() {
            let url = cluster.url_of(number);
            assert!(url.starts_with("rediss://127.0.0.1:"), "{url}");
            assert_eq!(ping(&url, without_client(&tls)).await.unwrap(), "PONG");
            let error = ping(&url, foreign.certificates()).await.unwrap_err();
            assert!(error.to_string().contains("invalid peer certificate"));
            let plain = Client::open(url.replace("rediss://", "redis://"));
            let error = ask::<String>(plain, &["PING"]).await.unwrap_err();
            assert!(
                error.is_io_error() || error.is_connection_dropped(),
                "{error:?}"
            );
            // There is no other port, so whoever is in sync with it is so by this one.
            assert_eq!(setting(server, "port").await, "0");
            assert_eq!(setting(server, "tls-cluster").await, "yes");
            let replication: String = server.query(&["INFO", "replication"]).await;
            let expected = if number < 3 {
                "connected_slaves:1"
            } else {
                "master_link_status:up"
            };
            assert!(replication.contains(expected), "{replication}");
            // That of a container is not reached from here.
            if cluster.way() == Way::Process {
                let bus = format!("rediss://127.0.0.1:{}", bus_of(server).await);
                let error = ping(&bus, foreign.certificates()).await.unwrap_err();
                assert!(error.to_string().contains("invalid peer certificate"));
            }
        }
    }
}

#[tokio::test]
async fn a_cluster_that_asks_for_certificates_lets_in_only_who_has_one() {
    let (tls, foreign) = (Tls::new(), Tls::new());
    for builder in ClusterBuilder::each_way().await {
        let cluster = builder.mutual_tls(&tls).replicas(0).start().await;
        for node in 0..3 {
            let url = cluster.url_of(node);
            assert_eq!(ping(&url, tls.certificates()).await.unwrap(), "PONG");
            let wrong = TlsCertificates {
                root_cert: tls.certificates().root_cert,
                ..foreign.certificates()
            };
            for certificates in [without_client(&tls), wrong] {
                let error = ping(&url, certificates).await.unwrap_err();
                assert!(
                    error.is_io_error() || error.is_connection_dropped(),
                    "{error:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_user_may_log_in_at_every_node_of_an_encrypted_cluster() {
    let tls = Tls::new();
    for builder in ClusterBuilder::each_way().await {
        let cluster = builder
            .tls(&tls)
            .password("sesame")
            .user("app on >secret ~app:* +get +cluster|slots");
        let cluster = cluster.start().await;
        for server in cluster.nodes() {
            let login = |password| {
                let url = server.url_as("app", password);
                Client::build_with_tls(url, without_client(&tls))
            };
            let words = ["CLUSTER", "SLOTS"];
            ask::<redis::Value>(login("secret"), &words).await.unwrap();
            let refused = ask::<()>(login("secret"), &["GET", "other"]).await;
            assert_eq!(refused.unwrap_err().code(), Some("NOPERM"));
            let refused = ask::<()>(login("wrong"), &words).await.unwrap_err();
            assert_eq!(refused.kind(), redis::ErrorKind::AuthenticationFailed);
            let nobody = format!("rediss://127.0.0.1:{}", server.port());
            let nobody = Client::build_with_tls(nobody, without_client(&tls));
            let refused = ask::<()>(nobody, &words).await.unwrap_err();
            assert_eq!(refused.code(), Some("NOAUTH"));
        }
    }
}

#[tokio::test]
async fn slots_move_and_replicas_take_over_in_an_encrypted_cluster() {
    let tls = Tls::new();
    for builder in ClusterBuilder::each_way().await {
        let cluster = builder.tls(&tls).password("sesame").start().await;
        let slot = 42;
        let key = Cluster::key_in(slot, "");
        cluster.query::<()>(&key, &["SET", &key, "value"]).await;
        cluster.begin_move(slot, 2).await;
        assert_eq!(cluster.move_keys(slot).await, 1);
        let asked = ask_node::<()>(&cluster, 0, &["GET", &key]).await;
        let expected = ("ASK".to_owned(), cluster.port_of(2));
        assert_eq!(target(&asked.unwrap_err()), expected);
        cluster.end_move(slot, 2).await;
        let moved = ask_node::<()>(&cluster, 0, &["GET", &key]).await;
        let expected = ("MOVED".to_owned(), cluster.port_of(2));
        assert_eq!(target(&moved.unwrap_err()), expected);

        let mut client = cluster.node(2).client().await;
        let mut wait = redis::cmd("WAIT");
        let replicas: u64 = wait
            .arg(1)
            .arg(5_000)
            .query_async(&mut client)
            .await
            .unwrap();
        assert_eq!(replicas, 1);
        cluster.kill(2).await;
        assert_eq!(cluster.until_failed_over(2).await, 5);
        let value: String = ask_node(&cluster, 5, &["GET", &key]).await.unwrap();
        assert_eq!(value, "value");
        cluster.start_again(2).await;
        cluster.until_well().await;
        assert_eq!(cluster.replica_of(5).await, 2);
    }
}

#[tokio::test]
async fn clients_of_an_encrypted_cluster_behind_proxies_go_through_them() {
    let tls = Tls::new();
    for builder in ClusterBuilder::each_way().await {
        let cluster = builder.tls(&tls).behind_proxies().start().await;
        let key = Cluster::key_in(16_383, "");
        let moved = ask_node::<()>(&cluster, 0, &["SET", &key, "1"]).await;
        let expected = ("MOVED".to_owned(), cluster.proxy(2).port());
        assert_eq!(target(&moved.unwrap_err()), expected);
        ask_node::<()>(&cluster, 2, &["SET", &key, "1"])
            .await
            .unwrap();
        assert_eq!(cluster.proxy(2).accepted(), 1);
    }
}

#[tokio::test]
async fn nothing_is_left_of_an_encrypted_cluster_that_is_dropped() {
    let tls = Tls::new();
    for builder in ClusterBuilder::each_way().await {
        let cluster = builder.tls(&tls).start().await;
        let ports: Vec<_> = cluster.nodes().iter().map(Server::port).collect();
        drop(cluster);
        for port in ports {
            let left = TcpStream::connect(("127.0.0.1", port)).await;
            assert!(left.is_err(), "somebody listens on {port}");
        }
    }
}
