//! What is shown: each scene runs something, asserts that it went as promised, and measures it.

use std::{sync::Arc, time::Duration};

use cache_core::{ErrorKind, Invalidation};
use tokio::{
    sync::{Barrier, oneshot},
    task::JoinSet,
    time::Instant,
};

use crate::{BoxError, USERS, service::Service, table::time};

/// What a scene measured.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) what: &'static str,
    pub(crate) uses_cache: bool,
    pub(crate) calls: u64,
    pub(crate) queries: u64,
    pub(crate) took: Duration,
    pub(crate) per_call: Duration,
}

/// A scene told line by line.
#[derive(Debug)]
pub(crate) struct Retelling {
    pub(crate) calls: u64,
    pub(crate) queries: u64,
    pub(crate) lines: [String; 5],
}

/// The users that are read again and again, all of them known.
const WARM: i64 = 1_000;
/// The user on whom the storm falls.
const COLD: i64 = 2_000;
/// The user who is renamed.
const RENAMED: i64 = 3_000;
/// The user whose query fails.
const UNLUCKY: i64 = 4_000;
/// Nobody.
const UNKNOWN: i64 = USERS + 1;

const CALLERS: u32 = 10_000;
const ROUNDS: usize = 9;
const HITS_PER_ROUND: u32 = 100_000;

pub(crate) async fn without_cache(service: &Service) -> Result<Measured, BoxError> {
    let before = service.db.queries();
    let began = Instant::now();
    for id in 1..=WARM {
        assert!(service.db.find_user(id).await?.is_some());
    }
    let took = began.elapsed();
    Ok(Measured {
        uses_cache: false,
        ..measured(
            "the query alone, without the cache",
            1_000,
            before,
            service,
            took,
        )
    })
}

pub(crate) async fn first_reads(service: &Service) -> Result<Measured, BoxError> {
    let before = service.db.queries();
    let began = Instant::now();
    for id in 1..=WARM {
        assert!(service.find_user(id).await?.is_some());
    }
    let took = began.elapsed();
    let scene = measured(
        "a first read: look-up, query, fill",
        1_000,
        before,
        service,
        took,
    );
    assert_eq!(scene.queries, 1_000, "each first read runs the query");
    Ok(scene)
}

pub(crate) async fn warm_hits(service: &Service) -> Result<Measured, BoxError> {
    let before = service.db.queries();
    let mut rounds = [Duration::ZERO; ROUNDS];
    let mut ids = (1..=WARM).cycle();
    for took in &mut rounds {
        let began = Instant::now();
        for id in ids.by_ref().take(HITS_PER_ROUND as usize) {
            assert!(service.find_user(id).await?.is_some());
        }
        *took = began.elapsed();
    }
    let took = rounds.iter().sum();
    rounds.sort_unstable();
    let calls = u64::from(HITS_PER_ROUND) * ROUNDS as u64;
    let scene = Measured {
        per_call: rounds[ROUNDS / 2] / HITS_PER_ROUND,
        ..measured("a hit (median of 9 rounds)", calls, before, service, took)
    };
    assert_eq!(scene.queries, 0, "a hit runs no query");
    Ok(scene)
}

pub(crate) async fn storm(service: &Service) -> Result<Measured, BoxError> {
    let before = service.db.queries();
    let start = Arc::new(Barrier::new(CALLERS as usize + 1));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (service, start) = (service.clone(), Arc::clone(&start));
        callers.spawn(async move {
            start.wait().await;
            let db = Arc::clone(&service.db);
            let query = async move || db.find_user_slowly(COLD).await;
            service.users.get_or_load(&COLD, query).await
        });
    }
    start.wait().await;
    let began = Instant::now();
    while let Some(answer) = callers.join_next().await {
        let user = answer??;
        assert_eq!(user.map(|user| user.id), Some(COLD));
    }
    let took = began.elapsed();
    let what = "10,000 callers at once, query of 50 ms";
    let scene = measured(what, u64::from(CALLERS), before, service, took);
    assert_eq!(scene.queries, 1, "a storm on one cold key runs one query");
    Ok(scene)
}

