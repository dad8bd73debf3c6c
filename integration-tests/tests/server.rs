//! A server does what a test tells it to, whichever way it runs.

use std::time::Duration;

use integration_tests::{Builder, eventually};
use redis::{AsyncConnectionConfig, Client, RedisResult};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_server_answers_and_is_on_127_0_0_1() {
    for builder in Builder::each_way().await {
        let server = builder.start().await;
        let mut client = server.client().await;
        let pong: String = redis::cmd("PING").query_async(&mut client).await.unwrap();
        assert_eq!(pong, "PONG");
        assert_eq!(server.url(), format!("redis://127.0.0.1:{}", server.port()));
    }
}

#[tokio::test]
async fn two_servers_share_no_data() {
    for builder in Builder::each_way().await {
        let (first, second) = (builder.clone().start().await, builder.start().await);
        first.cmd(&["SET", "key", "value"]).await;
        assert_eq!(second.query::<u64>(&["DBSIZE"]).await, 0);
        assert_ne!(first.port(), second.port());
    }
}

#[tokio::test]
async fn a_killed_server_refuses_and_comes_back_empty_on_its_port() {
    for builder in Builder::each_way().await {
        let server = builder.start().await;
        let port = server.port();
        server.cmd(&["SET", "key", "value"]).await;

        server.kill().await;
        eventually("the port refuses", async || {
            TcpStream::connect(("127.0.0.1", port)).await.err()
        })
        .await;
        server.kill().await; // once more does nothing

        server.start_again().await;
        assert_eq!(server.port(), port);
        assert_eq!(server.query::<u64>(&["DBSIZE"]).await, 0);
        server.start_again().await; // once more does nothing
        server.restart().await;
        assert_eq!(server.query::<u64>(&["DBSIZE"]).await, 0);
    }
}

#[tokio::test]
async fn a_paused_server_lets_commands_time_out_until_it_is_resumed() {
    for builder in Builder::each_way().await {
        let server = builder.start().await;
        let limits =
            AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_millis(100)));
        let mut client = Client::open(server.url())
            .unwrap()
            .get_multiplexed_async_connection_with_config(&limits)
            .await
            .unwrap();

        server.pause().await;
        let outcome: RedisResult<String> = redis::cmd("PING").query_async(&mut client).await;
        assert!(outcome.unwrap_err().is_timeout());

        server.resume().await;
        let pong = eventually("the server goes on", async || {
            redis::cmd("PING")
                .query_async::<String>(&mut client.clone())
                .await
                .ok()
        })
        .await;
        assert_eq!(pong, "PONG");
    }
}

#[tokio::test]
async fn a_server_that_is_dropped_is_gone_even_if_it_was_paused() {
    for builder in Builder::each_way().await {
        for paused in [false, true] {
            let server = builder.clone().start().await;
            let port = server.port();
            if paused {
                server.pause().await;
            }
            drop(server);
            let error = TcpStream::connect(("127.0.0.1", port)).await.unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        }
    }
}

#[tokio::test]
async fn a_server_is_gone_after_a_panic() {
    for builder in Builder::each_way().await {
        let (tell, told) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            let server = builder.start().await;
            tell.send(server.port()).unwrap();
            panic!("as a test that fails");
        });
        let port = told.await.unwrap();
        assert!(task.await.unwrap_err().is_panic());
        assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
    }
}

#[test]
fn a_server_may_be_dropped_after_its_runtime() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let servers: Vec<_> = runtime.block_on(async {
        let mut servers = Vec::new();
        for builder in Builder::each_way().await {
            servers.push(builder.start().await);
        }
        servers
    });
    drop(runtime);
    for server in servers {
        let port = server.port();
        drop(server);
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    }
}

#[tokio::test]
async fn a_server_takes_a_password_users_and_arguments() {
    for builder in Builder::each_way().await {
        let server = builder
            .password("sesame")
            .user("reader on >secret ~* +get +ping")
            .args(["--maxmemory", "2mb"])
            .start()
            .await;
        let set: (String, u64) = server.query(&["CONFIG", "GET", "maxmemory"]).await;
        assert_eq!(set.1, 2 << 20);

        let get = async |url: String| -> RedisResult<Option<String>> {
            let client = Client::open(url)?;
            let mut connection = client.get_multiplexed_async_connection().await?;
            redis::cmd("GET")
                .arg("key")
                .query_async(&mut connection)
                .await
        };
        let set = async |url: String| -> RedisResult<()> {
            let client = Client::open(url)?;
            let mut connection = client.get_multiplexed_async_connection().await?;
            redis::cmd("SET")
                .arg("key")
                .arg(1)
                .exec_async(&mut connection)
                .await
        };
        assert_eq!(get(server.url()).await.unwrap(), None);
        assert_eq!(get(server.url_as("reader", "secret")).await.unwrap(), None);
        let denied = set(server.url_as("reader", "secret")).await.unwrap_err();
        assert_eq!(denied.code(), Some("NOPERM"));
        let bare = format!("redis://127.0.0.1:{}", server.port());
        assert_eq!(get(bare).await.unwrap_err().code(), Some("NOAUTH"));
    }
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    for builder in Builder::each_way().await {
        let outcome = builder.args(["--no-such-setting", "1"]).try_start().await;
        let text = format!("{:?}", outcome.unwrap_err());
        assert!(text.contains("no-such-setting"), "{text}");
    }
}
