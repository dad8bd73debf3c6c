//! Where numbers come from: without it they mean nothing.

use std::{env, fs, process::Command, thread};

use integration_tests::{Server, Way};

/// Starts the server that is measured: the one of `REDIS_URL`, else rather a process than a
/// container, whose proxy would be measured with it.
///
/// # Cancel safety
///
/// Safe: a drop stops what was started.
pub async fn server() -> Server {
    Server::builder().prefer_process().start().await
}

/// Describes the run over `server`, in lines.
///
/// # Cancel safety
///
/// Safe: it only looks.
pub async fn describe(server: &Server) -> Vec<String> {
    let info: String = server.query(&["INFO", "server"]).await;
    let version = field(&info, "redis_version").unwrap_or_else(unknown);
    let way = match server.way() {
        Way::Url => "the server of REDIS_URL",
        Way::Process => "a process on this machine",
        Way::Docker | _ => "a container, so a proxy is measured too",
    };
    let mut lines = machine();
    lines.push(format!("redis    {version}, {way}"));
    lines
}

/// Describes a run without a server, in lines.
#[must_use]
pub fn machine() -> Vec<String> {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let processor = line_of("/proc/cpuinfo", "model name").unwrap_or_else(unknown);
    let kernel = output("uname", &["-sr"]).unwrap_or_else(unknown);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split_whitespace().take(3).collect();
    let words: Vec<String> = env::args().collect();
    let build = if cfg!(debug_assertions) {
        "not optimised, so the numbers mean nothing: run with --release"
    } else {
        "optimised"
    };
    vec![
        format!("build    {build}"),
        format!("commit   {}", commit()),
        format!("machine  {cores} cores, {processor}, {kernel}"),
        format!("load     {} before this run", load.join(" ")),
        format!("command  {}", words.join(" ")),
    ]
}

fn commit() -> String {
    let Some(commit) = output("git", &["rev-parse", "--short=12", "HEAD"]) else {
        return unknown();
    };
    match output("git", &["status", "--porcelain"]).as_deref() {
        Some("") => commit,
        _ => format!("{commit} with changes that are not committed"),
    }
}

/// What a program prints, if it can be run and succeeds.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn line_of(path: &str, name: &str) -> Option<String> {
    field(&fs::read_to_string(path).ok()?, name)
}

/// The first value of `name` in lines of `name: value`.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found.trim() == name).then(|| value.trim().to_owned())
    })
}

fn unknown() -> String {
    "unknown".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_the_first_of_its_whole_name() {
        let text = "# Server\r\nredis_version_x:1\r\nredis_version:7.0.15\r\nredis_version:8\r\n";
        assert_eq!(field(text, "redis_version").as_deref(), Some("7.0.15"));
        assert_eq!(
            field("model name\t: Some CPU", "model name").as_deref(),
            Some("Some CPU")
        );
        assert_eq!(field(text, "redis"), None);
    }
}
