//! The backend under test, each of its calls under a deadline.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{Harness, samples::LONG_HOLD};
use crate::{
    Acquire, Backend, Entry, Error, Extend, Fill, Form, Key, Lease, Peek, Ttl,
    testing::conformance::samples::assert_same,
};

/// An empty store of `harness`.
pub(super) async fn empty<H: Harness>(harness: &H) -> Store<H::Backend> {
    Store {
        backend: Arc::new(harness.empty().await),
        deadline: harness.deadline(),
    }
}

/// A store under test. Clones are the same store.
#[derive(Debug)]
pub(super) struct Store<B> {
    backend: Arc<B>,
    deadline: Duration,
}

impl<B> Clone for Store<B> {
    fn clone(&self) -> Self {
        Self {
            backend: Arc::clone(&self.backend),
            deadline: self.deadline,
        }
    }
}

impl<B: Backend> Store<B> {
    pub(super) fn backend(&self) -> &B {
        &self.backend
    }

    /// The entry of a value, in the form that this backend asks for.
    pub(super) fn value(&self, number: u32) -> Entry {
        match self.backend.form() {
            Form::Object => Entry::Decoded {
                value: Arc::new(number),
                weight: 0,
            },
            Form::WeighedObject => Entry::Decoded {
                value: Arc::new(number),
                weight: size_of::<u32>(),
            },
            Form::Encoded => Entry::Encoded(Bytes::from(number.to_string())),
        }
    }

    /// An entry that no codec and no cache can make sense of.
    pub(super) fn odd(&self) -> Entry {
        struct OfNoCache;
        match self.backend.form() {
            Form::Object | Form::WeighedObject => Entry::Decoded {
                value: Arc::new(OfNoCache),
                weight: 0,
            },
            Form::Encoded => Entry::Encoded(Bytes::from_static(b"\xff\x00*rubbish\r\n{")),
        }
    }

    /// What is stored under `key`, after all ways of asking gave the same answer.
    pub(super) async fn read(&self, key: &Key) -> Option<Entry> {
        let entry = self
            .timed("get", self.backend.get(key))
            .await
            .unwrap_or_else(|error| failed("get", &error));
        match self.backend.peek(key.as_bytes()) {
            Peek::Hit(peeked) => assert_same(
                Some(&peeked),
                entry.as_ref(),
                "`peek` hits what `get` reads",
            ),
            Peek::Miss => assert_same(
                None,
                entry.as_ref(),
                "`peek` answers `Miss` only where nothing is stored",
            ),
            Peek::Ask => {}
        }
        let many = self.get_many(std::slice::from_ref(key)).await;
        let [one] = many.as_slice() else {
            panic!(
                "`get_many` gives one answer for one key, not {}",
                many.len()
            );
        };
        assert_same(
            one.as_ref(),
            entry.as_ref(),
            "`get_many` reads what `get` reads",
        );
        entry
    }

    pub(super) async fn get_many(&self, keys: &[Key]) -> Vec<Option<Entry>> {
        self.timed("get_many", self.backend.get_many(keys))
            .await
            .into_iter()
            .map(|entry| entry.unwrap_or_else(|error| failed("get_many", &error)))
            .collect()
    }

    pub(super) async fn acquire(&self, key: &Key, hold: Duration) -> Acquire {
        self.timed("acquire", self.backend.acquire(key, hold))
            .await
            .unwrap_or_else(|error| failed("acquire", &error))
    }

    pub(super) async fn seize(&self, key: &Key, hold: Duration) -> Lease {
        self.timed("seize", self.backend.seize(key, hold))
            .await
            .unwrap_or_else(|error| failed("seize", &error))
    }

    pub(super) async fn fill(&self, key: &Key, lease: Lease, entry: Entry, ttl: Ttl) -> Fill {
        self.timed("fill", self.backend.fill(key, lease, entry, ttl))
            .await
            .unwrap_or_else(|error| failed("fill", &error))
    }

    pub(super) async fn extend(&self, key: &Key, lease: Lease, hold: Duration) -> Extend {
        self.timed("extend", self.backend.extend(key, lease, hold))
            .await
            .unwrap_or_else(|error| failed("extend", &error))
    }

    pub(super) async fn release(&self, key: &Key, lease: Lease) {
        self.timed("release", self.backend.release(key, lease))
            .await
            .unwrap_or_else(|error| failed("release", &error));
    }

    pub(super) async fn remove(&self, keys: &[Key]) {
        let answers = self.timed("remove", self.backend.remove(keys)).await;
        assert_eq!(
            answers.len(),
            keys.len(),
            "`remove` gives one answer for each key"
        );
        for answer in answers {
            answer.unwrap_or_else(|error| failed("remove", &error));
        }
    }

    pub(super) async fn ping(&self) {
        self.timed("ping", self.backend.ping())
            .await
            .unwrap_or_else(|error| failed("ping", &error));
    }

    pub(super) async fn clear(&self) {
        self.timed("clear", self.backend.clear())
            .await
            .unwrap_or_else(|error| failed("clear", &error));
    }

    /// Stores `entry`, whatever is there.
    pub(super) async fn put(&self, key: &Key, entry: Entry, ttl: Ttl) {
        let lease = self.seize(key, LONG_HOLD).await;
        assert_eq!(
            self.fill(key, lease, entry, ttl).await,
            Fill::Stored,
            "a fill follows its `seize` undisturbed"
        );
    }

    async fn timed<T>(&self, call: &str, answer: impl Future<Output = T>) -> T {
        let Ok(answer) = tokio::time::timeout(self.deadline, answer).await else {
            panic!("`{call}` did not answer within {:?}", self.deadline);
        };
        answer
    }
}

fn failed<T>(call: &str, error: &Error) -> T {
    panic!(
        "`{call}` failed: {error} ({}); its arguments are such as the contract allows",
        error.kind().as_str()
    );
}
