//! The steps of the contract, as commands to the server that has the key: each one atomic.
//!
//! While a slot of a cluster moves, commands with two keys are refused until it has moved, since a key
//! and its lease may be on different sides. Then a lease is not to be had: who asks is given one that
//! no server knows, so the load runs and its fill is refused. A removal takes first the lease and then
//! the value.

use std::time::Duration;

use bytes::Bytes;
use cache_core::{Acquire, Entry, Error, ErrorKind, Extend, Fill, Key, Lease, Ttl};
use redis::{Cmd, Value};
use tokio::time::{Instant, sleep};

#[cfg(feature = "testing")]
use crate::Mutant;
use crate::{
    cluster::Hop,
    error::Fault,
    key::lease_key,
    lane::{Failed, LaneSet, read, reading},
    mutant::Rules,
    scripts::{self, Step},
    token::{self, Tokens},
    topology::Topology,
    unfenced,
};

/// How often, and how far apart, a lease is given back whose connection broke: together somewhat less
/// than a hold.
const GIVE_BACKS: u32 = 10;
const GIVE_BACK_PAUSE: Duration = Duration::from_millis(200);

/// What stands for "there is no such thing": the marker of go-zero, which no codec writes.
const ABSENT: &[u8] = b"*";

/// What is stored under a value's key.
pub(crate) fn entry(payload: Bytes) -> Entry {
    if payload == ABSENT {
        Entry::Absent
    } else {
        Entry::Encoded(payload)
    }
}

/// What is to be stored of an entry.
pub(crate) fn payload(entry: Entry) -> Result<Bytes, Error> {
    match entry {
        Entry::Absent => Ok(Bytes::from_static(ABSENT)),
        Entry::Encoded(payload) if payload == ABSENT => Err(Error::new(
            ErrorKind::Rejected,
            "the codec wrote `*`, which stands for a negative entry: let it begin with a format byte",
        )),
        Entry::Encoded(payload) => Ok(payload),
        Entry::Decoded { .. } => Err(Error::new(
            ErrorKind::Rejected,
            "redis stores encoded entries only",
        )),
    }
}

/// Milliseconds, at least one: what the server counts in.
pub(crate) fn millis(time: Duration) -> u64 {
    let millis = time.as_micros().div_ceil(1000).max(1);
    u64::try_from(millis).unwrap_or(u64::MAX)
}

/// The plain removal of entries and leases, atomic for all `keys`.
pub(crate) fn removal(keys: &[Key], rules: Rules) -> Cmd {
    let mut command = Cmd::new();
    command.arg("DEL");
    for key in keys {
        command.arg(key.as_bytes());
        if !rules.keeps_leases() {
            command.arg(lease_key(key.as_bytes()));
        }
    }
    command
}

/// A command that runs the script which `script` names or is.
fn invocation(name: &str, script: &str, keys: &[&[u8]], arguments: &[&[u8]]) -> Cmd {
    let mut command = Cmd::new();
    command.arg(name).arg(script).arg(keys.len());
    for part in keys.iter().chain(arguments) {
        command.arg(*part);
    }
    command
}

/// Runs `step`, by its digest if the server knows it.
///
/// An answer that it does not is proof that it did not run, so that it may be sent once more,
/// under the same token.
async fn run(
    way: &mut Way<'_>,
    step: &Step,
    keys: &[&[u8]],
    arguments: &[&[u8]],
    deadline: Instant,
) -> Result<Value, Failed> {
    let by_digest = invocation("EVALSHA", &step.digest, keys, arguments);
    match way.call(&by_digest, deadline).await {
        Err(failed) if failed.fault == Fault::NoScript => {
            let by_source = invocation("EVAL", step.source, keys, arguments);
            way.call(&by_source, deadline).await
        }
        answer => answer,
    }
}

/// The way of one step to the server that has its key.
pub(crate) struct Way<'a> {
    topology: &'a Topology,
    key: &'a Key,
    hop: Hop,
}

impl<'a> Way<'a> {
    pub(crate) async fn new(
        topology: &'a Topology,
        key: &'a Key,
        deadline: Instant,
    ) -> Result<Self, Failed> {
        Ok(Self {
            hop: topology.hop(key, deadline).await?,
            topology,
            key,
        })
    }

    pub(crate) fn key(&self) -> &'a Key {
        self.key
    }

    /// Sends a command, and waits for its answer until `deadline` at most.
    pub(crate) async fn call(&mut self, command: &Cmd, deadline: Instant) -> Result<Value, Failed> {
        let Self { topology, key, hop } = self;
        if hop.is_asking() {
            // Where the last command was asked for is where that one was to go, and no other.
            *hop = topology.hop(key, deadline).await?;
        }
        topology.call(hop, key, command, deadline).await
    }
}

