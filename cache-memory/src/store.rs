//! Entries and leases together: the steps of the contract, each of them atomic for its key.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ahash::RandomState;
use bytes::Bytes;
use cache_core::{Acquire, Entry, Error, ErrorKind, Extend, Fill, Key, Lease, Ttl};
use moka::sync::Cache;
use parking_lot::{Mutex, MutexGuard};

use crate::{
    Clock,
    clock::after,
    expiry::SlotExpiry,
    leases::Leases,
    slot::{Contained, Slot},
    weight::{Limit, moka_weight, weight},
};

/// What the clones of one [`Memory`](crate::Memory) share.
///
/// # Invariants
///
/// 1. A slot is written, and a lease granted, kept or ended, only under the lock of its key's
///    stripe. Reading takes no lock.
/// 2. A key with a lease has no slot in moka, not even one that is over. So no slot is ever
///    *updated* in moka, where the old value shares its times with the new one and would seem
///    fresh again to a reader that has just found it.
/// 3. A slot counts only in the epoch in which it was written.
pub(crate) struct Store {
    slots: Cache<Key, Slot, RandomState>,
    stripes: Box<[Stripe]>,
    /// Places keys on stripes. A hasher of its own: the keys of one stripe would otherwise have
    /// similar hashes in its map.
    placement: RandomState,
    /// Counts the calls of [`clear`](Self::clear). moka's `invalidate_all` alone is not exact:
    /// it keeps what was written in the very tick in which it is called.
    epoch: AtomicU64,
    clock: Arc<dyn Clock>,
    is_real_time: bool,
    limit: Limit,
    /// The weight written since moka was last made to settle its accounts.
    unsettled: AtomicU64,
}

/// Keeps neighbours out of each other's cache lines.
#[repr(align(128))]
struct Stripe(Mutex<Leases>);

/// One part of so many is written to the store before it settles. With 64, the most on the heap
/// was measured at 9 % above a limit of 4 MiB, with values of 16 KiB.
const UNSETTLED_SHARE: u64 = 64;

/// Enough that two of a few dozen threads seldom meet.
const STRIPES: u8 = 64;

impl Store {
    pub(crate) fn new(limit: Limit, clock: Arc<dyn Clock>) -> Self {
        let is_real_time = clock.is_real_time();
        let slots = Cache::builder().expire_after(SlotExpiry { is_real_time });
        let slots = match limit {
            Limit::Entries(entries) => slots.max_capacity(entries),
            Limit::Bytes(bytes) => slots
                .max_capacity(bytes)
                .weigher(|key, slot: &Slot| moka_weight(key, slot.entry.get())),
        };
        Self {
            slots: slots.build_with_hasher(RandomState::new()),
            stripes: (0..STRIPES)
                .map(|stripe| Stripe(Mutex::new(Leases::new(u64::from(stripe)))))
                .collect(),
            placement: RandomState::new(),
            epoch: AtomicU64::new(0),
            clock,
            is_real_time,
            limit,
            unsettled: AtomicU64::new(0),
        }
    }

    /// The way of a hit: no lock, no allocation, and no reading of a clock besides moka's.
    #[inline]
    pub(crate) fn read(&self, key: &[u8]) -> Option<Entry> {
        let slot = self.slots.get(key)?;
        // Loaded after the slot: a slot that was there before a `clear` does not pass after it.
        if slot.epoch == self.epoch.load(Ordering::Acquire) && self.is_fresh(&slot) {
            Some(slot.entry.into_inner())
        } else {
            None
        }
    }

    /// Whether a slot that moka has just handed out is before its deadline.
    ///
    /// With the system's clock moka has answered this already, and reading that clock again would
    /// cost a tenth of a hit. It is the same answer:
    ///
    /// - `Cache::get` reads `Instant::now` before it looks for the slot, and hands out none whose
    ///   expiration time is at or before that: the boundary itself is over, as it is for us.
    /// - The expiration time is `created_at + lifetime`, and [`SlotExpiry`] answers `deadline -
    ///   created_at`, so it is `deadline`. moka keeps it without its lowest 12 bits: an entry
    ///   ends up to 4.1 µs early, for all readers alike and so for `acquire`, and never late.
    /// - The time is set once per slot, before `insert` returns: by invariant 2 no slot is
    ///   updated, and reading never changes it. A reader that finds a slot while it is being
    ///   inserted may find no time yet; it is then answered as of before the end of the `fill`.
    fn is_fresh(&self, slot: &Slot) -> bool {
        self.is_real_time || self.clock.now() < slot.deadline
    }

