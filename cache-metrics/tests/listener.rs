//! The stand-alone listener, as a client sees it.
#![cfg(feature = "listener")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::{net::SocketAddr, time::Duration};

use cache_core::{Event, Recorder};
use cache_metrics::{Exporter, Listener, SetupError, Stats};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const ANY_PORT: SocketAddr = SocketAddr::new(Listener::LOOPBACK.ip(), 0);

async fn listening(stats: &Stats) -> Listener {
    Exporter::new(stats).listen(ANY_PORT).await.unwrap()
}

/// What is answered to one request on a connection of its own.
async fn ask(listener: &Listener, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(listener.address()).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[test]
fn by_default_it_is_for_this_machine_alone() {
    assert!(Listener::LOOPBACK.ip().is_loopback());
}

#[tokio::test]
async fn a_scrape_is_answered_with_the_counts() {
    let stats = Stats::new();
    let user = stats.cache("user");
    user.record(Event::Hit);
    let listener = listening(&stats).await;
    let answer = ask(&listener, "GET", "/metrics").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{head}"
    );
    assert!(
        body.contains("cache_calls_total{cache=\"user\"} 1\n"),
        "{body}"
    );
}

#[tokio::test]
async fn what_is_no_scrape_is_told_so() {
    let listener = listening(&Stats::new()).await;
    for (method, path, status, says) in [
        ("GET", "/", "404 Not Found", "/metrics"),
        ("POST", "/metrics", "405 Method Not Allowed", "only GET"),
        ("GET", "/metrics?name=it", "200 OK", "# TYPE"),
    ] {
        let answer = ask(&listener, method, path).await;
        assert!(answer.contains(status), "{method} {path}: {answer}");
        assert!(answer.contains(says), "{method} {path}: {answer}");
    }
    let head = ask(&listener, "HEAD", "/metrics").await;
    assert!(head.ends_with("\r\n\r\n"), "no body: {head}");
}

#[tokio::test]
async fn many_scrapes_on_one_connection_are_answered() {
    let listener = listening(&Stats::new()).await;
    let mut stream = TcpStream::connect(listener.address()).await.unwrap();
    let mut bytes = [0; 4096];
    for _ in 0..3 {
        let request = b"GET /metrics HTTP/1.1\r\nHost: it\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let read = stream.read(&mut bytes).await.unwrap();
        assert!(bytes[..read].starts_with(b"HTTP/1.1 200 OK"));
    }
}

#[tokio::test]
async fn connections_beyond_those_at_once_wait_and_are_answered_then() {
    let listener = listening(&Stats::new()).await;
    let mut idle = Vec::new();
    for _ in 0..16 {
        idle.push(TcpStream::connect(listener.address()).await.unwrap());
    }
    let waits = ask(&listener, "GET", "/metrics");
    tokio::pin!(waits);
    let early = timeout(Duration::from_millis(200), &mut waits).await;
    early.expect_err("all places are taken");
    drop(idle.pop());
    assert!(waits.await.contains("200 OK"));
}

#[tokio::test]
async fn it_stops_when_it_is_dropped_and_so_do_its_connections() {
    let listener = listening(&Stats::new()).await;
    let address = listener.address();
    let mut open = TcpStream::connect(address).await.unwrap();
    open.write_all(b"GET /metrics HTTP/1.1\r\nHost: it\r\n\r\n")
        .await
        .unwrap();
    let mut bytes = [0; 4096];
    assert!(open.read(&mut bytes).await.unwrap() > 0);
    drop(listener);
    // Closed or reset, but ended.
    let ended = open.read(&mut bytes).await;
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    TcpStream::connect(address).await.unwrap_err();
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let stats = Stats::new();
    let listener = listening(&stats).await;
    let address = listener.address();
    let taken = Exporter::new(&stats).listen(address).await.unwrap_err();
    assert!(matches!(taken, SetupError::Bind { .. }), "{taken:?}");
    assert!(taken.to_string().contains(&address.to_string()), "{taken}");
}

#[test]
fn outside_a_runtime_is_an_error() {
    let exporter = Exporter::new(&Stats::new());
    let listening = futures_util::FutureExt::now_or_never(exporter.listen(ANY_PORT)).unwrap();
    let error = listening.unwrap_err();
    assert!(matches!(error, SetupError::NoRuntime { .. }), "{error:?}");
}
