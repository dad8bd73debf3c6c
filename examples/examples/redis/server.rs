//! The Redis: the one that `REDIS_URL` names, or one that this program starts.

use std::{
    env, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    time::{Instant, sleep},
};

use crate::BoxError;

const NONE_FOUND: &str = "this example needs a Redis, and there is none. Any of these will do:
  - put `redis-server` on the PATH, and it starts one of its own:
    Debian, Ubuntu: sudo apt-get install redis-server. Fedora: sudo dnf install redis.
    Alpine: apk add redis. macOS: brew install redis
  - set REDIS_URL to a server that runs: REDIS_URL=redis://127.0.0.1:6379";

/// How long a server may take until it listens.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often another port is tried, if somebody took the free one.
const ATTEMPTS: usize = 5;

/// A server to use.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) url: String,
    own: Option<OwnServer>,
}

/// A server that this program started. It ends with it, also if this panics.
#[derive(Debug)]
pub(crate) struct OwnServer {
    folder: PathBuf,
    port: u16,
    child: Child,
}

impl Server {
    /// # Errors
    ///
    /// If there is none to use or to start: how to get one.
    pub(crate) async fn find(folder: &Path) -> Result<Self, BoxError> {
        if let Some(url) = env::var("REDIS_URL").ok().filter(|url| !url.is_empty()) {
            return Ok(Self { url, own: None });
        }
        for _ in 0..ATTEMPTS {
            let port = free_port().await?;
            if let Some(own) = OwnServer::start(folder, port).await? {
                return Ok(Self {
                    url: format!("redis://127.0.0.1:{port}"),
                    own: Some(own),
                });
            }
        }
        Err("redis-server was started and ended at once: run it by hand to see why".into())
    }

    /// What it is, for people.
    pub(crate) fn what(&self) -> String {
        match &self.own {
            Some(own) => format!("a redis-server of its own, on port {}", own.port),
            None => "the one that REDIS_URL names".to_owned(),
        }
    }

    /// The server, if it is this program's to kill.
    pub(crate) fn into_own(self) -> Option<OwnServer> {
        self.own
    }
}

impl OwnServer {
    /// `None` if it ended at once, as it does if the port is taken.
    async fn start(folder: &Path, port: u16) -> Result<Option<Self>, BoxError> {
        let child = run(folder, port)?;
        let mut own = Self {
            folder: folder.to_owned(),
            port,
            child,
        };
        Ok(own.listens().await?.then_some(own))
    }

    /// Ends the server without a warning.
    pub(crate) async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Starts it again where it was, empty.
    pub(crate) async fn restart(&mut self) -> Result<(), BoxError> {
        self.child = run(&self.folder, self.port)?;
        if self.listens().await? {
            return Ok(());
        }
        Err("redis-server could not be started again: somebody else took its port".into())
    }

    /// Waits until it listens; false if it ended.
    async fn listens(&mut self) -> Result<bool, BoxError> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
            let is_up = TcpStream::connect(address).await.is_ok();
            if self.child.try_wait()?.is_some() {
                return Ok(false);
            }
            if is_up {
                return Ok(true);
            }
            sleep(Duration::from_millis(5)).await;
        }
        Err("redis-server does not listen".into())
    }
}

/// Starts a server with the settings that suit a cache.
fn run(folder: &Path, port: u16) -> Result<Child, BoxError> {
    let started = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(["--save", "", "--appendonly", "no"])
        .args(["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"])
        .arg("--dir")
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    started.map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            return NONE_FOUND.into();
        }
        format!("redis-server on the PATH cannot be started: {error}").into()
    })
}

async fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    Ok(listener.local_addr()?.port())
}
