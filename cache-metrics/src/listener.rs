//! A listener that answers scrapes, for services that speak no HTTP themselves.

use std::{
    convert::Infallible,
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::Semaphore,
    task::{JoinSet, spawn_blocking},
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};

use crate::{Exporter, SetupError};

/// How many connections are served at once. Prometheus keeps one open; further ones wait.
const CONNECTIONS: usize = 16;

/// How long a connection may take to send a request, and be idle between two.
const REQUEST_TIME: Duration = Duration::from_secs(90);

/// How long a connection may last. Those that read nothing of their answer end by it.
const CONNECTION_TIME: Duration = Duration::from_secs(3600);

/// How long to wait before connections are accepted again, when the system has refused one.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers `GET /metrics` until it is dropped. Made by [`Exporter::listen`].
#[must_use = "it stops when it is dropped"]
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Listener {
    /// Port 9464 on loopback, which other machines cannot reach. It is the default port of
    /// Prometheus exporters in the OpenTelemetry specification.
    pub const LOOPBACK: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

    /// Where it listens; with the port that the system chose, if it was to choose one.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Exporter {
    /// Answers `GET /metrics` at `address` until the [`Listener`] is dropped.
    ///
    /// For services that speak no HTTP themselves; others mount [`text`](Self::text) where they
    /// have their own. [`Listener::LOOPBACK`] is the address to begin with. There is neither TLS
    /// nor a password: whoever reaches the address reads the counts and the names of the caches. It
    /// serves up to 16 connections at once, on the runtime it is called in.
    ///
    /// # Errors
    ///
    /// [`SetupError::Bind`] if the address cannot be listened on, [`SetupError::NoRuntime`] outside
    /// a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is left behind.
    ///
    /// # Panics
    ///
    /// Like all of tokio's network, if the runtime was built without I/O or without timers.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example() -> Result<(), cache_metrics::SetupError> {
    /// use cache_metrics::{Exporter, Listener, Stats};
    ///
    /// let stats = Stats::new();
    /// let listener = Exporter::new(&stats).listen(Listener::LOOPBACK).await?;
    /// # drop(listener);
    /// # Ok(())
    /// # }
    /// # drop(example());
    /// ```
    pub async fn listen(&self, address: SocketAddr) -> Result<Listener, SetupError> {
        if Handle::try_current().is_err() {
            return Err(SetupError::NoRuntime { setting: "listen" });
        }
        let refused = |source| SetupError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        if !address.ip().is_loopback() {
            info!(%address, "the metrics of the caches can be read from other machines");
        }
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, self.clone()));
        Ok(Listener {
            address,
            _tasks: tasks,
        })
    }
}

/// Accepts connections for ever. Those that are open end with this.
async fn accept(listener: TcpListener, exporter: Exporter) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let served = serve(stream, exporter.clone());
                connections.spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            // Too many open files, or a client that left already: neither is for ever.
            Err(error) => {
                warn!(%error, "a connection of a scrape was not accepted");
                sleep(PAUSE).await;
            }
        }
    }
}

fn serve(stream: TcpStream, exporter: Exporter) -> impl Future<Output = ()> {
    let service = service_fn(move |request| answer(request, exporter.clone()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIME)
        .serve_connection(TokioIo::new(stream), service);
    async move {
        match timeout(CONNECTION_TIME, connection).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(error)) => debug!(%error, "a connection of a scrape ended"),
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    exporter: Exporter,
) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(match (request.uri().path(), request.method()) {
        // For HEAD, hyper leaves the body out.
        ("/metrics", &Method::GET | &Method::HEAD) => {
            // With a thousand caches it takes some milliseconds.
            match spawn_blocking(move || exporter.text()).await {
                Ok(text) => plain(StatusCode::OK, Exporter::CONTENT_TYPE, text),
                Err(_) => said(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the counts were not read\n",
                ),
            }
        }
        ("/metrics", _) => {
            let mut refusal = said(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            let allowed = HeaderValue::from_static("GET, HEAD");
            refusal.headers_mut().insert(ALLOW, allowed);
            refusal
        }
        _ => said(StatusCode::NOT_FOUND, "the metrics are at /metrics\n"),
    })
}

fn said(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    plain(status, "text/plain; charset=utf-8", text)
}

fn plain(
    status: StatusCode,
    content_type: &'static str,
    text: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
