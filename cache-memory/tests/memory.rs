//! What [`Memory`] promises besides the contract of a backend.
#![expect(clippy::panic, reason = "helpers of tests fail by panicking")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use cache_core::{Acquire, Backend, Entry, Error, ErrorKind, Fill, Key, Peek, Ttl};
use cache_memory::{ManualClock, Memory};

const HOLD: Duration = Duration::from_secs(60);

const KIB: u64 = 1024;

fn hour() -> Ttl {
    Ttl::clamp(Duration::from_secs(3600), Duration::MAX)
}

fn key(number: u32) -> Key {
    Key::new(format!("user:{number}").as_bytes())
}

fn value(value: impl Send + Sync + 'static) -> Entry {
    Entry::Decoded {
        value: Arc::new(value),
        weight: 100,
    }
}

async fn put(memory: &Memory, key: &Key, entry: Entry, ttl: Ttl) -> Result<Fill, Error> {
    let lease = memory.seize(key, HOLD).await?;
    memory.fill(key, lease, entry, ttl).await
}

#[tokio::test]
async fn an_entry_that_no_eviction_makes_room_for_is_rejected_and_frees_its_key() {
    for keep_encoded in [false, true] {
        let builder = Memory::builder().max_bytes(64 * KIB);
        let builder = if keep_encoded {
            builder.keep_encoded()
        } else {
            builder
        };
        let memory = builder.build().unwrap();
        let heavy = if keep_encoded {
            Entry::Encoded(Bytes::from(vec![0; 65_536]))
        } else {
            Entry::Decoded {
                value: Arc::new(()),
                weight: 65_536,
            }
        };
        let Acquire::Granted(lease) = memory.acquire(&key(1), HOLD).await.unwrap() else {
            panic!("the store is empty");
        };

        for time in ["once", "again, when the lease has ended"] {
            let filled = memory.fill(&key(1), lease, heavy.clone(), hour()).await;
            let error = filled.expect_err(time);
            assert_eq!(error.kind(), ErrorKind::Rejected, "{time}");
            assert!(error.to_string().contains("`max_bytes`"), "{error}");
        }

        assert!(matches!(memory.peek(key(1).as_bytes()), Peek::Miss));
        let answer = memory.acquire(&key(1), HOLD).await.unwrap();
        assert!(
            matches!(answer, Acquire::Granted(_)),
            "the next may load at once, but was answered {answer:?}"
        );
    }
}

#[tokio::test]
async fn an_entry_is_rejected_from_one_byte_above_the_limit() {
    // What an entry costs besides key and value is learnt from one of a known size.
    let memory = Memory::builder().max_bytes(64 * KIB).build().unwrap();
    put(&memory, &key(1), Entry::Absent, hour()).await.unwrap();
    let around = memory.size_bytes().unwrap();

    let memory = Memory::builder().max_bytes(64 * KIB).build().unwrap();
    let room = usize::try_from(64 * KIB - around).unwrap();
    let of = |weight| Entry::Decoded {
        value: Arc::new(()),
        weight,
    };
    let error = put(&memory, &key(1), of(room + 1), hour())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    let filled = put(&memory, &key(1), of(room), hour()).await.unwrap();
    assert_eq!(filled, Fill::Stored);
    assert_eq!(memory.size_bytes(), Some(64 * KIB));
    assert!(matches!(memory.peek(key(1).as_bytes()), Peek::Hit(_)));
}

#[tokio::test]
async fn a_weight_beyond_all_bounds_is_rejected_by_any_limit() {
    let memory = Memory::builder().max_bytes(u64::MAX).build().unwrap();
    for weight in [1 << 32, usize::MAX] {
        let entry = Entry::Decoded {
            value: Arc::new(()),
            weight,
        };
        let error = put(&memory, &key(1), entry, hour()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rejected, "{weight}");
    }
}

#[tokio::test]
async fn a_limit_of_entries_is_kept_whatever_they_weigh() {
    let memory = Memory::builder().max_entries(100).build().unwrap();
    for number in 0..1_000 {
        let entry = Entry::Decoded {
            value: Arc::new(number),
            weight: usize::MAX,
        };
        put(&memory, &key(number), entry, hour()).await.unwrap();
    }
    assert_eq!(memory.entry_count(), 100);
    assert_eq!(memory.size_bytes(), None, "bytes are not its limit");
}

