//! What a test holds of its sentinels and of what they watch.

use std::time::Duration;

use super::{
    SentinelsBuilder,
    config::NAME,
    reply::{Fields, Report},
};
use crate::{
    Error, Server, Tls, Way,
    server::expect,
    wait::{until_ok, within},
};

/// How long a failover may take. One that fails is tried again after twice the failover timeout.
const FAILOVER: Duration = Duration::from_secs(30);

/// How long a server that comes back may take to be told whom it follows.
const WELL: Duration = Duration::from_secs(30);

/// The pace of the sentinels: how often they ask for news, in milliseconds. At their usual one, a
/// server that comes back follows the new primary only after half a minute, and the first word to
/// a new primary comes so late that a short `down-after-milliseconds` is over by then.
const PACE: [&str; 8] = [
    "PING-PERIOD",
    "250",
    "INFO-PERIOD",
    "500",
    "PUBLISH-PERIOD",
    "500",
    "ASK-PERIOD",
    "200",
];

/// A primary, its replica and the sentinels that watch them, for one test. Ended and removed when
/// this is dropped.
///
/// Each of them is a [`Server`] that the test may kill, pause and start again. A server that comes
/// back follows nobody until a sentinel tells it to, some seconds later.
///
/// In containers all share one network, so that the port of a server that was killed lets clients in
/// and closes at once, instead of refusing them.
///
/// Every method that fails panics with a text that says why.
///
/// # Examples
///
/// ```no_run
/// use integration_tests::Sentinels;
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let sentinels = Sentinels::start().await;
/// let old = sentinels.primary();
/// old.kill().await;
///
/// let new = sentinels.until_failed_over(old).await;
/// assert_eq!(new.port(), sentinels.replica().port());
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Sentinels {
    servers: [Server; 2],
    sentinels: Vec<Server>,
    /// The container in whose network the others are. The last to be dropped.
    _holder: Option<Server>,
}

impl Sentinels {
    /// Takes what was started, and waits until it is well.
    pub(crate) async fn new(
        servers: [Server; 2],
        sentinels: Vec<Server>,
        holder: Option<Server>,
    ) -> Result<Self, Error> {
        for sentinel in &sentinels {
            hurry(sentinel).await;
        }
        let all = Self {
            servers,
            sentinels,
            _holder: holder,
        };
        all.try_until_well().await?;
        Ok(all)
    }

    /// Returns a builder with the defaults.
    pub fn builder() -> SentinelsBuilder {
        SentinelsBuilder::default()
    }

    /// Starts a primary, a replica and three sentinels with the defaults.
    ///
    /// # Panics
    ///
    /// As [`SentinelsBuilder::start`].
    ///
    /// # Cancel safety
    ///
    /// As [`SentinelsBuilder::start`].
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// Returns where they came from.
    #[must_use]
    pub fn way(&self) -> Way {
        self.primary().way()
    }

    /// Returns the addresses of all sentinels, such as `127.0.0.1:20001,127.0.0.1:20002`.
    #[must_use]
    pub fn seeds(&self) -> String {
        let seed = |sentinel: &Server| format!("127.0.0.1:{}", sentinel.port());
        self.sentinels
            .iter()
            .map(seed)
            .collect::<Vec<_>>()
            .join(",")
    }

    /// Returns the certificates of all of them and for their clients, if they speak TLS.
    #[must_use]
    pub fn tls(&self) -> Option<&Tls> {
        self.primary().tls()
    }

