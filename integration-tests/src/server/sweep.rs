//! Removal of what a killed run left behind, and of nothing else.
//!
//! Whatever is started carries the number of the process that owns it. If that process is gone, so
//! is whoever would have cleaned up. A number that was given to a new process in the meantime only
//! lets the rest stay longer.

use std::{
    collections::HashMap,
    env, fs,
    path::Path,
    process,
    sync::{
        Once,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use testcontainers::bollard::{
    Docker,
    query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder},
};

/// The file in the folder of a node in which `redis-server` writes its number.
pub(crate) const PID_FILE: &str = "pid";

const FOLDER_PREFIX: &str = "integration-tests-redis-";
const OWNER: &str = "integration-tests.owner";
const HOST: &str = "integration-tests.host";

/// How the folder of a node begins: with its owner.
pub(crate) fn folder_prefix() -> String {
    format!("{FOLDER_PREFIX}{}-", process::id())
}

/// Ends the processes whose owner is gone, once in this process.
pub(crate) fn processes() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let entries = fs::read_dir(env::temp_dir())
            .into_iter()
            .flatten()
            .flatten();
        for entry in entries {
            let name = entry.file_name();
            let owner = name
                .to_str()
                .and_then(|name| name.strip_prefix(FOLDER_PREFIX))
                .and_then(|rest| rest.split('-').next());
            if owner.is_some_and(is_gone) {
                end(&entry.path());
            }
        }
    });
}

/// Ends the `redis-server` that works in `folder`, and removes the folder.
fn end(folder: &Path) {
    let pid = fs::read_to_string(folder.join(PID_FILE))
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let path = format!("/proc/{}/cmdline", pid.as_raw_nonzero());
        let command = fs::read(path).unwrap_or_default();
        // The number may belong to another program by now; ours has the folder in its arguments.
        if String::from_utf8_lossy(&command).contains(&*folder.to_string_lossy()) {
            kill_process(pid, Signal::KILL).ok();
        }
    }
    fs::remove_dir_all(folder).ok();
}

/// What a container of this process is labelled with.
pub(crate) fn labels() -> [(String, String); 2] {
    [
        (OWNER.to_owned(), process::id().to_string()),
        (HOST.to_owned(), host()),
    ]
}

/// Removes the containers whose owner is gone, once in this process.
pub(crate) async fn containers(docker: &Docker) {
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.swap(true, Ordering::Relaxed) {
        return;
    }
    let ours = HashMap::from([("label", vec![format!("{HOST}={}", host())])]);
    let list = ListContainersOptionsBuilder::new()
        .all(true)
        .filters(&ours)
        .build();
    // What cannot be listed or removed now is left to the next run.
    for container in docker.list_containers(Some(list)).await.unwrap_or_default() {
        let labels = container.labels.unwrap_or_default();
        if let Some(id) = container.id
            && labels.get(OWNER).is_some_and(|owner| is_gone(owner))
        {
            let force = RemoveContainerOptionsBuilder::new()
                .force(true)
                .v(true)
                .build();
            docker.remove_container(&id, Some(force)).await.ok();
        }
    }
}

/// Numbers of processes mean something on one host only.
fn host() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

fn is_gone(owner: &str) -> bool {
    owner
        .parse()
        .ok()
        .and_then(Pid::from_raw)
        .is_some_and(|pid| test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_is_gone_counts_as_gone() {
        let mut child = process::Command::new("true").spawn().unwrap();
        let pid = child.id().to_string();
        child.wait().unwrap();
        assert!(is_gone(&pid));
        assert!(!is_gone(&process::id().to_string()));
        for nonsense in ["", "0", "x", "99999999999999"] {
            assert!(!is_gone(nonsense), "{nonsense:?}");
        }
    }
}
