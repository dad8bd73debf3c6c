//! `/metrics` mounted in a service that has HTTP already.
#![cfg(feature = "prometheus")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::net::SocketAddr;

use cache_core::{Event, Recorder};
use cache_metrics::{Exporter, Stats};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What a scrape of `/metrics` at `address` is answered.
async fn scrape(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn assert_scraped(answer: &str) {
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let content_type = format!("content-type: {}", Exporter::CONTENT_TYPE);
    assert!(answer.contains(&content_type), "{answer}");
    assert!(
        answer.contains("cache_calls_total{cache=\"user\"} 1\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn in_axum() {
    use axum::{Router, http::header::CONTENT_TYPE, routing::get};

    let stats = Stats::new();
    let user = stats.cache("user");
    user.record(Event::Hit);

    let exporter = Exporter::new(&stats);
    let metrics = async move || ([(CONTENT_TYPE, Exporter::CONTENT_TYPE)], exporter.text());
    let service = Router::new().route("/metrics", get(metrics));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(axum::serve(listener, service).into_future());
    assert_scraped(&scrape(address).await);
    serving.abort();
}

#[actix_web::test]
async fn in_actix_web() {
    use actix_web::{App, HttpResponse, HttpServer, web};

    let stats = Stats::new();
    let user = stats.cache("user");
    user.record(Event::Hit);

    let exporter = Exporter::new(&stats);
    let service = move || {
        let exporter = exporter.clone();
        let metrics = move || {
            let text = exporter.text();
            async {
                HttpResponse::Ok()
                    .content_type(Exporter::CONTENT_TYPE)
                    .body(text)
            }
        };
        App::new().route("/metrics", web::get().to(metrics))
    };

    let server = HttpServer::new(service)
        .workers(1)
        .bind("127.0.0.1:0")
        .unwrap();
    let address = server.addrs()[0];
    let server = server.disable_signals().run();
    let handle = server.handle();
    let serving = actix_web::rt::spawn(server);
    assert_scraped(&scrape(address).await);
    handle.stop(false).await;
    serving.await.unwrap().unwrap();
}
