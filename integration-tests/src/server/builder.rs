//! What a test wants of its server.

use std::sync::Arc;

use super::{
    Port, Server, Way,
    command::Command,
    find::{self, Surroundings, Wishes},
    node::Node,
};
use crate::{Error, Tls};

/// Configures a [`Server`].
///
/// Default: a server without password, users or TLS, that keeps nothing on disk. Whatever is given
/// here, except by [`prefer_process`](Self::prefer_process), makes the server the test's own:
/// `REDIS_URL` is passed over.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Builder {
    pub(crate) password: Option<String>,
    pub(crate) users: Vec<String>,
    pub(crate) arguments: Vec<String>,
    pub(crate) tls: Option<(Tls, Clients)>,
    wishes: Wishes,
    /// Reserved before the start, by whoever has to know it then. Default: a port of its own.
    pub(crate) port: Option<Arc<Port>>,
    pub(crate) network: Network,
    /// The settings of a node that is no store but a sentinel.
    pub(crate) sentinel: Option<String>,
}

/// Which network a container is in. It means nothing to a process.
#[derive(Clone, Debug, Default)]
pub(crate) enum Network {
    /// One of its own, like every container.
    #[default]
    Own,
    /// One of its own in which others join it, who listen on these ports.
    Shared(Vec<u16>),
    /// That of the container of this name.
    Joined(String),
}

/// Whether clients have to show a certificate.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Clients {
    Unknown,
    Certified,
}

impl Builder {
    /// Returns a builder for each way in which this machine can run a server of the test's own: for
    /// tests that hold whichever way it runs.
    ///
    /// # Panics
    ///
    /// Panics if there is none, with a text that says what to do.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only looks.
    pub async fn each_way() -> Vec<Self> {
        match Surroundings::look().await.own() {
            Ok(ways) => ways
                .into_iter()
                .map(|way| Self::default().only(way))
                .collect(),
            Err(error) => panic!("{}", error.whole()),
        }
    }

    /// Asks clients for this password (`requirepass`). Default: none.
    ///
    /// [`Server::url`] holds it.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self.owned()
    }

    /// Adds a user, written as in an ACL file without the word `user`, such as
    /// `app on >secret ~app:* +@read`. Default: none but `default`.
    pub fn user(mut self, rules: impl Into<String>) -> Self {
        self.users.push(rules.into());
        self.owned()
    }

    /// Speaks TLS alone, and lets in clients with or without a certificate. Default: plain text.
    pub fn tls(mut self, tls: &Tls) -> Self {
        self.tls = Some((tls.clone(), Clients::Unknown));
        self.owned()
    }

    /// Speaks TLS alone, and lets in only clients with a certificate of the same authority.
    /// Default: plain text.
    pub fn mutual_tls(mut self, tls: &Tls) -> Self {
        self.tls = Some((tls.clone(), Clients::Certified));
        self.owned()
    }

    /// Adds arguments of `redis-server`, such as `["--maxmemory", "2mb"]`. Default: none.
    pub fn args<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self.owned()
    }

    /// Asks for a server that the test may kill, pause, restart and configure. Default: the test
    /// does not, and may get a database of `REDIS_URL`.
    pub fn owned(mut self) -> Self {
        self.wishes.own = true;
        self
    }

    /// Prefers a process to a container, where both can be had: no proxy of Docker stands between
    /// it and a benchmark. Default: a container.
    pub fn prefer_process(mut self) -> Self {
        self.wishes.prefer_process = true;
        self
    }

    /// Allows this way alone. Default: any, or the one that `REDIS_WAY` names.
    pub fn only(mut self, way: Way) -> Self {
        self.wishes.only = Some(way);
        self
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Panics
    ///
    /// Panics if there is none to be had or it does not answer. The text says what to do.
    ///
    /// # Cancel safety
    ///
    /// Safe: a drop stops what was started, except a container that Docker is about to create,
    /// which the next run removes.
    pub async fn start(self) -> Server {
        match self.try_start().await {
            Ok(server) => server,
            Err(error) => panic!("{}", error.whole()),
        }
    }

    /// Starts the server and waits until it answers, as [`start`](Self::start).
    ///
    /// # Errors
    ///
    /// Says why there is no server, and what to do.
    ///
    /// # Cancel safety
    ///
    /// As [`start`](Self::start).
    pub async fn try_start(mut self) -> Result<Server, Error> {
        let (way, surroundings) = self.choose().await?;
        let node = Node::start(way, &surroundings, self.port.clone(), |port| {
            Command::new(&self, port)
        })
        .await?;
        let server = Server::new(node, self);
        server.ready().await?;
        Ok(server)
    }

    /// Decides on a way, and keeps to it: several nodes of one test must run in the same.
    pub(crate) async fn choose(&mut self) -> Result<(Way, Surroundings), Error> {
        if self.wishes.only.is_none() {
            self.wishes.only = self.way_of_the_environment()?;
        }
        let surroundings = Surroundings::look().await;
        let way = surroundings.choose(self.wishes)?;
        self.wishes.only = Some(way);
        Ok((way, surroundings))
    }

    /// A server that must be the test's own comes from elsewhere when `REDIS_WAY` says `url`.
    fn way_of_the_environment(&self) -> Result<Option<Way>, Error> {
        let forced = find::forced()?;
        Ok(forced.filter(|&way| !(self.wishes.own && way == Way::Url)))
    }
}
