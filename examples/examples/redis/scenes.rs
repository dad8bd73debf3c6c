//! What is shown: each scene has both processes do something, and asserts that it went as promised.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    BoxError, USERS,
    orders::{Order, Report, Worker},
    server::OwnServer,
    table::{count, time},
};

/// The two processes.
#[derive(Debug)]
pub(crate) struct Scenes {
    pub(crate) a: Worker,
    pub(crate) b: Worker,
}

/// What a scene measured.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) what: &'static str,
    pub(crate) calls: u64,
    pub(crate) queries: u64,
    pub(crate) took: Duration,
}

impl Measured {
    pub(crate) fn per_call(&self) -> Duration {
        let calls = u32::try_from(self.calls).unwrap_or(u32::MAX);
        self.took / calls.max(1)
    }
}

/// The users that are read again and again, all of them known.
const WARM: (i64, i64) = (1, 500);
const WARM_USERS: u64 = 500;
/// The user on whom the storm falls.
const COLD: i64 = 2_000;
/// The user who is renamed, one for each scene.
const RENAMED: [i64; 3] = [3_000, 3_001, 3_002];
/// Nobody.
const UNKNOWN: i64 = USERS + 1;

/// In each process.
const CALLERS: u32 = 5_000;
const AT_ONCE: u32 = 256;

/// How long the processes may take to be back to hits after an outage.
const RECOVERY: Duration = Duration::from_secs(5);

impl Scenes {
    pub(crate) async fn storm(&mut self) -> Result<Measured, BoxError> {
        let order = Order::Storm {
            id: COLD,
            callers: CALLERS,
        };
        let (a, b) = self.both(&order).await?;
        let scene = Measured {
            what: "5,000 callers in A and in B at once, query of 50 ms",
            calls: 2 * u64::from(CALLERS),
            queries: a.queries + b.queries,
            took: a.took.max(b.took),
        };
        assert_eq!(scene.queries, 1, "a storm on one cold key runs one query");
        Ok(scene)
    }

    pub(crate) async fn unknown_id(&mut self) -> Result<Measured, BoxError> {
        let order = Order::Read {
            ids: (UNKNOWN, UNKNOWN),
            rounds: 500,
        };
        let a = self.a.order(&order).await?;
        let b = self.b.order(&order).await?;
        assert_eq!((a.name, b.name), (None, None));
        let scene = Measured {
            what: "an id that nobody has, in A and then in B",
            calls: 1_000,
            queries: a.queries + b.queries,
            took: a.took + b.took,
        };
        assert_eq!(scene.queries, 1, "that nobody has it is known to both");
        Ok(scene)
    }

    pub(crate) async fn first_reads(&mut self) -> Result<Measured, BoxError> {
        let a = self.a.order(&read(WARM)).await?;
        assert_eq!(a.queries, WARM_USERS, "each first read runs the query");
        Ok(Measured {
            what: "a first read: look-up, lease, query, fill",
            calls: WARM_USERS,
            queries: a.queries,
            took: a.took,
        })
    }

    pub(crate) async fn hits_one_by_one(&mut self) -> Result<Measured, BoxError> {
        let rounds = 10;
        let b = self.b.order(&Order::Read { ids: WARM, rounds }).await?;
        assert_eq!(b.queries, 0, "what A has loaded is a hit in B");
        Ok(Measured {
            what: "a hit in B of what A has loaded, one by one",
            calls: WARM_USERS * u64::from(rounds),
            queries: b.queries,
            took: b.took,
        })
    }

    pub(crate) async fn hits_together(&mut self) -> Result<Measured, BoxError> {
        let order = Order::ReadTogether {
            ids: WARM,
            callers: AT_ONCE,
        };
        let b = self.b.order(&order).await?;
        assert_eq!(b.queries, 0, "a hit runs no query");
        Ok(Measured {
            what: "the same, of 256 callers at once",
            calls: WARM_USERS * u64::from(AT_ONCE),
            queries: b.queries,
            took: b.took,
        })
    }

    pub(crate) async fn update_elsewhere(&mut self) -> Result<Vec<String>, BoxError> {
        let id = RENAMED[0];
        let [old, hit] = [
            self.a.order(&read_one(id)).await?,
            self.b.order(&read_one(id)).await?,
        ];
        assert_eq!(old.name.as_deref(), Some("user number 3000"));
        assert_eq!(hit.name, old.name);
        assert_eq!((old.queries, hit.queries), (1, 0));

        let update = self.a.order(&rename(id, "Ada")).await?;
        assert!(update.is_done, "`invalidate` answers Done");
        let next = self.b.order(&read_one(id)).await?;
        assert_eq!(next.name.as_deref(), Some("Ada"), "it asked after Done");
        Ok(vec![
            "A and B both have read \"user number 3000\".".to_owned(),
            format!(
                "In A the row becomes \"Ada\", and `invalidate` answers Done: {} for both.",
                time(update.took)
            ),
            format!("B's next read gets \"Ada\": {}.", time(next.took)),
        ])
    }

