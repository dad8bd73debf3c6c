//! The steps of the contract, as commands to a node: each one atomic.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use cache_core::{Acquire, Entry, Error, ErrorKind, Extend, Fill, Key, Lease, Ttl};
use redis::{Cmd, Value};
use tokio::time::{Instant, sleep};

#[cfg(feature = "testing")]
use crate::Mutant;
use crate::{
    error::Fault,
    key::lease_key,
    lane::{Failed, Lane, LaneSet},
    scripts::{self, Step},
    token::{self, Tokens},
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
pub(crate) fn removal(keys: &[Key]) -> Cmd {
    let mut command = Cmd::new();
    command.arg("DEL");
    for key in keys {
        command.arg(key.as_bytes()).arg(lease_key(key.as_bytes()));
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
    set: &LaneSet,
    lane: &Arc<Lane>,
    step: &Step,
    keys: &[&[u8]],
    arguments: &[&[u8]],
    deadline: Instant,
) -> Result<Value, Failed> {
    let by_digest = invocation("EVALSHA", &step.digest, keys, arguments);
    match set.call(lane, &by_digest, deadline).await {
        Err(failed) if failed.fault == Fault::NoScript => {
            let by_source = invocation("EVAL", step.source, keys, arguments);
            set.call(lane, &by_source, deadline).await
        }
        answer => answer,
    }
}

/// A lease that was asked for and not answered. It is released behind the question, on the same
/// connection, so that an orphan holds nobody off for a whole hold.
pub(crate) struct Asked<'a> {
    set: &'a Arc<LaneSet>,
    pub(crate) lane: Arc<Lane>,
    key: &'a Key,
    pub(crate) lease: Lease,
    is_answered: bool,
}

impl<'a> Asked<'a> {
    pub(crate) fn new(
        set: &'a Arc<LaneSet>,
        key: &'a Key,
        tokens: &Tokens,
    ) -> Result<Self, Failed> {
        Ok(Self {
            lane: set.lane()?,
            set,
            key,
            lease: tokens.draw(),
            is_answered: false,
        })
    }

    /// Asks by a script that takes the token and the hold.
    async fn ask(&mut self, step: &Step, hold: Duration, time: Duration) -> Result<Value, Failed> {
        let answer = run(
            self.set,
            &self.lane,
            step,
            &[self.key.as_bytes(), &lease_key(self.key.as_bytes())],
            &[
                token::text(self.lease).as_bytes(),
                millis(hold).to_string().as_bytes(),
            ],
            Instant::now() + time,
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
        #[cfg(feature = "testing")]
        if self.set.rules().without(Mutant::NoRelease) {
            return;
        }
        let (set, lane) = (Arc::clone(self.set), Arc::clone(&self.lane));
        let (key, lease) = (self.key.clone(), self.lease);
        let runtime = set.runtime().clone();
        runtime.spawn(async move { give_back(&set, lane, &key, lease).await });
    }
}

pub(crate) async fn acquire(
    set: &Arc<LaneSet>,
    key: &Key,
    hold: Duration,
    tokens: &Tokens,
) -> Result<Acquire, Error> {
    let mut asked = Asked::new(set, key, tokens)?;
    let time = set.deadlines().read;
    let answer = asked.ask(&scripts::ACQUIRE, hold, time).await;
    acquired(answer?, asked.lease, hold)
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
    set: &Arc<LaneSet>,
    key: &Key,
    hold: Duration,
    tokens: &Tokens,
) -> Result<Lease, Error> {
    let mut asked = Asked::new(set, key, tokens)?;
    set.note_removal(std::slice::from_ref(key));
    let time = set.deadlines().write;
    asked.ask(&scripts::SEIZE, hold, time).await?;
    Ok(asked.lease)
}

pub(crate) async fn fill(
    set: &LaneSet,
    key: &Key,
    lease: Lease,
    payload: &[u8],
    ttl: Ttl,
) -> Result<Fill, Error> {
    let deadline = Instant::now() + set.deadlines().write;
    let step = &scripts::FILL;
    #[cfg(feature = "testing")]
    let step = if set.rules().without(Mutant::UncheckedFill) {
        &scripts::UNCHECKED_FILL
    } else {
        step
    };
    let answer = run(
        set,
        &set.lane()?,
        step,
        &[key.as_bytes(), &lease_key(key.as_bytes())],
        &[
            token::text(lease).as_bytes(),
            payload,
            millis(ttl.get()).to_string().as_bytes(),
        ],
        deadline,
    )
    .await?;
    Ok(if is_one(&answer)? {
        Fill::Stored
    } else {
        Fill::Superseded
    })
}

pub(crate) async fn extend(
    set: &LaneSet,
    key: &Key,
    lease: Lease,
    hold: Duration,
) -> Result<Extend, Error> {
    let deadline = Instant::now() + set.deadlines().write;
    let answer = run(
        set,
        &set.lane()?,
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

pub(crate) async fn release(set: &LaneSet, key: &Key, lease: Lease) -> Result<(), Error> {
    let deadline = Instant::now() + set.deadlines().write;
    run(
        set,
        &set.lane()?,
        &scripts::RELEASE,
        &[&lease_key(key.as_bytes())],
        &[token::text(lease).as_bytes()],
        deadline,
    )
    .await?;
    Ok(())
}

/// Gives a lease back that may have been granted. On a lane that broke, which the server may notice
/// later than the question, that has to wait for the next one.
async fn give_back(set: &LaneSet, lane: Arc<Lane>, key: &Key, lease: Lease) {
    let mut lane = lane;
    for _ in 0..GIVE_BACKS {
        match give_back_on(set, &lane, key, lease).await {
            Err(failed) if failed.fault == Fault::Broken => sleep(GIVE_BACK_PAUSE).await,
            Ok(()) | Err(_) => return,
        }
        if let Ok(next) = set.lane() {
            lane = next;
        }
    }
}

/// By one command whose answer nobody needs: a server that hangs may answer it when this has long
/// been given up, and could not be told a script then that it does not know.
async fn give_back_on(
    set: &LaneSet,
    lane: &Arc<Lane>,
    key: &Key,
    lease: Lease,
) -> Result<(), Failed> {
    let deadline = Instant::now() + set.deadlines().write;
    if !set.runs_scripts() {
        return unfenced::release_on(set, lane, key, lease, deadline).await;
    }
    let release = invocation(
        "EVAL",
        scripts::RELEASE.source,
        &[&lease_key(key.as_bytes())],
        &[token::text(lease).as_bytes()],
    );
    set.call(lane, &release, deadline).await.map(drop)
}

/// Removes `keys`, atomically.
pub(crate) async fn remove(set: &LaneSet, keys: &[Key], deadline: Instant) -> Result<(), Error> {
    let lane = set.lane()?;
    set.note_removal(keys);
    let command = removal(keys);
    #[cfg(feature = "testing")]
    let command = if set.rules().without(Mutant::RemoveKeepsLease) {
        let mut command = redis::cmd("DEL");
        for key in keys {
            command.arg(key.as_bytes());
        }
        command
    } else {
        command
    };
    set.call(&lane, &command, deadline).await?;
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
