//! The program under test: the example, built with the profile of this test.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

const NAME: &str = "observe";

/// The target folder.
pub(crate) fn target() -> PathBuf {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    temporary.parent().unwrap().to_owned()
}

/// The file to run.
///
/// Whoever builds all tests of the package builds its examples as well, and then nothing is to do.
/// To build it here again would take minutes where the whole workspace is tested: cargo gives one
/// package's dependencies other features than those of all.
pub(crate) fn file() -> PathBuf {
    // target/[triple/]profile/deps/test
    let test = env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).unwrap();
    let file = folder
        .join("examples")
        .join(format!("{NAME}{}", env::consts::EXE_SUFFIX));
    if !is_fresh(&file) {
        build(folder);
    }
    assert!(file.exists(), "cargo did not build {}", file.display());
    file
}

/// Whether the program is newer than all that it was built of, which cargo has noted beside it.
fn is_fresh(program: &Path) -> bool {
    let Some(built) = changed(program) else {
        return false;
    };
    let Ok(notes) = fs::read_to_string(program.with_extension("d")) else {
        return false;
    };
    let Some((_, sources)) = notes.split_once(": ") else {
        return false;
    };
    // A space that belongs to a name has a backslash before it.
    let sources = sources.trim().replace("\\ ", "\0");
    sources.split(' ').all(|source| {
        let source = source.replace('\0', " ");
        changed(Path::new(&source)).is_some_and(|changed| changed <= built)
    })
}

fn changed(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).ok()?.modified().ok()
}

fn build(folder: &Path) {
    let target = target();
    let profile = match folder.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        other => other,
    };
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--package", "examples", "--example", NAME])
        .args(["--locked", "--profile", profile, "--target-dir"])
        .arg(&target)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let parent = folder.parent().unwrap();
    if parent != target {
        cargo.arg("--target").arg(parent.file_name().unwrap());
    }
    let built = cargo.output().unwrap();
    let errors = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "cargo build: {errors}");
}
