//! Values that become bytes, and bytes that become values, or do not.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

#[path = "codecs/broken.rs"]
mod broken;
#[path = "codecs/rubbish.rs"]
mod rubbish;
mod support;

use std::{fmt::Debug, io, sync::Arc, time::Duration};

use cache_core::{
    Backend, Cache, Engine, Entry, Event, Fill, Key, Load, Lookup, Peek, Put, Ttl,
    codec::{Bincode, Codec, Json, Postcard},
};
use cache_memory::{Memory, TokioClock};
use serde::{Serialize, de::DeserializeOwned};

use self::support::{Events, Stage, assert_empty, on_stage};

const HOUR: Duration = Duration::from_secs(3600);

/// What values of these tests can do.
trait Value: Serialize + DeserializeOwned + PartialEq + Clone + Debug + Send + Sync + 'static {}

impl<V: Serialize + DeserializeOwned + PartialEq + Clone + Debug + Send + Sync + 'static> Value
    for V
{
}

/// An engine over a memory that keeps bytes, and what is recorded of it.
struct Encoded {
    engine: Engine,
    memory: Memory,
    events: Events,
}

fn encoded_memory() -> Memory {
    let memory = Memory::builder().max_entries(100).keep_encoded();
    memory.clock(TokioClock).build().unwrap()
}

fn encoded(stage: &Stage) -> Encoded {
    let (memory, events) = (encoded_memory(), Events::default());
    let builder = stage.builder(memory.clone()).recorder(events.clone());
    Encoded {
        engine: builder.build().unwrap(),
        memory,
        events,
    }
}

impl Encoded {
    /// The cache `thing`; its name is free again when it is dropped.
    fn cache<V: Send + Sync + 'static>(&self, codec: impl Codec<V>) -> Cache<u64, V>
    where
        Json: Codec<V>,
    {
        let cache = self.engine.cache("thing").ttl(HOUR);
        cache.codec(codec).build().unwrap()
    }

    /// What is stored under key 1 of `thing`.
    fn stored(&self) -> Option<Vec<u8>> {
        match self.memory.peek(b"thing:1") {
            Peek::Hit(Entry::Encoded(bytes)) => Some(bytes.to_vec()),
            Peek::Hit(Entry::Absent) => Some(b"absent".to_vec()),
            Peek::Hit(other) => panic!("it keeps bytes: {other:?}"),
            Peek::Miss | Peek::Ask => None,
        }
    }

    /// Stores bytes under key 1 of `thing`, as another program would.
    async fn plant(&self, bytes: impl Into<Vec<u8>>) {
        let key = Key::new(b"thing:1");
        let lease = self.memory.seize(&key, HOUR).await.unwrap();
        let entry = Entry::Encoded(bytes.into().into());
        let filled = self
            .memory
            .fill(&key, lease, entry, Ttl::clamp(HOUR, HOUR))
            .await;
        assert_eq!(filled.unwrap(), Fill::Stored);
    }

    fn undecodable(&self) -> usize {
        self.events.of(Event::Undecodable)
    }
}

/// Asserts that key 1 is loaded, once, as `value`, and stored.
async fn loads<V: Value>(cache: &Cache<u64, V>, value: &V) {
    let loaded = value.clone();
    let found = cache.get_or_load(&1, || async { Ok::<_, io::Error>(Load::value(loaded)) });
    assert_eq!(found.await.unwrap().as_deref(), Some(value));
    hits(cache, value).await;
}

/// Asserts that key 1 is read back as `value`, without a load.
async fn hits<V: Value>(cache: &Cache<u64, V>, value: &V) {
    let expected = Lookup::Value(Arc::new(value.clone()));
    assert_eq!(cache.get(&1).await.unwrap(), expected);
    let found = cache.get_or_load(&1, || async { Err::<V, _>(io::Error::other("a load")) });
    assert_eq!(found.await.unwrap().as_deref(), Some(value));
}

