//! A cluster does what a test tells it to, whichever way it runs.
#![expect(clippy::panic, reason = "helpers of tests fail by panicking")]

use std::{collections::HashMap, time::Duration};

use integration_tests::{Cluster, ClusterBuilder, Direction, Server, Way, eventually, within};
use redis::{Client, RedisError, RedisResult};
use tokio::net::TcpStream;

const SLOTS: u16 = 16_384;

/// Runs a command at a node that may not serve the key.
async fn ask<T: redis::FromRedisValue>(url: String, words: &[&str]) -> RedisResult<T> {
    let client = Client::open(url)?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(word);
    }
    command.query_async(&mut connection).await
}

/// Returns where a redirection sends the client: its kind, host and port.
fn target(error: &RedisError) -> (String, String, u16) {
    let (address, _) = error.redirect_node().unwrap_or_else(|| {
        panic!("this is no redirection: {error}");
    });
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "0"));
    let kind = error.code().unwrap_or_default();
    (
        kind.to_owned(),
        host.to_owned(),
        port.parse().unwrap_or_default(),
    )
}

fn host(way: Way) -> &'static str {
    match way {
        Way::Docker => "localhost",
        Way::Process | Way::Url | _ => "127.0.0.1",
    }
}

#[tokio::test]
async fn a_cluster_serves_every_slot_at_one_primary_and_its_replica() {
    for builder in ClusterBuilder::each_way().await {
        let cluster = builder.start().await;
        assert_eq!(cluster.nodes().len(), 6);

        let mut keys = HashMap::new();
        for number in 0_u32.. {
            let key = number.to_string();
            keys.entry(Cluster::slot_of(&key)).or_insert(key);
            if keys.len() == usize::from(SLOTS) {
                break;
            }
        }
        let mut seen = 0;
        for (primary, (first, last)) in [(0, 5460), (5461, 10_921), (10_922, 16_383)]
            .into_iter()
            .enumerate()
        {
            let mut pipe = redis::pipe();
            for slot in first..=last {
                pipe.set(&keys[&slot], slot).ignore();
            }
            pipe.cmd("WAIT").arg(1).arg(5_000);
            let mut client = cluster.node(primary).client().await;
            let (replicas,): (u64,) = pipe.query_async(&mut client).await.unwrap();
            assert_eq!(replicas, 1);
            let replica = cluster.replica_of(primary).await;
            assert_eq!(replica, primary + 3);
            for node in [primary, replica] {
                let size: u16 = cluster.node(node).query(&["DBSIZE"]).await;
                assert_eq!(size, last - first + 1);
                seen += size;
            }
            assert_eq!(cluster.primary_of(&keys[&first]).await, primary);
            assert_eq!(cluster.primary_of(&keys[&last]).await, primary);
        }
        assert_eq!(seen, 2 * SLOTS);
        assert_eq!(cluster.keys("1?").await.len(), 10);
        cluster.flush().await;
        assert_eq!(cluster.keys("*").await, [""; 0]);
    }
}

#[tokio::test]
async fn a_node_redirects_to_where_clients_reach_the_owner() {
    for builder in ClusterBuilder::each_way().await {
        let cluster = builder.replicas(0).start().await;
        let seeds = cluster.seeds();
        assert_eq!(seeds.split(',').count(), 3);
        assert!(seeds.starts_with(&format!("127.0.0.1:{},", cluster.port_of(0))));

        let key = Cluster::key_in(16_383, "last");
        for node in 0..2 {
            let error = ask::<()>(cluster.url_of(node), &["GET", &key]).await;
            assert_eq!(
                target(&error.unwrap_err()),
                (
                    "MOVED".to_owned(),
                    host(cluster.way()).to_owned(),
                    cluster.port_of(2)
                )
            );
        }
        cluster.query::<()>(&key, &["SET", &key, "value"]).await;
        let value: String = ask(cluster.url_of(2), &["GET", &key]).await.unwrap();
        assert_eq!(value, "value");
    }
}

