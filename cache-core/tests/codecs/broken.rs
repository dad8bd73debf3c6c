//! Codecs, weighers and values that fail or panic.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    str,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cache_core::{
    BackendCall, BoxError, Cache, Engine, ErrorKind, Event, Form, Load, Lookup, Put,
    codec::{Codec, Json},
    testing::Act,
};
use cache_memory::{Memory, TokioClock};
use tokio::{
    task::yield_now,
    time::{Instant, sleep},
};

use crate::{
    Encoded, HOUR, encoded, encoded_memory,
    support::{Events, Stage, assert_empty, caller, on_stage, settle},
};

const SECOND: Duration = Duration::from_secs(1);

/// Writes strings as they are, and does to some what they say.
#[derive(Clone, Copy, Default)]
struct Moody;

impl Codec<String> for Moody {
    const ENCODES: bool = true;

    fn encode(&self, value: &String, out: &mut dyn Write) -> Result<(), BoxError> {
        out.write_all(b"!")?;
        match value.as_str() {
            "fails" => Err("it says so".into()),
            "panics" => panic!("in encode"),
            _ => Ok(out.write_all(value.as_bytes())?),
        }
    }

    fn decode(&self, payload: &[u8]) -> Result<String, BoxError> {
        match payload {
            b"!panics on reading" => panic!("in decode"),
            _ => Ok(str::from_utf8(&payload[1..])?.to_owned()),
        }
    }
}

fn string(text: &str) -> Lookup<String> {
    Lookup::Value(Arc::new(text.to_owned()))
}

