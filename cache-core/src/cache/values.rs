//! What a cache knows about its values: how they are stored, read back and weighed, and for how
//! long they live.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use super::coding::Coding;
use crate::{
    BoxError, Entry, Event, Form, Policy, Ttl,
    actor::{Filling, Found, Unreadable, ValueOps},
    engine::Name,
    flight::CacheId,
    load::Keep,
    observer::Observer,
    policy::{Kind, Lifetime},
};

/// How many bytes a value weighs, in the user's words.
pub(super) type Weigher<V> = Box<dyn Fn(&V) -> usize + Send + Sync>;

/// What the handles of a cache, and its running loads, share.
pub(super) struct Values<V> {
    pub(super) id: CacheId,
    /// Before the name, which is free for a new cache when it is dropped: by then the recorder has
    /// heard the end of this one.
    pub(super) observer: Observer,
    pub(super) name: Name,
    pub(super) form: Form,
    pub(super) coding: Box<dyn Coding<V>>,
    pub(super) weigher: Option<Weigher<V>>,
    pub(super) policy: Policy,
}

/// A panic of a codec or a weigher.
#[derive(Debug, thiserror::Error)]
#[error("the codec or the weigher panicked")]
struct Panicked;

impl<V: Send + Sync + 'static> Values<V> {
    /// What is to be stored of a load's answer, if anything.
    ///
    /// An answer that cannot be stored is still an answer: that is counted, not returned.
    pub(super) fn filling(&self, value: Option<&Arc<V>>, keep: Keep) -> Option<Filling> {
        let wish = match keep {
            Keep::No => return None,
            Keep::Default => None,
            Keep::For(ttl) => Some(ttl),
        };
        let kind = value.map_or(Kind::Negative, |_| Kind::Value);
        let Lifetime { ttl, is_clamped } = self.policy.of_load(kind, wish, fastrand::f64())?;
        if is_clamped {
            self.observer.record(Event::TtlClamped);
        }
        match self.entry(value) {
            Ok(entry) => Some(Filling { entry, ttl }),
            Err(_) => {
                self.observer.record(Event::Unencodable);
                None
            }
        }
    }

    /// What a put stores.
    pub(super) fn put(&self, value: Arc<V>, ttl: Ttl) -> Result<Filling, BoxError> {
        let entry = self.entry(Some(&value));
        // Where entries are bytes this is the last of the value. A panic was reported by the hook.
        drop(catch_unwind(AssertUnwindSafe(|| drop(value))));
        Ok(Filling {
            entry: entry?,
            ttl: self.policy.spread(ttl, fastrand::f64()),
        })
    }

    /// Reads an entry. Never panics.
    pub(super) fn read(&self, entry: Entry) -> Result<Option<Arc<V>>, Unreadable> {
        match entry {
            Entry::Absent => Ok(None),
            Entry::Decoded { value, .. } => match value.downcast::<V>() {
                Ok(value) => Ok(Some(value)),
                Err(_other_type) => Err(Unreadable),
            },
            Entry::Encoded(payload) => match guarded(|| self.coding.decode(&payload)) {
                Ok(value) => Ok(Some(Arc::new(value))),
                Err(_) => Err(Unreadable),
            },
        }
    }

    fn entry(&self, value: Option<&Arc<V>>) -> Result<Entry, BoxError> {
        let Some(value) = value else {
            return Ok(Entry::Absent);
        };
        Ok(match self.form {
            Form::Object => Entry::Decoded {
                value: Arc::clone(value) as _,
                weight: 0,
            },
            Form::WeighedObject => Entry::Decoded {
                weight: self.weigh(value)?,
                value: Arc::clone(value) as _,
            },
            Form::Encoded => Entry::Encoded(guarded(|| self.coding.encode(value))?),
        })
    }

    fn weigh(&self, value: &V) -> Result<usize, BoxError> {
        guarded(|| match &self.weigher {
            Some(weigher) => Ok(weigher(value)),
            None => self.coding.encoded_len(value),
        })
    }
}

impl<V: Send + Sync + 'static> ValueOps for Values<V> {
    fn decode(&self, entry: Entry) -> Result<Found, Unreadable> {
        let value = self.read(entry)?;
        Ok(value.map(|value| value as _))
    }

    fn observer(&self) -> &Observer {
        &self.observer
    }
}

/// Runs users' code; a panic is an error.
fn guarded<T>(code: impl FnOnce() -> Result<T, BoxError>) -> Result<T, BoxError> {
    match catch_unwind(AssertUnwindSafe(code)) {
        Ok(result) => result,
        Err(_panic) => Err(Panicked.into()),
    }
}