    pub(crate) fn acquire(&self, key: &Key, hold: Duration) -> Acquire {
        let mut leases = self.lock(key);
        if let Some(entry) = self.read(key.as_bytes()) {
            return Acquire::Hit(entry);
        }
        let now = self.clock.now();
        if let Some(retry_after) = leases.held_for(key, now) {
            return Acquire::Held { retry_after };
        }
        self.slots.invalidate(key);
        Acquire::Granted(leases.grant(key, now, hold))
    }

    pub(crate) fn seize(&self, key: &Key, hold: Duration) -> Lease {
        let mut leases = self.lock(key);
        self.slots.invalidate(key);
        leases.grant(key, self.clock.now(), hold)
    }

    pub(crate) fn fill(
        &self,
        key: &Key,
        lease: Lease,
        entry: Entry,
        ttl: Ttl,
    ) -> Result<Fill, Error> {
        // From here on a panic of its `Drop` is contained, and as it is declared before the lock,
        // it is dropped after it.
        let entry = Contained::new(compact(entry));
        let weight = weight(key, entry.get());
        if !self.limit.admits(weight) {
            // Whether or not the lease is held: the answer to this entry is always the same.
            self.release(key, lease);
            return Err(too_heavy());
        }
        let mut leases = self.lock(key);
        let now = self.clock.now();
        if !leases.is_held(key, lease, now) {
            return Ok(Fill::Superseded);
        }
        leases.end(key);
        let slot = Slot {
            entry,
            deadline: after(now, ttl.get()),
            epoch: self.epoch.load(Ordering::Acquire),
        };
        self.slots.insert(key.clone(), slot);
        drop(leases);
        self.settle_if_due(weight);
        Ok(Fill::Stored)
    }

    /// Has moka evict and free when a share of the limit was written. By itself it waits for 64
    /// writes, and frees a little later still: large values would stand far above the limit.
    fn settle_if_due(&self, written: u64) {
        if let Limit::Bytes(limit) = self.limit {
            let unsettled = self.unsettled.fetch_add(written, Ordering::Relaxed) + written;
            if unsettled > limit / UNSETTLED_SHARE {
                self.unsettled.store(0, Ordering::Relaxed);
                self.slots.run_pending_tasks();
            }
        }
    }

    pub(crate) fn extend(&self, key: &Key, lease: Lease, hold: Duration) -> Extend {
        let mut leases = self.lock(key);
        leases.extend(key, lease, self.clock.now(), hold)
    }

    pub(crate) fn release(&self, key: &Key, lease: Lease) {
        self.lock(key).release(key, lease);
    }

    pub(crate) fn remove(&self, key: &Key) {
        let mut leases = self.lock(key);
        self.slots.invalidate(key);
        leases.end(key);
    }

    pub(crate) fn clear(&self) {
        // All locks at once: a fill is either before the clear, and cleared, or after it, and
        // refused. Nobody else takes two, so the order of the stripes is all that is needed.
        let mut stripes: Vec<_> = self.stripes.iter().map(|stripe| stripe.0.lock()).collect();
        self.epoch.fetch_add(1, Ordering::AcqRel);
        for leases in &mut stripes {
            leases.clear();
        }
        self.slots.invalidate_all();
        drop(stripes);
        // Values are dropped here, not under our locks and not on the next caller's time.
        self.slots.run_pending_tasks();
    }

    pub(crate) fn entry_count(&self) -> u64 {
        self.slots.run_pending_tasks();
        self.slots.entry_count()
    }

    pub(crate) fn size_bytes(&self) -> Option<u64> {
        match self.limit {
            Limit::Entries(_) => None,
            Limit::Bytes(_) => {
                self.slots.run_pending_tasks();
                Some(self.slots.weighted_size())
            }
        }
    }

    fn lock(&self, key: &Key) -> MutexGuard<'_, Leases> {
        let [low, ..] = self.placement.hash_one(key).to_le_bytes();
        self.stripes[usize::from(low % STRIPES)].0.lock()
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("limit", &self.limit)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

/// Copies encoded bytes, so that the store keeps these and no more: they may be a slice of
/// something larger, or have room to grow, which the limit would not see.
fn compact(entry: Entry) -> Entry {
    match entry {
        Entry::Encoded(bytes) => {
            let bytes = Bytes::copy_from_slice(&bytes);
            // The first clone allocates the count that all clones share. No read is to do that.
            drop(bytes.clone());
            Entry::Encoded(bytes)
        }
        Entry::Absent | Entry::Decoded { .. } => entry,
    }
}

fn too_heavy() -> Error {
    Error::new(
        ErrorKind::Rejected,
        "the entry alone is heavier than the memory's `max_bytes` (and 4 GiB at most): raise the \
         limit, or do not store values of this size",
    )
}