/// Asserts that `value` is answered and not stored when it is loaded, and that a put of it is
/// rejected and removes what was there.
async fn is_unencodable<V>(
    engine: &Engine,
    events: &Events,
    cache: &Cache<u64, V>,
    old: V,
    value: V,
) where
    V: Clone + PartialEq + std::fmt::Debug + Send + Sync + 'static,
{
    let began = Instant::now();
    for times in 1..=2 {
        let loaded = value.clone();
        let found = cache.get_or_load(&1, || async { Ok::<_, io::Error>(Load::value(loaded)) });
        assert_eq!(
            found.await.unwrap().as_deref(),
            Some(&value),
            "it is answered"
        );
        assert_eq!(events.of(Event::Unencodable), times);
        assert_eq!(cache.get(&1).await.unwrap(), Lookup::Miss);
    }
    assert_eq!(
        began.elapsed(),
        Duration::ZERO,
        "no lease was left to wait for"
    );

    assert_eq!(cache.put(&1, old).await.unwrap(), Put::Stored);
    let error = cache.put(&1, value.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert!(
        error.to_string().contains("the key is removed instead"),
        "{error}"
    );
    assert_eq!(
        cache.get(&1).await.unwrap(),
        Lookup::Miss,
        "the old value is gone"
    );
    assert_empty(engine).await;
}

async fn moody_about(value: &str) {
    on_stage(async |stage| {
        let encoded = encoded(&stage);
        let cache = encoded.cache(Moody);
        let Encoded { engine, events, .. } = &encoded;
        is_unencodable(engine, events, &cache, "old".to_owned(), value.to_owned()).await;
        let loaded = cache.get_or_load(&2, || async { Ok::<_, io::Error>("good".to_owned()) });
        loaded.await.unwrap();
        assert_eq!(
            cache.get(&2).await.unwrap(),
            string("good"),
            "others are not harmed"
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_value_whose_encoding_fails_is_answered_and_not_stored() {
    moody_about("fails").await;
}

#[tokio::test(start_paused = true)]
async fn a_value_whose_encoding_panics_is_answered_and_not_stored() {
    moody_about("panics").await;
}

#[tokio::test(start_paused = true)]
async fn a_value_that_json_cannot_express_is_answered_and_not_stored() {
    on_stage(async |stage| {
        let encoded = encoded(&stage);
        let cache = encoded.cache(Json);
        let bad = BTreeMap::from([((1_u8, 2_u8), 3_u8)]);
        let Encoded { engine, events, .. } = &encoded;
        is_unencodable(engine, events, &cache, BTreeMap::new(), bad).await;
    })
    .await;
}

/// Writes what is reserved: nothing at all, or the negative marker.
#[derive(Clone, Copy)]
struct Reserved(&'static [u8]);

impl Codec<String> for Reserved {
    const ENCODES: bool = true;

    fn encode(&self, value: &String, out: &mut dyn Write) -> Result<(), BoxError> {
        let bytes = if value == "old" { b"old" } else { self.0 };
        Ok(out.write_all(bytes)?)
    }

    fn decode(&self, payload: &[u8]) -> Result<String, BoxError> {
        Ok(str::from_utf8(payload)?.to_owned())
    }
}

#[tokio::test(start_paused = true)]
async fn a_payload_that_is_reserved_is_not_stored() {
    for bytes in [&b""[..], b"*"] {
        on_stage(async |stage| {
            let encoded = encoded(&stage);
            let cache = encoded.cache(Reserved(bytes));
            let Encoded { engine, events, .. } = &encoded;
            is_unencodable(engine, events, &cache, "old".to_owned(), "new".to_owned()).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_whose_decoding_panics_is_loaded_once_and_replaced() {
    on_stage(async |stage| {
        let encoded = encoded(&stage);
        let cache = encoded.cache(Moody);
        encoded.plant("!panics on reading").await;
        assert_eq!(cache.get(&1).await.unwrap(), Lookup::Miss);
        assert_eq!(encoded.undecodable(), 1);
        let loaded = cache.get_or_load(&1, || async { Ok::<_, io::Error>("good".to_owned()) });
        assert_eq!(*loaded.await.unwrap().unwrap(), "good");
        assert_eq!(encoded.undecodable(), 2);
        assert_eq!(cache.get(&1).await.unwrap(), string("good"));
        assert_empty(&encoded.engine).await;
    })
    .await;
}

/// An engine over a memory that is limited by bytes.
fn by_bytes(stage: &Stage) -> (Engine, Events) {
    let memory = Memory::builder().max_bytes(1 << 20).clock(TokioClock);
    let events = Events::default();
    let builder = stage
        .builder(memory.build().unwrap())
        .recorder(events.clone());
    (builder.build().unwrap(), events)
}

#[tokio::test(start_paused = true)]
async fn a_value_whose_weigher_panics_is_answered_and_not_stored() {
    on_stage(async |stage| {
        let (engine, events) = by_bytes(&stage);
        let weigh = |value: &String| match value.as_str() {
            "old" => 3,
            _ => panic!("in the weigher"),
        };
        let cache = engine
            .cache::<u64, String>("thing")
            .ttl(HOUR)
            .weigher(weigh);
        let cache = cache.build().unwrap();
        is_unencodable(&engine, &events, &cache, "old".to_owned(), "new".to_owned()).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_value_that_cannot_be_measured_by_its_codec_is_answered_and_not_stored() {
    for value in ["fails", "panics"] {
        on_stage(async |stage| {
            let (engine, events) = by_bytes(&stage);
            let cache = engine.cache::<u64, String>("thing").ttl(HOUR).codec(Moody);
            let cache = cache.build().unwrap();
            is_unencodable(&engine, &events, &cache, "old".to_owned(), value.to_owned()).await;
        })
        .await;
    }
}

/// Panics when it is dropped, after counting that.
#[derive(Debug)]
struct Grenade(Arc<AtomicUsize>);

impl Drop for Grenade {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        panic!("in the drop of a value");
    }
}

/// Writes every grenade alike, and reads none.
#[derive(Clone, Copy, Default)]
struct Inert;

impl Codec<Grenade> for Inert {
    const ENCODES: bool = true;

    fn encode(&self, _: &Grenade, out: &mut dyn Write) -> Result<(), BoxError> {
        Ok(out.write_all(b"grenade")?)
    }

    fn decode(&self, _: &[u8]) -> Result<Grenade, BoxError> {
        Err("it stays where it is".into())
    }
}

/// A cache of grenades over `memory`, and how many of them went off.
fn grenades(stage: &Stage, memory: &Memory) -> (Engine, Cache<u64, Grenade>, Arc<AtomicUsize>) {
    let engine = stage.builder(memory.clone()).build().unwrap();
    let cache = engine.cache("grenade").ttl(HOUR).codec(Inert);
    let cache = cache.build().unwrap();
    (engine, cache, Arc::default())
}

fn forms() -> [(Memory, Form); 2] {
    [
        (crate::support::memory(), Form::Object),
        (encoded_memory(), Form::Encoded),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_value_that_panics_when_it_is_dropped_harms_no_load_that_nobody_waits_for() {
    for (memory, form) in forms() {
        for keep in [true, false] {
            on_stage(async |stage| {
                let (engine, cache, went_off) = grenades(&stage, &memory);
                let loaded = Grenade(Arc::clone(&went_off));
                let leader = caller(&cache, 1, move || async move {
                    sleep(SECOND).await;
                    let load = Load::value(loaded);
                    Ok::<_, io::Error>(if keep { load } else { load.no_store() })
                });
                settle().await;
                leader.abort();
                leader.await.unwrap_err();
                sleep(2 * SECOND).await;
                settle().await;
                if keep && form == Form::Object {
                    assert_eq!(went_off.load(Ordering::SeqCst), 0, "it is in the store");
                    cache.invalidate(&1).await;
                    assert_eq!(memory.entry_count(), 0, "its maintenance is done");
                }
                // It may be dropped on another thread.
                while went_off.load(Ordering::SeqCst) == 0 {
                    yield_now().await;
                }
                cache.invalidate(&1).await;
                assert_empty(&engine).await;

                let began = Instant::now();
                let absent = cache.get_or_load(&1, || async { Ok::<_, io::Error>(None) });
                assert!(absent.await.unwrap().is_none());
                assert_eq!(began.elapsed(), Duration::ZERO, "the key is free");
                cache.invalidate(&1).await;
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_that_panics_when_it_is_dropped_can_be_put() {
    for (memory, form) in forms() {
        on_stage(async |stage| {
            let (engine, cache, went_off) = grenades(&stage, &memory);
            for _ in 0..2 {
                let put = tokio::spawn({
                    let (cache, value) = (cache.clone(), Grenade(Arc::clone(&went_off)));
                    async move { cache.put(&1, value).await }
                });
                let put = put.await.expect("its caller is not harmed");
                assert_eq!(put.unwrap(), Put::Stored, "{form:?}");
            }
            assert_eq!(memory.entry_count(), 1);
            cache.invalidate(&1).await;
            assert_eq!(memory.entry_count(), 0);
            // They may be dropped on another thread.
            while went_off.load(Ordering::SeqCst) < 2 {
                yield_now().await;
            }
            assert_empty(&engine).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_put_that_fails_removes_the_key_whatever_its_value_does_when_it_is_dropped() {
    on_stage(async |stage| {
        let engine = stage.scripted_engine();
        let cache = engine.cache("grenade").ttl(HOUR).codec(Inert);
        let cache: Cache<u64, Grenade> = cache.build().unwrap();
        let grenade = || Grenade(Arc::default());
        assert_eq!(cache.put(&1, grenade()).await.unwrap(), Put::Stored);
        stage.script.once(BackendCall::Seize, Act::Fail);
        let put = tokio::spawn({
            let (cache, value) = (cache.clone(), grenade());
            async move { cache.put(&1, value).await }
        });
        let error = put.await.expect("its caller is not harmed").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(stage.memory.entry_count(), 0, "the old value is gone");
        assert_empty(&engine).await;
    })
    .await;
}
