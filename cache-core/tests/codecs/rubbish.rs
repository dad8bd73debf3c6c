//! Entries that cannot be decoded.

use std::{io, sync::Arc, time::Duration};

use async_trait::async_trait;
use cache_core::{
    Acquire, Backend, BackendCall, Cache, Entry, Error, Event, Extend, Fill, Form, Key, Lease,
    Lookup, Peek, Ttl,
    codec::{Bincode, Json, Postcard},
    testing::{Act, Scripted},
};
use cache_memory::Memory;

use crate::{
    HOUR, encoded, encoded_memory, loads,
    support::{Events, Loads, assert_empty, caller, on_stage},
};

#[tokio::test(start_paused = true)]
async fn an_entry_that_cannot_be_decoded_is_loaded_once_and_replaced() {
    for rubbish in [
        &b"rubbish"[..],
        b"{",
        b"\"a string\"",
        b"43 and more",
        b"\xff",
        b"\x01",
    ] {
        on_stage(async |stage| {
            let encoded = encoded(&stage);
            let cache: Cache<u64, u64> = encoded.cache(Json);
            encoded.plant(rubbish).await;
            let counted = Loads::default();
            let calls = [(); 5].map(|()| {
                let counted = counted.clone();
                caller(&cache, 1, || async move {
                    counted.begin();
                    Ok::<_, io::Error>(42)
                })
            });
            for call in calls {
                assert_eq!(call.await.unwrap().unwrap(), Some(Arc::new(42)));
            }
            assert_eq!(counted.count(), 1);
            assert_eq!(encoded.undecodable(), 1, "counted once");
            assert_eq!(encoded.stored().unwrap(), b"42");
            assert_empty(&encoded.engine).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_follows_a_value_makes_it_undecodable() {
    macro_rules! each {
        ($($codec:expr),*) => {$(
            on_stage(async |stage| {
                let encoded = encoded(&stage);
                let cache: Cache<u64, u64> = encoded.cache($codec);
                cache.put(&1, 42).await.unwrap();
                let good = encoded.stored().unwrap();
                encoded.plant([&good[..], b"x"].concat()).await;
                loads(&cache, &7).await;
                assert_eq!(encoded.undecodable(), 1);
                assert_empty(&encoded.engine).await;
            })
            .await;
        )*};
    }
    each!(Json, Bincode, Postcard);
}

#[tokio::test(start_paused = true)]
async fn what_is_cut_off_is_undecodable() {
    macro_rules! each {
        ($($codec:expr),*) => {$(
            on_stage(async |stage| {
                let encoded = encoded(&stage);
                let cache: Cache<u64, (u64, String)> = encoded.cache($codec);
                let value = (42, "ann".to_owned());
                cache.put(&1, value.clone()).await.unwrap();
                let good = encoded.stored().unwrap();
                for end in 1..good.len() {
                    encoded.plant(&good[..end]).await;
                    loads(&cache, &value).await;
                    assert_eq!(encoded.undecodable(), end, "cut at {end}");
                }
                assert_empty(&encoded.engine).await;
            })
            .await;
        )*};
    }
    each!(Json, Bincode, Postcard);
}

#[tokio::test(start_paused = true)]
async fn a_get_leaves_an_entry_that_cannot_be_decoded_to_the_next_load() {
    on_stage(async |stage| {
        let encoded = encoded(&stage);
        let cache: Cache<u64, u64> = encoded.cache(Json);
        encoded.plant("rubbish").await;
        assert_eq!(cache.get(&1).await.unwrap(), Lookup::Miss);
        let many = cache.get_many([&1]).await;
        assert!(matches!(many[..], [Ok(Lookup::Miss)]), "{many:?}");
        assert_eq!(encoded.undecodable(), 2, "each read counts");
        assert_eq!(encoded.stored().unwrap(), b"rubbish", "it is left");
        loads(&cache, &42).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_object_of_another_type_is_loaded_once_and_replaced() {
    on_stage(async |stage| {
        let events = Events::default();
        let engine = stage.builder(stage.memory.clone()).recorder(events.clone());
        let engine = engine.build().unwrap();
        let old: Cache<u64, String> = engine.cache("thing").ttl(HOUR).build().unwrap();
        old.put(&1, "ann".to_owned()).await.unwrap();
        drop(old);
        let new: Cache<u64, u64> = engine.cache("thing").ttl(HOUR).build().unwrap();
        loads(&new, &42).await;
        assert_eq!(events.of(Event::Undecodable), 1);
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_fails_leads_to_a_load_without_a_fill() {
    on_stage(async |stage| {
        let encoded = encoded(&stage);
        encoded.plant("rubbish").await;
        let events = Events::default();
        let store = Scripted::new(encoded.memory.clone(), &stage.script);
        let engine = stage
            .builder(store)
            .recorder(events.clone())
            .build()
            .unwrap();
        let cache: Cache<u64, u64> = engine.cache("thing").ttl(HOUR).build().unwrap();
        stage.script.always(BackendCall::Remove, Act::Fail);
        let found = cache.get_or_load(&1, || async { Ok::<_, io::Error>(42) });
        assert_eq!(found.await.unwrap(), Some(Arc::new(42)));
        assert_eq!(stage.script.calls(BackendCall::Fill), 0);
        assert_eq!(events.of(Event::Undecodable), 1);
        assert_empty(&engine).await;
    })
    .await;
}

/// A store that has rubbish under every key, whatever is done about it.
#[derive(Debug)]
struct Rubbish(Memory);

impl Rubbish {
    fn entry() -> Entry {
        Entry::Encoded(b"rubbish".to_vec().into())
    }
}

#[async_trait]
impl Backend for Rubbish {
    fn name(&self) -> &'static str {
        "rubbish"
    }

    fn form(&self) -> Form {
        Form::Encoded
    }

    fn peek(&self, _: &[u8]) -> Peek {
        Peek::Ask
    }

    async fn get(&self, _: &Key) -> Result<Option<Entry>, Error> {
        Ok(Some(Self::entry()))
    }

    async fn get_many(&self, keys: &[Key]) -> Vec<Result<Option<Entry>, Error>> {
        keys.iter().map(|_| Ok(Some(Self::entry()))).collect()
    }

    async fn acquire(&self, _: &Key, _: Duration) -> Result<Acquire, Error> {
        Ok(Acquire::Hit(Self::entry()))
    }

    async fn seize(&self, key: &Key, hold: Duration) -> Result<Lease, Error> {
        self.0.seize(key, hold).await
    }

    async fn fill(&self, key: &Key, lease: Lease, entry: Entry, ttl: Ttl) -> Result<Fill, Error> {
        self.0.fill(key, lease, entry, ttl).await
    }

    async fn extend(&self, key: &Key, lease: Lease, hold: Duration) -> Result<Extend, Error> {
        self.0.extend(key, lease, hold).await
    }

    async fn release(&self, key: &Key, lease: Lease) -> Result<(), Error> {
        self.0.release(key, lease).await
    }

    async fn remove(&self, keys: &[Key]) -> Vec<Result<(), Error>> {
        self.0.remove(keys).await
    }

    async fn ping(&self) -> Result<(), Error> {
        self.0.ping().await
    }

    async fn clear(&self) -> Result<(), Error> {
        self.0.clear().await
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_stays_undecodable_ends_in_a_load_without_a_fill() {
    on_stage(async |stage| {
        let events = Events::default();
        let store = Scripted::new(Rubbish(encoded_memory()), &stage.script);
        let engine = stage
            .builder(store)
            .recorder(events.clone())
            .build()
            .unwrap();
        let cache: Cache<u64, u64> = engine.cache("thing").ttl(HOUR).build().unwrap();
        let counted = Loads::default();
        let inner = counted.clone();
        let found = cache.get_or_load(&1, || async move {
            inner.begin();
            Ok::<_, io::Error>(42)
        });
        assert_eq!(found.await.unwrap(), Some(Arc::new(42)));
        assert_eq!(counted.count(), 1);
        for (call, times) in [
            (BackendCall::Acquire, 2),
            (BackendCall::Remove, 1),
            (BackendCall::Fill, 0),
            (BackendCall::Extend, 0),
        ] {
            assert_eq!(stage.script.calls(call), times, "{call:?}");
        }
        assert_eq!(
            events.of(Event::Undecodable),
            2,
            "once per answer of the store"
        );
        assert_empty(&engine).await;
    })
    .await;
}
