//! `max_bytes` is what the heap shows, by an allocator that counts.
//!
//! One test, in a process of its own: whatever else allocates at the same time would be counted
//! too.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use cache_core::{Acquire, Backend, Entry, Fill, Form, Key, Ttl};
use cache_memory::Memory;
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const LIMIT: u64 = 4 * 1024 * 1024;

/// How much is written in all, in limits.
const TIMES: u64 = 10;

/// About what an entry costs besides its value.
const AROUND: u64 = 400;

const TASKS: u64 = 4;

const HOLD: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn the_heap_stays_within_a_fifth_above_the_limit() {
    for size in [16, 256, 2 * 1024, 16 * 1024] {
        for keep_encoded in [false, true] {
            let writes = TIMES * LIMIT / (size + AROUND);

            let store = Store::new(keep_encoded, size);
            for number in 0..writes {
                store.write(number).await;
            }
            store.check_peak("new keys");

            let store = Store::new(keep_encoded, size);
            for number in 0..writes / 4 {
                store.write(number % 200).await;
            }
            store.check_peak("the same keys again");

            let store = Store::new(keep_encoded, size);
            let tasks = (0..TASKS).map(|task| {
                let store = store.clone();
                tokio::spawn(async move {
                    for number in 0..writes / 4 / TASKS {
                        store.write(TASKS * number + task).await;
                    }
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                task.await.expect("a task that writes");
            }
            store.check("many tasks");
        }
    }
}

/// A store, and what was on the heap before it was made.
#[derive(Clone)]
struct Store {
    memory: Memory,
    size: u64,
    before: usize,
}

impl Store {
    fn new(keep_encoded: bool, size: u64) -> Self {
        let before = HEAP.current_usage();
        HEAP.reset_peak_usage();
        let builder = Memory::builder().max_bytes(LIMIT);
        let builder = if keep_encoded {
            builder.keep_encoded()
        } else {
            builder
        };
        Self {
            memory: builder.build().expect("a limit is set"),
            size,
            before,
        }
    }

    /// Checks what is on the heap now. What it was in between says little with many tasks: one
    /// that the system suspends while it reads keeps what the others remove from being freed.
    fn check(&self, what: &str) {
        self.check_usage(what, HEAP.current_usage());
    }

    /// Checks the most that was on the heap since the store was made.
    fn check_peak(&self, what: &str) {
        self.check_usage(what, HEAP.peak_usage());
    }

    fn check_usage(&self, what: &str, heap: usize) {
        let ours = u64::try_from(heap - self.before).expect("a small number");
        let percent = 100 * ours / LIMIT;
        assert!(
            percent <= 120,
            "{what}, {} B, {:?}: the heap is at {percent} % of the limit",
            self.size,
            self.memory.form()
        );
    }

    /// Writes as an engine does after a miss, or as a put where there is something already.
    async fn write(&self, number: u64) {
        let memory = &self.memory;
        let key = Key::new(format!("user:{number:08}").as_bytes());
        let lease = match memory.acquire(&key, HOLD).await.expect("acquire") {
            Acquire::Granted(lease) => lease,
            Acquire::Hit(_) => memory.seize(&key, HOLD).await.expect("seize"),
            Acquire::Held { .. } => panic!("nobody else writes this key"),
        };
        let entry = entry(memory.form(), self.size);
        let ttl = Ttl::clamp(Duration::from_secs(3600), Duration::MAX);
        let filled = memory.fill(&key, lease, entry, ttl).await.expect("fill");
        assert_eq!(filled, Fill::Stored);
    }
}

fn entry(form: Form, size: u64) -> Entry {
    let size = usize::try_from(size).expect("a small size");
    if form == Form::Encoded {
        // As a codec leaves it: with room that it grew into and did not need.
        let mut bytes = Vec::with_capacity(2 * size);
        bytes.resize(size, 7);
        Entry::Encoded(Bytes::from(bytes))
    } else {
        let value = vec![7_u8; size].into_boxed_slice();
        let weight = size_of_val(&value) + size;
        Entry::Decoded {
            value: Arc::new(value),
            weight,
        }
    }
}
