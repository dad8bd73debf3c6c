//! What every codec promises.

use std::fmt::Debug;

use proptest::prelude::*;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::*;

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct User {
    id: u64,
    name: String,
    manager: Option<u64>,
}

fn encoded<V>(codec: &impl Codec<V>, value: &V) -> Vec<u8> {
    let mut payload = Vec::new();
    codec.encode(value, &mut payload).unwrap();
    #[cfg(feature = "actor")]
    assert_eq!(encoded_len(codec, value).unwrap(), payload.len());
    payload
}

fn round_trips<V>(codec: &impl Codec<V>, value: &V)
where
    V: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let payload = encoded(codec, value);
    assert!(
        !payload.is_empty(),
        "an empty payload reads as a miss to others"
    );
    assert_ne!(payload, b"*", "the negative marker is no value");
    assert_eq!(&codec.decode(&payload).unwrap(), value);

    let longer = [payload.as_slice(), b"x"].concat();
    assert!(
        codec.decode(&longer).is_err(),
        "trailing bytes are not ignored"
    );
}

macro_rules! each_codec {
    ($check:ident($value:expr)) => {
        $check(&Json, $value);
        #[cfg(feature = "bincode")]
        $check(&Bincode, $value);
        #[cfg(feature = "postcard")]
        $check(&Postcard, $value);
    };
}

#[test]
fn awkward_values_round_trip_and_are_never_the_negative_marker() {
    // 42 is `*` in ASCII: a bare one-byte encoding of it would be the negative marker.
    each_codec!(round_trips(&42_u64));
    each_codec!(round_trips(&42_u8));
    each_codec!(round_trips(&()));
    each_codec!(round_trips(&String::new()));
    each_codec!(round_trips(&String::from("*")));
    each_codec!(round_trips(&None::<u64>));
    each_codec!(round_trips(&Some(42_u64)));
}

proptest! {
    #[test]
    fn any_user_round_trips(id: u64, name in ".*", manager: Option<u64>) {
        let user = User { id, name, manager };
        each_codec!(round_trips(&user));
    }

    #[test]
    fn any_finite_float_is_the_same_afterwards(
        double in proptest::num::f64::ANY.prop_filter("finite", |float| float.is_finite()),
        single in proptest::num::f32::ANY.prop_filter("finite", |float| float.is_finite()),
    ) {
        each_codec!(round_trips(&(double, single)));
    }

    #[test]
    fn rubbish_never_panics(payload in proptest::collection::vec(any::<u8>(), 0..64)) {
        fn survives<V>(codec: &impl Codec<V>, payload: &[u8]) {
            drop(codec.decode(payload));
        }
        survives::<User>(&Json, &payload);
        #[cfg(feature = "bincode")]
        survives::<User>(&Bincode, &payload);
        #[cfg(feature = "postcard")]
        survives::<User>(&Postcard, &payload);
    }
}

#[test]
fn a_length_that_no_memory_could_hold_is_an_error() {
    // In bincode a byte of 253 announces eight bytes of length, in postcard a length is a varint.
    let claims = [
        [&[0x01, 253][..], &(1_u64 << 46).to_le_bytes()].concat(),
        [&[0x02][..], &[0xff; 6], &[0x0f]].concat(),
    ];
    fn refuses<V>(codec: &impl Codec<V>, claims: &[Vec<u8>]) {
        for payload in claims {
            assert!(codec.decode(payload).is_err(), "{payload:?}");
        }
    }
    fn all_refuse<V: Serialize + DeserializeOwned + 'static>(claims: &[Vec<u8>]) {
        refuses::<V>(&Json, claims);
        #[cfg(feature = "bincode")]
        refuses::<V>(&Bincode, claims);
        #[cfg(feature = "postcard")]
        refuses::<V>(&Postcard, claims);
    }
    all_refuse::<String>(&claims);
    all_refuse::<Vec<u8>>(&claims);
    all_refuse::<Vec<u64>>(&claims);
    all_refuse::<Vec<String>>(&claims);
    all_refuse::<std::collections::HashMap<u64, String>>(&claims);
}

#[cfg(all(feature = "bincode", feature = "postcard"))]
#[test]
fn one_codecs_payload_is_unreadable_to_another() {
    fn unreadable<V>(payload: &[u8], codec: &impl Codec<V>) {
        assert!(codec.decode(payload).is_err(), "{payload:?}");
    }
    fn all_unreadable<V: Serialize + DeserializeOwned + 'static>(value: &V) {
        let (json, bincode, postcard) = (
            encoded(&Json, value),
            encoded(&Bincode, value),
            encoded(&Postcard, value),
        );
        unreadable::<V>(&json, &Bincode);
        unreadable::<V>(&json, &Postcard);
        unreadable::<V>(&bincode, &Json);
        unreadable::<V>(&bincode, &Postcard);
        unreadable::<V>(&postcard, &Json);
        unreadable::<V>(&postcard, &Bincode);
    }
    all_unreadable(&42_u64);
    all_unreadable(&());
    all_unreadable(&String::from("a"));
    all_unreadable(&None::<u64>);
}
