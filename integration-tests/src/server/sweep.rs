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
    ONCE.call_once(|| end_processes(&env::temp_dir()));
}

fn end_processes(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(FOLDER_PREFIX))
            .and_then(|rest| rest.split('-').next());
        if owner.is_some_and(is_gone) {
            end(&entry.path());
        }
    }
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
    if !DONE.swap(true, Ordering::Relaxed) {
        remove_containers(docker, &host()).await;
    }
}

async fn remove_containers(docker: &Docker, host: &str) {
    let ours = HashMap::from([("label", vec![format!("{HOST}={host}")])]);
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
    use testcontainers::{
        GenericImage, ImageExt,
        core::client::{ClientError, docker_client_instance},
        runners::AsyncRunner,
    };

    use super::*;
    use crate::{Way, eventually, server::find::Surroundings};

    /// Returns the number of a process that has ended.
    fn gone() -> u32 {
        let mut child = process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    }

    #[tokio::test]
    async fn a_process_whose_owner_is_gone_is_ended_and_no_other() {
        let Some(program) = Surroundings::look().await.program else {
            return; // Nobody can have left one behind.
        };
        // Out of sight of other tests, which sweep too.
        let root = tempfile::tempdir().unwrap();
        let start = |owner: u32| {
            let folder = tempfile::Builder::new()
                .prefix(&format!("{FOLDER_PREFIX}{owner}-"))
                .tempdir_in(&root)
                .unwrap();
            let child = process::Command::new(&program)
                .args(["--port", "0", "--unixsocket"])
                .arg(folder.path().join("socket"))
                .args(["--set-proc-title", "no", "--pidfile"])
                .arg(folder.path().join(PID_FILE))
                .stdout(process::Stdio::null())
                .spawn()
                .unwrap();
            (folder, child)
        };
        let (ours, mut stays) = start(process::id());
        let (theirs, mut goes) = start(gone());
        for folder in [&ours, &theirs] {
            eventually("the number is written", async || {
                fs::read_to_string(folder.path().join(PID_FILE))
                    .ok()
                    .filter(|text| text.ends_with('\n'))
            })
            .await;
        }

        end_processes(root.path());
        goes.wait().unwrap();
        assert!(!theirs.path().exists());
        assert_eq!(stays.try_wait().unwrap(), None);
        assert!(ours.path().exists());
        stays.kill().unwrap();
        stays.wait().unwrap();
    }

    #[tokio::test]
    async fn a_container_whose_owner_is_gone_is_removed_and_no_other() -> Result<(), ClientError> {
        let surroundings = Surroundings::look().await;
        if !surroundings.own().unwrap().contains(&Way::Docker) {
            return Ok(()); // Nobody can have left one behind.
        }
        let docker = docker_client_instance().await?;
        // Out of sight of other tests, which sweep too.
        let host = format!("a-test-of-{}", process::id());
        let start = async |owner: u32| {
            let (name, tag) = surroundings.image.rsplit_once(':').unwrap();
            GenericImage::new(name, tag)
                .with_label(HOST, &host)
                .with_label(OWNER, owner.to_string())
                .start()
                .await
                .unwrap()
        };
        let (stays, goes) = (start(process::id()).await, start(gone()).await);
        let exists = async |id| docker.inspect_container(id, None).await.is_ok();
        remove_containers(&docker, &host).await;
        assert!(exists(stays.id()).await);
        assert!(!exists(goes.id()).await);
        Ok(())
    }

    #[test]
    fn only_a_process_that_is_gone_counts_as_gone() {
        assert!(is_gone(&gone().to_string()));
        assert!(!is_gone(&process::id().to_string()));
        for nonsense in ["", "0", "x", "99999999999999"] {
            assert!(!is_gone(nonsense), "{nonsense:?}");
        }
    }
}
