//! [`Memory`] answers like a model of the contract that is too simple to be wrong, whatever is
//! done to it in whatever order.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

use std::{collections::HashMap, sync::Arc, time::Duration};

use cache_core::{Acquire, Backend, Entry, Extend, Fill, Key, Lease, Peek, Ttl};
use cache_memory::{ManualClock, Memory};
use proptest::{collection::vec, prelude::*};

const KEYS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Acquire { key: usize, hold: u64 },
    Seize { key: usize, hold: u64 },
    Fill { key: usize, lease: usize, ttl: u64 },
    Extend { key: usize, lease: usize, hold: u64 },
    Release { key: usize, lease: usize },
    Remove { keys: Vec<usize> },
    Clear,
    Advance { by: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    // Few keys and short times, so that steps meet. Leases are named by how long ago they were
    // granted.
    let (key, lease, millis) = (0..KEYS, 0..4_usize, 1..6_u64);
    let on_lease = (key.clone(), lease, millis.clone());
    prop_oneof![
        4 => (key.clone(), millis.clone()).prop_map(|(key, hold)| Step::Acquire { key, hold }),
        2 => (key.clone(), millis.clone()).prop_map(|(key, hold)| Step::Seize { key, hold }),
        5 => on_lease.clone().prop_map(|(key, lease, ttl)| Step::Fill { key, lease, ttl }),
        2 => on_lease.clone().prop_map(|(key, lease, hold)| Step::Extend { key, lease, hold }),
        1 => on_lease.prop_map(|(key, lease, _)| Step::Release { key, lease }),
        1 => vec(key, 0..4).prop_map(|keys| Step::Remove { keys }),
        1 => Just(Step::Clear),
        3 => millis.prop_map(|by| Step::Advance { by }),
    ]
}

/// The contract: what is stored until when, who may fill until when.
#[derive(Default)]
struct Model {
    now: u64,
    entries: HashMap<usize, (u32, u64)>,
    leases: HashMap<usize, (Lease, u64)>,
}

impl Model {
    fn read(&self, key: usize) -> Option<u32> {
        let (value, ends) = self.entries.get(&key)?;
        (self.now < *ends).then_some(*value)
    }

    fn held(&self, key: usize) -> Option<(Lease, u64)> {
        let (lease, ends) = self.leases.get(&key)?;
        (self.now < *ends).then(|| (*lease, ends - self.now))
    }

    fn holds(&self, key: usize, lease: Lease) -> bool {
        self.held(key).is_some_and(|(held, _)| held == lease)
    }
}

struct Run {
    memory: Memory,
    clock: ManualClock,
    model: Model,
    granted: Vec<Lease>,
    written: u32,
}

impl Run {
    fn new() -> Self {
        let clock = ManualClock::default();
        let builder = Memory::builder().max_entries(1_000).clock(clock.clone());
        Self {
            memory: builder.build().unwrap(),
            clock,
            model: Model::default(),
            granted: Vec::new(),
            written: 0,
        }
    }

    /// The lease that was granted so many grants ago.
    fn lease(&self, ago: usize) -> Lease {
        let granted = self.granted.iter().rev().nth(ago);
        granted.copied().unwrap_or(Lease::from_token(u128::MAX))
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Acquire { key, hold } => self.acquire(key, hold).await,
            Step::Seize { key, hold } => {
                let lease = self.memory.seize(&name(key), millis(hold)).await.unwrap();
                self.model.entries.remove(&key);
                self.grant(key, lease, hold);
            }
            Step::Fill { key, lease, ttl } => self.fill(key, lease, ttl).await,
            Step::Extend { key, lease, hold } => {
                let lease = self.lease(lease);
                let hold_for = millis(hold);
                let extended = self.memory.extend(&name(key), lease, hold_for).await;
                let expected = if self.model.holds(key, lease) {
                    self.model
                        .leases
                        .insert(key, (lease, self.model.now + hold));
                    Extend::Extended
                } else {
                    Extend::Lost
                };
                assert_eq!(extended.unwrap(), expected);
            }
            Step::Release { key, lease } => {
                let lease = self.lease(lease);
                self.memory.release(&name(key), lease).await.unwrap();
                if self.model.holds(key, lease) {
                    self.model.leases.remove(&key);
                }
            }
            Step::Remove { keys } => {
                let names: Vec<_> = keys.iter().map(|key| name(*key)).collect();
                assert_eq!(self.memory.remove(&names).await.len(), keys.len());
                for key in keys {
                    self.model.entries.remove(&key);
                    self.model.leases.remove(&key);
                }
            }
            Step::Clear => {
                self.memory.clear().await.unwrap();
                self.model.entries.clear();
                self.model.leases.clear();
            }
            Step::Advance { by } => {
                self.clock.advance(millis(by));
                self.model.now += by;
            }
        }
    }

    async fn acquire(&mut self, key: usize, hold: u64) {
        match self.memory.acquire(&name(key), millis(hold)).await.unwrap() {
            Acquire::Hit(entry) => assert_eq!(number(entry), self.model.read(key)),
            Acquire::Held { retry_after } => {
                assert_eq!(self.model.read(key), None);
                let left = self.model.held(key).map(|(_, left)| millis(left));
                assert_eq!(left, Some(retry_after));
            }
            Acquire::Granted(lease) => {
                assert_eq!(self.model.read(key), None);
                assert_eq!(self.model.held(key), None);
                self.grant(key, lease, hold);
            }
        }
    }

    fn grant(&mut self, key: usize, lease: Lease, hold: u64) {
        assert!(!self.granted.contains(&lease), "it was granted before");
        self.granted.push(lease);
        self.model
            .leases
            .insert(key, (lease, self.model.now + hold));
    }

    async fn fill(&mut self, key: usize, lease: usize, ttl: u64) {
        let lease = self.lease(lease);
        self.written += 1;
        let entry = Entry::Decoded {
            value: Arc::new(self.written),
            weight: 0,
        };
        let ttl_of_it = Ttl::clamp(millis(ttl), Duration::MAX);
        let filled = self.memory.fill(&name(key), lease, entry, ttl_of_it).await;
        let expected = if self.model.holds(key, lease) {
            self.model.leases.remove(&key);
            let entry = (self.written, self.model.now + ttl);
            self.model.entries.insert(key, entry);
            Fill::Stored
        } else {
            Fill::Superseded
        };
        assert_eq!(filled.unwrap(), expected);
    }

    async fn compare(&self) {
        let keys: Vec<_> = (0..KEYS).map(name).collect();
        let many = self.memory.get_many(&keys).await;
        for (key, got) in many.into_iter().enumerate() {
            let expected = self.model.read(key);
            assert_eq!(got.unwrap().and_then(number), expected);
            match self.memory.peek(name(key).as_bytes()) {
                Peek::Hit(entry) => assert_eq!(number(entry), expected),
                Peek::Miss => assert_eq!(expected, None),
                Peek::Ask => panic!("memory knows"),
            }
        }
    }
}

fn name(key: usize) -> Key {
    Key::new(format!("k{key}").as_bytes())
}

fn number(entry: Entry) -> Option<u32> {
    match entry {
        Entry::Decoded { value, .. } => value.downcast_ref().copied(),
        Entry::Absent | Entry::Encoded(_) => None,
    }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn memory_does_what_the_contract_says(steps in vec(step(), 1..100)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut run = Run::new();
            for step in steps {
                run.step(step).await;
                run.compare().await;
            }
        });
    }
}
