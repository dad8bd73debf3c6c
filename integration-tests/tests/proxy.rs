//! A proxy does to the traffic what a test tells it to, and nothing else.
#![expect(
    clippy::unwrap_used,
    reason = "an error anywhere here is the failure of the test"
)]

use std::{
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use integration_tests::{Direction, Proxy, Server, Tls, eventually};
use redis::{Client, aio::MultiplexedConnection};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};

/// Sends back what it gets.
struct Echo {
    port: u16,
    open: Arc<AtomicUsize>,
}

impl Echo {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&open);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let count = Arc::clone(&count);
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await.ok();
                    count.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        Self { port, open }
    }

    async fn until_open(&self, connections: usize) {
        eventually("the stub has its connections", async || {
            (self.open.load(Ordering::Relaxed) == connections).then_some(())
        })
        .await;
    }
}

async fn before_echo() -> (Echo, Proxy) {
    let echo = Echo::start().await;
    let proxy = Proxy::before_port(echo.port).await;
    (echo, proxy)
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(("127.0.0.1", proxy.port()))
        .await
        .unwrap()
}

async fn echoes(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    assert_eq!(read(stream, text.len()).await, text);
}

async fn read(stream: &mut TcpStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Asks that nothing can be read. This cannot be waited for, so it waits for a while.
async fn is_silent(stream: &mut TcpStream) {
    let outcome = timeout(Duration::from_millis(50), stream.read_u8()).await;
    assert!(outcome.is_err(), "{outcome:?} was read");
}

/// Asks that the connection has ended.
async fn has_ended(stream: &mut TcpStream) {
    let outcome = timeout(Duration::from_secs(5), stream.read_u8()).await;
    let kind = outcome.unwrap().unwrap_err().kind();
    assert!(
        matches!(kind, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset),
        "{kind:?}"
    );
}

async fn until_passed(proxy: &Proxy, direction: Direction, bytes: u64) {
    eventually("the bytes have passed", async || {
        (proxy.bytes(direction) == bytes).then_some(())
    })
    .await;
}

async fn until_open(proxy: &Proxy, connections: usize) {
    eventually("the proxy has its connections", async || {
        (proxy.open() == connections).then_some(())
    })
    .await;
}

#[tokio::test]
async fn everything_passes_and_is_counted() {
    let (echo, proxy) = before_echo().await;
    let mut first = connect(&proxy).await;
    echoes(&mut first, "one").await;
    let mut second = connect(&proxy).await;
    echoes(&mut second, "three").await;
    assert_eq!((proxy.accepted(), proxy.open()), (2, 2));
    until_passed(&proxy, Direction::Requests, 8).await;
    until_passed(&proxy, Direction::Replies, 8).await;

    drop(first);
    until_open(&proxy, 1).await;
    echo.until_open(1).await;
    assert_eq!(proxy.accepted(), 2);

    drop(proxy);
    has_ended(&mut second).await;
    echo.until_open(0).await;
}

#[tokio::test]
async fn what_is_held_is_kept_and_passes_in_order_when_it_is_released() {
    let (_echo, proxy) = before_echo().await;
    let mut stream = connect(&proxy).await;
    for direction in [Direction::Requests, Direction::Replies] {
        proxy.hold(direction);
        stream.write_all(b"first,").await.unwrap();
        is_silent(&mut stream).await;
        stream.write_all(b"second").await.unwrap();
        is_silent(&mut stream).await;
        proxy.release(direction);
        assert_eq!(read(&mut stream, 12).await, "first,second");
    }
}

#[tokio::test]
async fn a_cut_ends_what_is_open_and_nothing_later() {
    let (echo, proxy) = before_echo().await;
    let mut stream = connect(&proxy).await;
    echoes(&mut stream, "before").await;
    proxy.hold(Direction::Replies);
    stream.write_all(b"lost").await.unwrap();
    until_passed(&proxy, Direction::Requests, 10).await;

    proxy.cut();
    has_ended(&mut stream).await;
    echo.until_open(0).await;
    until_open(&proxy, 0).await;

    proxy.release(Direction::Replies);
    echoes(&mut connect(&proxy).await, "after").await;
}

#[tokio::test]
async fn new_connections_are_refused_and_old_ones_go_on() {
    let (_echo, proxy) = before_echo().await;
    let mut old = connect(&proxy).await;
    echoes(&mut old, "before").await;

    proxy.refuse().await;
    let error = TcpStream::connect(("127.0.0.1", proxy.port()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    echoes(&mut old, "meanwhile").await;

    proxy.accept().await;
    echoes(&mut connect(&proxy).await, "after").await;
    echoes(&mut old, "still").await;
}

#[tokio::test]
async fn a_black_hole_leaves_the_server_half_open() {
    let (echo, proxy) = before_echo().await;
    let mut stream = connect(&proxy).await;
    echoes(&mut stream, "before").await;

    proxy.blackhole();
    stream.write_all(b"swallowed").await.unwrap();
    is_silent(&mut stream).await;
    assert_eq!(proxy.bytes(Direction::Requests), 6);
    drop(stream);
    let mut new = connect(&proxy).await;
    new.write_all(b"swallowed").await.unwrap();
    is_silent(&mut new).await;
    echo.until_open(2).await; // the one whose client has left, too

    proxy.cut();
    echo.until_open(0).await;
}

#[tokio::test]
async fn one_direction_can_be_swallowed_alone() {
    let (_echo, proxy) = before_echo().await;
    let mut stream = connect(&proxy).await;
    proxy.swallow(Direction::Replies);
    stream.write_all(b"lost").await.unwrap();
    until_passed(&proxy, Direction::Requests, 4).await;
    is_silent(&mut stream).await;
    proxy.pass(Direction::Replies);
    echoes(&mut stream, "after").await;
}

#[tokio::test]
async fn replies_are_cut_after_as_many_bytes_as_were_asked_for() {
    let (_echo, proxy) = before_echo().await;
    let mut stream = connect(&proxy).await;
    echoes(&mut stream, "before").await;
    proxy.cut_replies_after(4);
    stream.write_all(b"0123456789").await.unwrap();
    assert_eq!(read(&mut stream, 4).await, "0123");
    has_ended(&mut stream).await;
    echoes(&mut connect(&proxy).await, "once only").await;
}

#[tokio::test]
async fn delayed_replies_come_late_and_in_order() {
    let (_echo, proxy) = before_echo().await;
    let mut stream = connect(&proxy).await;
    echoes(&mut stream, "before").await;
    proxy.delay(Direction::Replies, Duration::from_millis(20), 7);
    let begin = Instant::now();
    for round in 0..20 {
        echoes(&mut stream, &format!("{round:02}")).await;
    }
    // Twenty draws between 0 and 20 ms; that they sum up to less than 40 ms is not in this seed.
    assert!(begin.elapsed() > Duration::from_millis(40));

    for round in 0..50 {
        stream
            .write_all(format!("{round:02}").as_bytes())
            .await
            .unwrap();
    }
    let expected: String = (0..50).map(|round| format!("{round:02}")).collect();
    assert_eq!(read(&mut stream, 100).await, expected);

    proxy.no_delay(Direction::Replies);
    echoes(&mut stream, "after").await;
}

async fn client(proxy: &Proxy) -> MultiplexedConnection {
    let client = Client::open(proxy.url()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

async fn incr(client: &mut MultiplexedConnection, key: &str) -> u64 {
    let script = "return redis.call('INCR', KEYS[1])";
    redis::cmd("EVAL")
        .arg(script)
        .arg(1)
        .arg(key)
        .query_async(client)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_matching_request_is_held_with_what_follows_it_and_others_pass() {
    let server = Server::start().await;
    let proxy = Proxy::before(&server).await;
    let (mut first, mut second) = (client(&proxy).await, client(&proxy).await);
    proxy.hold_matching(|request| request.is("eval") && request.mentions("held"));

    let mut behind = first.clone();
    let held = tokio::spawn(async move { incr(&mut first, "held").await });
    proxy.until_held(1).await;
    let behind = tokio::spawn(async move { incr(&mut behind, "counter").await });
    assert_eq!(incr(&mut second, "counter").await, 1);
    assert_eq!(server.query::<u64>(&["EXISTS", "held"]).await, 0);
    assert!(!held.is_finished() && !behind.is_finished());

    proxy.release_held();
    assert_eq!(held.await.unwrap(), 1);
    assert_eq!(behind.await.unwrap(), 2, "after the other connection");
    assert_eq!(proxy.held(), 0);
    assert_eq!(
        incr(&mut second, "held").await,
        2,
        "nothing is held any more"
    );
}

#[tokio::test]
async fn a_held_request_reaches_the_server_after_its_client_has_left() {
    let server = Server::start().await;
    let proxy = Proxy::before(&server).await;
    let mut first = client(&proxy).await;
    proxy.hold_matching(|request| request.mentions("late"));
    let held = tokio::spawn(async move { incr(&mut first, "late").await });
    proxy.until_held(1).await;
    held.abort();
    assert!(held.await.unwrap_err().is_cancelled());

    proxy.release_held();
    eventually("the request has arrived", async || {
        (server.query::<u64>(&["EXISTS", "late"]).await == 1).then_some(())
    })
    .await;
    until_open(&proxy, 0).await;
}

#[tokio::test]
async fn a_held_request_is_lost_in_a_cut() {
    let server = Server::start().await;
    let proxy = Proxy::before(&server).await;
    let mut first = client(&proxy).await;
    proxy.hold_matching(|request| request.mentions("lost"));
    let held = tokio::spawn(async move {
        let mut command = redis::cmd("INCR");
        command.arg("lost").query_async::<u64>(&mut first).await
    });
    proxy.until_held(1).await;
    proxy.cut();
    assert!(held.await.unwrap().unwrap_err().is_connection_dropped());
    proxy.release_held();
    until_open(&proxy, 0).await;
    assert_eq!(server.query::<u64>(&["EXISTS", "lost"]).await, 0);
}

#[tokio::test]
async fn a_request_can_be_repeated_later() {
    let server = Server::start().await;
    let proxy = Proxy::before(&server).await;
    let mut client = client(&proxy).await;
    proxy.duplicate_later(|request| request.is("EVAL") && request.mentions("twice"));
    assert_eq!(incr(&mut client, "once").await, 1);
    assert_eq!(incr(&mut client, "twice").await, 1);
    assert_eq!(proxy.recorded().len(), 1);
    proxy.cut();

    assert_eq!(proxy.replay().await, [Ok(redis::Value::Int(2))]);
    assert_eq!(server.query::<u64>(&["GET", "once"]).await, 1);
}

#[tokio::test]
async fn tls_and_passwords_pass() {
    let tls = Tls::new();
    let server = Server::builder()
        .mutual_tls(&tls)
        .password("sesame")
        .start()
        .await;
    let proxy = Proxy::before(&server).await;
    let client = Client::build_with_tls(proxy.url(), tls.certificates()).unwrap();
    let mut client = client.get_multiplexed_async_connection().await.unwrap();
    assert_eq!(incr(&mut client, "key").await, 1);
    assert_eq!(proxy.accepted(), 1);
}
