//! Prometheus as a child process.

use std::{
    fs::{self, File},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
};

use tempfile::TempDir;

use super::find::find;
use crate::{
    Error,
    server::{Port, sweep},
};

/// The program, and the folder that holds all it writes. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    folder: TempDir,
    port: Port,
    child: Mutex<Child>,
}

impl Process {
    /// Starts it with `config`.
    pub(crate) fn start(config: &str) -> Result<Self, Error> {
        let program = find("prometheus")?;
        // A folder named and filled like that of a Redis is swept like one, should this run be killed.
        sweep::processes();
        let port = Port::reserve()?;
        let failed = |error| Error::because(format!("cannot start {}", program.display()), error);
        let folder = tempfile::Builder::new()
            .prefix(&sweep::folder_prefix())
            .tempdir()
            .map_err(failed)?;
        let path = folder.path();
        let config_file = path.join("prometheus.yml");
        fs::write(&config_file, config).map_err(failed)?;
        let log = File::create(path.join("log")).map_err(failed)?;
        let child = Command::new(&program)
            .arg(format!("--config.file={}", config_file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                path.join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{}", port.number()))
            .current_dir(path)
            .stdin(Stdio::null())
            .stderr(log.try_clone().map_err(failed)?)
            .stdout(log)
            .spawn()
            .map_err(failed)?;
        let process = Self {
            folder,
            port,
            child: Mutex::new(child),
        };
        fs::write(path_of_pid(&process.folder), process.id().to_string()).map_err(failed)?;
        Ok(process)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }

    /// Returns what it wrote, if it has ended.
    pub(crate) fn last_words(&self) -> Option<String> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = child.try_wait().ok().flatten()?;
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        Some(format!("prometheus ended with {ended}:\n{log}"))
    }

    fn id(&self) -> u32 {
        let child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        // It may have ended by itself.
        child.kill().ok();
        child.wait().ok();
    }
}

fn path_of_pid(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join(sweep::PID_FILE)
}

#[cfg(test)]
mod tests {
    use std::{panic, path::Path};

    use super::*;

    #[test]
    fn it_ends_with_a_test_that_panics() {
        let (sender, receiver) = std::sync::mpsc::channel();
        panic::catch_unwind(move || {
            let process = Process::start("global: {}").unwrap();
            sender
                .send((process.id(), process.folder.path().to_owned()))
                .unwrap();
            panic!("as a test does");
        })
        .unwrap_err();
        let (id, folder) = receiver.recv().unwrap();
        assert!(!Path::new(&format!("/proc/{id}")).exists());
        assert!(!folder.exists());
    }
}
