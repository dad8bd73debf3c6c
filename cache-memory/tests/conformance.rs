//! Every kind of [`Memory`] keeps the contract of a backend, by every clock that can be driven.
#![expect(clippy::expect_used, reason = "helpers of tests fail by panicking")]

use std::time::Duration;

use cache_core::testing::conformance::{self, Harness};
use cache_memory::{ManualClock, Memory, MemoryBuilder};

/// Stores whose time stands still until the suite moves it.
struct Manual {
    builder: fn() -> MemoryBuilder,
    clock: ManualClock,
}

impl Manual {
    fn new(builder: fn() -> MemoryBuilder) -> Self {
        Self {
            builder,
            clock: ManualClock::default(),
        }
    }
}

impl Harness for Manual {
    type Backend = Memory;

    async fn empty(&self) -> Memory {
        let builder = (self.builder)().clock(self.clock.clone());
        builder.build().expect("a limit is set")
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    fn deadline(&self) -> Duration {
        // It never waits for anything but its own locks; this tells answered from hung.
        Duration::from_secs(5)
    }
}

fn max_entries() -> MemoryBuilder {
    Memory::builder().max_entries(10_000)
}

fn max_bytes() -> MemoryBuilder {
    Memory::builder().max_bytes(64 * 1024 * 1024)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_limit_of_entries() {
    conformance::run(&Manual::new(max_entries)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_limit_of_bytes() {
    conformance::run(&Manual::new(max_bytes)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_encoded_values_and_a_limit_of_entries() {
    conformance::run(&Manual::new(|| max_entries().keep_encoded())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_encoded_values_and_a_limit_of_bytes() {
    conformance::run(&Manual::new(|| max_bytes().keep_encoded())).await;
}

#[cfg(feature = "tokio")]
mod paused {
    use cache_memory::TokioClock;

    use super::*;

    /// Stores that live by tokio's clock.
    struct Paused(fn() -> MemoryBuilder);

    impl Harness for Paused {
        type Backend = Memory;

        async fn empty(&self) -> Memory {
            let builder = (self.0)().clock(TokioClock);
            builder.build().expect("a limit is set")
        }

        async fn advance(&self, by: Duration) {
            tokio::time::advance(by).await;
        }

        fn deadline(&self) -> Duration {
            Duration::from_secs(5)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn on_tokios_paused_clock() {
        conformance::run(&Paused(max_entries)).await;
        conformance::run(&Paused(max_bytes)).await;
        conformance::run(&Paused(|| max_entries().keep_encoded())).await;
    }
}
