//! The backend: a handle, and the contract in terms of the store.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use cache_core::{Acquire, Backend, Entry, Error, Extend, Fill, Form, Key, Lease, Peek, Ttl};

use crate::{MemoryBuilder, store::Store};

/// A [`Backend`] that keeps entries in this process.
///
/// Cloning is one reference-count increment; clones share entries, leases and limit.
///
/// # What it keeps
///
/// Values are kept as they are given: by default as the objects themselves, so that a hit is a
/// reference-count increment, or with [`keep_encoded`](MemoryBuilder::keep_encoded) as their
/// codec's bytes. One limit is required, [`max_entries`](MemoryBuilder::max_entries) or
/// [`max_bytes`](MemoryBuilder::max_bytes); beyond it moka evicts what is asked for least often.
/// An entry that has just been stored may be the one to go.
///
/// # Dropping values
///
/// A value that is evicted, expired or removed is dropped a little later, by whichever thread
/// uses the store then. If its `Drop` panics, the panic is caught. A `Drop` that takes long
/// holds that thread up, and one that uses this very store may wait for itself: leave such work
/// to a thread of its own.
///
/// # Cancel safety
///
/// All methods of the contract are cancel safe: they do all their work when they are first
/// polled, and never wait. A future that was dropped after that has taken effect.
#[derive(Clone)]
pub struct Memory {
    store: Arc<Store>,
    form: Form,
}

impl Memory {
    /// Starts a builder. A limit must be set; everything else has a default.
    pub fn builder() -> MemoryBuilder {
        MemoryBuilder::new()
    }

    pub(crate) fn new(store: Store, form: Form) -> Self {
        Self {
            store: Arc::new(store),
            form,
        }
    }

    /// How many entries are stored, including those that have expired and not been swept yet.
    ///
    /// Does moka's pending work first, which takes its lock and may drop values: for tests and
    /// gauges, not for the way of a request.
    #[must_use]
    pub fn entry_count(&self) -> u64 {
        self.store.entry_count()
    }

    /// How many bytes the entries take up, as [`max_bytes`](MemoryBuilder::max_bytes) counts
    /// them; `None` if that is not the limit.
    ///
    /// Does moka's pending work first, as [`entry_count`](Self::entry_count).
    #[must_use]
    pub fn size_bytes(&self) -> Option<u64> {
        self.store.size_bytes()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store, form } = self;
        f.debug_struct("Memory")
            .field("form", form)
            .field("store", store)
            .finish()
    }
}

/// None of the methods fails, but for [`fill`](Backend::fill).
#[async_trait]
impl Backend for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn form(&self) -> Form {
        self.form
    }

    /// Never answers [`Peek::Ask`].
    fn peek(&self, key: &[u8]) -> Peek {
        match self.store.read(key) {
            Some(entry) => Peek::Hit(entry),
            None => Peek::Miss,
        }
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>, Error> {
        Ok(self.store.read(key.as_bytes()))
    }

    async fn get_many(&self, keys: &[Key]) -> Vec<Result<Option<Entry>, Error>> {
        keys.iter()
            .map(|key| Ok(self.store.read(key.as_bytes())))
            .collect()
    }

    async fn acquire(&self, key: &Key, hold: Duration) -> Result<Acquire, Error> {
        Ok(self.store.acquire(key, hold))
    }

    async fn seize(&self, key: &Key, hold: Duration) -> Result<Lease, Error> {
        Ok(self.store.seize(key, hold))
    }

    /// Stores `entry` for `ttl` and ends `lease`, if `lease` is still held.
    ///
    /// # Errors
    ///
    /// [`Rejected`](cache_core::ErrorKind::Rejected) if the entry alone weighs more than
    /// [`max_bytes`](MemoryBuilder::max_bytes), or more than 4 GiB. That ends the lease: another
    /// may load the key at once.
    async fn fill(&self, key: &Key, lease: Lease, entry: Entry, ttl: Ttl) -> Result<Fill, Error> {
        self.store.fill(key, lease, entry, ttl)
    }

    async fn extend(&self, key: &Key, lease: Lease, hold: Duration) -> Result<Extend, Error> {
        Ok(self.store.extend(key, lease, hold))
    }

    async fn release(&self, key: &Key, lease: Lease) -> Result<(), Error> {
        self.store.release(key, lease);
        Ok(())
    }

    /// Removes the entries of `keys` and ends every lease on them.
    ///
    /// Atomic for each key, one after the other: a reader may see some of several keys removed
    /// and others not yet.
    async fn remove(&self, keys: &[Key]) -> Vec<Result<(), Error>> {
        keys.iter()
            .map(|key| {
                self.store.remove(key);
                Ok(())
            })
            .collect()
    }

    async fn ping(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Removes every entry and ends every lease, in one step for all keys. Then drops the
    /// values, which takes its time if there are many.
    async fn clear(&self) -> Result<(), Error> {
        self.store.clear();
        Ok(())
    }
}
