//! A look at a server: whether it can be used, and what the guarantee rests on there.
//!
//! One pipeline asks for everything, whenever a lane is opened; what its answers mean is decided
//! by plain functions.

use std::{borrow::Cow, collections::HashMap, fmt, time::Duration};

use cache_core::Guarantee;
use redis::{Cmd, FromRedisValue, RedisResult, Value, aio::ConnectionLike, cmd, pipe};
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::{error::Fault, scripts};

/// Why a server cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("it did not answer")]
    Silent,
    #[error("the connection broke while it was looked at")]
    Broken,
    #[error("it is a replica, and what is read of it may be old: point `host` at the primary")]
    Replica,
    #[error("it is loading its data: it will be tried again")]
    Loading,
    #[error(
        "it is part of a cluster: set `type: cluster`, or point `host` at a server that stands alone"
    )]
    Cluster,
    #[error("it stands alone: set `type: node`, or point `host` at servers of a cluster")]
    NoCluster,
}

/// One thing that was found out about a server and that weakens the guarantee, or will hurt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Finding {
    /// The strongest guarantee that can hold with it.
    pub allows: Guarantee,
    /// What was found.
    pub text: &'static str,
    /// What can be done about it.
    pub remedy: &'static str,
}

impl Finding {
    /// A primary is not connected yet.
    pub(crate) const UNSEEN: Self = Self {
        allows: Guarantee::StrictUntilFailover,
        text: "one of the servers could not be looked at yet",
        remedy: "see in the log why it is not connected",
    };

    /// There are several entries.
    pub(crate) const RING: Self = Self {
        allows: Guarantee::Strict,
        text: "programs with other entries look for the same keys elsewhere, and miss each other's removals",
        remedy: "change the entries of all programs at once, and empty a server before it comes back",
    };

    /// The strongest guarantee that holds with all of `findings`.
    pub(crate) fn level(findings: &[Self]) -> Guarantee {
        let allowed = findings.iter().map(|finding| finding.allows);
        allowed
            .max_by_key(|level| weakness(*level))
            .unwrap_or(Guarantee::Strict)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.text, self.remedy)
    }
}

/// What a look at a server found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Checkup {
    pub(crate) runs_scripts: bool,
    /// What tells this server from others, and from itself before a restart; unless the user may not
    /// know.
    server: Option<String>,
    /// Whether it is part of a cluster, unless the user may not know.
    is_part: Option<bool>,
    sign_of_life: Sign,
    pub(crate) findings: Vec<Finding>,
}

/// By what a server is asked for a sign of life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Sign {
    Info,
    Role,
    Ping,
}

/// A key like that of a lease.
pub(crate) const PROBED: &str = "{checkup}~l";

const NO_SCRIPTS: Finding = Finding {
    allows: Guarantee::Unfenced,
    text: "scripts are forbidden, so a load that is overtaken by an invalidation may store an old value",
    remedy: "allow the user `+eval +evalsha`, and the keys `~{*` of leases",
};
const REPLICAS: Finding = Finding {
    allows: Guarantee::StrictUntilFailover,
    text: "the server has replicas, and a failover to one that lags brings removed values back",
    remedy: "wait for them with `wait_for_replicas`, and keep TTLs short; what was removed in the last 30 s is removed again after a failover",
};
const SNAPSHOTS: Finding = Finding {
    allows: Guarantee::StrictUntilFailover,
    text: "the server writes snapshots, and a restart from one brings removed values back",
    remedy: "a cache needs none: set `save \"\"`",
};
const APPEND_ONLY: Finding = Finding {
    allows: Guarantee::StrictUntilFailover,
    text: "the server keeps an append-only file, and a crash loses its last second of removals",
    remedy: "a cache needs none: set `appendonly no`",
};
const OLD_DATA: Finding = Finding {
    allows: Guarantee::StrictUntilFailover,
    text: "the server came up with data of an earlier life, which may hold removed values",
    remedy: "run `FLUSHALL` once, set `save \"\"` and `rdb-del-sync-files yes`, and delete old dumps in its `dir`",
};
const UNKNOWN: Finding = Finding {
    allows: Guarantee::StrictUntilFailover,
    text: "whether the server writes snapshots could not be checked",
    remedy: "allow the user `+info +config|get`, or see to `save \"\"` and `appendonly no` yourself",
};
const NO_EVICTION: Finding = Finding {
    allows: Guarantee::Strict,
    text: "when the server's memory is full nothing can be stored any more",
    remedy: "set `maxmemory-policy allkeys-lru` or `allkeys-lfu`",
};
const EVICTS_LEASES: Finding = Finding {
    allows: Guarantee::Strict,
    text: "when the server's memory is full leases go first, and loads cannot store their answers",
    remedy: "set `maxmemory-policy allkeys-lru` or `allkeys-lfu`",
};
const FULL_COVERAGE: Finding = Finding {
    allows: Guarantee::Strict,
    text: "when one part of the cluster is down the others stop as well",
    remedy: "set `cluster-require-full-coverage no`",
};
const READS_WHEN_DOWN: Finding = Finding {
    allows: Guarantee::StrictUntilFailover,
    text: "a server that is cut off from its cluster goes on answering reads, with what it had",
    remedy: "set `cluster-allow-reads-when-down no`",
};
const NO_LIMIT: Finding = Finding {
    allows: Guarantee::Strict,
    text: "the server's memory has no limit",
    remedy: "set `maxmemory`, and `maxmemory-policy allkeys-lru` or `allkeys-lfu`",
};