    /// Returns the name by which the sentinels know what they watch.
    #[must_use]
    pub fn master_name(&self) -> &'static str {
        NAME
    }

    /// Returns the server that began as the primary.
    #[must_use]
    pub fn primary(&self) -> &Server {
        &self.servers[0]
    }

    /// Returns the server that began as the replica.
    #[must_use]
    pub fn replica(&self) -> &Server {
        &self.servers[1]
    }

    /// Returns the sentinels. Their [`Server::url`] holds the password, if there is one.
    ///
    /// Start one again by [`Sentinels::start_again`]: after [`Server::start_again`] it works at its
    /// usual pace, which is slower.
    #[must_use]
    pub fn sentinels(&self) -> &[Server] {
        &self.sentinels
    }

    /// Starts the sentinel of this number after [`Server::kill`]. It knows what it knew.
    ///
    /// # Panics
    ///
    /// Panics if there is none or it does not come up.
    ///
    /// # Cancel safety
    ///
    /// Not safe: a drop may leave the sentinel up or down, or slower than the others.
    pub async fn start_again(&self, number: usize) {
        let sentinel = &self.sentinels[number];
        sentinel.start_again().await;
        hurry(sentinel).await;
    }

    /// Waits until every running sentinel reaches the primary, a replica that is in sync and every
    /// other running sentinel, and all name the same primary: until each could lead a failover.
    ///
    /// # Panics
    ///
    /// Panics if that does not happen within 30 seconds. The text says what is amiss.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only looks.
    pub async fn until_well(&self) {
        expect(self.try_until_well().await);
    }

    async fn try_until_well(&self) -> Result<(), Error> {
        until_ok(WELL, async || {
            let mut named = Vec::new();
            let others = self.running().count().saturating_sub(1);
            for sentinel in self.running() {
                let report = report(sentinel).await?;
                report.check(others).map_err(|text| {
                    let port = sentinel.port();
                    Error::new(format!("the sentinel on port {port} is not ready: {text}"))
                })?;
                named.push(report.primary.get("port").cloned());
            }
            named.dedup();
            match named.as_slice() {
                [Some(_)] => Ok(()),
                _ => Err(Error::new("the sentinels do not name the same primary")),
            }
        })
        .await
        .map_err(|error| {
            let text = format!("the sentinels are not ready after {WELL:?}");
            Error::because(text, error)
        })
    }

    /// Waits until every running sentinel names another primary than `old`, and that says so
    /// itself. Returns it, at once if it took over before.
    ///
    /// # Panics
    ///
    /// Panics if that does not happen within 30 seconds.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only looks.
    pub async fn until_failed_over(&self, old: &Server) -> &Server {
        let what = "the sentinels name another primary";
        within(FAILOVER, what, async || {
            let new = self
                .servers
                .iter()
                .find(|server| server.port() != old.port() && server.is_up())?;
            for sentinel in self.running() {
                let (host, port): (String, u16) = sentinel
                    .ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME])
                    .await
                    .ok()?;
                if (host.as_str(), port) != ("127.0.0.1", new.port()) {
                    return None;
                }
            }
            let role: Vec<redis::Value> = new.ask(&["ROLE"]).await.ok()?;
            let role: String = redis::from_redis_value(role.into_iter().next()?).ok()?;
            (role == "master").then_some(new)
        })
        .await
    }

    /// Lets the sentinels put the replica in the place of the primary `old`, though that is up.
    /// Returns the new primary.
    ///
    /// # Panics
    ///
    /// Panics if no sentinel runs, if the replica cannot take over, or if it has not within 30
    /// seconds.
    ///
    /// # Cancel safety
    ///
    /// Not safe: a drop may leave the failover done or not.
    pub async fn fail_over(&self, old: &Server) -> &Server {
        match self.running().next() {
            Some(sentinel) => sentinel.cmd(&["SENTINEL", "FAILOVER", NAME]).await,
            None => panic!("no sentinel runs"),
        };
        self.until_failed_over(old).await
    }

    fn running(&self) -> impl Iterator<Item = &Server> {
        self.sentinels.iter().filter(|sentinel| sentinel.is_up())
    }
}

/// Sets the [`PACE`] of a sentinel. One that does not know how is left as it is.
async fn hurry(sentinel: &Server) {
    let words = [["SENTINEL", "DEBUG"].as_slice(), &PACE].concat();
    sentinel.ask::<()>(&words).await.ok();
}

async fn report(sentinel: &Server) -> Result<Report, Error> {
    let primary: Fields = sentinel.ask(&["SENTINEL", "MASTER", NAME]).await?;
    let replicas = sentinel.ask(&["SENTINEL", "REPLICAS", NAME]).await?;
    let sentinels = sentinel.ask(&["SENTINEL", "SENTINELS", NAME]).await?;
    Ok(Report {
        primary,
        replicas,
        sentinels,
    })
}
