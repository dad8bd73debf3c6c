//! Switches that turn off one rule that the fence rests on, to see tests fail.

#[cfg(feature = "testing")]
use std::collections::HashMap;

#[cfg(feature = "testing")]
use bytes::Bytes;
#[cfg(feature = "testing")]
use cache_core::Key;
#[cfg(feature = "testing")]
use parking_lot::Mutex;
#[cfg(feature = "testing")]
use tokio::sync::oneshot;

#[cfg(feature = "testing")]
use crate::lane::Failed;

/// A rule of this backend that is switched off, to see the tests of that rule fail.
#[cfg(feature = "testing")]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Mutant {
    /// A fill is stored whatever the lease says.
    UncheckedFill,
    /// A removal takes the entry away and leaves its lease.
    RemoveKeepsLease,
    /// The same token is used for every attempt.
    ReusedToken,
    /// A lease that was asked for and not answered is not released.
    NoRelease,
    /// A read is answered with the reply to a batch that was on its way when it was asked.
    SharedReads,
}

/// The rules in force: all of them, unless a test switched one off.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules {
    #[cfg(feature = "testing")]
    pub(crate) mutant: Option<Mutant>,
}

impl Rules {
    #[cfg(feature = "testing")]
    pub(crate) fn without(self, rule: Mutant) -> bool {
        self.mutant == Some(rule)
    }

    /// Whether a removal leaves leases alone, as none is to.
    #[cfg_attr(
        not(feature = "testing"),
        expect(clippy::unused_self, reason = "all rules hold")
    )]
    pub(crate) fn keeps_leases(self) -> bool {
        #[cfg(feature = "testing")]
        return self.without(Mutant::RemoveKeepsLease);
        #[cfg(not(feature = "testing"))]
        false
    }
}

#[cfg(feature = "testing")]
type Reply = oneshot::Sender<Result<Option<Bytes>, Failed>>;

/// For [`Mutant::SharedReads`]: the keys of the batches on their way, and who joined them.
#[cfg(feature = "testing")]
#[derive(Debug, Default)]
pub(crate) struct OnTheWay(Mutex<HashMap<Key, Vec<Reply>>>);

#[cfg(feature = "testing")]
impl OnTheWay {
    pub(crate) fn sent(&self, key: &Key) {
        self.0.lock().entry(key.clone()).or_default();
    }

    /// Joins the batch that asks for `key`, if there is one.
    pub(crate) fn join(
        &self,
        key: &Key,
    ) -> Option<oneshot::Receiver<Result<Option<Bytes>, Failed>>> {
        let mut batches = self.0.lock();
        let joined = batches.get_mut(key)?;
        let (reply, answer) = oneshot::channel();
        joined.push(reply);
        Some(answer)
    }

    pub(crate) fn answered(&self, key: &Key, value: Option<&Bytes>) {
        for reply in self.0.lock().remove(key).into_iter().flatten() {
            reply.send(Ok(value.cloned())).ok();
        }
    }
}
