//! Users' things are not dropped on the actors' threads: their drop may take its time.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use cache_core::{Cache, Engine, Load, codec::InProcess};
use cache_memory::Memory;
use tokio::{runtime::Runtime, sync::oneshot};

/// The names of the threads on which something was dropped.
#[derive(Clone, Debug, Default)]
struct Threads(Arc<Mutex<BTreeSet<String>>>);

/// Notes on which thread it is dropped.
#[derive(Debug)]
struct Witness(Threads);

impl Drop for Witness {
    fn drop(&mut self) {
        let name = thread::current().name().unwrap_or("?").to_owned();
        self.0.0.lock().unwrap().insert(name);
    }
}

impl Threads {
    fn assert_no_actors(&self) {
        let names = self.0.lock().unwrap();
        assert!(!names.is_empty(), "something was dropped");
        assert!(
            !names.iter().any(|name| name.contains("arbiter")),
            "dropped on {names:?}"
        );
    }
}

fn cache() -> Cache<u64, Witness> {
    let memory = Memory::builder().max_entries(100).build().unwrap();
    let engine = Engine::builder(memory).build().unwrap();
    let cache = engine.cache("witness").ttl(Duration::from_secs(60));
    cache.codec(InProcess).build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_not_stored_is_dropped_by_its_caller() {
    let (cache, threads) = (cache(), Threads::default());
    for _ in 0..2_000 {
        let witness = Witness(threads.clone());
        let load = move || async move { Ok::<_, io::Error>(Load::value(witness).no_store()) };
        drop(cache.get_or_load(&1, load).await.unwrap());
    }
    threads.assert_no_actors();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_nobody_waits_for_is_not_dropped_by_an_actor() {
    let (cache, threads) = (cache(), Threads::default());
    for key in 0..200 {
        let witness = Witness(threads.clone());
        let (cache, (began, begun)) = (cache.clone(), oneshot::channel());
        let caller = tokio::spawn(async move {
            let load = move || async move {
                began.send(()).ok();
                tokio::task::yield_now().await;
                Ok::<_, io::Error>(Load::value(witness).no_store())
            };
            cache.get_or_load(&key, load).await.ok();
        });
        begun.await.unwrap();
        caller.abort();
        caller.await.ok();
    }
    threads.assert_no_actors();
}

#[test]
fn loaders_whose_runtime_is_gone_are_not_dropped_by_an_actor() {
    let (cache, threads) = (cache(), Threads::default());
    let doomed = Runtime::new().unwrap();
    let (began, begun) = oneshot::channel();
    for (key, began) in [(1, Some(began)), (1, None), (1, None)] {
        let (cache, witness) = (cache.clone(), Witness(threads.clone()));
        doomed.spawn(async move {
            let load = move || async move {
                let _witness = witness;
                if let Some(began) = began {
                    began.send(()).ok();
                }
                std::future::pending::<()>().await;
                Ok::<Option<Witness>, io::Error>(None)
            };
            cache.get_or_load(&key, load).await.ok();
        });
    }
    let lasting = Runtime::new().unwrap();
    lasting.block_on(async {
        begun.await.unwrap();
        let load = || async { Ok::<Option<Witness>, io::Error>(None) };
        let served = tokio::spawn(async move { cache.get_or_load(&1, load).await });
        doomed.shutdown_background();
        assert!(served.await.unwrap().unwrap().is_none());
    });
    threads.assert_no_actors();
}
