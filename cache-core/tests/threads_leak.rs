//! Engines that come and go leave no thread behind, and no store.
//!
//! One test alone in its process: it counts the threads of the process.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests fail by panicking"
)]

mod support;

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use cache_core::Engine;
use cache_memory::{Clock, Memory, SystemClock};
use tokio::{task::yield_now, time::timeout};

use self::support::{Loads, users};

const ENGINES: usize = 1_000;

/// What waiting for the shards to end may take; it passes much earlier, or hangs.
const HANG: Duration = Duration::from_secs(30);

/// A clock that counts its end, and with it that of its store.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Clock for Counted {
    fn now(&self) -> Instant {
        SystemClock.now()
    }

    fn is_real_time(&self) -> bool {
        true
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

/// Makes an engine, uses it for a miss, and drops it.
async fn come_and_go(dropped: &Arc<AtomicUsize>) {
    let clock = Counted(Arc::clone(dropped));
    let memory = Memory::builder().max_entries(10).clock(clock).build();
    let engine = Engine::builder(memory.unwrap()).build().unwrap();
    let load = Loads::default().value("loaded", Duration::ZERO);
    let user = users(&engine).get_or_load(&1, load).await;
    assert_eq!(*user.unwrap().unwrap(), "loaded");
}

async fn until_dropped(dropped: &AtomicUsize, engines: usize) {
    let all = async {
        while dropped.load(Ordering::SeqCst) < engines {
            yield_now().await;
        }
    };
    timeout(HANG, all).await.expect("every store is dropped");
    assert_eq!(dropped.load(Ordering::SeqCst), engines);
}

#[tokio::test]
async fn a_thousand_engines_leave_no_thread_and_no_store() {
    let dropped = Arc::default();
    // The first starts the threads that stay for the process.
    come_and_go(&dropped).await;
    until_dropped(&dropped, 1).await;
    let before = threads();
    assert!(before > 2, "the shards have threads of their own: {before}");

    for _ in 0..ENGINES {
        come_and_go(&dropped).await;
    }
    assert_eq!(threads(), before);
    until_dropped(&dropped, ENGINES + 1).await;
    assert_eq!(threads(), before);
}
