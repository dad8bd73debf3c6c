//! With the system's clock, where moka's reading of it decides: never late, and early by no more
//! than moka rounds.
//!
//! Nothing here waits for a moment: a reading of the clock before and one after each call say
//! what the call may have answered.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::{sync::Arc, time::Duration};

use cache_core::{Acquire, Backend, Entry, Extend, Fill, Key, Peek, Ttl};
use cache_memory::{Clock, ManualClock, Memory, SystemClock};

const TTL: Duration = Duration::from_millis(3);

/// moka keeps times in steps of 4,096 ns, rounded down.
const ROUNDING: Duration = Duration::from_nanos(4_096);

fn memory() -> Memory {
    Memory::builder().max_entries(1_000).build().unwrap()
}

fn value() -> Entry {
    Entry::Decoded {
        value: Arc::new(1_u32),
        weight: 0,
    }
}

fn ttl(ttl: Duration) -> Ttl {
    Ttl::clamp(ttl, Duration::MAX)
}

#[tokio::test]
async fn an_entry_is_there_until_its_ttl_has_elapsed_and_not_after() {
    let memory = memory();
    let key = Key::new(b"k");
    for _ in 0..10 {
        let lease = memory.seize(&key, TTL).await.unwrap();
        let before_fill = SystemClock.now();
        let filled = memory.fill(&key, lease, value(), ttl(TTL)).await.unwrap();
        let after_fill = SystemClock.now();
        if filled == Fill::Superseded {
            continue;
        }
        loop {
            let before = SystemClock.now();
            let peek = memory.peek(key.as_bytes());
            let after = SystemClock.now();
            match peek {
                Peek::Hit(_) => assert!(
                    before < after_fill + TTL,
                    "it was read {:?} too late",
                    before - (after_fill + TTL)
                ),
                Peek::Miss => {
                    assert!(
                        after + ROUNDING >= before_fill + TTL,
                        "it was gone {:?} too early",
                        before_fill + TTL - after
                    );
                    break;
                }
                Peek::Ask => panic!("memory knows"),
            }
        }
        let answer = memory.acquire(&key, TTL).await.unwrap();
        assert!(
            matches!(answer, Acquire::Granted(_)),
            "what reads as a miss is granted, and not {answer:?}"
        );
    }
}

#[tokio::test]
async fn a_lease_lasts_until_its_hold_has_elapsed_and_not_after() {
    let memory = memory();
    let key = Key::new(b"k");
    for _ in 0..10 {
        let before_seize = SystemClock.now();
        let lease = memory.seize(&key, TTL).await.unwrap();
        let after_seize = SystemClock.now();
        loop {
            let before = SystemClock.now();
            let answer = memory.acquire(&key, TTL).await.unwrap();
            let after = SystemClock.now();
            match answer {
                Acquire::Held { retry_after } => {
                    assert!(before < after_seize + TTL, "it held others off too long");
                    assert!(retry_after <= TTL, "{retry_after:?} cannot be left");
                }
                Acquire::Granted(_) => {
                    assert!(after >= before_seize + TTL, "it ended too early");
                    break;
                }
                Acquire::Hit(_) => panic!("nothing is stored"),
            }
        }
        let extended = memory.extend(&key, lease, TTL).await.unwrap();
        assert_eq!(extended, Extend::Lost);
    }
}

#[tokio::test]
async fn a_clear_is_exact_within_one_tick_of_the_clock() {
    let memory = memory();
    let key = Key::new(b"k");
    let hour = ttl(Duration::from_secs(3600));
    for round in 0..5_000 {
        let lease = memory.seize(&key, hour.get()).await.unwrap();
        memory.fill(&key, lease, value(), hour).await.unwrap();
        assert!(
            matches!(memory.peek(key.as_bytes()), Peek::Hit(_)),
            "round {round}: what was stored right after a clear is there"
        );
        memory.clear().await.unwrap();
        assert!(
            matches!(memory.peek(key.as_bytes()), Peek::Miss),
            "round {round}: what was stored right before a clear is gone"
        );
    }
}

#[tokio::test]
async fn the_memory_of_an_expired_entry_is_freed_without_being_asked_for() {
    let memory = memory();
    let key = Key::new(b"k");
    let lease = memory.seize(&key, TTL * 1_000).await.unwrap();
    memory.fill(&key, lease, value(), ttl(TTL)).await.unwrap();
    let filled = SystemClock.now();

    while memory.entry_count() > 0 {
        let waited = SystemClock.now() - filled;
        // moka's timers tick about once a second.
        assert!(waited < Duration::from_secs(8), "not freed in {waited:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn by_another_clock_an_entry_stays_while_real_time_passes() {
    let builder = Memory::builder().max_entries(1_000);
    let memory = builder.clock(ManualClock::default()).build().unwrap();
    let key = Key::new(b"k");
    let lease = memory.seize(&key, TTL).await.unwrap();
    let real_time_passes = || {
        let start = SystemClock.now();
        while SystemClock.now() < start + 2 * TTL {
            std::hint::spin_loop();
        }
    };

    real_time_passes();
    let filled = memory.fill(&key, lease, value(), ttl(TTL)).await.unwrap();
    assert_eq!(filled, Fill::Stored, "its clock stands still");

    real_time_passes();
    assert_eq!(memory.entry_count(), 1);
    assert!(matches!(memory.peek(key.as_bytes()), Peek::Hit(_)));
}