/// A lease that was asked for and not answered. It is released behind the question, on the same
/// connection, so that an orphan holds nobody off for a whole hold.
pub(crate) struct Asked<'a> {
    pub(crate) way: Way<'a>,
    pub(crate) lease: Lease,
    is_answered: bool,
}

impl<'a> Asked<'a> {
    pub(crate) fn new(way: Way<'a>, tokens: &Tokens) -> Self {
        Self {
            way,
            lease: tokens.draw(),
            is_answered: false,
        }
    }

    /// Asks by a script that takes the token and the hold.
    async fn ask(
        &mut self,
        step: &Step,
        hold: Duration,
        deadline: Instant,
    ) -> Result<Value, Failed> {
        let key = self.way.key.as_bytes();
        let answer = run(
            &mut self.way,
            step,
            &[key, &lease_key(key)],
            &[
                token::text(self.lease).as_bytes(),
                millis(hold).to_string().as_bytes(),
            ],
            deadline,
        )
        .await;
        self.answered(&answer);
        answer
    }

    /// Takes note of an answer. An error of the server's says that nothing was granted.
    pub(crate) fn answered<T>(&mut self, answer: &Result<T, Failed>) {
        self.is_answered = match answer {
            Ok(_) => true,
            Err(failed) => !matches!(failed.fault, Fault::TimedOut | Fault::Broken),
        };
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        let Way { topology, key, hop } = &self.way;
        #[cfg(feature = "testing")]
        if topology.rules().without(Mutant::NoRelease) {
            return;
        }
        let (topology, key, hop) = (Topology::clone(topology), Key::clone(key), hop.clone());
        let lease = self.lease;
        let runtime = topology.runtime().clone();
        runtime.spawn(async move {
            let way = Way {
                topology: &topology,
                key: &key,
                hop,
            };
            give_back(way, lease).await;
        });
    }
}

pub(crate) async fn acquire(
    topology: &Topology,
    key: &Key,
    hold: Duration,
    tokens: &Tokens,
) -> Result<Acquire, Error> {
    let deadline = Instant::now() + topology.deadlines().read;
    let mut asked = Asked::new(Way::new(topology, key, deadline).await?, tokens);
    match asked.ask(&scripts::ACQUIRE, hold, deadline).await {
        Err(failed) if failed.fault == Fault::Torn => {
            acquire_torn(&mut asked.way, asked.lease, deadline).await
        }
        answer => acquired(answer?, asked.lease, hold),
    }
}

/// Hits, or answers a lease that no server knows.
async fn acquire_torn(
    way: &mut Way<'_>,
    lease: Lease,
    deadline: Instant,
) -> Result<Acquire, Error> {
    let answer = way.call(&reading(way.key), deadline).await;
    Ok(match read(answer)? {
        Some(payload) => Acquire::Hit(entry(payload)),
        None => Acquire::Granted(lease),
    })
}

/// Reads the answer of [`scripts::ACQUIRE`].
fn acquired(answer: Value, lease: Lease, hold: Duration) -> Result<Acquire, Error> {
    let Value::Array(parts) = answer else {
        return Err(Fault::Unexpected.error());
    };
    let mut parts = parts.into_iter();
    match (parts.next(), parts.next()) {
        (Some(Value::Int(1)), Some(Value::BulkString(found))) => {
            Ok(Acquire::Hit(entry(found.into())))
        }
        (Some(Value::Int(2)), None) => Ok(Acquire::Granted(lease)),
        (Some(Value::Int(3)), Some(Value::Int(left))) => Ok(held(left, hold)),
        _ => Err(Fault::Unexpected.error()),
    }
}

/// What `PTTL` of a lease that is held says. A lease without an end is none of ours; it is waited
/// for like one that was just granted.
pub(crate) fn held(left: i64, hold: Duration) -> Acquire {
    let left = u64::try_from(left).map_or(hold, Duration::from_millis);
    Acquire::Held {
        retry_after: left.max(Duration::from_millis(1)),
    }
}

pub(crate) async fn seize(
    topology: &Topology,
    key: &Key,
    hold: Duration,
    tokens: &Tokens,
) -> Result<Lease, Error> {
    let deadline = Instant::now() + topology.deadlines().write;
    topology.note_removal(std::slice::from_ref(key));
    let mut asked = Asked::new(Way::new(topology, key, deadline).await?, tokens);
    let answer = asked.ask(&scripts::SEIZE, hold, deadline).await;
    match answer {
        Err(failed) if failed.fault == Fault::Torn => {
            let keys = std::slice::from_ref(key);
            topology
                .remove(keys, deadline)
                .await
                .into_iter()
                .collect::<Result<(), _>>()?;
            Err(failed.into())
        }
        answer => {
            answer?;
            Ok(asked.lease)
        }
    }
}

