//! Shows what the cache does before a real SQLite database, with numbers measured here and now.
//!
//! Everything it shows is asserted: if something does not hold, the program fails and says what.
//! To see how a service uses the cache, read `service.rs`.
//!
//! Run it with `cargo run --release --example quickstart`.
#![expect(
    clippy::print_stdout,
    reason = "this program is here to show something"
)]

mod counts;
mod database;
mod scenes;
mod service;
mod table;

use std::{error::Error, sync::Arc, thread, time::Duration};

use cache_core::{Cache, Engine};
use cache_memory::Memory;
use cache_metrics::{CacheSnapshot, Stats};

use self::{
    database::{Database, User},
    scenes::{Measured, Retelling},
    service::Service,
};

type BoxError = Box<dyn Error + Send + Sync>;

/// How many users the database has.
const USERS: i64 = 5_000;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let folder = tempfile::tempdir()?;
    let db = Arc::new(Database::create(&folder.path().join("users.db"), USERS).await?);

    let stats = Stats::new();
    let memory = Memory::builder().max_entries(100_000).build()?;
    let engine = Engine::builder(memory).recorder(stats.clone()).build()?;
    let users: Cache<i64, User> = engine
        .cache("user")
        .ttl(Duration::from_secs(3600))
        .build()?;
    let service = Service { users, db };

    let measured = [
        scenes::without_cache(&service).await?,
        scenes::first_reads(&service).await?,
        scenes::warm_hits(&service).await?,
        scenes::storm(&service).await?,
        scenes::unknown_id(&service).await?,
        scenes::failing_query(&service).await?,
    ];
    let retelling = scenes::update_during_a_load(&service).await?;
    let snapshot = stats.snapshot();
    let counts = snapshot.cache("user").ok_or("the cache is counted")?;
    counts::check(counts, &measured, &retelling);

    let report = engine.shutdown(Duration::from_secs(5)).await;
    assert_eq!(report.still_running, 0, "no background work is left");

    show(&measured, &retelling, counts);
    Ok(())
}

fn show(measured: &[Measured], retelling: &Retelling, counts: &CacheSnapshot) {
    println!(
        "A read-through cache before {} users in a SQLite file, on {} cores.\n",
        table::count(USERS.unsigned_abs()),
        thread::available_parallelism().map_or(1, usize::from),
    );
    let rows = measured.iter().map(|scene| {
        [
            scene.what.to_owned(),
            table::count(scene.calls),
            table::count(scene.queries),
            table::time(scene.took),
            table::time(scene.per_call),
        ]
    });
    table::print(["", "calls", "queries", "in all", "per call"], rows);

    println!("\nAn update while a load of the old row is under way:\n");
    for (number, line) in (1..).zip(&retelling.lines) {
        println!("  {number}. {line}");
    }

    println!("\nWhat was counted of it:\n");
    let counted = [
        counts.total(),
        counts.hit(),
        counts.miss(),
        counts.db_fails(),
    ];
    let counted = counted.map(table::count);
    table::print(["Total", "Hit", "Miss", "DbFails"], [counted]);

    println!("\nAll of this was asserted while it ran.");
}