pub(crate) async fn unknown_id(service: &Service) -> Result<Measured, BoxError> {
    let before = service.db.queries();
    let began = Instant::now();
    for _ in 0..1_000 {
        assert_eq!(service.find_user(UNKNOWN).await?, None);
    }
    let took = began.elapsed();
    let scene = measured("an id that nobody has", 1_000, before, service, took);
    assert_eq!(scene.queries, 1, "that nobody has it is remembered");
    Ok(scene)
}

pub(crate) async fn failing_query(service: &Service) -> Result<Measured, BoxError> {
    let before = service.db.queries();
    let began = Instant::now();
    for _ in 0..3 {
        let db = Arc::clone(&service.db);
        let query = async move || db.find_nothing().await;
        let Err(error) = service.users.get_or_load(&UNLUCKY, query).await else {
            return Err("a failing query was answered with a value".into());
        };
        assert_eq!(error.kind(), ErrorKind::Loader);
        let cause = error.loader_error::<sqlx::Error>();
        assert!(cause.is_some(), "the database's own error is at hand");
    }
    let took = began.elapsed();
    let scene = measured(
        "a query that fails, tried anew each time",
        3,
        before,
        service,
        took,
    );
    assert_eq!(scene.queries, 3, "an error is never remembered");
    Ok(scene)
}

/// The race that other caches lose: an old row is read, the row is updated and invalidated, and
/// then the old row arrives at the cache.
pub(crate) async fn update_during_a_load(service: &Service) -> Result<Retelling, BoxError> {
    let before = service.db.queries();
    let (has_read, old_row_is_read) = oneshot::channel();
    let (open_gate, gate) = oneshot::channel::<()>();
    let caller = service.clone();
    let slow_call = tokio::spawn(async move {
        let db = Arc::clone(&caller.db);
        let slow_load = async move || {
            let row = db.find_user(RENAMED).await;
            has_read.send(()).ok();
            gate.await.ok();
            row
        };
        caller.users.get_or_load(&RENAMED, slow_load).await
    });
    old_row_is_read.await?;

    let updated = Instant::now();
    let invalidation = service.rename_user(RENAMED, "Ada").await?;
    let updated = updated.elapsed();
    assert_eq!(invalidation, Invalidation::Done);

    let next = Instant::now();
    let next_read = name(service).await?;
    let next = next.elapsed();
    assert_eq!(next_read, "Ada", "an invalidation is not undone by a load");
    assert!(!slow_call.is_finished(), "the slow load is still under way");

    open_gate.send(()).map_err(|()| "the slow load is gone")?;
    let old = slow_call.await??.map(|user| user.name.clone());
    assert_eq!(old.as_deref(), Some("user number 3000"), "it asked before");

    let last_read = name(service).await?;
    let queries = service.db.queries() - before;
    assert_eq!(last_read, "Ada", "the old row was not stored");
    assert_eq!(queries, 2, "the slow one and that of the next read");
    Ok(Retelling {
        calls: 3,
        queries,
        lines: [
            "A slow load has read \"user number 3000\" and holds it back.".to_owned(),
            format!(
                "The row becomes \"Ada\", and `invalidate` answers Done: {} for both.",
                time(updated)
            ),
            format!(
                "The next read does not wait for the slow load, it gets \"Ada\": {}.",
                time(next)
            ),
            "The slow load ends. Its caller, who asked before, gets \"user number 3000\"."
                .to_owned(),
            "A read after that gets \"Ada\": the cache has refused the old row.".to_owned(),
        ],
    })
}

async fn name(service: &Service) -> Result<String, BoxError> {
    let user = service.find_user(RENAMED).await?;
    Ok(user.map(|user| user.name.clone()).unwrap_or_default())
}

fn measured(
    what: &'static str,
    calls: u64,
    queries_before: u64,
    service: &Service,
    took: Duration,
) -> Measured {
    let per_call = u32::try_from(calls).map_or(Duration::ZERO, |calls| took / calls.max(1));
    Measured {
        what,
        uses_cache: true,
        calls,
        queries: service.db.queries() - queries_before,
        took,
        per_call,
    }
}