#[tokio::test]
async fn count_and_size_follow_what_is_stored() {
    let memory = Memory::builder().max_bytes(64 * KIB).build().unwrap();
    assert_eq!((memory.entry_count(), memory.size_bytes()), (0, Some(0)));

    for number in 0..3 {
        put(&memory, &key(number), value(number), hour())
            .await
            .unwrap();
    }
    assert_eq!(memory.entry_count(), 3);
    let of_three = memory.size_bytes().unwrap();
    assert!(
        of_three >= 3 * (6 + 100),
        "keys and values count: {of_three}"
    );

    memory.remove(&[key(0)]).await;
    assert_eq!(memory.entry_count(), 2);
    assert_eq!(memory.size_bytes().unwrap() * 3, of_three * 2);

    memory.clear().await.unwrap();
    assert_eq!((memory.entry_count(), memory.size_bytes()), (0, Some(0)));
}

#[tokio::test]
async fn clones_are_the_same_store() {
    let memory = Memory::builder().max_entries(100).build().unwrap();
    let clone = memory.clone();
    let lease = memory.seize(&key(1), HOLD).await.unwrap();

    let answer = clone.acquire(&key(1), HOLD).await.unwrap();
    assert!(matches!(answer, Acquire::Held { .. }), "leases are shared");

    let filled = clone.fill(&key(1), lease, value(1), hour()).await.unwrap();
    assert_eq!(filled, Fill::Stored);
    assert!(matches!(memory.peek(key(1).as_bytes()), Peek::Hit(_)));
}

#[tokio::test]
async fn bytes_are_copied_so_that_nothing_larger_is_kept_alive() {
    let memory = Memory::builder()
        .max_bytes(64 * KIB)
        .keep_encoded()
        .build()
        .unwrap();
    let large = Bytes::from(vec![7; 1 << 20]);
    let slice = Entry::Encoded(large.slice(..10));
    put(&memory, &key(1), slice, hour()).await.unwrap();

    assert!(large.is_unique(), "the store keeps no part of it");
    let Peek::Hit(Entry::Encoded(bytes)) = memory.peek(key(1).as_bytes()) else {
        panic!("it is stored");
    };
    assert_eq!(bytes, [7; 10].as_slice());
}

#[tokio::test]
async fn without_real_time_an_expired_entry_is_dropped_when_its_key_is_written() {
    let clock = ManualClock::default();
    let memory = Memory::builder()
        .max_entries(100)
        .clock(clock.clone())
        .build()
        .unwrap();
    put(&memory, &key(1), value(1), hour()).await.unwrap();
    clock.advance(hour().get());
    assert!(matches!(memory.peek(key(1).as_bytes()), Peek::Miss));
    assert_eq!(memory.entry_count(), 1, "it has not been swept");

    memory.acquire(&key(1), HOLD).await.unwrap();
    assert_eq!(memory.entry_count(), 0);
}

/// A value that panics when it is dropped, and counts that.
struct Throws(Arc<AtomicU32>);

impl Drop for Throws {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("of all times, now");
    }
}

#[tokio::test]
async fn a_value_that_panics_when_it_is_dropped_harms_nobody() {
    const VALUES: u32 = 500;
    let clock = ManualClock::default();
    let memory = Memory::builder()
        .max_entries(100)
        .clock(clock.clone())
        .build()
        .unwrap();
    let dropped = Arc::new(AtomicU32::new(0));
    // Evicted, replaced, removed, cleared, expired, refused.
    for number in 0..VALUES {
        let throws = value(Throws(Arc::clone(&dropped)));
        let key = key(number % 250);
        let filled = put(&memory, &key, throws, hour()).await.unwrap();
        assert_eq!(filled, Fill::Stored);
        match number % 50 {
            10 => clock.advance(hour().get()),
            20 => memory.clear().await.unwrap(),
            30 => {
                memory.remove(std::slice::from_ref(&key)).await;
            }
            _ => {}
        }
    }
    let lease = memory.seize(&key(0), HOLD).await.unwrap();
    memory.release(&key(0), lease).await.unwrap();
    let refused = value(Throws(Arc::clone(&dropped)));
    let filled = memory.fill(&key(0), lease, refused, hour()).await.unwrap();
    assert_eq!(filled, Fill::Superseded);
    memory.clear().await.unwrap();

    // moka frees what it no longer holds a little later, in the course of further work.
    for number in 0..10_000 {
        if dropped.load(Ordering::Relaxed) == VALUES + 1 {
            break;
        }
        let key = key(number);
        put(&memory, &key, value(number), hour()).await.unwrap();
        memory.remove(std::slice::from_ref(&key)).await;
        let _count = memory.entry_count();
    }
    assert_eq!(dropped.load(Ordering::Relaxed), VALUES + 1, "none is lost");

    put(&memory, &key(1), value(1), hour()).await.unwrap();
    assert!(matches!(memory.peek(key(1).as_bytes()), Peek::Hit(_)));
    assert_eq!(memory.entry_count(), 1);
}
