//! What the processes are told to do, and what they answer: lines of JSON through pipes.

use std::{env, path::Path, process::Stdio, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::BoxError;

/// What to do.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) enum Order {
    /// So many callers at once read the user, by a query that takes its time.
    Storm { id: i64, callers: u32 },
    /// Read these users one after the other, so many times.
    Read { ids: (i64, i64), rounds: u32 },
    /// Let so many callers at once read these users, each one after the other.
    ReadTogether { ids: (i64, i64), callers: u32 },
    /// Change the row, then invalidate the key.
    Rename { id: i64, name: String },
    /// Begin a load which reads the row and then holds it back.
    BeginSlowLoad { id: i64 },
    /// End it.
    EndSlowLoad,
    /// End the process.
    Leave { forget: Vec<i64> },
}

/// What came of it.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Report {
    /// The last user that was read: their name, if there is one.
    pub(crate) name: Option<String>,
    /// Whether the invalidation answered `Done`.
    pub(crate) is_done: bool,
    /// How many queries this process sent for it.
    pub(crate) queries: u64,
    pub(crate) took: Duration,
}

/// What a process says first.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Greeting {
    pub(crate) guarantee: String,
}

/// A process of the service, as the one sees it that tells it what to do.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) guarantee: String,
    child: Child,
    orders: ChildStdin,
    reports: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    /// Starts this very program once more, in its other role.
    pub(crate) async fn start(url: &str, prefix: &str, file: &Path) -> Result<Self, BoxError> {
        let mut child = Command::new(env::current_exe()?)
            .args([crate::worker::ROLE, prefix])
            .arg(file)
            // Not as an argument, where everybody could read its password.
            .env("REDIS_URL", url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let orders = child.stdin.take().ok_or("no pipe to the process")?;
        let reports = child.stdout.take().ok_or("no pipe from the process")?;
        let mut reports = BufReader::new(reports).lines();
        let Greeting { guarantee } = next(&mut reports).await?;
        Ok(Self {
            guarantee,
            child,
            orders,
            reports,
        })
    }

    /// Has an order carried out.
    pub(crate) async fn order(&mut self, order: &Order) -> Result<Report, BoxError> {
        let mut line = serde_json::to_string(order)?;
        line.push('\n');
        self.orders.write_all(line.as_bytes()).await?;
        next(&mut self.reports).await
    }

    /// Has the process end by itself.
    pub(crate) async fn end(mut self, forget: Vec<i64>) -> Result<(), BoxError> {
        self.order(&Order::Leave { forget }).await?;
        let status = self.child.wait().await?;
        assert!(status.success(), "a process ended with {status}");
        Ok(())
    }
}

async fn next<T: for<'a> Deserialize<'a>>(
    lines: &mut Lines<BufReader<ChildStdout>>,
) -> Result<T, BoxError> {
    let line = lines.next_line().await?;
    let line = line.ok_or("a process of the service ended early: it has said why above")?;
    Ok(serde_json::from_str(&line)?)
}
