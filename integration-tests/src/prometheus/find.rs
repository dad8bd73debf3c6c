//! Where the programs are.

use std::{env, ffi::OsStr, path::PathBuf};

use crate::{Error, server::on_the_path};

/// Looks for a program of the package `prometheus` on the `PATH`.
pub(crate) fn find(program: &str) -> Result<PathBuf, Error> {
    find_on(&env::var_os("PATH").unwrap_or_default(), program)
}

fn find_on(path: &OsStr, program: &str) -> Result<PathBuf, Error> {
    on_the_path(program, path).ok_or_else(|| {
        Error::new(format!(
            "this test needs `{program}` on the PATH. Any of these will do:\n\
             - run scripts/test as root on Debian, which installs it\n\
             - Debian, Ubuntu: apt-get install prometheus. Alpine: apk add prometheus. macOS: brew install prometheus\n\
             - put the programs of a release of https://prometheus.io/download on the PATH\n"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_it_is_told_how_to_get_it() {
        let empty = tempfile::tempdir().unwrap();
        for path in [OsStr::new(""), empty.path().as_os_str()] {
            let text = find_on(path, "promtool").unwrap_err().to_string();
            for part in [
                "`promtool` on the PATH",
                "scripts/test",
                "apt-get install prometheus",
            ] {
                assert!(text.contains(part), "{part:?} is missing in: {text}");
            }
        }
    }
}
