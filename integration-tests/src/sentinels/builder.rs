//! What a test wants of its sentinels and of what they watch.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;

use super::{
    Sentinels,
    config::{self, Plan},
};
use crate::{
    Builder, Error, Server, Tls, Way,
    server::{Network, Port},
};

/// Configures [`Sentinels`].
///
/// | setting | default |
/// |---|---|
/// | [`sentinels`](Self::sentinels) | 3 |
/// | [`down_after`](Self::down_after) | one second |
/// | [`password`](Self::password), [`sentinel_password`](Self::sentinel_password) | none |
/// | [`tls`](Self::tls) | plain text |
///
/// `REDIS_URL` is passed over: they are always the test's own.
#[derive(Clone, Debug)]
#[must_use]
pub struct SentinelsBuilder {
    pub(crate) server: Builder,
    pub(crate) sentinel_password: Option<String>,
    pub(crate) down_after: Duration,
    sentinels: usize,
}

impl Default for SentinelsBuilder {
    fn default() -> Self {
        Self {
            server: Builder::default().owned(),
            sentinel_password: None,
            down_after: Duration::from_secs(1),
            sentinels: 3,
        }
    }
}

impl SentinelsBuilder {
    /// Returns a builder for each way in which this machine can run them, as
    /// [`Builder::each_way`].
    ///
    /// # Panics
    ///
    /// Panics if there is none, with a text that says what to do.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only looks.
    pub async fn each_way() -> Vec<Self> {
        let servers = Builder::each_way().await;
        servers
            .into_iter()
            .map(|server| Self {
                server: server.owned(),
                ..Self::default()
            })
            .collect()
    }

    /// Starts this many sentinels, at least one. More than half of them decide on a failover.
    /// Default: 3.
    pub fn sentinels(mut self, count: usize) -> Self {
        self.sentinels = count;
        self
    }

    /// Lets a sentinel take a server for down after this time without an answer
    /// (`down-after-milliseconds`), at least a millisecond. Half a second is the least with which
    /// they do not depose a new primary before they have spoken to it. A failover takes about a
    /// second more. Default: one second.
    pub fn down_after(mut self, time: Duration) -> Self {
        self.down_after = time;
        self
    }

    /// Asks clients of the two servers for this password, as [`Builder::password`]. Default: none.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.server = self.server.password(password);
        self
    }

    /// Asks clients of the sentinels for this password. It is not escaped: use letters. Default:
    /// none.
    pub fn sentinel_password(mut self, password: impl Into<String>) -> Self {
        self.sentinel_password = Some(password.into());
        self
    }

    /// Adds a user of the two servers, as [`Builder::user`]. Default: none but `default`.
    pub fn user(mut self, rules: impl Into<String>) -> Self {
        self.server = self.server.user(rules);
        self
    }

    /// Speaks TLS alone, at the two servers and at the sentinels, with clients as [`Builder::tls`] and
    /// among themselves. Default: plain text.
    pub fn tls(mut self, tls: &Tls) -> Self {
        self.server = self.server.tls(tls);
        self
    }

    /// Adds arguments of the two servers, as [`Builder::args`]. Default: none.
    pub fn args<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.server = self.server.args(arguments);
        self
    }

    /// Prefers processes to containers, as [`Builder::prefer_process`]. Default: containers.
    pub fn prefer_process(mut self) -> Self {
        self.server = self.server.prefer_process();
        self
    }

    /// Allows this way alone, which cannot be [`Way::Url`]. Default: any, or the one that
    /// `REDIS_WAY` names unless that is `url`.
    pub fn only(mut self, way: Way) -> Self {
        self.server = self.server.only(way);
        self
    }

    /// Starts them and waits until every sentinel could lead a failover.
    ///
    /// # Panics
    ///
    /// Panics if there is none to be had or they do not find each other. The text says what to do.
    ///
    /// # Cancel safety
    ///
    /// As [`Builder::start`].
    pub async fn start(self) -> Sentinels {
        match self.try_start().await {
            Ok(sentinels) => sentinels,
            Err(error) => panic!("{}", error.whole()),
        }
    }

    /// Starts them, as [`start`](Self::start).
    ///
    /// # Errors
    ///
    /// Says why there are none, and what to do.
    ///
    /// # Cancel safety
    ///
    /// As [`Builder::start`].
    pub async fn try_start(mut self) -> Result<Sentinels, Error> {
        self.check()?;
        let (way, _) = self.server.choose().await?;
        if way == Way::Url {
            return Err(Error::new(
                "sentinels cannot come from REDIS_URL: allow another way than Way::Url",
            ));
        }
        let reserve = || Port::reserve().map(Arc::new);
        let (primary, replica) = (reserve()?, reserve()?);
        let sentinels: Vec<_> = (0..self.sentinels)
            .map(|_| reserve())
            .collect::<Result<_, _>>()?;
        let plan = Plan {
            primary: primary.number(),
            replica: replica.number(),
            sentinels: sentinels
                .iter()
                .map(|port| (port.number(), config::name()))
                .collect(),
        };
        let holder = hold_network(way, plan.ports()).await?;
        let network = match holder.as_ref().and_then(Server::container) {
            Some(name) => Network::Joined(name.to_owned()),
            None => Network::Own,
        };

        let (primary, replica) = tokio::try_join!(
            self.server(primary, &network).try_start(),
            self.server(replica, &network).try_start(),
        )?;
        replica.follow(&primary).await;
        // They find each other at once if all are there.
        let mut tasks = JoinSet::new();
        for (number, port) in sentinels.into_iter().enumerate() {
            let settings = config::settings(&self, &plan, number);
            let sentinel = self.sentinel(way, port, &network, settings);
            tasks.spawn(async move { Ok((number, sentinel.try_start().await?)) });
        }
        let mut started = Vec::new();
        while let Some(outcome) = tasks.join_next().await {
            let outcome = outcome.map_err(|error| Error::because("a sentinel died", error))?;
            started.push(outcome?);
        }
        started.sort_by_key(|(number, _)| *number);
        let started = started.into_iter().map(|(_, sentinel)| sentinel).collect();
        Sentinels::new([primary, replica], started, holder).await
    }

    fn check(&self) -> Result<(), Error> {
        if self.sentinels == 0 {
            return Err(Error::new("sentinels() must be at least 1"));
        }
        if self.down_after.as_millis() == 0 {
            return Err(Error::new("down_after() must be at least a millisecond"));
        }
        Ok(())
    }

    fn server(&self, port: Arc<Port>, network: &Network) -> Builder {
        let mut server = self.server.clone();
        // Either may have to follow the other.
        if let Some(password) = server.password.clone() {
            server = server.args(["--masterauth".to_owned(), password]);
        }
        server.port = Some(port);
        server.network = network.clone();
        server
    }

    fn sentinel(&self, way: Way, port: Arc<Port>, network: &Network, settings: String) -> Builder {
        let mut sentinel = Builder::default().only(way);
        sentinel.password = self.sentinel_password.clone();
        sentinel.tls = self.server.tls.clone();
        sentinel.port = Some(port);
        sentinel.network = network.clone();
        sentinel.sentinel = Some(settings);
        sentinel
    }
}

/// Starts the container in whose network the others are. Processes need none.
async fn hold_network(way: Way, ports: Vec<u16>) -> Result<Option<Server>, Error> {
    if way != Way::Docker {
        return Ok(None);
    }
    let mut holder = Builder::default().only(way);
    holder.network = Network::Shared(ports);
    holder.try_start().await.map(Some)
}
