//! Many keys at once: those of one primary together, all primaries at the same time, and an answer
//! for each key.

use std::{collections::HashMap, sync::Arc};

use cache_core::{Error, Key};
use futures_util::future::join_all;
use redis::{Pipeline, Value};
use tokio::time::Instant;

use super::node::{Cluster, Inner};
use crate::{
    error::Fault,
    key::{by_slot, slot},
    lane::{Answer, Failed, LaneSet, Reading},
    replicas::{self, Replicas},
    steps::removal,
};

/// How many groups of keys go to a server in one go.
const GROUPS_AT_ONCE: usize = 512;

impl Cluster {
    /// Reads many keys.
    pub(crate) async fn read_many(&self, keys: &[Key]) -> Vec<Answer> {
        let inner = &self.inner;
        let deadline = Instant::now() + inner.servers.deadlines.read;
        let owned = inner.by_owner(keys);
        let reads = owned.into_iter().map(async |(node, places)| {
            let mine: Vec<Key> = places.iter().map(|place| keys[*place].clone()).collect();
            let answers = node.read_many(&mine, deadline).await;
            let followed = mine.iter().zip(answers);
            let followed = followed.map(|(key, answer)| follow(inner, key, answer, deadline));
            places.into_iter().zip(join_all(followed).await)
        });
        let mut answers: Vec<Answer> = vec![Err(Fault::Away.into()); keys.len()];
        for (place, answer) in join_all(reads).await.into_iter().flatten() {
            answers[place] = answer;
        }
        answers
    }

    /// Removes many keys, those of one slot atomically. A removal is noted before.
    pub(crate) async fn remove(&self, keys: &[Key], deadline: Instant) -> Vec<Result<(), Failed>> {
        self.note_removal(keys);
        remove(&self.inner, keys, deadline).await
    }

    /// Removes many keys as [`remove`](Self::remove) does, and waits for replicas of each primary.
    pub(crate) async fn remove_and_wait(
        &self,
        keys: &[Key],
        replicas: Replicas,
    ) -> Vec<Result<(), Error>> {
        self.note_removal(keys);
        let deadline = Instant::now() + self.deadlines().write + replicas.patience;
        let owned = self.inner.by_owner(keys);
        let removals = owned.into_iter().map(async |(node, places)| {
            let mine: Vec<Key> = places.iter().map(|place| keys[*place].clone()).collect();
            let removed = replicas::remove(&node, by_slot(&mine), replicas).await;
            if let Err(replicas::Failure::Failed(failed)) = &removed
                && (is_to_be_followed(failed) || failed.fault == Fault::Torn)
            {
                // Done where the keys are now, but not acknowledged: to be done once more.
                remove(&self.inner, &mine, deadline).await;
            }
            let removed = removed.map_err(Error::from);
            places
                .into_iter()
                .map(move |place| (place, removed.clone()))
        });
        let mut answers = vec![Err(Fault::Away.error()); keys.len()];
        for (place, answer) in join_all(removals).await.into_iter().flatten() {
            answers[place] = answer;
        }
        answers
    }

    /// Begins to read one key where it is by the table.
    pub(crate) fn begin_read(&self, key: &Key) -> Result<(Arc<LaneSet>, Reading), Failed> {
        let node = self.owner(key).ok_or(Fault::Away)?;
        let reading = node.begin_read(key)?;
        Ok((node, reading))
    }

    /// Reads a key once more, on its own, if its server has not got it.
    pub(crate) async fn follow(&self, key: &Key, answer: Answer, deadline: Instant) -> Answer {
        follow(&self.inner, key, answer, deadline).await
    }
}

impl Inner {
    /// The places of `keys`, by the node that owns them; the slots of some may be nobody's.
    fn by_owner(&self, keys: &[Key]) -> Vec<(Arc<LaneSet>, Vec<usize>)> {
        let owned = self.table.load().by_owner(keys);
        let found: usize = owned.iter().map(|(_, places)| places.len()).sum();
        if found < keys.len() {
            self.shared.trouble.notify_one();
        }
        owned
    }
}

