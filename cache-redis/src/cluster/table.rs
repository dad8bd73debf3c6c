//! The slots, and the node of each primary.

use std::{collections::HashMap, sync::Arc};

use cache_core::Key;

use super::{address::Address, slots::Slots};
use crate::lane::LaneSet;

/// The slots, and the node of each primary.
pub(super) struct Table {
    pub(super) slots: Arc<Slots>,
    /// In the order of the primaries.
    nodes: Vec<Arc<LaneSet>>,
}

impl Table {
    pub(super) fn none() -> Self {
        Self {
            slots: Arc::new(Slots::none()),
            nodes: Vec::new(),
        }
    }

    /// A table for `slots`, with a node for each primary by `node`.
    pub(super) fn new(slots: Arc<Slots>, node: impl FnMut(&Address) -> Arc<LaneSet>) -> Self {
        let nodes = slots.primaries().iter().map(node).collect();
        Self { slots, nodes }
    }

    /// The node that owns a key's slot.
    pub(super) fn owner(&self, key: &[u8]) -> Option<&Arc<LaneSet>> {
        self.slots.owner(key).map(|owner| &self.nodes[owner])
    }

    /// All nodes.
    pub(super) fn nodes(&self) -> &[Arc<LaneSet>] {
        &self.nodes
    }

    /// All nodes, with where they are.
    pub(super) fn placed(&self) -> impl Iterator<Item = (&Address, &Arc<LaneSet>)> {
        self.slots.primaries().iter().zip(&self.nodes)
    }

    /// The node at an address.
    pub(super) fn at(&self, address: &Address) -> Option<&Arc<LaneSet>> {
        self.placed()
            .find_map(|(other, node)| (other == address).then_some(node))
    }

    /// The places of `keys`, by the node that owns them.
    pub(super) fn by_owner(&self, keys: &[Key]) -> Vec<(Arc<LaneSet>, Vec<usize>)> {
        let mut owned: HashMap<usize, Vec<usize>> = HashMap::new();
        for (place, key) in keys.iter().enumerate() {
            if let Some(owner) = self.slots.owner(key.as_bytes()) {
                owned.entry(owner).or_default().push(place);
            }
        }
        let owned = owned.into_iter();
        owned
            .map(|(owner, places)| (Arc::clone(&self.nodes[owner]), places))
            .collect()
    }
}
