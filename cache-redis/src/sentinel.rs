//! Finds the primary by asking sentinels, whenever a connection is made.
//!
//! # Model
//!
//! All sentinels are asked at once. What more than half of them answered is enough, since a failover
//! takes the votes of so many: of what they name, the newest counts, so that one that was cut off
//! while the others failed over leads nobody back. If so many do not answer in time, those that did
//! have to do.
//!
//! The driver's own client of sentinels is not used: it connects with deadlines of its own, longer
//! than ours, and takes the word of the first.
//!
//! # Time
//!
//! The sentinels have `connect_timeout` to answer in, together, and the primary has it once more. So
//! sentinels that are down or hang cost one `connect_timeout` per attempt, however many they are.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use futures_util::{StreamExt, stream::FuturesUnordered};
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, FromRedisValue, RedisResult, Value,
    aio::MultiplexedConnection, io::tcp::TcpSettings, pipe,
};
use tokio::time::{Instant, timeout, timeout_at};

use crate::{address, checkup::is_of_a_replica, connect::ConnectError, error::Fault};

/// Sentinels, and whom they are asked for.
#[derive(Clone)]
pub(crate) struct SentinelSource {
    /// Each with the login for sentinels.
    pub(crate) sentinels: Vec<ConnectionInfo>,
    /// By which name they know the primary.
    pub(crate) master: String,
    /// How to connect to whichever server they name: all but where it is.
    pub(crate) server: ConnectionInfo,
}

impl SentinelSource {
    pub(crate) fn with_tcp(self, tcp: &TcpSettings) -> Self {
        let with_tcp = |info: ConnectionInfo| info.set_tcp_settings(tcp.clone());
        Self {
            sentinels: self.sentinels.into_iter().map(with_tcp).collect(),
            server: with_tcp(self.server),
            ..self
        }
    }

    /// Where the primary is, as the sentinels say before `deadline`.
    async fn primary(
        &self,
        config: &AsyncConnectionConfig,
        deadline: Instant,
    ) -> Result<ConnectionInfo, ConnectError> {
        let mut asked: FuturesUnordered<_> = self
            .sentinels
            .iter()
            .map(|sentinel| async {
                let answer = timeout_at(deadline, ask(sentinel, &self.master, config)).await;
                answer.unwrap_or(Err(ConnectError::TimedOut))
            })
            .collect();
        let (mut named, mut refused) = (Vec::new(), None);
        while let Some(answer) = asked.next().await {
            match answer {
                Ok(primary) => named.push(primary),
                Err(error) => refused = Some(more_telling(refused, error)),
            }
            if named.len() > self.sentinels.len() / 2 {
                break;
            }
        }
        match (newest(named), refused) {
            (Some(Named { host, port, .. }), _) => Ok(address::elsewhere(&self.server, host, port)),
            (None, Some(error)) => Err(error),
            (None, None) => Err(ConnectError::setting("host", "it names no sentinel")),
        }
    }
}

impl fmt::Debug for SentinelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The driver's description of a server shows the user.
        f.debug_struct("SentinelSource")
            .field("sentinels", &self.sentinels.len())
            .field("master", &self.master)
            .finish_non_exhaustive()
    }
}

/// What a sentinel says about the primary.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Named {
    host: String,
    port: u16,
    /// The number of the failover that made it the primary.
    epoch: u64,
}

/// The primary of the latest failover that one of them knows of.
fn newest(named: Vec<Named>) -> Option<Named> {
    named.into_iter().max_by_key(|named| named.epoch)
}

/// Which error to show when no sentinel names a primary: one who answered knows more than one who did
/// not.
fn more_telling(before: Option<ConnectError>, error: ConnectError) -> ConnectError {
    let rank = |error: &ConnectError| match error {
        ConnectError::Setting {
            setting: "master", ..
        } => 3,
        ConnectError::Setting { .. } => 2,
        ConnectError::TimedOut => 0,
        _ => 1,
    };
    match before {
        Some(before) if rank(&before) >= rank(&error) => before,
        _ => error,
    }
}

