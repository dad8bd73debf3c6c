//! Readers take no lock. Still, none is given what was removed before it asked.
#![expect(clippy::expect_used, reason = "helpers of tests fail by panicking")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use cache_core::{Acquire, Backend, Entry, Key, Lease, Peek, Ttl};
use cache_memory::{Memory, MemoryBuilder};

const KEYS: usize = 16;

const ROUNDS: u64 = 4_000;

const HOLD: Duration = Duration::from_secs(60);

/// A store, and for each key the oldest version that may still be read.
#[derive(Clone)]
struct Stage {
    memory: Memory,
    floors: Arc<[AtomicU64; KEYS]>,
    over: Arc<AtomicBool>,
}

impl Stage {
    /// Writes, loads and removes one key over and over, each time with a new version of it.
    async fn write(self, number: usize) {
        let key = key(number);
        let mut random = number as u64;
        for version in 1..=ROUNDS {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let granted = match random >> 61 {
                0 | 1 => {
                    self.memory.remove(std::slice::from_ref(&key)).await;
                    None
                }
                // What expires at once, perhaps on its way from moka's table to the reader.
                2 | 3 => {
                    let lease = self.memory.seize(&key, HOLD).await.expect("seize");
                    Some((lease, Ttl::MIN))
                }
                _ => match self.memory.acquire(&key, HOLD).await.expect("acquire") {
                    Acquire::Granted(lease) => Some((lease, Ttl::clamp(HOLD, HOLD))),
                    Acquire::Hit(_) | Acquire::Held { .. } => continue,
                },
            };
            // Whatever is older is gone by now.
            self.floors[number].store(version, Ordering::SeqCst);
            if let Some((lease, ttl)) = granted {
                self.fill(&key, lease, version, ttl).await;
            }
        }
    }

    async fn fill(&self, key: &Key, lease: Lease, version: u64, ttl: Ttl) {
        let entry = Entry::Decoded {
            value: Arc::new(version),
            weight: 100,
        };
        self.memory
            .fill(key, lease, entry, ttl)
            .await
            .expect("fill");
    }

    /// Reads all keys until the writers are done, and answers how many hits there were.
    fn read(self) -> u64 {
        let mut hits = 0;
        while !self.over.load(Ordering::Relaxed) {
            for number in 0..KEYS {
                let floor = self.floors[number].load(Ordering::SeqCst);
                let Peek::Hit(Entry::Decoded { value, .. }) =
                    self.memory.peek(key(number).as_bytes())
                else {
                    continue;
                };
                let version = *value.downcast_ref::<u64>().expect("a version");
                assert!(
                    version >= floor,
                    "version {version} was read after {floor} had removed it"
                );
                hits += 1;
            }
        }
        hits
    }
}

fn key(number: usize) -> Key {
    Key::new(format!("user:{number}").as_bytes())
}

async fn no_reader_is_given_what_was_removed_before_it_asked(builder: MemoryBuilder) {
    let stage = Stage {
        memory: builder.build().expect("a limit is set"),
        floors: Arc::default(),
        over: Arc::default(),
    };
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let stage = stage.clone();
            tokio::task::spawn_blocking(|| stage.read())
        })
        .collect();
    let writers: Vec<_> = (0..KEYS)
        .map(|number| tokio::spawn(stage.clone().write(number)))
        .collect();

    for writer in writers {
        writer.await.expect("a writer");
    }
    stage.over.store(true, Ordering::Relaxed);
    let mut hits = 0;
    for reader in readers {
        hits += reader.await.expect("a reader");
    }
    assert!(hits > 0, "there was nothing to be seen");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_room_for_all() {
    no_reader_is_given_what_was_removed_before_it_asked(Memory::builder().max_entries(1_000)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_room_for_few() {
    no_reader_is_given_what_was_removed_before_it_asked(Memory::builder().max_entries(4)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_few_bytes() {
    no_reader_is_given_what_was_removed_before_it_asked(Memory::builder().max_bytes(4_000)).await;
}
