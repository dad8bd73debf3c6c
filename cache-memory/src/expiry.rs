//! When moka may free the memory of a slot.

use std::time::{Duration, Instant};

use cache_core::Key;
use moka::Expiry;

use crate::{clock::CENTURY, slot::Slot};

/// Tells moka how long to keep a slot. It never answers "without end": entries that move in and
/// out of moka's timer wheel have a history of use after free.
#[derive(Debug)]
pub(crate) struct SlotExpiry {
    /// Whether the store's clock is the one that moka reads.
    pub(crate) is_real_time: bool,
}

impl SlotExpiry {
    fn lifetime(&self, slot: &Slot, now: Instant) -> Duration {
        if self.is_real_time {
            slot.deadline.saturating_duration_since(now)
        } else {
            // moka's clock cannot be driven from outside. By it a slot must never be over that
            // is fresh by the store's clock, which may stand still for hours.
            CENTURY
        }
    }
}

impl Expiry<Key, Slot> for SlotExpiry {
    fn expire_after_create(&self, _: &Key, slot: &Slot, created_at: Instant) -> Option<Duration> {
        Some(self.lifetime(slot, created_at))
    }

    fn expire_after_update(
        &self,
        _: &Key,
        slot: &Slot,
        updated_at: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(self.lifetime(slot, updated_at))
    }
}
