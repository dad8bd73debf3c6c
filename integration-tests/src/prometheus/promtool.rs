//! The checks that need no server.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use super::find::find;
use crate::{Error, server::expect};

/// What `promtool` said.
#[derive(Debug)]
#[non_exhaustive]
pub struct Verdict {
    /// Whether it ended with 0.
    pub is_good: bool,
    /// All that it wrote.
    pub text: String,
}

/// Runs `promtool` with `arguments` in `folder`, and gives it `input` to read.
///
/// # Panics
///
/// Panics if there is no `promtool` on the `PATH`, with a text that says how to get it.
#[must_use]
pub fn promtool(folder: &Path, arguments: &[&str], input: &str) -> Verdict {
    expect(run(folder, arguments, input))
}

fn run(folder: &Path, arguments: &[&str], input: &str) -> Result<Verdict, Error> {
    let program = find("promtool")?;
    let failed = |error| Error::because(format!("cannot run {}", program.display()), error);
    let mut child = Command::new(&program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    // It reads all of its input before it writes. One that reads none may be gone already, and that is
    // no fault.
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).ok();
    }
    let output = child.wait_with_output().map_err(failed)?;
    let text = [output.stdout, output.stderr].concat();
    Ok(Verdict {
        is_good: output.status.success(),
        text: String::from_utf8_lossy(&text).into_owned(),
    })
}
