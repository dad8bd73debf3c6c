//! What was removed lately, removed once more.
//!
//! A server may be another one than before, or the same with old data. So before anybody reads
//! through a new lane, the journal's keys are removed over it.

use std::sync::Arc;

use cache_core::Key;
use futures_util::future::join_all;
use redis::{Cmd, Pipeline};
use tokio::time::Instant;
use tracing::debug;

use super::{Failed, one::Lane, set::Shared};
use crate::{
    error::Fault,
    journal,
    key::{by_slot, lease_key},
    steps::removal,
};

/// How many keys go together, and how many of such parts are on their way at once.
const KEYS_AT_ONCE: usize = 512;
const PARTS: usize = 8;

/// Removes what was removed lately, as far as it is this node's.
pub(super) async fn remove(set: &Shared, lane: &Arc<Lane>) -> Result<(), Failed> {
    let recent = set.journal.lock().recent(Instant::now());
    let mut keys = journal::distinct(recent);
    if let Some(part) = &set.part {
        part.keep_own(&mut keys);
    }
    let parts: Vec<&[Key]> = keys.chunks(KEYS_AT_ONCE).collect();
    for some in parts.chunks(PARTS) {
        let removals = some.iter().map(|part| remove_part(set, lane, part));
        join_all(removals)
            .await
            .into_iter()
            .collect::<Result<(), _>>()?;
    }
    if !keys.is_empty() {
        debug!(
            keys = keys.len(),
            "removed once more what was removed lately"
        );
    }
    Ok(())
}

async fn remove_part(set: &Shared, lane: &Arc<Lane>, keys: &[Key]) -> Result<(), Failed> {
    let deadline = Instant::now() + set.deadlines.write;
    if !set.is_part() {
        return set
            .call(lane, &removal(keys, set.rules), deadline)
            .await
            .map(drop);
    }
    let groups = by_slot(keys);
    let mut commands = Pipeline::with_capacity(groups.len());
    for group in &groups {
        commands.add_command(removal(group, set.rules));
    }
    let mut torn = Pipeline::new();
    let answers = set.call_all(lane, &commands, deadline).await?;
    for (group, answer) in groups.iter().zip(answers) {
        match answer {
            Err(failed) if failed.fault == Fault::Torn => add_one_by_one(&mut torn, group),
            answer => here(answer)?,
        }
    }
    if torn.is_empty() {
        return Ok(());
    }
    let answers = set.call_all(lane, &torn, deadline).await?;
    answers.into_iter().try_for_each(here)
}

/// The lease before the value, as always where they cannot go together.
fn add_one_by_one(commands: &mut Pipeline, keys: &[Key]) {
    for key in keys {
        for part in [&lease_key(key.as_bytes()), key.as_bytes()] {
            let mut command = Cmd::new();
            command.arg("DEL").arg(part);
            commands.add_command(command);
        }
    }
}

/// What is elsewhere is on a server that did not fail over: nothing came back there.
fn here<T>(answer: Result<T, Failed>) -> Result<(), Failed> {
    match answer {
        Err(failed) if !failed.fault.is_elsewhere() => Err(failed),
        _ => Ok(()),
    }
}