/// Asks one sentinel.
async fn ask(
    sentinel: &ConnectionInfo,
    master: &str,
    config: &AsyncConnectionConfig,
) -> Result<Named, ConnectError> {
    let connected = connect(sentinel.clone(), config).await;
    let mut connection = connected.map_err(of_sentinel)?;
    let mut ask = pipe();
    ask.ignore_errors();
    for question in ["GET-MASTER-ADDR-BY-NAME", "MASTER"] {
        ask.cmd("SENTINEL").arg(question).arg(master);
    }
    let answers: RedisResult<Vec<RedisResult<Value>>> = ask.query_async(&mut connection).await;
    let answers = answers.map_err(|error| of_sentinel(ConnectError::of(&error)))?;
    answer(answers)
}

/// Reads the answers of a sentinel. The second is not needed, and may be forbidden.
fn answer(answers: Vec<RedisResult<Value>>) -> Result<Named, ConnectError> {
    let mut answers = answers.into_iter();
    let mut next = || answers.next().unwrap_or(Ok(Value::Nil));
    let address = next().map_err(|error| match Fault::of(&error) {
        Fault::Unexpected => ConnectError::setting(
            "host",
            "what answers there is no sentinel: name the sentinels, whose port is 26379 by default",
        ),
        _ => of_sentinel(ConnectError::of(&error)),
    })?;
    let address = Option::<(String, u16)>::from_redis_value(address);
    let unreadable = |_wrong| ConnectError::Unusable("a sentinel answered no address".into());
    let Some((host, port)) = address.map_err(unreadable)? else {
        let problem = "no sentinel knows a primary of this name: it is the one behind \
                       `sentinel monitor` in their configuration";
        return Err(ConnectError::setting("master", problem));
    };
    let details = next().and_then(|value| Ok(HashMap::<String, String>::from_redis_value(value)?));
    let epoch = details
        .ok()
        .and_then(|details| details.get("config-epoch")?.parse().ok());
    Ok(Named {
        host,
        port,
        epoch: epoch.unwrap_or(0),
    })
}

/// The error that a sentinel, and not redis, is the reason of.
fn of_sentinel(error: ConnectError) -> ConnectError {
    match error {
        ConnectError::Login(source) => ConnectError::Setting {
            entry: None,
            setting: "sentinel_pass",
            problem: "the sentinels refuse this login, which is not that of redis: set \
                      `sentinel_user` and `sentinel_pass` as their configuration asks, or neither",
            source: Some(source),
        },
        ConnectError::Unreachable(_) => {
            ConnectError::Unreachable("none of the sentinels answers".into())
        }
        other => other,
    }
}

async fn connect(
    server: ConnectionInfo,
    config: &AsyncConnectionConfig,
) -> Result<MultiplexedConnection, ConnectError> {
    let client = Client::open(server).map_err(|error| ConnectError::of(&error))?;
    let connected = client.get_multiplexed_async_connection_with_config(config);
    connected.await.map_err(|error| ConnectError::of(&error))
}

/// Makes connections to whichever server the sentinels name.
pub(crate) struct SentinelManager {
    source: Arc<SentinelSource>,
    config: AsyncConnectionConfig,
    deadline: Duration,
}

impl SentinelManager {
    /// `deadline` is for the sentinels, and once more for the primary.
    pub(crate) fn new(
        source: SentinelSource,
        config: AsyncConnectionConfig,
        deadline: Duration,
    ) -> Self {
        Self {
            source: Arc::new(source),
            config,
            deadline,
        }
    }

    /// How long it may take to make a connection.
    pub(crate) fn longest(&self) -> Duration {
        self.deadline * 2
    }
}

impl managed::Manager for SentinelManager {
    type Type = MultiplexedConnection;
    type Error = ConnectError;

