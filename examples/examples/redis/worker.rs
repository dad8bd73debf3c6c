//! One process of the service: does what it is told, and reports.

use std::{env, path::PathBuf, sync::Arc, time::Duration};

use cache_core::Invalidation;
use cache_redis::Redis;
use serde::Serialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, stdin, stdout},
    sync::{Barrier, oneshot},
    task::{JoinHandle, JoinSet},
    time::Instant,
};

use crate::{
    BoxError,
    database::{Database, User},
    orders::{Greeting, Order, Report},
    service::Service,
};

/// The first argument of a process of the service.
pub(crate) const ROLE: &str = "as-a-process-of-the-service";

/// What a process of the service is started with.
#[derive(Debug)]
pub(crate) struct Role {
    prefix: String,
    file: PathBuf,
}

impl Role {
    /// `None` for the process that the user starts, which has no arguments.
    pub(crate) fn of(arguments: impl Iterator<Item = String>) -> Option<Result<Self, BoxError>> {
        let arguments: Vec<String> = arguments.collect();
        match arguments.as_slice() {
            [] => None,
            [role, prefix, file] if role == ROLE => Some(Ok(Self {
                prefix: prefix.clone(),
                file: file.into(),
            })),
            _ => Some(Err("this program takes no arguments".into())),
        }
    }
}

/// A load that holds a row back.
struct SlowLoad {
    caller: JoinHandle<Result<Option<Arc<User>>, cache_core::Error>>,
    open_gate: oneshot::Sender<()>,
}

/// Does what is asked until told to leave, or until nobody is there to ask.
pub(crate) async fn run(role: Role) -> Result<(), BoxError> {
    let redis = Redis::connect(&env::var("REDIS_URL")?).await?;
    let guarantee = redis.guarantee().ok_or("it is connected")?.guarantee;
    let db = Database::open(&role.file).await?;
    let service = Service::new(redis, &role.prefix, db)?;
    say(&Greeting {
        guarantee: guarantee.as_str().to_owned(),
    })
    .await?;

    let mut slow_load = None;
    let mut orders = BufReader::new(stdin()).lines();
    while let Some(line) = orders.next_line().await? {
        let order = serde_json::from_str(&line)?;
        let leaves = matches!(order, Order::Leave { .. });
        let report = obey(&service, order, &mut slow_load).await?;
        say(&report).await?;
        if leaves {
            break;
        }
    }
    let left = service.engine.shutdown(Duration::from_secs(2)).await;
    assert_eq!(left.still_running, 0, "no background work is left");
    Ok(())
}

async fn say(what: &impl Serialize) -> Result<(), BoxError> {
    let mut line = serde_json::to_string(what)?;
    line.push('\n');
    let mut out = stdout();
    out.write_all(line.as_bytes()).await?;
    Ok(out.flush().await?)
}

async fn obey(
    service: &Service,
    order: Order,
    slow_load: &mut Option<SlowLoad>,
) -> Result<Report, BoxError> {
    let before = service.db.queries();
    let mut is_done = false;
    let mut began = Instant::now();
    let user = match order {
        Order::Storm { id, callers } => {
            let (user, first) = storm(service, id, callers).await?;
            began = first;
            user
        }
        Order::Read { ids, rounds } => {
            let mut user = None;
            for id in (0..rounds).flat_map(|_| ids.0..=ids.1) {
                user = service.find_user(id).await?;
            }
            user
        }
        Order::ReadTogether { ids, callers } => {
            let mut all = JoinSet::new();
            for _ in 0..callers {
                let service = service.clone();
                all.spawn(async move {
                    for id in ids.0..=ids.1 {
                        service.find_user(id).await?;
                    }
                    Ok::<_, cache_core::Error>(())
                });
            }
            while let Some(done) = all.join_next().await {
                done??;
            }
            None
        }
        Order::Rename { id, name } => {
            is_done = service.rename_user(id, &name).await? == Invalidation::Done;
            None
        }
        Order::BeginSlowLoad { id } => {
            *slow_load = Some(begin_slow_load(service, id).await?);
            None
        }
        Order::EndSlowLoad => {
            let SlowLoad { caller, open_gate } = slow_load.take().ok_or("there is none")?;
            assert!(!caller.is_finished(), "the slow load is still under way");
            open_gate.send(()).map_err(|()| "the slow load is gone")?;
            caller.await??
        }
        Order::Leave { forget } => {
            let keys = forget.iter().map(|id| service.users.key(id));
            is_done = service.engine.invalidate(keys).await == Invalidation::Done;
            None
        }
    };
    Ok(Report {
        name: user.map(|user| user.name.clone()),
        is_done,
        queries: service.db.queries() - before,
        took: began.elapsed(),
    })
}

/// Lets callers loose on one user, and says when that was.
async fn storm(
    service: &Service,
    id: i64,
    callers: u32,
) -> Result<(Option<Arc<User>>, Instant), BoxError> {
    let gate = Arc::new(Barrier::new(callers as usize + 1));
    let mut all = JoinSet::new();
    for _ in 0..callers {
        let (service, gate) = (service.clone(), Arc::clone(&gate));
        all.spawn(async move {
            gate.wait().await;
            let db = Arc::clone(&service.db);
            let query = async move || db.find_user_slowly(id).await;
            service.users.get_or_load(&id, query).await
        });
    }
    gate.wait().await;
    let began = Instant::now();
    let mut answer = None;
    while let Some(done) = all.join_next().await {
        let user = done??;
        assert_eq!(user.as_ref().map(|user| user.id), Some(id));
        answer = user;
    }
    Ok((answer, began))
}

async fn begin_slow_load(service: &Service, id: i64) -> Result<SlowLoad, BoxError> {
    let (has_read, row_is_read) = oneshot::channel();
    let (open_gate, gate) = oneshot::channel::<()>();
    let service = service.clone();
    let caller = tokio::spawn(async move {
        let db = Arc::clone(&service.db);
        let slow_load = async move || {
            let row = db.find_user(id).await;
            has_read.send(()).ok();
            gate.await.ok();
            row
        };
        service.users.get_or_load(&id, slow_load).await
    });
    row_is_read.await?;
    Ok(SlowLoad { caller, open_gate })
}