/// The settings that are looked at.
const SETTINGS: [&str; 6] = [
    "save",
    "appendonly",
    "maxmemory",
    "maxmemory-policy",
    "cluster-require-full-coverage",
    "cluster-allow-reads-when-down",
];

impl Checkup {
    /// Looks at the server behind `connection`, for at most `deadline`.
    pub(crate) async fn of(
        connection: &mut (impl ConnectionLike + Send),
        deadline: Duration,
    ) -> Result<Self, Unusable> {
        let mut ask = pipe();
        ask.ignore_errors();
        ask.cmd("INFO");
        // Under a key like a lease's: the user needs the permission for those as well.
        for (name, script) in [
            ("EVAL", scripts::NOTHING.source),
            ("EVALSHA", &scripts::NOTHING.digest),
        ] {
            ask.cmd(name).arg(script).arg(1).arg(PROBED);
        }
        for setting in SETTINGS {
            ask.cmd("CONFIG").arg("GET").arg(setting);
        }
        // A server that loads its data answers some commands and not this.
        ask.cmd("GET").arg(PROBED);
        let look = async {
            let answers: Vec<RedisResult<Value>> = ask.query_async(connection).await?;
            let role = if Self::knows_role(&answers) {
                Ok(Value::Nil)
            } else {
                cmd("ROLE").query_async(connection).await
            };
            RedisResult::Ok((answers, role))
        };
        match timeout(deadline, look).await {
            Ok(Ok((answers, role))) => Self::from_answers(answers, role),
            Ok(Err(_)) => Err(Unusable::Broken),
            Err(_elapsed) => Err(Unusable::Silent),
        }
    }

    /// Whether the answer to `INFO` is one: where that is forbidden, `ROLE` has to do.
    fn knows_role(answers: &[RedisResult<Value>]) -> bool {
        answers.first().is_some_and(Result::is_ok)
    }

    fn from_answers(
        answers: Vec<RedisResult<Value>>,
        role: RedisResult<Value>,
    ) -> Result<Self, Unusable> {
        let sign_of_life = match (Self::knows_role(&answers), role.is_ok()) {
            (true, _) => Sign::Info,
            (false, true) => Sign::Role,
            (false, false) => Sign::Ping,
        };
        let mut answers = answers.into_iter();
        let mut next = || answers.next().unwrap_or(Ok(Value::Nil));
        let (info, by_source, by_digest) = (next(), next(), next());
        let info = Info::parse(info);
        let mut settings = HashMap::new();
        for _ in SETTINGS {
            let answer =
                next().and_then(|value| Ok(HashMap::<String, String>::from_redis_value(value)?));
            settings.extend(answer.unwrap_or_default());
        }
        if info.is("role", "slave") || role.is_ok_and(|role| is_of_a_replica(&role)) {
            return Err(Unusable::Replica);
        }
        let is_part = info.get("redis_mode").map(|mode| mode == "cluster");
        // Two are asked, since a user may be denied one of them, which is found out earlier. In a
        // cluster both may be answered that the slot is another server's, or that it is not served:
        // not a matter of this server.
        let is_not_ready = is_not_ready(&next()) || is_not_ready(&by_source);
        if info.is("loading", "1") || (is_not_ready && is_part != Some(true)) {
            return Err(Unusable::Loading);
        }
        let runs_scripts = may_run(&by_source) && may_run(&by_digest);
        Ok(Self {
            runs_scripts,
            server: info.get("run_id").map(str::to_owned),
            is_part,
            sign_of_life,
            findings: findings(&info, &settings, runs_scripts),
        })
    }

