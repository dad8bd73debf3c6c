//! The stand-alone listener, as a client sees it.
#![cfg(feature = "listener")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::{net::SocketAddr, time::Duration};

use cache_core::{Event, Recorder};
use cache_metrics::{Exporter, Listener, SetupError, Stats};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Builder,
    time::timeout,
};

const ANY_PORT: SocketAddr = SocketAddr::new(Listener::LOOPBACK.ip(), 0);

fn listening(stats: &Stats) -> Listener {
    Exporter::new(stats).listen(ANY_PORT).unwrap()
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
    let listener = listening(&stats);
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
    let listener = listening(&Stats::new());
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
async fn a_connection_ends_with_its_answer() {
    let listener = listening(&Stats::new());
    let mut stream = TcpStream::connect(listener.address()).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: it\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("200 OK"), "{answer}");
}

#[tokio::test]
async fn connections_beyond_those_at_once_wait_and_are_answered_then() {
    let listener = listening(&Stats::new());
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

/// On a paused clock it is late whenever nobody does anything.
#[tokio::test(start_paused = true)]
async fn who_sends_nothing_and_who_reads_nothing_hold_nobody_up_for_long() {
    let stats = Stats::new();
    // More than the system keeps for who does not read.
    let _caches: Vec<_> = (0..3_000).map(|n| stats.cache(&format!("{n}"))).collect();
    let listener = listening(&stats);
    let mut connections = Vec::new();
    for reads_nothing in [false, true] {
        for _ in 0..16 {
            let mut stream = TcpStream::connect(listener.address()).await.unwrap();
            if reads_nothing {
                let request = b"GET /metrics HTTP/1.1\r\nHost: it\r\n\r\n";
                stream.write_all(request).await.unwrap();
            }
            connections.push(stream);
        }
        assert!(ask(&listener, "GET", "/").await.contains("404 Not Found"));
    }
}

#[tokio::test]
async fn it_stops_when_it_is_dropped_and_so_do_its_connections() {
    let listener = listening(&Stats::new());
    let address = listener.address();
    let mut open = TcpStream::connect(address).await.unwrap();
    // It is accepted before the answer to one that came later is there.
    ask(&listener, "GET", "/").await;
    drop(listener);
    // Closed or reset, but ended.
    let ended = open.read(&mut [0]).await;
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    TcpStream::connect(address).await.unwrap_err();
}

#[tokio::test]
async fn when_it_has_stopped_its_address_is_free() {
    let stats = Stats::new();
    let listener = listening(&stats);
    let address = listener.address();
    for _ in 0..20 {
        listening(&stats).stop().await;
    }
    listener.stop().await;
    let again = Exporter::new(&stats).listen(address).unwrap();
    assert_eq!(again.address(), address);
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let stats = Stats::new();
    let listener = listening(&stats);
    let address = listener.address();
    let taken = Exporter::new(&stats).listen(address).unwrap_err();
    assert!(matches!(taken, SetupError::Bind { .. }), "{taken:?}");
    assert!(taken.to_string().contains(&address.to_string()), "{taken}");
}

#[test]
fn a_runtime_that_lacks_something_is_an_error() {
    let listen = || Exporter::new(&Stats::new()).listen(ANY_PORT);
    let error = listen().unwrap_err();
    assert!(matches!(error, SetupError::NoRuntime { .. }), "{error:?}");
    assert!(error.to_string().contains("`listen`"), "{error}");

    let build = |add: fn(&mut Builder) -> &mut Builder| {
        add(&mut Builder::new_current_thread()).build().unwrap()
    };
    for runtime in [
        build(|it| it),
        build(Builder::enable_io),
        build(Builder::enable_time),
    ] {
        let _inside = runtime.enter();
        let error = listen().unwrap_err();
        assert!(matches!(error, SetupError::NoRuntime { .. }), "{error:?}");
    }
    let runtime = build(Builder::enable_all);
    let _inside = runtime.enter();
    drop(listen().unwrap());
}