pub(crate) async fn fill(
    topology: &Topology,
    key: &Key,
    lease: Lease,
    payload: &[u8],
    ttl: Ttl,
) -> Result<Fill, Error> {
    let deadline = Instant::now() + topology.deadlines().write;
    let step = &scripts::FILL;
    #[cfg(feature = "testing")]
    let step = if topology.rules().without(Mutant::UncheckedFill) {
        &scripts::UNCHECKED_FILL
    } else {
        step
    };
    let mut way = Way::new(topology, key, deadline).await?;
    let answer = run(
        &mut way,
        step,
        &[key.as_bytes(), &lease_key(key.as_bytes())],
        &[
            token::text(lease).as_bytes(),
            payload,
            millis(ttl.get()).to_string().as_bytes(),
        ],
        deadline,
    )
    .await;
    match answer {
        Err(failed) if failed.fault == Fault::Torn => {
            // Nothing is stored; nobody is to wait for it.
            run_release(&mut way, lease, deadline).await.ok();
            Ok(Fill::Superseded)
        }
        answer => Ok(if is_one(&answer?)? {
            Fill::Stored
        } else {
            Fill::Superseded
        }),
    }
}

pub(crate) async fn extend(
    topology: &Topology,
    key: &Key,
    lease: Lease,
    hold: Duration,
) -> Result<Extend, Error> {
    let deadline = Instant::now() + topology.deadlines().write;
    let answer = run(
        &mut Way::new(topology, key, deadline).await?,
        &scripts::EXTEND,
        &[&lease_key(key.as_bytes())],
        &[
            token::text(lease).as_bytes(),
            millis(hold).to_string().as_bytes(),
        ],
        deadline,
    )
    .await?;
    Ok(if is_one(&answer)? {
        Extend::Extended
    } else {
        Extend::Lost
    })
}

pub(crate) async fn release(topology: &Topology, key: &Key, lease: Lease) -> Result<(), Error> {
    let deadline = Instant::now() + topology.deadlines().write;
    let mut way = Way::new(topology, key, deadline).await?;
    Ok(run_release(&mut way, lease, deadline).await?)
}

async fn run_release(way: &mut Way<'_>, lease: Lease, deadline: Instant) -> Result<(), Failed> {
    let lease_key = lease_key(way.key.as_bytes());
    let token = token::text(lease);
    run(
        way,
        &scripts::RELEASE,
        &[&lease_key],
        &[token.as_bytes()],
        deadline,
    )
    .await
    .map(drop)
}

/// Gives a lease back that may have been granted. On a lane that broke, which the server may notice
/// later than the question, that has to wait for the next one.
async fn give_back(mut way: Way<'_>, lease: Lease) {
    for _ in 0..GIVE_BACKS {
        match give_back_on(&mut way, lease).await {
            Err(failed) if failed.fault == Fault::Broken => sleep(GIVE_BACK_PAUSE).await,
            Ok(()) | Err(_) => return,
        }
        let deadline = Instant::now() + way.topology.deadlines().write;
        if let Ok(next) = way.topology.hop(way.key, deadline).await {
            way.hop = next;
        }
    }
}

/// By one command whose answer nobody needs: a server that hangs may answer it when this has long
/// been given up, and could not be told a script then that it does not know.
async fn give_back_on(way: &mut Way<'_>, lease: Lease) -> Result<(), Failed> {
    let deadline = Instant::now() + way.topology.deadlines().write;
    if !way.topology.runs_scripts(way.key) {
        return unfenced::release_on(way, lease, deadline).await;
    }
    let release = invocation(
        "EVAL",
        scripts::RELEASE.source,
        &[&lease_key(way.key.as_bytes())],
        &[token::text(lease).as_bytes()],
    );
    way.call(&release, deadline).await.map(drop)
}

/// Removes `keys`, atomically.
pub(crate) async fn remove(set: &LaneSet, keys: &[Key], deadline: Instant) -> Result<(), Error> {
    set.note_removal(keys);
    let lane = set.lane()?;
    set.call(&lane, &removal(keys, set.rules()), deadline)
        .await?;
    Ok(())
}

/// Sends a command without arguments of ours, and waits as for a write.
pub(crate) async fn plain(set: &LaneSet, words: &[&str]) -> Result<(), Error> {
    let mut command = Cmd::new();
    for word in words {
        command.arg(*word);
    }
    let deadline = Instant::now() + set.deadlines().write;
    set.call(&set.lane()?, &command, deadline).await?;
    Ok(())
}

/// Reads a 1 or a 0.
pub(crate) fn is_one(answer: &Value) -> Result<bool, Error> {
    match answer {
        Value::Int(1) => Ok(true),
        Value::Int(0) => Ok(false),
        _ => Err(Fault::Unexpected.error()),
    }
}