    async fn create(&self) -> Result<MultiplexedConnection, ConnectError> {
        let deadline = Instant::now() + self.deadline;
        let server = self.source.primary(&self.config, deadline).await?;
        let connecting = async {
            let mut connection = connect(server, &self.config).await?;
            match is_replica(&mut connection).await {
                Ok(false) => Ok(connection),
                Ok(true) => Err(ConnectError::Unusable(
                    "the server that the sentinels name is a replica: a failover is on its way"
                        .into(),
                )),
                Err(error) => Err(ConnectError::of(&error)),
            }
        };
        let connected = timeout(self.deadline, connecting).await;
        connected.unwrap_or(Err(ConnectError::TimedOut))
    }

    async fn recycle(
        &self,
        connection: &mut MultiplexedConnection,
        _metrics: &Metrics,
    ) -> RecycleResult<ConnectError> {
        match is_replica(connection).await {
            Ok(false) => Ok(()),
            Ok(true) => Err(RecycleError::message("it is a replica now")),
            Err(error) => Err(RecycleError::Backend(ConnectError::of(&error))),
        }
    }
}

/// Whether a server says that it is a replica. A user may be forbidden to ask in one way or both.
async fn is_replica(connection: &mut MultiplexedConnection) -> RedisResult<bool> {
    let mut ask = pipe();
    ask.ignore_errors();
    ask.cmd("ROLE").cmd("INFO").arg("replication");
    let answers: Vec<RedisResult<Value>> = ask.query_async(connection).await?;
    Ok(answers.iter().flatten().any(is_of_a_replica))
}

impl fmt::Debug for SentinelManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentinelManager")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(host: &str, epoch: u64) -> Named {
        Named {
            host: host.to_owned(),
            port: 6379,
            epoch,
        }
    }

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn refused(line: &str) -> RedisResult<Value> {
        let reply = format!("-{line}\r\n");
        redis::parse_redis_value(reply.as_bytes())?.extract_error()
    }

    fn address() -> RedisResult<Value> {
        Ok(Value::Array(vec![text("10.0.0.1"), text("6379")]))
    }

    fn details(epoch: &str) -> RedisResult<Value> {
        Ok(Value::Map(vec![(text("config-epoch"), text(epoch))]))
    }

    #[test]
    fn the_primary_of_the_latest_failover_counts() {
        for (heard, expected) in [
            (vec![], None),
            (vec![named("a", 0)], Some("a")),
            (vec![named("old", 1), named("new", 2)], Some("new")),
            (vec![named("new", 2), named("old", 1)], Some("new")),
        ] {
            let found = newest(heard).map(|named| named.host);
            assert_eq!(found.as_deref(), expected);
        }
    }

    #[test]
    fn a_sentinel_names_an_address_and_may_keep_the_failover_to_itself() {
        for (details, epoch) in [
            (details("7"), 7),
            (details("many"), 0),
            (Ok(Value::Nil), 0),
            (refused("NOPERM this user"), 0),
        ] {
            let found = answer(vec![address(), details]).unwrap();
            assert_eq!(found, named("10.0.0.1", epoch));
        }
    }

    #[test]
    fn an_answer_without_a_primary_says_what_is_wrong() {
        for (first, shown) in [
            (Ok(Value::Nil), "`master`"),
            (refused("ERR unknown command 'SENTINEL'"), "26379"),
            (refused("NOPERM this user"), "`sentinel_pass`"),
            (Ok(text("10.0.0.1")), "cannot be used"),
        ] {
            let error = answer(vec![first, Ok(Value::Nil)]).unwrap_err();
            assert!(error.to_string().contains(shown), "{error}");
        }
    }

    #[test]
    fn who_answered_knows_more_than_who_did_not() {
        let unknown = || ConnectError::setting("master", "unknown");
        let login = || of_sentinel(ConnectError::Login("refused".into()));
        let gone = || ConnectError::Unreachable("gone".into());
        for (better, worse) in [
            (unknown(), login()),
            (login(), gone()),
            (gone(), ConnectError::TimedOut),
        ] {
            let expected = better.to_string();
            let first = more_telling(None, worse);
            assert_eq!(more_telling(Some(first), better).to_string(), expected);
        }
        let first = more_telling(Some(unknown()), ConnectError::TimedOut);
        assert_eq!(first.to_string(), unknown().to_string());
    }
}
