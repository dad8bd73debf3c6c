//! The example as a process of its own.

use std::{process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use crate::{
    http::{self, Answer},
    program,
    wait::eventually,
};

/// How long it may take to start, or to end.
const PATIENCE: Duration = Duration::from_secs(15);

/// A service that runs. It ends with this, also if a test panics.
#[derive(Debug)]
pub(crate) struct Service {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
    pub(crate) url: String,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) errors: String,
}

fn command() -> Command {
    let mut command = Command::new(program::file());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs it with arguments that it does not take.
pub(crate) async fn run_to_its_end(arguments: &[&str]) -> Ended {
    let mut command = command();
    command.args(arguments).stderr(Stdio::piped());
    let ended = timeout(PATIENCE, command.output()).await;
    let ended = ended.unwrap_or_else(|_| panic!("it goes on with {arguments:?}"));
    let ended = ended.unwrap();
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "");
    Ended {
        code: ended.status.code(),
        errors: String::from_utf8_lossy(&ended.stderr).into_owned(),
    }
}

impl Service {
    pub(crate) async fn start(address: &str) -> Self {
        // What it logs is for people.
        let mut child = command()
            .arg(address)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = timeout(PATIENCE, said.next_line()).await.unwrap().unwrap();
        let line = line.unwrap_or_else(|| panic!("it ended at once, on {address}"));
        let mut words = line.split(' ');
        let url = words.find(|word| word.starts_with("http://"));
        let url = url.unwrap_or_else(|| panic!("it says no URL: {line}"));
        Self {
            url: url.to_owned(),
            child,
            said,
        }
    }

    /// Host and port.
    pub(crate) fn address(&self) -> String {
        let address = self.url.trim_start_matches("http://");
        address.trim_end_matches('/').to_owned()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let answer = http::get(&self.address(), path).await;
        answer.unwrap_or_else(|| panic!("no answer to {path}"))
    }

    pub(crate) async fn numbers(&self) -> Value {
        let answer = self.get("/numbers").await;
        assert_eq!(answer.header("content-type"), Some("application/json"));
        serde_json::from_str(&answer.body).unwrap()
    }

    /// Waits until there are so many samples at least.
    pub(crate) async fn wait_for_samples(&self, count: u64) -> Value {
        eventually("there are samples", async || {
            let numbers = self.numbers().await;
            let taken = numbers["samples"].as_u64().unwrap();
            (taken >= count).then_some(numbers)
        })
        .await
    }

    /// Ends it at once.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Ends it as Ctrl-C does: its exit code, and the last line that it says.
    pub(crate) async fn interrupt(&mut self) -> (Option<i32>, String) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok());
        let pid = pid.and_then(Pid::from_raw).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        let mut last = String::new();
        let ended = timeout(PATIENCE, async {
            while let Some(line) = self.said.next_line().await.unwrap() {
                last = line;
            }
            self.child.wait().await.unwrap()
        });
        (ended.await.unwrap().code(), last)
    }
}