#[tokio::test]
async fn a_slot_moves_with_its_keys_and_asks_on_the_way() {
    for builder in ClusterBuilder::each_way().await {
        let cluster = builder.replicas(0).password("sesame").start().await;
        let slot = 42;
        let tag = Cluster::key_in(slot, "");
        let key = |number| format!("{tag}{number}");
        let mut pipe = redis::pipe();
        for number in 0..250 {
            pipe.set(key(number), number).ignore();
        }
        let mut client = cluster.node(0).client().await;
        let () = pipe.query_async(&mut client).await.unwrap();

        cluster.begin_move(slot, 2).await;
        let error = ask::<()>(cluster.url_of(0), &["GET", &key(250)]).await;
        let (kind, _, port) = target(&error.unwrap_err());
        assert_eq!((kind.as_str(), port), ("ASK", cluster.port_of(2)));
        assert_eq!(cluster.query::<u64>(&key(7), &["GET", &key(7)]).await, 7);

        assert_eq!(cluster.move_keys(slot).await, 250);
        assert_eq!(cluster.move_keys(slot).await, 0);
        assert_eq!(cluster.primary_of(&key(0)).await, 0);
        cluster.end_move(slot, 2).await;

        assert_eq!(cluster.primary_of(&key(0)).await, 2);
        assert_eq!(cluster.node(0).query::<u64>(&["DBSIZE"]).await, 0);
        assert_eq!(
            cluster.query::<u64>(&key(249), &["GET", &key(249)]).await,
            249
        );
        for node in 0..2 {
            let error = ask::<()>(cluster.url_of(node), &["GET", &key(1)]).await;
            let (kind, _, port) = target(&error.unwrap_err());
            assert_eq!((kind.as_str(), port), ("MOVED", cluster.port_of(2)));
        }
        cluster.until_well().await;

        assert_eq!(cluster.move_slot(slot, 0).await, 250);
        assert_eq!(cluster.primary_of(&key(0)).await, 0);
    }
}

