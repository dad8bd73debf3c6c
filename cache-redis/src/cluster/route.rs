//! The way of one command: to the owner by the table, and on to where the servers say.

use std::{sync::Arc, time::Duration};

use cache_core::Key;
use redis::{Cmd, Pipeline, Value};
use tokio::time::{Instant, sleep_until};

use super::{
    address::Address,
    node::{Cluster, Inner},
};
use crate::{
    error::Fault,
    key::lease_key,
    lane::{Answer, Failed, Lane, LaneSet, read, reading},
};

/// How many redirections are followed. A slot that is moved while a command is on its way costs two.
const REDIRECTIONS: u32 = 5;

/// How often a cluster that is not ready is asked once more, and after how many milliseconds.
const NOT_READY: u32 = 2;
const NOT_READY_PAUSE_MS: std::ops::RangeInclusive<u64> = 10..=50;

/// The way of a command: a lane of the server that it goes to.
#[derive(Clone, Debug)]
pub(crate) struct Hop {
    pub(crate) set: Arc<LaneSet>,
    pub(crate) lane: Arc<Lane>,
    /// Whether the server is only taking the slot over, and is to be asked nevertheless.
    is_asking: bool,
}

impl Hop {
    /// A way that leads to a lane.
    pub(crate) fn to(set: &Arc<LaneSet>, lane: Arc<Lane>) -> Self {
        Self {
            set: Arc::clone(set),
            lane,
            is_asking: false,
        }
    }

    /// Whether it leads to a server that was to be asked about one command.
    pub(crate) fn is_asking(&self) -> bool {
        self.is_asking
    }

    /// Sends a command this way, and nowhere else.
    pub(crate) async fn send(&self, command: &Cmd, deadline: Instant) -> Result<Value, Failed> {
        if !self.is_asking {
            return self.set.call(&self.lane, command, deadline).await;
        }
        // Together, since the leave holds for one command, and others use the connection.
        let mut commands = Pipeline::with_capacity(2);
        commands.cmd("ASKING");
        commands.add_command(command.clone());
        let answers = self.set.call_all(&self.lane, &commands, deadline).await?;
        let mut answers = answers.into_iter();
        let mut next = || {
            answers
                .next()
                .unwrap_or_else(|| Err(Fault::Unexpected.into()))
        };
        // Without the leave the command was only redirected once more.
        next()?;
        next()
    }
}

impl Cluster {
    /// The way to the owner of a key. A server that was only just heard of is waited for, until
    /// `deadline` at most.
    pub(crate) async fn hop(&self, key: &Key, deadline: Instant) -> Result<Hop, Failed> {
        self.inner.hop(key, deadline).await
    }

    /// Sends a command about `key` by way of `hop`, and on from there; `hop` is afterwards the way
    /// that it went last.
    pub(crate) async fn call(
        &self,
        hop: &mut Hop,
        key: &Key,
        command: &Cmd,
        deadline: Instant,
    ) -> Result<Value, Failed> {
        self.inner.call(hop, key, command, deadline).await
    }

    /// Reads one key, wherever it is.
    pub(crate) async fn read(&self, key: &Key, deadline: Instant) -> Answer {
        self.inner.read(key, deadline).await
    }
}

impl Inner {
    pub(super) async fn hop(&self, key: &Key, deadline: Instant) -> Result<Hop, Failed> {
        let owner = self.table.load().owner(key.as_bytes()).cloned();
        let Some(set) = owner else {
            self.shared.trouble.notify_one();
            return Err(Fault::Away.into());
        };
        let lane = set.lane_by(deadline).await?;
        Ok(Hop::to(&set, lane))
    }

    pub(super) async fn call(
        &self,
        hop: &mut Hop,
        key: &Key,
        command: &Cmd,
        deadline: Instant,
    ) -> Result<Value, Failed> {
        let mut not_ready = 0;
        for _ in 0..REDIRECTIONS {
            let failed = match hop.send(command, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            match failed.fault {
                Fault::Moved | Fault::Asked => {
                    *hop = self.redirected(hop, &failed, deadline).await?;
                }
                Fault::NotReady if not_ready < NOT_READY => {
                    not_ready += 1;
                    self.shared.trouble.notify_one();
                    let pause = Duration::from_millis(fastrand::u64(NOT_READY_PAUSE_MS));
                    let next = Instant::now() + pause;
                    if next >= deadline {
                        return Err(failed);
                    }
                    sleep_until(next).await;
                    *hop = self.hop(key, deadline).await?;
                }
                _ => return Err(failed),
            }
        }
        // They send it in circles.
        Err(Fault::NotReady.into())
    }

    /// The way that a server said the command is to go.
    async fn redirected(
        &self,
        hop: &Hop,
        failed: &Failed,
        deadline: Instant,
    ) -> Result<Hop, Failed> {
        let is_asking = failed.fault == Fault::Asked;
        if !is_asking {
            // What an `ASK` says holds for this one command; this holds from now on.
            self.shared.trouble.notify_one();
        }
        let asked = hop.set.part().map(|part| part.address.clone());
        let target = failed.redirection().zip(asked);
        let target = target.and_then(|(text, asked)| Address::redirected(text, &asked));
        let Some(target) = target else {
            return Err(failed.clone());
        };
        let set = self.at(&target)?;
        let lane = set.lane_by(deadline).await?;
        Ok(Hop {
            set,
            lane,
            is_asking,
        })
    }

    /// Reads one key, wherever it is.
    pub(super) async fn read(&self, key: &Key, deadline: Instant) -> Answer {
        let mut hop = self.hop(key, deadline).await?;
        let answer = self.call(&mut hop, key, &reading(key), deadline).await;
        read(answer)
    }

    /// Removes one key, first its lease and then its value: what is done while they may be on both sides
    /// of a slot that is moving. A lease that is granted in between began its load after this was
    /// asked for. Each is removed twice, since a move that was broken off may have left it on both sides:
    /// when it is gone at the source, the second command is sent on to the target.
    pub(super) async fn remove_apart(&self, key: &Key, deadline: Instant) -> Result<(), Failed> {
        let (lease, value) = (&*lease_key(key.as_bytes()), key.as_bytes());
        for part in [lease, lease, value, value] {
            let mut command = Cmd::new();
            command.arg("DEL").arg(part);
            let mut hop = self.hop(key, deadline).await?;
            self.call(&mut hop, key, &command, deadline).await?;
        }
        Ok(())
    }
}
