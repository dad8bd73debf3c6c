//! Moves slots from node to node, in steps.

use redis::Value;

use super::{Cluster, view::View};
use crate::{Error, server::expect};

/// How many keys are moved at once.
const BATCH: usize = 100;

/// How long the nodes may take for a batch, in milliseconds.
const LIMIT: usize = 5_000;

impl Cluster {
    /// Begins to move a slot to the node of this number: from now on, the node that serves the slot
    /// sends clients there (`ASK`) for every key that it does not hold.
    ///
    /// # Panics
    ///
    /// Panics if that node serves the slot already or is no primary, or if one of the two does not
    /// answer.
    ///
    /// # Cancel safety
    ///
    /// Not safe: a drop may leave the target expecting a slot that does not come.
    pub async fn begin_move(&self, slot: u16, to: usize) {
        let from = self.primary_of_slot(slot).await;
        let text = slot.to_string();
        let set = |state: &'static str, other: usize| {
            ["CLUSTER", "SETSLOT", &text, state, &self.ids[other]].map(str::to_owned)
        };
        // The other way round, clients would be sent to one that does not let them in.
        for (node, words) in [(to, set("IMPORTING", from)), (from, set("MIGRATING", to))] {
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            self.nodes[node].cmd(&words).await;
        }
    }

    /// Moves all keys of a slot to where it goes since [`begin_move`](Self::begin_move). Returns
    /// how many there were.
    ///
    /// # Panics
    ///
    /// Panics if the slot is not on its way, if the target holds one of the keys already, or if one
    /// of the two nodes does not answer.
    ///
    /// # Cancel safety
    ///
    /// Not safe: a drop may leave some of the keys moved. To call it again moves the rest.
    pub async fn move_keys(&self, slot: u16) -> usize {
        let from = self.primary_of_slot(slot).await;
        let to = self.target_of(from, slot).await;
        let host = expect(self.nodes[to].host_for_peers().await);
        let mut connection = self.nodes[from].client().await;
        let mut moved = 0;
        loop {
            let asked = redis::cmd("CLUSTER")
                .arg("GETKEYSINSLOT")
                .arg(slot)
                .arg(BATCH)
                .query_async::<Vec<Vec<u8>>>(&mut connection)
                .await;
            let keys = expect(asked.map_err(|error| Error::because("cannot list keys", error)));
            if keys.is_empty() {
                return moved;
            }
            let mut migrate = redis::cmd("MIGRATE");
            migrate
                .arg(&host)
                .arg(self.nodes[to].port())
                .arg("")
                .arg(0)
                .arg(LIMIT);
            if let Some(password) = self.nodes[to].password() {
                migrate.arg("AUTH").arg(password);
            }
            migrate.arg("KEYS").arg(&keys);
            let outcome: redis::RedisResult<Value> = migrate.query_async(&mut connection).await;
            expect(outcome.map_err(|error| Error::because("cannot move keys", error)));
            moved += keys.len();
        }
    }

    /// Ends the move of a slot to the node of this number, which serves it from now on: it is told
    /// first, then the one that served it, then the other primaries.
    ///
    /// # Panics
    ///
    /// Panics if the one that served it still holds keys of it, or if a running primary does not
    /// answer.
    ///
    /// # Cancel safety
    ///
    /// Not safe: a drop may leave some nodes to learn of it from the others.
    pub async fn end_move(&self, slot: u16, to: usize) {
        let from = self.primary_of_slot(slot).await;
        let mut primaries = vec![to, from];
        let others = self.running_primaries().await;
        primaries.extend(others.into_iter().filter(|node| ![to, from].contains(node)));
        let slot = slot.to_string();
        for node in primaries {
            self.nodes[node]
                .cmd(&["CLUSTER", "SETSLOT", &slot, "NODE", &self.ids[to]])
                .await;
        }
    }

    /// Moves a slot and its keys to the node of this number, in all three steps. Returns how many
    /// keys there were.
    ///
    /// # Panics
    ///
    /// As [`begin_move`](Self::begin_move), [`move_keys`](Self::move_keys) and
    /// [`end_move`](Self::end_move).
    ///
    /// # Cancel safety
    ///
    /// Not safe: a drop may leave the slot on its way.
    pub async fn move_slot(&self, slot: u16, to: usize) -> usize {
        self.begin_move(slot, to).await;
        let moved = self.move_keys(slot).await;
        self.end_move(slot, to).await;
        moved
    }

    async fn target_of(&self, from: usize, slot: u16) -> usize {
        let text: String = self.nodes[from].query(&["CLUSTER", "NODES"]).await;
        let view = View::read(&text);
        let target = view.own().and_then(|own| own.leaving(slot));
        match target.and_then(|id| self.number_of(id)) {
            Some(number) => number,
            None => panic!("slot {slot} is not on its way: call begin_move() first"),
        }
    }
}