async fn write(cluster: &Cluster, node: usize, key: &str) {
    let mut client = cluster.node(node).client().await;
    let (replicas,): (u64,) = redis::pipe()
        .set(key, "value")
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
async fn a_replica_takes_the_place_of_a_primary_that_was_killed() {
    for builder in ClusterBuilder::each_way().await {
        let cluster = builder.start().await;
        let key = "key";
        let old = cluster.primary_of(key).await;
        write(&cluster, old, key).await;

        cluster.kill(old).await;
        assert_eq!(cluster.primary_of(key).await, old, "nobody else yet");
        let new = cluster.until_failed_over(old).await;
        assert_eq!(new, old + 3);
        assert_eq!(cluster.primary_of(key).await, new);
        let value: String = cluster.query(key, &["GET", key]).await;
        assert_eq!(value, "value");
        cluster.query::<()>(key, &["SET", key, "new"]).await;

        cluster.start_again(old).await;
        cluster.until_well().await;
        assert_eq!(cluster.replica_of(new).await, old);
        assert_eq!(cluster.fail_over(new).await, old);
        let value: String = cluster.query(key, &["GET", key]).await;
        assert_eq!(value, "new");
    }
}

#[tokio::test]
async fn a_replica_takes_the_place_of_a_primary_that_was_paused() {
    for builder in ClusterBuilder::each_way().await {
        let cluster = builder.start().await;
        cluster.pause(1).await;
        assert_eq!(cluster.until_failed_over(1).await, 4);
        cluster.resume(1).await;
        cluster.until_well().await;
        assert_eq!(cluster.replica_of(4).await, 1);
        cluster.pause(4).await;
        cluster.kill(4).await;
        assert_eq!(cluster.until_failed_over(4).await, 1);
    }
}

#[tokio::test]
async fn a_cluster_whose_nodes_were_all_killed_comes_back_without_data() {
    for builder in ClusterBuilder::each_way().await {
        let cluster = builder.start().await;
        write(&cluster, 0, &Cluster::key_in(0, "")).await;
        for node in 0..6 {
            cluster.kill(node).await;
        }
        // In another order, so that containers get the addresses of others.
        for node in [5, 3, 1, 0, 2, 4] {
            cluster.start_again(node).await;
        }
        cluster.until_well().await;
        assert_eq!(cluster.keys("*").await, [""; 0]);
        // Who came back first may have taken the place of who came last.
        for slot in [0, 6_000, 12_000] {
            let key = Cluster::key_in(slot, "");
            let primary = cluster.primary_of(&key).await;
            write(&cluster, primary, &key).await;
        }
        assert_eq!(cluster.keys("*").await.len(), 3);
    }
}

#[tokio::test]
async fn without_full_coverage_the_other_slots_are_served() {
    for builder in ClusterBuilder::each_way().await {
        for full_coverage in [false, true] {
            let mut builder = builder.clone().replicas(0);
            if full_coverage {
                builder = builder.full_coverage();
            }
            let cluster = builder.start().await;
            cluster.kill(2).await;
            let key = Cluster::key_in(0, "");
            eventually("the node is known to be gone", async || {
                let info: String = cluster.node(0).query(&["CLUSTER", "INFO"]).await;
                info.contains("cluster_slots_fail:5462").then_some(())
            })
            .await;
            let outcome: RedisResult<()> = ask(cluster.url_of(0), &["SET", &key, "1"]).await;
            if full_coverage {
                assert_eq!(outcome.unwrap_err().code(), Some("CLUSTERDOWN"));
            } else {
                assert_eq!(outcome, Ok(()));
            }
        }
    }
}

#[tokio::test]
async fn clients_of_a_cluster_behind_proxies_go_through_them() {
    for builder in ClusterBuilder::each_way().await {
        let cluster = builder.behind_proxies().start().await;
        assert_eq!(cluster.nodes().len(), 3);
        let key = Cluster::key_in(16_383, "");
        assert_eq!(cluster.primary_of(&key).await, 2);
        for node in 0..3 {
            assert_eq!(cluster.port_of(node), cluster.proxy(node).port());
            assert_ne!(cluster.port_of(node), cluster.node(node).port());
            assert_eq!(cluster.proxy(node).accepted(), 0, "nodes go past them");
        }

        let error = ask::<()>(cluster.url_of(0), &["SET", &key, "1"]).await;
        let (kind, _, port) = target(&error.unwrap_err());
        assert_eq!((kind.as_str(), port), ("MOVED", cluster.proxy(2).port()));
        ask::<()>(cluster.url_of(2), &["SET", &key, "1"])
            .await
            .unwrap();
        assert_eq!(cluster.proxy(0).accepted(), 1);
        assert_eq!(cluster.proxy(2).accepted(), 1);

        cluster.proxy(2).hold(Direction::Replies);
        let url = cluster.url_of(2);
        let held = tokio::spawn(async move { ask::<()>(url, &["SET", &key, "2"]).await });
        eventually("the request has come", async || {
            (cluster.proxy(2).open() == 1).then_some(())
        })
        .await;
        assert!(!held.is_finished());
        cluster.proxy(2).release(Direction::Replies);
        held.await.unwrap().unwrap();

        // What moves slots and starts nodes goes past the proxies, and leaves what is announced.
        assert_eq!(cluster.move_slot(16_383, 0).await, 1);
        cluster.kill(1).await;
        cluster.start_again(1).await;
        cluster.until_well().await;
        let key = Cluster::key_in(16_383, "");
        let error = ask::<()>(cluster.url_of(1), &["GET", &key]).await;
        let (kind, _, port) = target(&error.unwrap_err());
        assert_eq!((kind.as_str(), port), ("MOVED", cluster.proxy(0).port()));
    }
}

#[tokio::test]
async fn connections_are_counted_by_user() {
    for builder in ClusterBuilder::each_way().await {
        let cluster = builder
            .user("app on >secret ~* +@all")
            .args(["--maxmemory", "3mb"])
            .start()
            .await;
        assert_eq!(cluster.connections("default").await, [0; 6]);
        let set: (String, u64) = cluster.node(5).query(&["CONFIG", "GET", "maxmemory"]).await;
        assert_eq!(set.1, 3 << 20);

        let mut open = Vec::new();
        for node in [1, 1, 4] {
            let url = cluster.node(node).url_as("app", "secret");
            let client = Client::open(url).unwrap();
            open.push(client.get_multiplexed_async_connection().await.unwrap());
        }
        assert_eq!(cluster.connections("app").await, [0, 2, 0, 0, 1, 0]);
        cluster.kill(4).await;
        drop(open);
        eventually("they are closed", async || {
            (cluster.connections("app").await == [0; 6]).then_some(())
        })
        .await;
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

#[tokio::test]
async fn nothing_is_left_of_a_cluster_that_is_dropped() {
    for builder in ClusterBuilder::each_way().await {
        let cluster = builder.start().await;
        let ports: Vec<_> = cluster.nodes().iter().map(Server::port).collect();
        assert_eq!(open(&ports).await, ports);
        cluster.pause(0).await;
        cluster.kill(1).await;
        drop(cluster);
        assert_eq!(open(&ports).await, [0; 0]);
    }
}

#[tokio::test]
async fn nothing_is_left_of_a_cluster_after_a_panic() {
    for builder in ClusterBuilder::each_way().await {
        let (tell, told) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            let cluster = builder.behind_proxies().start().await;
            let ports = (0..3).flat_map(|node| [cluster.port_of(node), cluster.node(node).port()]);
            tell.send(ports.collect::<Vec<_>>()).unwrap();
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
async fn what_cannot_be_a_cluster_is_refused_with_the_setting_at_fault() {
    for (builder, part) in [
        (Cluster::builder().primaries(0), "primaries()"),
        (Cluster::builder().primaries(1_001), "primaries()"),
        (
            Cluster::builder().node_timeout(Duration::ZERO),
            "node_timeout()",
        ),
        (
            Cluster::builder().replicas(1).behind_proxies(),
            "replicas()",
        ),
        (Cluster::builder().only(Way::Url), "REDIS_URL"),
        (
            Cluster::builder().args(["--no-such-setting", "1"]),
            "no-such-setting",
        ),
    ] {
        let text = format!("{:?}", builder.try_start().await.unwrap_err());
        assert!(text.contains(part), "{text}");
    }
}