    /// The race that other caches lose, across processes.
    pub(crate) async fn update_during_a_load_elsewhere(&mut self) -> Result<Vec<String>, BoxError> {
        let id = RENAMED[1];
        self.b.order(&Order::BeginSlowLoad { id }).await?;
        let update = self.a.order(&rename(id, "Grace")).await?;
        assert!(update.is_done, "`invalidate` answers Done");

        let next_in_a = self.a.order(&read_one(id)).await?;
        assert_eq!(next_in_a.name.as_deref(), Some("Grace"));
        let next_in_b = self.b.order(&read_one(id)).await?;
        assert_eq!(next_in_b.name.as_deref(), Some("Grace"));

        let slow = self.b.order(&Order::EndSlowLoad).await?;
        let asked_before = slow.name.as_deref();
        assert_eq!(asked_before, Some("user number 3001"), "it asked before");
        for process in [&mut self.a, &mut self.b] {
            let last = process.order(&read_one(id)).await?;
            assert_eq!(last.name.as_deref(), Some("Grace"), "it was not stored");
            assert_eq!(last.queries, 0, "the new row is still there");
        }
        Ok(vec![
            "A slow load in B has read \"user number 3001\" and holds it back.".to_owned(),
            format!(
                "In A the row becomes \"Grace\", and `invalidate` answers Done: {} for both.",
                time(update.took)
            ),
            format!(
                "The next read in A gets \"Grace\": {}. So does the next in B: {}.",
                time(next_in_a.took),
                time(next_in_b.took)
            ),
            "The slow load ends. Its caller, who asked before, gets \"user number 3001\"."
                .to_owned(),
            "Reads after that get \"Grace\" in both: Redis has refused the old row.".to_owned(),
        ])
    }

    pub(crate) async fn outage(&mut self, server: &mut OwnServer) -> Result<Vec<String>, BoxError> {
        let id = RENAMED[2];
        let before = self.b.order(&read_one(id)).await?;
        assert_eq!(before.name.as_deref(), Some("user number 3002"));
        server.kill().await?;

        let (a, b) = self.both(&read(WARM)).await?;
        let queries = a.queries + b.queries;
        assert_eq!(queries, 2 * WARM_USERS, "the database answers meanwhile");
        let update = self.a.order(&rename(id, "Edith")).await?;
        assert!(!update.is_done, "what cannot be delivered is Queued");
        let next = self.a.order(&read_one(id)).await?;
        assert_eq!(next.name.as_deref(), Some("Edith"));

        server.restart().await?;
        let began = Instant::now();
        loop {
            let (a, b) = self.both(&read(WARM)).await?;
            if a.queries + b.queries == 0 {
                break;
            }
            let took = began.elapsed();
            assert!(took < RECOVERY, "no hits {} after the start", time(took));
            sleep(Duration::from_millis(10)).await;
        }
        let recovered = began.elapsed();
        let last = self.b.order(&read_one(id)).await?;
        assert_eq!(last.name.as_deref(), Some("Edith"));
        Ok(vec![
            format!(
                "While it is down A and B make {} reads. All are answered, by a query each: {} per read.",
                count(queries),
                time(per_read(&a))
            ),
            "An `invalidate` in A answers Queued. A does not read the old row, whatever Redis has."
                .to_owned(),
            format!(
                "It is started again, and {} later all reads are hits again, in both.",
                time(recovered)
            ),
        ])
    }

    /// Has both do the same at the same time.
    async fn both(&mut self, order: &Order) -> Result<(Report, Report), BoxError> {
        tokio::try_join!(self.a.order(order), self.b.order(order))
    }

    /// Ends both processes, and leaves nothing behind on a server that others use.
    pub(crate) async fn end(self) -> Result<(), BoxError> {
        let warm = WARM.0..=WARM.1;
        let used = warm.chain(RENAMED).chain([COLD, UNKNOWN]).collect();
        self.a.end(used).await?;
        self.b.end(Vec::new()).await
    }
}

fn read(ids: (i64, i64)) -> Order {
    Order::Read { ids, rounds: 1 }
}

fn read_one(id: i64) -> Order {
    read((id, id))
}

fn rename(id: i64, name: &str) -> Order {
    Order::Rename {
        id,
        name: name.to_owned(),
    }
}

fn per_read(report: &Report) -> Duration {
    report.took / u32::try_from(report.queries).unwrap_or(1).max(1)
}