async fn round_trips<V: Value>(codec: impl Codec<V> + Copy, value: V) {
    on_stage(async |stage| {
        let encoded = encoded(&stage);
        let cache = encoded.cache(codec);
        loads(&cache, &value).await;
        let bytes = encoded.stored().unwrap();
        assert!(!bytes.is_empty() && bytes != b"*", "{value:?} as {bytes:?}");

        cache.invalidate(&1).await;
        assert_eq!(cache.put(&1, value.clone()).await.unwrap(), Put::Stored);
        assert_eq!(encoded.stored().unwrap(), bytes);
        hits(&cache, &value).await;

        // And what is not there is not a value.
        let absent = cache.get_or_load(&2, || async { Ok::<_, io::Error>(Load::<V>::absent()) });
        assert_eq!(absent.await.unwrap(), None);
        assert_eq!(cache.get(&2).await.unwrap(), Lookup::Absent);
        assert_eq!(encoded.undecodable(), 0);
        assert_empty(&encoded.engine).await;
    })
    .await;
}

async fn awkward_values_round_trip<C>(codec: C)
where
    C: Copy
        + Codec<u64>
        + Codec<u8>
        + Codec<()>
        + Codec<String>
        + Codec<Option<u64>>
        + Codec<Vec<u8>>
        + Codec<(i64, Option<String>)>,
{
    // 42 is `*` in ASCII, the negative marker.
    round_trips(codec, 42_u64).await;
    round_trips(codec, 42_u8).await;
    round_trips(codec, ()).await;
    round_trips(codec, String::new()).await;
    round_trips(codec, "*".to_owned()).await;
    round_trips(codec, None::<u64>).await;
    round_trips(codec, Some(42_u64)).await;
    round_trips(codec, Vec::<u8>::new()).await;
    round_trips(codec, (-1_i64, Some("\u{1f980}".to_owned()))).await;
}

#[tokio::test(start_paused = true)]
async fn awkward_values_round_trip_as_json() {
    awkward_values_round_trip(Json).await;
}

#[tokio::test(start_paused = true)]
async fn awkward_values_round_trip_as_bincode() {
    awkward_values_round_trip(Bincode).await;
}

#[tokio::test(start_paused = true)]
async fn awkward_values_round_trip_as_postcard() {
    awkward_values_round_trip(Postcard).await;
}

#[tokio::test(start_paused = true)]
async fn other_programs_can_read_json() {
    on_stage(async |stage| {
        let encoded = encoded(&stage);
        let cache = encoded.cache::<(u64, String)>(Json);
        cache.put(&1, (42, "ann".to_owned())).await.unwrap();
        assert_eq!(encoded.stored().unwrap(), br#"[42,"ann"]"#);
    })
    .await;
}

/// Asserts that what `old` wrote of a value is a miss to `new`: loaded once, replaced, counted.
async fn is_a_miss<V: Value>(old: impl Codec<V>, new: impl Codec<V>, value: V) {
    on_stage(async |stage| {
        let encoded = encoded(&stage);
        let written = encoded.cache(old);
        written.put(&1, value.clone()).await.unwrap();
        let before = encoded.stored().unwrap();
        drop(written);

        let cache = encoded.cache(new);
        loads(&cache, &value).await;
        assert_eq!(encoded.undecodable(), 1, "{value:?}");
        assert_ne!(encoded.stored().unwrap(), before, "replaced");
        assert_empty(&encoded.engine).await;
    })
    .await;
}

/// Asserts it of each codec's payload to each other.
async fn is_a_miss_to_all_others<V: Value>(value: V) {
    let (json, bincode, postcard) = (Json, Bincode, Postcard);
    is_a_miss(json, bincode, value.clone()).await;
    is_a_miss(json, postcard, value.clone()).await;
    is_a_miss(bincode, json, value.clone()).await;
    is_a_miss(bincode, postcard, value.clone()).await;
    is_a_miss(postcard, json, value.clone()).await;
    is_a_miss(postcard, bincode, value).await;
}

#[tokio::test(start_paused = true)]
async fn one_codecs_payload_is_a_miss_to_another() {
    is_a_miss_to_all_others(42_u64).await;
    is_a_miss_to_all_others(()).await;
    is_a_miss_to_all_others(String::new()).await;
    is_a_miss_to_all_others(None::<u64>).await;
    is_a_miss_to_all_others("ann".to_owned()).await;
}