    /// What tells the server from others.
    pub(crate) fn server(&self) -> Option<String> {
        self.server.clone()
    }

    /// Whether the server is what it is taken for: a part of a cluster, or not.
    pub(crate) fn fits(&self, is_part: bool) -> Result<(), Unusable> {
        match self.is_part {
            Some(true) if !is_part => Err(Unusable::Cluster),
            Some(false) if is_part => Err(Unusable::NoCluster),
            _ => Ok(()),
        }
    }

    /// What to ask of the server now and then: what this user may, and what tells a replica.
    pub(crate) fn sign_of_life(&self) -> Cmd {
        let mut command = Cmd::new();
        match self.sign_of_life {
            Sign::Info => command.arg("INFO").arg("replication"),
            Sign::Role => command.arg("ROLE"),
            Sign::Ping => command.arg("PING"),
        };
        command
    }

    /// The guarantee in force.
    pub(crate) fn level(&self) -> Guarantee {
        Finding::level(&self.findings)
    }

    /// One line for all of it.
    pub(crate) fn log(&self) {
        let level = self.level();
        let weakening = self
            .findings
            .iter()
            .filter(|finding| finding.allows != Guarantee::Strict);
        let reasons: Vec<String> = weakening.map(ToString::to_string).collect();
        let reasons = reasons.join("; ");
        match level {
            Guarantee::Strict => info!(guarantee = level.as_str(), "redis is connected"),
            Guarantee::Unfenced => log_unfenced(level, &reasons),
            _ => warn!(guarantee = level.as_str(), reasons, "redis is connected"),
        }
    }
}

fn log_unfenced(level: Guarantee, reasons: &str) {
    error!(
        guarantee = level.as_str(),
        reasons, "redis is connected WITHOUT the fence against stale fills"
    );
}

pub(crate) fn weakness(level: Guarantee) -> u8 {
    match level {
        Guarantee::Strict => 0,
        Guarantee::StrictUntilFailover => 1,
        _ => 2,
    }
}

fn findings(info: &Info, settings: &HashMap<String, String>, runs_scripts: bool) -> Vec<Finding> {
    let setting = |name: &str| settings.get(name).map(String::as_str);
    let policy = setting("maxmemory-policy").or_else(|| info.get("maxmemory_policy"));
    let limit = setting("maxmemory").or_else(|| info.get("maxmemory"));
    let is_limited = limit.is_some_and(|limit| limit != "0");
    let is_part = info.is("redis_mode", "cluster");
    let is_known =
        setting("save").is_some() && setting("appendonly").is_some() && !info.0.is_empty();
    let all = [
        (!runs_scripts, NO_SCRIPTS),
        (info.number("connected_slaves") > 0, REPLICAS),
        (
            setting("save").is_some_and(|save| !save.is_empty()),
            SNAPSHOTS,
        ),
        (
            setting("appendonly") == Some("yes") || info.is("aof_enabled", "1"),
            APPEND_ONLY,
        ),
        (info.number("rdb_last_load_keys_loaded") > 0, OLD_DATA),
        (!is_known, UNKNOWN),
        (is_limited && policy == Some("noeviction"), NO_EVICTION),
        (is_limited && policy == Some("volatile-ttl"), EVICTS_LEASES),
        (limit == Some("0"), NO_LIMIT),
        (
            is_part && setting("cluster-require-full-coverage") == Some("yes"),
            FULL_COVERAGE,
        ),
        (
            is_part && setting("cluster-allow-reads-when-down") == Some("yes"),
            READS_WHEN_DOWN,
        ),
    ];
    let found = all.into_iter().filter(|(is_found, _)| *is_found);
    found.map(|(_, finding)| finding).collect()
}

/// The answer to `INFO`.
struct Info(HashMap<String, String>);

impl Info {
    /// An answer that is none, because `INFO` is forbidden, is empty.
    fn parse(answer: RedisResult<Value>) -> Self {
        let text = answer.and_then(|value| Ok(String::from_redis_value(value)?));
        let lines = text.unwrap_or_default();
        let pairs = lines.lines().filter_map(|line| line.split_once(':'));
        Self(
            pairs
                .map(|(name, value)| (name.to_owned(), value.trim_end().to_owned()))
                .collect(),
        )
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.get(name) == Some(value)
    }

