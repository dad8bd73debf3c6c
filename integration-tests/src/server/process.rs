//! A node as a child process.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{command::Command, sweep};
use crate::Error;

/// The program, and the folder that it works in.
#[derive(Debug)]
pub(crate) struct Process {
    program: PathBuf,
    command: Command,
    folder: TempDir,
    child: Mutex<Option<Child>>,
}

impl Process {
    pub(crate) fn start(program: &Path, command: Command) -> Result<Self, Error> {
        sweep::processes();
        let folder = tempfile::Builder::new()
            .prefix(&sweep::folder_prefix())
            .tempdir()
            .map_err(|error| Error::because("cannot make a folder for redis-server", error))?;
        for (name, content) in &command.files {
            let path = folder.path().join(name);
            fs::write(&path, content).map_err(|error| {
                Error::because(format!("cannot write {}", path.display()), error)
            })?;
        }
        let process = Self {
            program: program.to_owned(),
            command,
            folder,
            child: Mutex::new(None),
        };
        process.start_again()?;
        Ok(process)
    }

    /// Starts the program unless it runs.
    pub(crate) fn start_again(&self) -> Result<(), Error> {
        let mut child = self.child();
        if child.is_some() {
            return Ok(());
        }
        let folder = self.folder.path();
        let failed =
            |error| Error::because(format!("cannot start {}", self.program.display()), error);
        let log = File::create(self.log()).map_err(failed)?;
        let started = std::process::Command::new(&self.program)
            .args(self.command.arguments(&folder.to_string_lossy()))
            .args(["--bind", "127.0.0.1", "--dir"])
            .arg(folder)
            // The sweep of a later run knows the process by these.
            .args(["--set-proc-title", "no", "--pidfile"])
            .arg(folder.join(sweep::PID_FILE))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stderr(log.try_clone().map_err(failed)?)
            .stdout(log)
            .spawn()
            .map_err(failed)?;
        *child = Some(started);
        Ok(())
    }

    /// Ends the program at once, and waits until it is gone.
    pub(crate) fn kill(&self) -> Result<(), Error> {
        let Some(mut child) = self.child().take() else {
            return Ok(());
        };
        // It may have ended by itself.
        child.kill().ok();
        child
            .wait()
            .map_err(|error| Error::because("cannot wait for redis-server to end", error))?;
        Ok(())
    }

    pub(crate) fn pause(&self) -> Result<(), Error> {
        self.signal(Signal::STOP)
    }

    pub(crate) fn resume(&self) -> Result<(), Error> {
        self.signal(Signal::CONT)
    }

    pub(crate) fn last_words(&self) -> Option<String> {
        let ended = match self.child().as_mut() {
            Some(child) => child.try_wait().ok().flatten(),
            None => None,
        }?;
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        Some(format!("redis-server ended with {ended}:\n{log}"))
    }

    fn signal(&self, signal: Signal) -> Result<(), Error> {
        let child = self.child();
        let pid = child
            .as_ref()
            .and_then(|child| Pid::from_raw(child.id().cast_signed()))
            .ok_or_else(|| Error::new("the server is down: start it again first"))?;
        kill_process(pid, signal)
            .map_err(|error| Error::because("cannot send a signal to redis-server", error))
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill().ok();
    }
}
