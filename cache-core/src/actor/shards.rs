//! The shards of an engine: which key belongs where, and a successor for one that died.

use std::sync::Arc;

use actix::{Addr, Context, dev::channel::channel};
use arc_swap::ArcSwapOption;

use super::{
    placement::Thread,
    seat::Seat,
    shard::{Join, Shard},
};
use crate::{
    Error, ErrorKind, Key,
    engine::{Busy, Core},
    flight::CacheId,
};

/// What a mailbox holds before `send` waits for its turn; posts and joins do not wait.
const MAILBOX: usize = 1024;

/// The shards of an engine. Each starts when it is first needed.
pub(crate) struct Shards {
    core: Arc<Core>,
    slots: Box<[ArcSwapOption<Addr<Shard>>]>,
    threads: Vec<Thread>,
    hasher: ahash::RandomState,
}

impl Shards {
    pub(crate) fn new(core: Arc<Core>, threads: Vec<Thread>) -> Self {
        Self {
            slots: (0..core.config.shards)
                .map(|_| ArcSwapOption::empty())
                .collect(),
            core,
            threads,
            hasher: ahash::RandomState::new(),
        }
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Posts a caller's seat to the shard of `key`.
    ///
    /// If the actor dies before it answers, the seat is dropped, and that tells the caller.
    #[expect(
        clippy::disallowed_methods,
        reason = "the seat carries its own reply, and callers are bounded by admission"
    )]
    pub(crate) fn join(
        &self,
        key: &Key,
        cache: CacheId,
        seat: Seat,
        busy: Busy,
    ) -> Result<(), Error> {
        let shard = self.shard_of(key)?;
        #[cfg(feature = "testing")]
        self.core.count_message();
        shard.do_send(Join {
            key: key.clone(),
            cache,
            seat,
            busy,
        });
        Ok(())
    }

    /// The index of the shard of `key`.
    pub(super) fn index_of(&self, key: &Key) -> usize {
        let hash = self.hasher.hash_one(key.as_bytes());
        usize::try_from(hash % self.slots.len() as u64).unwrap_or(0)
    }

    /// The thread that the shard with this index runs on.
    pub(super) fn thread(&self, index: usize) -> &Thread {
        &self.threads[index % self.threads.len()]
    }

    /// The shard of `key`, started if need be.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Shutdown`] if the thread of the shard has ended.
    pub(super) fn shard_of(&self, key: &Key) -> Result<Arc<Addr<Shard>>, Error> {
        let index = self.index_of(key);
        let slot = &self.slots[index];
        loop {
            let current = slot.load();
            if let Some(shard) = current.as_ref().filter(|shard| shard.connected()) {
                return Ok(Arc::clone(shard));
            }
            let successor = self.start(index);
            if !successor.connected() {
                return Err(ended());
            }
            // One caller's successor stays; the others' have no address left and end.
            slot.compare_and_swap(&current, Some(Arc::new(successor)));
        }
    }

    /// The shard with this index, if it has been started.
    pub(super) fn started(&self, index: usize) -> Option<Arc<Addr<Shard>>> {
        self.slots[index].load_full()
    }

    /// All shards that have been started.
    pub(super) fn all_started(&self) -> impl Iterator<Item = Arc<Addr<Shard>>> + '_ {
        self.slots.iter().filter_map(ArcSwapOption::load_full)
    }

    /// Starts an actor on its thread. Its address takes messages at once, wherever this is called.
    fn start(&self, index: usize) -> Addr<Shard> {
        let (sender, receiver) = channel::<Shard>(MAILBOX);
        let shard = Shard::new(Arc::clone(&self.core));
        self.thread(index).spawn(async move {
            let context = Context::with_receiver(receiver);
            tokio::task::spawn_local(context.into_future(shard));
        });
        Addr::new(sender)
    }
}

/// Why nothing but a hit is answered any more.
pub(super) fn ended() -> Error {
    Error::new(
        ErrorKind::Shutdown,
        "the actix system or `LocalSet` that the engine was placed on has ended: keep it running \
         as long as the engine is used",
    )
}

#[cfg(feature = "testing")]
impl Shards {
    /// Flights, seats and puts of each started shard.
    pub(crate) async fn census(&self) -> Vec<(usize, usize, usize)> {
        let mut counts = Vec::new();
        for shard in self.all_started() {
            let count = shard.send(super::shard::testing::Count {}).await;
            counts.push(count.unwrap_or_default());
        }
        counts
    }

    /// Makes the shard of `key` panic.
    #[expect(
        clippy::disallowed_methods,
        reason = "a test's message without a reply"
    )]
    pub(crate) fn kill(&self, key: &Key) {
        if let Ok(shard) = self.shard_of(key) {
            shard.do_send(super::shard::testing::Die {});
        }
    }
}