/// Reads a key once more, on its own, if its server has not got it.
async fn follow(cluster: &Inner, key: &Key, answer: Answer, deadline: Instant) -> Answer {
    match answer {
        // Rare, and its future is large.
        Err(failed) if is_to_be_followed(&failed) => Box::pin(cluster.read(key, deadline)).await,
        answer => answer,
    }
}

/// Whether a command that was sent to the owner by the table is worth another try: it did not run,
/// and may somewhere else or in a moment.
fn is_to_be_followed(failed: &Failed) -> bool {
    failed.fault.is_elsewhere() || failed.fault == Fault::NotReady
}

/// Removes many keys: an answer for each.
pub(super) async fn remove(
    cluster: &Inner,
    keys: &[Key],
    deadline: Instant,
) -> Vec<Result<(), Failed>> {
    let owned = cluster.by_owner(keys);
    let removals = owned.into_iter().map(async |(node, places)| {
        let mine: Vec<Key> = places.iter().map(|place| keys[*place].clone()).collect();
        let removed = remove_of(cluster, &node, &mine, deadline).await;
        places.into_iter().zip(removed)
    });
    let mut answers: Vec<Result<(), Failed>> = vec![Err(Fault::Away.into()); keys.len()];
    for (place, answer) in join_all(removals).await.into_iter().flatten() {
        answers[place] = answer;
    }
    answers
}

/// Removes many keys of one primary: those of one slot by one command, all commands together.
async fn remove_of(
    cluster: &Inner,
    node: &Arc<LaneSet>,
    keys: &[Key],
    deadline: Instant,
) -> Vec<Result<(), Failed>> {
    let lane = match node.lane_by(deadline).await {
        Ok(lane) => lane,
        Err(failed) => return vec![Err(failed); keys.len()],
    };
    let groups = by_slot(keys);
    let parts = groups.chunks(GROUPS_AT_ONCE).map(async |part| {
        let mut commands = Pipeline::with_capacity(part.len());
        for group in part {
            commands.add_command(removal(group, cluster.servers.rules));
        }
        let answers = node.call_all(&lane, &commands, deadline).await;
        let answers = answers.unwrap_or_else(|failed| vec![Err(failed); part.len()]);
        let followed = part.iter().zip(answers);
        join_all(followed.map(|(group, answer)| follow_removal(cluster, group, answer, deadline)))
            .await
    });
    let removed = join_all(parts).await.concat();
    let by_slot: HashMap<u16, Result<(), Failed>> = groups
        .iter()
        .filter_map(|group| Some(slot(group.first()?.as_bytes())))
        .zip(removed)
        .collect();
    let answer = |key: &Key| by_slot.get(&slot(key.as_bytes())).cloned();
    let answers = keys.iter().map(answer);
    answers
        .map(|answer| answer.unwrap_or_else(|| Err(Fault::Unexpected.into())))
        .collect()
}

/// Removes the keys of one slot once more, if their server has not got them.
async fn follow_removal(
    cluster: &Inner,
    keys: &[Key],
    answer: Result<Value, Failed>,
    deadline: Instant,
) -> Result<(), Failed> {
    let answer = match (keys.first(), answer) {
        (Some(key), Err(failed)) if is_to_be_followed(&failed) => {
            let command = removal(keys, cluster.servers.rules);
            let mut hop = cluster.hop(key, deadline).await?;
            let call = cluster.call(&mut hop, key, &command, deadline);
            // Rare, and its future is large.
            Box::pin(call).await
        }
        (_, answer) => answer,
    };
    match answer {
        Err(failed) if failed.fault == Fault::Torn => {
            let apart = keys
                .iter()
                .map(|key| Box::pin(cluster.remove_apart(key, deadline)));
            join_all(apart).await.into_iter().collect()
        }
        answer => answer.map(drop),
    }
}
