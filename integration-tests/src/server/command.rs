//! How `redis-server` is called.

use super::builder::{Builder, Clients, Network};

/// What a node needs to start, whichever way it starts.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) port: u16,
    pub(crate) network: Network,
    arguments: Vec<String>,
    /// Name and content of the files that the arguments name with a leading `{dir}`.
    pub(crate) files: Vec<(&'static str, String)>,
    pub(crate) writes_files: bool,
}

/// The file that a sentinel reads, and writes what it learns to.
const SENTINEL_FILE: &str = "sentinel.conf";

/// Stands for the folder that the files of a [`Command`] are in.
const FOLDER: &str = "{dir}";

impl Command {
    pub(crate) fn new(builder: &Builder, port: u16) -> Self {
        match &builder.sentinel {
            None => Self::store(builder, port),
            Some(settings) => Self::sentinel(builder, port, settings),
        }
    }

    fn sentinel(builder: &Builder, port: u16, settings: &str) -> Self {
        let mut arguments = vec![format!("{FOLDER}/{SENTINEL_FILE}"), "--sentinel".to_owned()];
        arguments.extend(listening(builder, port));
        let mut files = certificates(builder);
        files.push((SENTINEL_FILE, settings.to_owned()));
        Self {
            port,
            network: builder.network.clone(),
            arguments,
            files,
            writes_files: true,
        }
    }

    fn store(builder: &Builder, port: u16) -> Self {
        let mut arguments = listening(builder, port);
        let mut add = |words: &[&str]| arguments.extend(words.iter().map(|&word| word.to_owned()));

        // A cache keeps nothing on disk, and comes up without data.
        add(&[
            "--save",
            "",
            "--appendonly",
            "no",
            "--rdb-del-sync-files",
            "yes",
        ]);
        // It listens on 127.0.0.1 alone, or in a container that is published there alone.
        add(&["--protected-mode", "no"]);
        // Else a replica is out of sync for its first five seconds.
        add(&["--repl-diskless-sync-delay", "0"]);
        if let Some(password) = &builder.password {
            add(&["--requirepass", password]);
        }
        for user in &builder.users {
            add(&["--user"]);
            add(&user.split_whitespace().collect::<Vec<_>>());
        }
        arguments.extend(builder.arguments.iter().cloned());
        Self {
            port,
            network: builder.network.clone(),
            arguments,
            files: certificates(builder),
            writes_files: false,
        }
    }

    /// Returns the arguments for a node whose files are in `folder`.
    pub(crate) fn arguments(&self, folder: &str) -> Vec<String> {
        self.arguments
            .iter()
            .map(|argument| argument.replace(FOLDER, folder))
            .collect()
    }
}

/// Returns the arguments by which a node listens, and speaks to others of its kind.
fn listening(builder: &Builder, port: u16) -> Vec<String> {
    let port = port.to_string();
    let arguments = match &builder.tls {
        None => vec!["--port", &port],
        Some((_, clients)) => vec![
            "--port",
            "0",
            "--tls-port",
            &port,
            "--tls-ca-cert-file",
            "{dir}/ca.pem",
            "--tls-cert-file",
            "{dir}/server.pem",
            "--tls-key-file",
            "{dir}/server.key",
            "--tls-replication",
            "yes",
            "--tls-auth-clients",
            match clients {
                Clients::Unknown => "no",
                Clients::Certified => "yes",
            },
        ],
    };
    arguments.into_iter().map(str::to_owned).collect()
}

/// Returns the files that [`listening`] names.
fn certificates(builder: &Builder) -> Vec<(&'static str, String)> {
    let tls = builder.tls.as_ref();
    tls.map_or_else(Vec::new, |(tls, _)| tls.files())
}
