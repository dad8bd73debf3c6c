//! Shows what the cache does over Redis: two processes of one service before one SQLite database.
//!
//! Everything it shows is asserted: if something does not hold, the program fails and says what.
//! To see how a service uses the cache, read `service.rs`: but for the backend it is what the
//! quickstart has.
//!
//! Run it with `cargo run --release --example redis`. It starts a `redis-server` of its own, or
//! uses the server that `REDIS_URL` names. The two processes are started by a third, which tells
//! them what to do and looks at what they answer.
#![expect(
    clippy::print_stdout,
    reason = "this program is here to show something"
)]

mod database;
mod orders;
mod scenes;
mod server;
mod service;
#[path = "../quickstart/table.rs"]
mod table;
mod worker;

use std::{
    env,
    error::Error,
    hash::{BuildHasher, RandomState},
    thread,
    time::Duration,
};

use tokio::time::timeout;

use self::{
    orders::Worker,
    scenes::{Measured, Scenes},
    server::Server,
};

type BoxError = Box<dyn Error + Send + Sync>;

/// How many users the database has.
const USERS: i64 = 5_000;

/// It takes a second or two; if it takes longer than this, something hangs.
const LONGEST: Duration = Duration::from_secs(15);

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    if let Some(role) = worker::Role::of(env::args().skip(1)) {
        return worker::run(role?).await;
    }
    let shown = timeout(LONGEST, direct()).await;
    shown.map_err(|_elapsed| "it took too long: something hangs")?
}

/// Starts the server and both processes, and shows what they do.
async fn direct() -> Result<(), BoxError> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("users.db");
    database::create(&file, USERS).await?;
    let server = Server::find(folder.path()).await?;
    // A server that others use keeps its data apart by the prefix.
    let prefix = format!("example-{:016x}:user:", random());
    let start = || Worker::start(&server.url, &prefix, &file);
    let (a, b) = tokio::try_join!(start(), start())?;
    let intro = format!(
        "Two processes before {} users in a SQLite file, on {} cores.\nRedis is {}. The guarantee: {}.\n",
        table::count(USERS.unsigned_abs()),
        thread::available_parallelism().map_or(1, usize::from),
        server.what(),
        a.guarantee,
    );

    let mut scenes = Scenes { a, b };
    let measured = [
        scenes.storm().await?,
        scenes.unknown_id().await?,
        scenes.first_reads().await?,
        scenes.hits_one_by_one().await?,
        scenes.hits_together().await?,
    ];
    let update = scenes.update_elsewhere().await?;
    let slow = scenes.update_during_a_load_elsewhere().await?;
    let outage = match server.into_own() {
        Some(mut own) => Some(scenes.outage(&mut own).await?),
        None => None,
    };
    scenes.end().await?;

    println!("{intro}");
    show(&measured);
    tell("An update in A, with nothing under way in B:", &update);
    tell(
        "An update in A, while a load of the old row is under way in B:",
        &slow,
    );
    match outage {
        Some(outage) => tell("Redis is killed, and started again:", &outage),
        None => println!("\nThe server is not this program's, so it was not killed."),
    }
    println!("\nAll of this was asserted while it ran.");
    Ok(())
}

fn show(measured: &[Measured]) {
    let rows = measured.iter().map(|scene| {
        [
            scene.what.to_owned(),
            table::count(scene.calls),
            table::count(scene.queries),
            table::time(scene.took),
            table::time(scene.per_call()),
        ]
    });
    table::print(["", "calls", "queries", "in all", "per call"], rows);
}

fn tell(what: &str, lines: &[String]) {
    println!("\n{what}\n");
    for (number, line) in (1..).zip(lines) {
        println!("  {number}. {line}");
    }
}

/// A number that another run will not have.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}
