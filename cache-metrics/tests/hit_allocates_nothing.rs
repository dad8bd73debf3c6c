//! A hit that is counted allocates nothing, and neither does any other event.

use std::time::Duration;

use allocation_counter::measure;
use cache_core::{BackendCall, Cache, Engine, Event, LoadOutcome, Recorder};
use cache_memory::Memory;
use cache_metrics::Stats;
use futures_util::FutureExt;

#[tokio::test]
async fn a_hit_that_is_counted_allocates_nothing() {
    let stats = Stats::new();
    let memory = Memory::builder().max_entries(100).build().unwrap();
    let engine = Engine::builder(memory)
        .recorder(stats.clone())
        .build()
        .unwrap();
    let hour = Duration::from_secs(3600);
    let users: Cache<u64, String> = engine.cache("user").ttl(hour).build().unwrap();
    users.put(&1, "ann".to_owned()).await.unwrap();
    let hit = || {
        let load = || async { Ok::<_, std::io::Error>("-".to_owned()) };
        let found = users.get_or_load(&1, load).now_or_never();
        assert_eq!(found.unwrap().unwrap().unwrap().as_str(), "ann");
    };
    // What is made once per thread, here and in moka.
    for _ in 0..1_000 {
        hit();
    }
    assert_eq!(measure(hit).count_total, 0);
    assert_eq!(stats.snapshot().cache("user").unwrap().hit(), 1_001);
}

#[test]
fn an_event_that_is_counted_allocates_nothing() {
    let stats = Stats::new();
    let user = stats.cache("user");
    let took = Duration::from_millis(1);
    let (call, error) = (BackendCall::Get, None);
    let outcome = LoadOutcome::Value;
    let record = || {
        user.record(Event::Hit);
        user.record(Event::Load { outcome, took });
        user.record(Event::Backend { call, took, error });
    };
    record();
    assert_eq!(measure(record).count_total, 0);
}
