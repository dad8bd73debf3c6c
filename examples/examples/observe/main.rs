//! Shows what the caches of a service do, live, on a page that needs neither Prometheus nor Grafana.
//!
//! A small service reads and writes through three caches, and every minute something goes wrong:
//! a stampede on a cold key, a backend that does not answer, a database that fails. The page shows
//! how the caches take it. What is counted, and how, is in `history.rs`; how a service uses the
//! caches is in `shop.rs`; what goes wrong, and when, is in `scene.rs`.
//!
//! Run it with `cargo run --release --example observe`, and open the address that it prints. Another
//! ADDRESS to listen on is the one argument it takes; a port of 0 is any that is free:
//! `cargo run --release --example observe 127.0.0.1:0`.
//!
//! - `/` is the page, which asks nothing of anybody but this service;
//! - `/numbers` is what it polls each second: two minutes of samples, as JSON;
//! - `/metrics` is the same for Prometheus, to go on with.
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "this program tells whoever started it where to look"
)]

mod address;
mod breaker;
mod database;
mod distant;
mod history;
mod numbers;
mod sampler;
mod scene;
mod shop;
mod web;
mod workload;
mod zipf;

use std::{env, error::Error, io, net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use cache_core::Engine;
use cache_memory::Memory;
use cache_metrics::{Exporter, Stats};
use tokio::{net::TcpListener, time::timeout};

use self::{database::Database, distant::Distant, scene::Schedule, shop::Shop};

type BoxError = Box<dyn Error + Send + Sync>;

/// How long pages and loads that are under way are waited for at the end.
const FAREWELL: Duration = Duration::from_secs(5);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let ran = match address::of(env::args().skip(1)) {
        Ok(address) => run(address).await,
        Err(error) => Err(error),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the service until somebody ends it.
async fn run(address: SocketAddr) -> Result<(), BoxError> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| address::refused(address, &error))?;

    let schedule = Schedule::begin();
    let stats = Stats::new();
    let memory = Memory::builder().max_entries(10_000).build()?;
    // The backend is given the stats as well: it tells them the state of its breaker.
    let backend = Distant::new(memory, schedule, stats.clone());
    let engine = Engine::builder(backend).recorder(stats.clone()).build()?;
    let shop = Arc::new(Shop::open(&engine, Database::new(schedule))?);
    stats.log_every(Duration::from_secs(60))?;

    let (numbers, sampling) = sampler::start(stats.clone(), schedule);
    let working = workload::start(&shop, schedule);

    println!(
        "Open http://{}/ to see the caches at work. Ctrl-C ends it.",
        listener.local_addr()?
    );
    let (ends, ended) = web::until_told();
    let routes = web::routes(numbers, Exporter::new(&stats));
    let serving = axum::serve(listener, routes).with_graceful_shutdown(ended);
    let served = web::serve(serving.into_future(), ends, FAREWELL).await;

    // Nothing new is asked for any more; what was asked for may end.
    drop((working, sampling));
    let report = timeout(2 * FAREWELL, engine.shutdown(FAREWELL)).await?;
    println!(
        "Ended: {} loads were still running, {} invalidations were not delivered.",
        report.still_running, report.undelivered
    );
    served
}