    fn number(&self, name: &str) -> u64 {
        self.get(name)
            .and_then(|value| value.parse().ok())
            .unwrap_or(0)
    }
}

/// Whether it was refused for now, whoever asks.
fn is_not_ready(answer: &RedisResult<Value>) -> bool {
    let error = answer.as_ref().err();
    error.is_some_and(|error| Fault::of(error) == Fault::NotReady)
}

/// Whether a script may run: the permission is there, and the command.
///
/// The permission is looked at before the slot of the key is.
fn may_run(answer: &RedisResult<Value>) -> bool {
    let fault = answer.as_ref().err().map(Fault::of);
    fault.is_none_or(|fault| {
        fault.is_elsewhere() || matches!(fault, Fault::NoScript | Fault::Torn | Fault::NotReady)
    })
}

/// Whether an answer to `ROLE` or to `INFO replication` is that of a replica.
pub(crate) fn is_of_a_replica(answer: &Value) -> bool {
    match answer {
        Value::Array(parts) => parts.first().is_some_and(|role| text(role) == "slave"),
        info => text(info).contains("role:slave"),
    }
}

fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::BulkString(text) => String::from_utf8_lossy(text),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => text.into(),
        _ => "".into(),
    }
}

#[cfg(test)]
mod tests {
    use redis::RedisError;

    use super::*;

    const INFO: &str = "# Server\r\nredis_mode:standalone\r\n# Replication\r\nrole:master\r\n\
                        connected_slaves:0\r\n# Persistence\r\naof_enabled:0\r\n\
                        rdb_last_load_keys_loaded:0\r\n";

    fn text(text: &str) -> RedisResult<Value> {
        Ok(Value::BulkString(text.as_bytes().to_vec()))
    }

    fn refused(line: &str) -> RedisResult<Value> {
        let reply = format!("-{line}\r\n");
        redis::parse_redis_value(reply.as_bytes())?.extract_error()
    }

    fn setting(name: &str, value: &str) -> RedisResult<Value> {
        Ok(Value::Map(vec![(text(name)?, text(value)?)]))
    }

    /// The answers of a server that is as it should be.
    fn good() -> Vec<RedisResult<Value>> {
        vec![
            text(INFO),
            Ok(Value::Int(1)),
            refused("NOSCRIPT No matching script"),
            setting("save", ""),
            setting("appendonly", "no"),
            setting("maxmemory", "1000000"),
            setting("maxmemory-policy", "allkeys-lru"),
            setting("cluster-require-full-coverage", "yes"),
            setting("cluster-allow-reads-when-down", "no"),
            Ok(Value::Nil),
        ]
    }

    /// What is found when the answer at `place` is another one.
    fn with(place: usize, answer: RedisResult<Value>) -> Result<Checkup, Unusable> {
        let mut answers = good();
        answers[place] = answer;
        Checkup::from_answers(answers, Ok(Value::Nil))
    }

    #[test]
    fn a_server_as_it_should_be_is_strict_and_nothing_is_found() {
        let checkup = Checkup::from_answers(good(), Ok(Value::Nil)).unwrap();
        assert_eq!(checkup.findings, []);
        assert_eq!(checkup.level(), Guarantee::Strict);
        assert!(checkup.runs_scripts);
    }

    #[test]
    fn each_weakness_is_found_and_lowers_the_level_as_it_says() {
        let denied = || refused("NOPERM this user has no permissions");
        for (place, answer, finding) in [
            (0, text(&INFO.replace("slaves:0", "slaves:2")), REPLICAS),
            (
                0,
                text(&INFO.replace("aof_enabled:0", "aof_enabled:1")),
                APPEND_ONLY,
            ),
            (0, text(&INFO.replace("loaded:0", "loaded:7")), OLD_DATA),
            (0, denied(), UNKNOWN),
            (1, denied(), NO_SCRIPTS),
            (2, denied(), NO_SCRIPTS),
            (1, refused("ERR unknown command 'EVAL'"), NO_SCRIPTS),
            (3, setting("save", "3600 1"), SNAPSHOTS),
            (3, denied(), UNKNOWN),
            (4, setting("appendonly", "yes"), APPEND_ONLY),
            (5, setting("maxmemory", "0"), NO_LIMIT),
            (6, setting("maxmemory-policy", "noeviction"), NO_EVICTION),
            (
                6,
                setting("maxmemory-policy", "volatile-ttl"),
                EVICTS_LEASES,
            ),
        ] {
            let checkup = with(place, answer).unwrap();
            assert_eq!(checkup.findings, [finding]);
            assert_eq!(checkup.level(), finding.allows, "{finding}");
            assert_eq!(checkup.runs_scripts, finding != NO_SCRIPTS);
        }
    }

