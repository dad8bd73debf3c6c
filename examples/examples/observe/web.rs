//! What is served, and until when.

use std::{future::Future, io, time::Duration};

use axum::{
    Router,
    body::Bytes,
    http::{
        StatusCode,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
    },
    response::IntoResponse,
    routing::get,
};
use cache_metrics::Exporter;
use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};

use crate::BoxError;

const PAGE: &str = include_str!("page.html");

/// The page brings all it needs, so it may ask for its numbers and for nothing else.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
     img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

pub(crate) fn routes(numbers: watch::Receiver<Bytes>, exporter: Exporter) -> Router {
    let latest = move || async move {
        let numbers = numbers.borrow().clone();
        answer("application/json", numbers)
    };
    let metrics = move || async move { answer(Exporter::CONTENT_TYPE, exporter.text()) };
    Router::new()
        .route("/", get(page))
        .route("/numbers", get(latest))
        .route("/metrics", get(metrics))
        .fallback(nothing_here)
}

async fn page() -> impl IntoResponse {
    let page = answer("text/html; charset=utf-8", PAGE);
    ([(CONTENT_SECURITY_POLICY, POLICY)], page)
}

async fn nothing_here() -> impl IntoResponse {
    let text = "There is nothing here: the page is /, its numbers /numbers, and /metrics is for \
                Prometheus.\n";
    (StatusCode::NOT_FOUND, text)
}

fn answer(content_type: &'static str, body: impl IntoResponse) -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, body)
}

/// Two views of the moment when this program is told to end.
pub(crate) fn until_told() -> (oneshot::Receiver<()>, impl Future<Output = ()> + Send) {
    let (tell, told) = oneshot::channel();
    let ended = async move {
        interrupted().await;
        tell.send(()).ok();
    };
    (told, ended)
}

/// Ctrl-C, or whatever else ends programs here in good order.
async fn interrupted() {
    let ctrl_c = async {
        if tokio::signal::ctrl_c().await.is_err() {
            // It cannot be noticed, so it ends the program by itself.
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminated = async {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut signals) => drop(signals.recv().await),
            Err(_no_signals) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending::<()>();
    tokio::select! {
        () = ctrl_c => {}
        () = terminated => {}
    }
}

/// Serves until it ends; once it is to end, answers that are under way have `patience` to do so.
pub(crate) async fn serve(
    serving: impl Future<Output = io::Result<()>>,
    ends: oneshot::Receiver<()>,
    patience: Duration,
) -> Result<(), BoxError> {
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        served = &mut serving => served?,
        _told = ends => {
            // Somebody who does not read an answer is not waited for any longer.
            if let Ok(served) = timeout(patience, serving).await {
                served?;
            }
        }
    }
    Ok(())
}
