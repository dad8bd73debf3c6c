//! A replica follows its primary.

use integration_tests::{Builder, Server, Tls, eventually};

/// Asks that `replica` has the value, after the primary has counted it.
#[expect(clippy::unwrap_used, reason = "an error is the failure of the test")]
async fn replicates(primary: &Server, replica: &Server, value: &str) {
    let mut client = primary.client().await;
    let () = redis::cmd("SET")
        .arg("key")
        .arg(value)
        .query_async(&mut client)
        .await
        .unwrap();
    let reached: u64 = redis::cmd("WAIT")
        .arg(1)
        .arg(5_000)
        .query_async(&mut client)
        .await
        .unwrap();
    assert_eq!(reached, 1);
    assert_eq!(replica.query::<String>(&["GET", "key"]).await, value);
}

#[tokio::test]
async fn a_write_that_was_waited_for_is_on_the_replica() {
    for builder in Builder::each_way().await {
        let primary = builder.start().await;
        let replica = Server::start_replica_of(&primary).await;
        replicates(&primary, &replica, "first").await;

        // A replica that is down is not counted.
        replica.kill().await;
        eventually("the primary misses its replica", async || {
            let text: String = primary.query(&["INFO", "replication"]).await;
            text.contains("connected_slaves:0").then_some(())
        })
        .await;
        assert_eq!(primary.query::<u64>(&["WAIT", "1", "50"]).await, 0);

        replica.start_again().await;
        assert_eq!(
            replica.query::<u64>(&["DBSIZE"]).await,
            0,
            "nothing on disk"
        );
        replica.follow(&primary).await;
        replicates(&primary, &replica, "second").await;

        primary.restart().await;
        replica.follow(&primary).await;
        replicates(&primary, &replica, "third").await;
    }
}

#[tokio::test]
async fn a_replica_passes_the_password_and_the_tls_of_its_primary() {
    let tls = Tls::new();
    for builder in Builder::each_way().await {
        let builder = builder.mutual_tls(&tls);
        let primary = builder.clone().password("sesame").start().await;
        let replica = builder.start_replica_of(&primary).await;
        replicates(&primary, &replica, "value").await;
    }
}
