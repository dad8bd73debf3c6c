//! The contract between the cache and a store.

use std::{fmt, time::Duration};

use async_trait::async_trait;

use crate::{Entry, Error, Form, Key, Ttl};

/// A store of expiring entries that can grant leases on its keys.
///
/// This is the contract with a backend *implementor*; applications use
/// [`Engine`](crate::Engine) and [`Cache`](crate::Cache). The conformance suite in
/// `cache_core::testing::conformance` is this contract in executable form, and every backend
/// passes it.
///
/// # Model
///
/// A *lease* is the right to fill one key once. It is granted for a time, and ended by anything
/// that removes or writes its key, so a [`fill`](Self::fill) that is accepted proves that nothing
/// did so since the grant. That is the fence: a value that was loaded before an invalidation
/// cannot land after it.
///
/// # Contract
///
/// - Each method is one atomic step for each key.
/// - An expired entry is never returned, a lease that ran out is never honoured. The boundary
///   itself is expired.
/// - Every call answers within a deadline of the backend's own. The core's deadline is only a
///   backstop, and an `acquire` or a `seize` that it cuts off may leave a lease behind until its
///   hold ends.
/// - No two grants ever carry the same [`Lease`], whichever process asked.
/// - `fill`, `extend`, `release` and `remove` may be repeated, and may arrive late: a lease that
///   has ended grants nothing.
/// - Nothing is retried here. A failure is reported with its kind, and the core decides.
/// - An error is logged with its text and with what is behind it: neither shows a key or a value.
/// - There are no default bodies, so that a wrapper cannot forget to forward one.
///
/// # Cancel safety
///
/// Any of these futures may be dropped at any point. What reads is then without effect;
/// what writes may or may not have happened, and repeating it is harmless, except for `acquire`
/// and `seize`, whose lease nobody knows then and which ends with its hold.
#[async_trait]
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// A stable name for errors, spans and metric labels, for example `"redis"`.
    fn name(&self) -> &'static str;

    /// What [`fill`](Self::fill) is to be given.
    fn form(&self) -> Form;

    /// Answers at once what is stored under the key with this text, if this process can know.
    fn peek(&self, key: &[u8]) -> Peek;

    /// Reads the entry of `key`; `None` is a miss.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the store did not answer;
    /// [`Rejected`](crate::ErrorKind::Rejected) if it did, and refuses the read;
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it can never store anything under this
    /// key. The last concerns one key, whose load then runs without lease and fill. Any other is an
    /// outage, in which only so many loads run.
    async fn get(&self, key: &Key) -> Result<Option<Entry>, Error>;

    /// Reads the entries of `keys`: one answer per key, in their order, duplicates included.
    ///
    /// # Errors
    ///
    /// Per key, as for [`get`](Self::get).
    async fn get_many(&self, keys: &[Key]) -> Vec<Result<Option<Entry>, Error>>;

    /// Asks for the right to fill `key`, for `hold`.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get). The lease may have been granted all the same; the backend sees
    /// to it that it is released.
    ///
    /// [`Rejected`](crate::ErrorKind::Rejected) if the store does answer, but can grant no lease
    /// now, for example because it is full: that is no outage, as it is of a [`get`](Self::get). The
    /// load runs without a lease, and its answer is not stored.
    async fn acquire(&self, key: &Key, hold: Duration) -> Result<Acquire, Error>;

    /// Removes the entry of `key` and takes the lease, from whoever holds it.
    ///
    /// # Errors
    ///
    /// As for [`acquire`](Self::acquire). The removal may have happened all the same.
    async fn seize(&self, key: &Key, hold: Duration) -> Result<Lease, Error>;

    /// Stores `entry` for `ttl` and ends `lease`, if `lease` is still held.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the store did not answer, in which case
    /// the entry may have been stored; [`Rejected`](crate::ErrorKind::Rejected) if it never
    /// accepts this entry.
    async fn fill(&self, key: &Key, lease: Lease, entry: Entry, ttl: Ttl) -> Result<Fill, Error>;

    /// Keeps `lease` for `hold` from now.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    async fn extend(&self, key: &Key, lease: Lease, hold: Duration) -> Result<Extend, Error>;

    /// Ends `lease`, if it is still held.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    async fn release(&self, key: &Key, lease: Lease) -> Result<(), Error>;

    /// Removes the entries of `keys` and ends every lease on them: one answer per key.
    ///
    /// # Errors
    ///
    /// Per key, as for [`get`](Self::get). The removal may have happened all the same.
    async fn remove(&self, keys: &[Key]) -> Vec<Result<(), Error>>;

    /// Asks the store for a sign of life.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    async fn ping(&self) -> Result<(), Error>;

    /// Removes every entry and ends every lease.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    async fn clear(&self) -> Result<(), Error>;
}

/// The answer to [`Backend::peek`].
#[expect(clippy::exhaustive_enums, reason = "the core must handle every answer")]
#[derive(Clone, Debug)]
pub enum Peek {
    /// It is here.
    Hit(Entry),
    /// It is certainly not in the store.
    Miss,
    /// This process cannot know: use [`Backend::get`].
    Ask,
}

/// The answer to [`Backend::acquire`].
#[expect(clippy::exhaustive_enums, reason = "the core must handle every answer")]
#[derive(Clone, Debug)]
pub enum Acquire {
    /// The entry is there after all.
    Hit(Entry),
    /// The caller may fill the key, under this lease.
    Granted(Lease),
    /// Another holds the lease.
    Held {
        /// When the lease ends at the latest, unless it is extended.
        retry_after: Duration,
    },
}

/// The answer to [`Backend::fill`].
#[expect(clippy::exhaustive_enums, reason = "the core must handle every answer")]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fill {
    /// The entry is stored.
    Stored,
    /// The lease had ended: something removed, seized or wrote the key, or the hold ran out.
    Superseded,
}

/// The answer to [`Backend::extend`].
#[expect(clippy::exhaustive_enums, reason = "the core must handle every answer")]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Extend {
    /// The lease is kept.
    Extended,
    /// The lease had ended.
    Lost,
}

/// The right to fill one key once, named by a token that is never used for a second grant.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Lease(u128);

impl Lease {
    /// Names the lease with this token.
    #[must_use]
    pub const fn from_token(token: u128) -> Self {
        Self(token)
    }

    /// The token.
    #[must_use]
    pub const fn token(self) -> u128 {
        self.0
    }
}
