//! A listener that answers scrapes, for services that speak no HTTP themselves.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    panic::catch_unwind,
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
    task::{JoinSet, spawn_blocking},
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};

use crate::{Exporter, SetupError};

/// How many connections are served at once; further ones wait.
const CONNECTIONS: usize = 16;

/// How long a connection may last, from its request to the last byte of its answer. So those that
/// send or read nothing hold up others no longer than that.
const LIMIT: Duration = Duration::from_secs(20);

/// How long to wait before connections are accepted again, when the system has refused one.
const PAUSE: Duration = Duration::from_secs(1);

/// Answers `GET /metrics` until it is dropped. Made by [`Exporter::listen`].
#[must_use = "it stops when it is dropped"]
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    tasks: JoinSet<()>,
}

impl Listener {
    /// Port 9464 on loopback, which other machines cannot reach. It is the default port of
    /// Prometheus exporters in the OpenTelemetry specification.
    pub const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

    /// Where it listens; with the port that the system chose, if it was to choose one.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops, and waits until the address is free again. After a drop it is so a moment later.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it stops all the same.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

impl Exporter {
    /// Answers `GET /metrics` at `address` until the [`Listener`] is dropped.
    ///
    /// For services that speak no HTTP themselves; others mount [`text`](Self::text) where they
    /// have their own. [`Listener::LOOPBACK`] is the address to begin with. There is neither TLS
    /// nor a password: whoever reaches the address reads the counts and the names of the caches.
    ///
    /// It runs on the runtime it is called in. It serves up to 16 connections at once, each for one
    /// request and 20 seconds at most.
    ///
    /// # Errors
    ///
    /// [`SetupError::Bind`] if the address cannot be listened on, [`SetupError::NoRuntime`] outside
    /// any tokio runtime with I/O and timers.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), cache_metrics::SetupError> {
    /// use cache_metrics::{Exporter, Listener, Stats};
    ///
    /// let stats = Stats::new();
    /// let listener = Exporter::new(&stats).listen(Listener::LOOPBACK)?;
    /// # drop(listener);
    /// # Ok(())
    /// # }
    /// ```
    pub fn listen(&self, address: SocketAddr) -> Result<Listener, SetupError> {
        let no_runtime = || SetupError::NoRuntime { setting: "listen" };
        if Handle::try_current().is_err() {
            return Err(no_runtime());
        }
        let refused = |source| SetupError::Bind { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        // Whether a runtime has I/O and timers, tokio tells only by a panic.
        let listener = catch_unwind(|| {
            drop(sleep(LIMIT));
            TcpListener::from_std(listener)
        });
        let listener = listener.map_err(|_panic| no_runtime())?.map_err(refused)?;
        if !address.ip().is_loopback() {
            info!(%address, "the metrics of the caches can be read from other machines");
        }
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, self.clone()));
        Ok(Listener { address, tasks })
    }
}

/// Accepts connections for ever. Those that are open end with this.
async fn accept(listener: TcpListener, exporter: Exporter) {
    let mut connections = JoinSet::new();
    let mut is_refused = false;
    loop {
        // Those that have ended are still among them, and are taken out here.
        while connections.len() >= CONNECTIONS {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                is_refused = false;
                connections.spawn(serve(stream, exporter.clone()));
            }
            // Too many open files, or a client that left already: neither is for ever.
            Err(error) => {
                if !is_refused {
                    warn!(%error, "connections of scrapes are not accepted, and tried again");
                }
                is_refused = true;
                sleep(PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, exporter: Exporter) {
    let service = service_fn(move |request| answer(request, exporter.clone()));
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = timeout(LIMIT, connection).await {
        debug!(%error, "a connection of a scrape ended");
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
