//! Locks between all test processes of a user on this machine, which end with their process.

use std::{
    fs::{self, File},
    path::PathBuf,
};

use crate::Error;

/// A name that is held until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    /// The operating system lets go of the lock when the file is closed.
    _file: File,
}

impl Lock {
    /// Takes `name` unless someone holds it.
    pub(crate) fn try_take(name: &str) -> Result<Option<Self>, Error> {
        let folder = folder();
        let path = folder.join(name);
        let file = fs::create_dir_all(&folder)
            .and_then(|()| File::create(&path))
            .map_err(|error| Error::because(format!("cannot write {}", path.display()), error))?;
        Ok(file.try_lock().is_ok().then_some(Self { _file: file }))
    }
}

/// One folder per user, so that nobody meets files that he may not open.
fn folder() -> PathBuf {
    let user = rustix::process::getuid().as_raw();
    std::env::temp_dir().join(format!("integration-tests-locks-{user}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_held_until_it_is_dropped() {
        let first = Lock::try_take("test-of-the-lock").unwrap();
        assert!(first.is_some());
        assert!(Lock::try_take("test-of-the-lock").unwrap().is_none());
        drop(first);
        assert!(Lock::try_take("test-of-the-lock").unwrap().is_some());
    }
}
