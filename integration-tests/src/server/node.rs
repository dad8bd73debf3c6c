//! A node, whichever way it runs.

use std::sync::Arc;

use super::{
    Way, command::Command, docker::Container, external::Database, find::Surroundings, port::Port,
    process::Process,
};
use crate::Error;

#[derive(Debug)]
pub(crate) enum Node {
    External(Database),
    Container(Container, Arc<Port>),
    Process(Process, Arc<Port>),
}

impl Node {
    pub(crate) async fn start(
        way: Way,
        surroundings: &Surroundings,
        port: Option<Arc<Port>>,
        command: impl FnOnce(u16) -> Command,
    ) -> Result<Self, Error> {
        let reserve = || match port {
            Some(port) => Ok(port),
            None => Port::reserve().map(Arc::new),
        };
        match (way, &surroundings.url, &surroundings.program) {
            (Way::Url, Some(url), _) => Ok(Self::External(Database::take(url).await?)),
            (Way::Process, _, Some(program)) => {
                let port = reserve()?;
                let process = Process::start(program, command(port.number()))?;
                Ok(Self::Process(process, port))
            }
            _ => {
                let port = reserve()?;
                let container =
                    Container::start(&surroundings.image, command(port.number())).await?;
                Ok(Self::Container(container, port))
            }
        }
    }

    pub(crate) fn way(&self) -> Way {
        match self {
            Self::External(_) => Way::Url,
            Self::Container(..) => Way::Docker,
            Self::Process(..) => Way::Process,
        }
    }

    /// Returns the URL of this node, or of a proxy before it on `port` of 127.0.0.1. `login` goes
    /// before the host.
    pub(crate) fn url(&self, scheme: &str, login: &str, proxy: Option<u16>) -> String {
        match self {
            Self::External(database) => database.url(login, proxy),
            Self::Container(_, port) | Self::Process(_, port) => {
                let port = proxy.unwrap_or_else(|| port.number());
                format!("{scheme}://{login}127.0.0.1:{port}")
            }
        }
    }

    /// Returns host and port, as seen from here.
    pub(crate) fn address(&self) -> (String, u16) {
        let host = match self {
            Self::External(database) => database.host(),
            Self::Container(..) | Self::Process(..) => "127.0.0.1".to_owned(),
        };
        (host, self.port())
    }

    /// Returns the name of the container, if this is one.
    pub(crate) fn container(&self) -> Option<&str> {
        match self {
            Self::Container(container, _) => Some(container.id()),
            Self::External(_) | Self::Process(..) => None,
        }
    }

    /// Returns the host under which another node of the same way reaches this one.
    pub(crate) async fn host_for_peers(&self) -> Result<String, Error> {
        match self {
            Self::External(_) => Err(not_ours("replicated")),
            Self::Container(container, _) => container.bridge_address().await,
            Self::Process(..) => Ok("127.0.0.1".to_owned()),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::External(database) => database.port(),
            Self::Container(_, port) | Self::Process(_, port) => port.number(),
        }
    }

    pub(crate) async fn kill(&self) -> Result<(), Error> {
        match self {
            Self::External(_) => Err(not_ours("killed")),
            Self::Container(container, _) => container.kill().await,
            Self::Process(process, _) => process.kill(),
        }
    }

    pub(crate) async fn start_again(&self) -> Result<(), Error> {
        match self {
            Self::External(_) => Err(not_ours("started")),
            Self::Container(container, _) => container.start_again().await,
            Self::Process(process, _) => process.start_again(),
        }
    }

    pub(crate) async fn pause(&self) -> Result<(), Error> {
        match self {
            Self::External(_) => Err(not_ours("paused")),
            Self::Container(container, _) => container.pause().await,
            Self::Process(process, _) => process.pause(),
        }
    }

    pub(crate) async fn resume(&self) -> Result<(), Error> {
        match self {
            Self::External(_) => Err(not_ours("resumed")),
            Self::Container(container, _) => container.resume().await,
            Self::Process(process, _) => process.resume(),
        }
    }

    /// Returns what the node has to say if it has ended by itself.
    pub(crate) async fn last_words(&self) -> Option<String> {
        match self {
            Self::External(_) => None,
            Self::Container(container, _) => container.last_words().await,
            Self::Process(process, _) => process.last_words(),
        }
    }
}

fn not_ours(what: &str) -> Error {
    Error::new(format!(
        "the server of REDIS_URL cannot be {what}: let the test ask for a server of its own with Server::builder().owned()"
    ))
}