    #[test]
    fn what_hurts_in_a_cluster_is_found_there_and_nowhere_else() {
        let of_cluster = |answers: &mut Vec<RedisResult<Value>>| {
            answers[0] = text(&INFO.replace("standalone", "cluster"));
        };
        for (place, answer, finding) in [
            (
                7,
                setting("cluster-require-full-coverage", "yes"),
                FULL_COVERAGE,
            ),
            (
                8,
                setting("cluster-allow-reads-when-down", "yes"),
                READS_WHEN_DOWN,
            ),
        ] {
            let mut answers = good();
            answers[7] = setting("cluster-require-full-coverage", "no");
            answers[place] = answer;
            let found = |answers| {
                let checkup = Checkup::from_answers(answers, Ok(Value::Nil)).unwrap();
                checkup.findings
            };
            assert_eq!(with(place, good().remove(place)).unwrap().findings, []);
            of_cluster(&mut answers);
            assert_eq!(found(answers), [finding]);
        }
    }

    #[test]
    fn the_weakest_finding_decides() {
        let mut answers = good();
        answers[1] = refused("NOPERM no scripts");
        answers[3] = setting("save", "3600 1");
        let checkup = Checkup::from_answers(answers, Ok(Value::Nil)).unwrap();
        assert_eq!(checkup.findings, [NO_SCRIPTS, SNAPSHOTS]);
        assert_eq!(checkup.level(), Guarantee::Unfenced);
    }

    #[test]
    fn a_replica_and_a_server_that_loads_cannot_be_used() {
        for (place, answer, unusable) in [
            (
                0,
                text(&INFO.replace("role:master", "role:slave")),
                Unusable::Replica,
            ),
            (0, text(&format!("{INFO}loading:1\r\n")), Unusable::Loading),
            (
                9,
                refused("LOADING Redis is loading the dataset"),
                Unusable::Loading,
            ),
            // To a user who may not read the empty key, that is all that says so.
            (1, refused("LOADING Redis is loading"), Unusable::Loading),
            (1, refused("BUSY Redis is busy"), Unusable::Loading),
        ] {
            assert_eq!(with(place, answer), Err(unusable));
        }
        let slave = Ok(Value::Array(vec![text("slave").unwrap()]));
        let found = Checkup::from_answers(good(), slave);
        assert_eq!(found, Err(Unusable::Replica));
    }

    #[test]
    fn a_part_of_a_cluster_is_one_also_if_that_is_not_ready_or_others_own_the_slot() {
        for answer in [
            "CLUSTERDOWN Hash slot not served",
            "MOVED 12182 127.0.0.1:7403",
            "ASK 12182 127.0.0.1:7403",
            "TRYAGAIN Multiple keys",
        ] {
            let mut answers = good();
            answers[0] = text(&INFO.replace("standalone", "cluster"));
            answers[7] = setting("cluster-require-full-coverage", "no");
            for place in [1, 2, answers.len() - 1] {
                answers[place] = refused(answer);
            }
            let checkup = Checkup::from_answers(answers, Ok(Value::Nil)).unwrap();
            assert!(checkup.runs_scripts, "{answer}");
            assert_eq!(checkup.fits(true), Ok(()));
            assert_eq!(checkup.fits(false), Err(Unusable::Cluster));
        }
        let alone = Checkup::from_answers(good(), Ok(Value::Nil)).unwrap();
        assert_eq!(alone.fits(false), Ok(()));
        assert_eq!(alone.fits(true), Err(Unusable::NoCluster));
    }

    #[test]
    fn a_user_who_may_only_read_and_write_can_use_it() {
        let denied =
            || -> RedisResult<Value> { Err(RedisError::from((redis::ErrorKind::Client, "no"))) };
        let answers = (0..10).map(|_| denied()).collect();
        let checkup = Checkup::from_answers(answers, Ok(Value::Nil)).unwrap();
        assert_eq!(checkup.findings, [NO_SCRIPTS, UNKNOWN]);
    }
}
