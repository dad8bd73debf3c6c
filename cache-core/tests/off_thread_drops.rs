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

fn cache() -> (Engine, Cache<u64, Witness>) {
    let memory = Memory::builder().max_entries(100).build().unwrap();
    let engine = Engine::builder(memory).build().unwrap();
    let cache = engine.cache("witness").ttl(Duration::from_secs(60));
    let cache = cache.codec(InProcess).build().unwrap();
    (engine, cache)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_not_stored_is_dropped_by_its_caller() {
    let ((_engine, cache), threads) = (cache(), Threads::default());
    for _ in 0..2_000 {
        let witness = Witness(threads.clone());
        let load = move || async move { Ok::<_, io::Error>(Load::value(witness).no_store()) };
        drop(cache.get_or_load(&1, load).await.unwrap());
    }
    threads.assert_no_actors();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_nobody_waits_for_is_not_dropped_by_an_actor() {
    let ((_engine, cache), threads) = (cache(), Threads::default());
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

/// Starts a call on `runtime` whose loader never ends and has a witness; says when it has begun.
fn hang_on(
    runtime: &Runtime,
    cache: &Cache<u64, Witness>,
    threads: &Threads,
) -> oneshot::Receiver<()> {
    let (began, begun) = oneshot::channel();
    let (cache, witness) = (cache.clone(), Witness(threads.clone()));
    runtime.spawn(async move {
        let load = move || async move {
            let _witness = witness;
            began.send(()).ok();
            std::future::pending::<()>().await;
            Ok::<Option<Witness>, io::Error>(None)
        };
        cache.get_or_load(&1, load).await.ok();
    });
    begun
}

#[test]
fn loaders_whose_runtime_is_gone_are_not_dropped_by_an_actor() {
    let (engine, cache) = cache();
    let threads = Threads::default();
    let (doomed, lasting) = (Runtime::new().unwrap(), Runtime::new().unwrap());
    lasting.block_on(async {
        hang_on(&doomed, &cache, &threads).await.unwrap();
        let waiters = [(); 2].map(|()| hang_on(&doomed, &cache, &threads));
        let served = tokio::spawn(async move {
            let load = || async { Ok::<Option<Witness>, io::Error>(None) };
            cache.get_or_load(&1, load).await
        });
        while engine.census().await.seats < 3 {
            tokio::task::yield_now().await;
        }
        doomed.shutdown_background();
        assert!(served.await.unwrap().unwrap().is_none());
        drop(waiters);
    });
    threads.assert_no_actors();
}
