//! `GoJson` against payloads that go-zero has written and read, each of them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Debug,
};

use cache_core::codec::{Codec, GoJson};
use proptest::prelude::*;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

const VECTORS: &str = include_str!("vectors/gozero-json.json");

#[derive(Deserialize)]
struct Vectors {
    decode: Vec<Decode>,
    encode: Vec<Encode>,
}

#[derive(Deserialize)]
struct Decode {
    name: String,
    payload_hex: String,
    ok: bool,
    target_after: String,
}

#[derive(Deserialize)]
struct Encode {
    name: String,
    payload: Option<String>,
    payload_hex: Option<String>,
}

fn vectors() -> Vectors {
    serde_json::from_str(VECTORS).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn encoded<V: Serialize + DeserializeOwned>(value: &V) -> String {
    let mut payload = Vec::new();
    GoJson.encode(value, &mut payload).unwrap();
    String::from_utf8(payload).unwrap()
}

fn decoded<V: Serialize + DeserializeOwned>(payload: impl AsRef<[u8]>) -> Option<V> {
    GoJson.decode(payload.as_ref()).ok()
}

/// A model of goctl, with `database/sql`'s types for what may be NULL.
#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", default)]
struct User {
    id: i64,
    mobile: String,
    nickname: NullString,
    age: NullInt64,
    score: NullFloat64,
    active: NullBool,
    create_time: Time,
    update_time: NullTime,
}

macro_rules! nullable {
    ($($name:ident { $field:ident: $ty:ty })*) => {$(
        #[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct $name {
            $field: $ty,
            valid: bool,
        }
    )*};
}

nullable! {
    NullString { string: String }
    NullInt64 { int64: i64 }
    NullFloat64 { float64: f64 }
    NullBool { bool: bool }
    NullTime { time: Time }
}

/// A point in time by its text; the zero of Go.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Time(String);

impl Default for Time {
    fn default() -> Self {
        Self("0001-01-01T00:00:00Z".to_owned())
    }
}

fn leap_day() -> Time {
    Time("2024-02-29T12:34:56Z".to_owned())
}

fn model() -> User {
    User {
        id: 1,
        mobile: "138".to_owned(),
        nickname: NullString {
            string: "k<".to_owned(),
            valid: true,
        },
        create_time: leap_day(),
        update_time: NullTime {
            time: leap_day(),
            valid: true,
        },
        ..User::default()
    }
}

#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
struct Tagged {
    name: String,
    tags: Option<Vec<String>>,
    ptr: Option<i64>,
    bytes: Option<String>,
}

/// A model whose payloads are written by somebody who spells names otherwise.
#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Spelled {
    #[serde(alias = "id")]
    id: i64,
    #[serde(alias = "MOBILE")]
    mobile: String,
}

/// What a type of Rust makes of a payload.
fn reread<V: Serialize + DeserializeOwned>(payload: &[u8]) -> Option<String> {
    decoded::<V>(payload).map(|value| encoded(&value))
}

#[test]
fn what_go_zero_reads_is_read_alike() {
    let mut exceptions = Vec::new();
    for Decode {
        name,
        payload_hex,
        ok,
        target_after,
    } in vectors().decode
    {
        let payload = bytes(&payload_hex);
        let read = match &*name {
            "exact" | "unknown-field" | "trailing-garbage" | "duplicate-key"
            | "type-error-partial" | "syntax-error" => reread::<User>(&payload),
            "leading-space" | "float-to-int" => reread::<i64>(&payload),
            "int-overflow" => reread::<i8>(&payload),
            "not-json-star" | "invalid-utf8" => reread::<String>(&payload),
            "number-to-any" => reread::<Value>(&payload),
            "number-in-map" => reread::<BTreeMap<String, Value>>(&payload),
            "array-into-slice" => reread::<Vec<i64>>(&payload),

            // Go leaves what a variable holds; here a value is always a new one. What is missing
            // is the type's default.
            "missing-field" => {
                assert_eq!(
                    decoded(payload),
                    Some(User {
                        id: 7,
                        ..User::default()
                    })
                );
                exceptions.push(name);
                continue;
            }
            // For the same reason `null` would be a value that nobody has written: it is loaded
            // again, unless the type can say "nothing".
            "null-to-struct" => {
                assert_eq!(decoded::<User>(&payload), None);
                assert_eq!(decoded::<Option<User>>(&payload), Some(None));
                exceptions.push(name);
                continue;
            }
            "null-to-string" => {
                assert_eq!(decoded::<String>(&payload), None);
                assert_eq!(decoded::<Option<String>>(&payload), Some(None));
                exceptions.push(name);
                continue;
            }
            // Names are matched exactly; a type can have more than one. Beware of defaults.
            "case-insensitive" => {
                let (id, mobile) = (7, "1".to_owned());
                assert_eq!(decoded(&payload), Some(Spelled { id, mobile }));
                assert_eq!(decoded(&payload), Some(User::default()));
                exceptions.push(name);
                continue;
            }
            other => panic!("there is a new vector: {other}"),
        };
        assert_eq!(read.is_some(), ok, "{name}");
        if let Some(read) = read {
            assert_eq!(read, target_after, "{name}");
        }
    }
    assert_eq!(
        exceptions,
        [
            "case-insensitive",
            "missing-field",
            "null-to-struct",
            "null-to-string"
        ]
    );
}

#[test]
fn what_go_zero_writes_is_written_alike_and_comes_back() {
    fn written<V>(value: &V) -> String
    where
        V: Serialize + DeserializeOwned + PartialEq + Debug,
    {
        let payload = encoded(value);
        assert_eq!(decoded::<V>(&payload).as_ref(), Some(value), "{payload}");
        payload
    }
    let mut exceptions = Vec::new();
    for Encode {
        name,
        payload,
        payload_hex,
    } in vectors().encode
    {
        let text = |text: &str| written(&text.to_owned());
        let found = match &*name {
            "string" => text("value"),
            "string-empty" => text(""),
            "string-star" => text("*"),
            "string-html" => text("<a>&</a>"),
            "string-quote" => text("\"\\/"),
            "string-ls-ps" => text("\u{2028}\u{2029}"),
            "string-unicode" => text("用户😀é"),
            "int64-big" => written(&323_427_211_229_009_810_i64),
            "int64-min" => written(&i64::MIN),
            "uint64-max" => written(&u64::MAX),
            "bool" => written(&true),
            "float-int" => written(&3.0_f64),
            "float-neg-zero" => written(&-0.0_f64),
            "float-1e20" => written(&1e20_f64),
            "float-1e21" => written(&1e21_f64),
            "float-1e-6" => written(&1e-6_f64),
            "float-pi" => written(&std::f64::consts::PI),
            "float32" => written(&0.1_f32),
            "nil" => written(&()),
            "slice-nil" => written(&None::<Vec<i64>>),
            "slice-empty" => written(&Vec::<i64>::new()),
            "map-nil" => written(&None::<BTreeMap<String, i64>>),
            "map-sorted" => written(&BTreeMap::from(
                [("a", 2), ("B", 3), ("b", 1)].map(|(key, value)| (key.to_owned(), value)),
            )),
            "duration" => written(&1_500_000_000_i64),
            "goctl-model" => written(&model()),
            "goctl-model-zero" => written(&User::default()),
            "tagged" => written(&Tagged {
                name: "n".to_owned(),
                ..Tagged::default()
            }),
            "index-primary-int64" => written(&42_i64),
            "index-primary-string" => text("u-42"),
            // How bytes or a time become a text is for their type to say, not for the codec.
            "bytes" => text("+/8A"),
            "time-utc" => written(&leap_day()),
            "float-nan" => {
                assert_eq!(payload, None, "go-zero writes nothing either");
                let error = GoJson.encode(&f64::NAN, &mut Vec::new()).unwrap_err();
                assert!(error.to_string().contains("infinite"), "{error}");
                continue;
            }
            // A string of Rust has no bytes that are none of UTF-8; one that has U+FFFD in it
            // writes that as it is, which Go does, too.
            "string-invalid-utf8" => {
                assert_eq!(
                    decoded::<String>(payload.unwrap()).as_deref(),
                    Some("a\u{fffd}\u{fffd}b")
                );
                assert_eq!(text("a\u{fffd}\u{fffd}b"), "\"a\u{fffd}\u{fffd}b\"");
                exceptions.push(name);
                continue;
            }
            // There is no such type.
            "chan" => {
                exceptions.push(name);
                continue;
            }
            other => panic!("there is a new vector: {other}"),
        };
        assert_eq!(found.as_bytes(), bytes(&payload_hex.unwrap()), "{name}");
    }
    assert_eq!(exceptions, ["string-invalid-utf8", "chan"]);
}

#[test]
fn floats_are_spelled_as_in_go() {
    // What `json.Marshal` of Go gives by its rule for exponents, both sides of each boundary.
    for (value, text) in [
        (0.0, "0"),
        (1e16, "10000000000000000"),
        (999_999_999_999_999_900_000.0, "999999999999999900000"),
        (1e21, "1e+21"),
        (-1.5e300, "-1.5e+300"),
        (1e-6, "0.000001"),
        (-1.25e-6, "-0.00000125"),
        (9.999e-7, "9.999e-7"),
        (1e-7, "1e-7"),
        (5e-324, "5e-324"),
        (f64::MAX, "1.7976931348623157e+308"),
    ] {
        assert_eq!(encoded::<f64>(&value), text);
        assert_eq!(decoded::<f64>(text), Some(value));
    }
    for (value, text) in [
        (0.0, "0"),
        (3.0, "3"),
        (1e21, "1e+21"),
        (1e20, "100000000000000000000"),
        (1e-6, "0.000001"),
        (9e-7, "9e-7"),
        (f32::MAX, "3.4028235e+38"),
    ] {
        assert_eq!(encoded::<f32>(&value), text);
        assert_eq!(decoded::<f32>(text), Some(value));
    }
}

#[test]
fn what_is_not_finite_is_not_written_wherever_it_stands() {
    #[derive(Deserialize, Serialize)]
    enum Shape {
        Point,
        Circle(f64),
        Line(f64, f64),
        Square { side: f32 },
    }
    #[derive(Deserialize, Serialize)]
    struct Wrapped(f64);
    #[derive(Deserialize, Serialize)]
    struct Pair(u8, f64);
    #[derive(Deserialize, Serialize)]
    struct Named {
        inner: Wrapped,
    }
    fn writes<V: Serialize + DeserializeOwned>(value: &V) -> bool {
        GoJson.encode(value, &mut Vec::new()).is_ok()
    }
    for (float, accepted) in [
        (1.0, true),
        (f64::MAX, true),
        (f64::NAN, false),
        (f64::INFINITY, false),
        (f64::NEG_INFINITY, false),
    ] {
        #[expect(clippy::cast_possible_truncation, reason = "as it is meant")]
        let single = if accepted { 1.0 } else { float as f32 };
        for written in [
            writes(&float),
            writes(&single),
            writes(&Some(float)),
            writes(&vec![1.0, float]),
            writes(&("a", float).1),
            writes(&(1_u8, float)),
            writes(&BTreeMap::from([(1, float)])),
            writes(&Wrapped(float)),
            writes(&Pair(1, float)),
            writes(&Named {
                inner: Wrapped(float),
            }),
            writes(&Shape::Circle(float)),
            writes(&Shape::Line(0.0, float)),
            writes(&Shape::Square { side: single }),
        ] {
            assert_eq!(written, accepted, "{float}");
        }
    }
    assert!(writes(&Shape::Point));
    assert!(writes(&(
        1_i128,
        'a',
        None::<f64>,
        (),
        String::new(),
        [0_u8; 2]
    )));
}

#[test]
fn what_a_value_says_of_itself_is_the_error() {
    #[derive(Deserialize)]
    struct Stubborn;
    impl Serialize for Stubborn {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("not today"))
        }
    }
    let error = GoJson.encode(&Stubborn, &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "not today");
}

#[test]
fn both_spellings_of_html_are_read() {
    for payload in [r#""<a>&""#, r#""\u003ca\u003e\u0026""#] {
        assert_eq!(decoded::<String>(payload).as_deref(), Some("<a>&"));
    }
}

#[test]
fn what_is_no_text_is_replaced_within_strings_alone() {
    for (payload, read) in [
        (&br#""a\ud800b""#[..], Some("a\u{fffd}b")),
        (br#""\ud83d\ude00""#, Some("😀")),
        (br#""\\ud800""#, Some("\\ud800")),
        (b"\"\xe2\x80\"", Some("\u{fffd}\u{fffd}")),
        (b"\"a\" \xff\xff", Some("a")),
        (b"\xff\"a\"", None),
    ] {
        assert_eq!(decoded::<String>(payload).as_deref(), read, "{payload:?}");
    }
}

#[test]
fn of_two_fields_the_last_counts_and_nothing_is_rounded() {
    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Wide {
        id: u128,
    }
    const BIG: u128 = (1 << 100) + 1;
    assert_eq!(encoded(&Wide { id: BIG }), format!(r#"{{"id":{BIG}}}"#));
    assert_eq!(
        decoded(format!(r#"{{"id":{BIG}}}"#)),
        Some(Wide { id: BIG })
    );
    assert_eq!(decoded(r#"{"id":1,"id":2}"#), Some(Wide { id: 2 }));
    let twice = format!(r#"{{"id":1,"id":{BIG}}}"#);
    assert_eq!(decoded::<Wide>(twice), None, "refused, not rounded");
    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Labelled {
        id: u128,
        label: String,
    }
    let garbled = [format!(r#"{{"id":{BIG},"label":""#).as_bytes(), b"\xff\"}"].concat();
    let (id, label) = (BIG, "\u{fffd}".to_owned());
    assert_eq!(decoded(garbled), Some(Labelled { id, label }));

    let all_at_once = b"{\"Id\":1,\"Mobile\":\"\xff\\udc00\",\"Id\":9007199254740993} x";
    let (id, mobile) = (9_007_199_254_740_993, "\u{fffd}\u{fffd}".to_owned());
    assert_eq!(decoded(all_at_once), Some(Spelled { id, mobile }));
}

#[test]
fn a_payload_that_cannot_be_read_says_what_was_wrong_at_first() {
    let error = GoJson.decode(b"{\"Id\":\"\xff\"}");
    let error: Box<dyn std::error::Error + Send + Sync> = match error {
        Ok(user) => panic!("{user:?}", user = Some::<User>(user)),
        Err(error) => error,
    };
    assert!(error.to_string().contains("line 1 column"), "{error}");
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Anything {
    id: i64,
    name: String,
    score: f64,
    ratio: f32,
    tags: Option<Vec<String>>,
    counts: HashMap<u32, u64>,
}

fn anything() -> impl Strategy<Value = Anything> {
    let finite = proptest::num::f64::ANY.prop_filter("finite", |float| float.is_finite());
    let single = proptest::num::f32::ANY.prop_filter("finite", |float| float.is_finite());
    let text = "(.|[\u{2028}\u{2029}\u{2027}\u{fffd}\"\\\\<]){0,12}";
    let tags = proptest::option::of(proptest::collection::vec(".{0,4}", 0..3));
    let counts = proptest::collection::hash_map(any::<u32>(), any::<u64>(), 0..3);
    (any::<i64>(), text, finite, single, tags, counts).prop_map(
        |(id, name, score, ratio, tags, counts)| Anything {
            id,
            name,
            score,
            ratio,
            tags,
            counts,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_finite_value_comes_back(value in anything()) {
        let payload = encoded(&value);
        let is_escaped = !payload.contains(['\u{2028}', '\u{2029}']);
        prop_assert!(is_escaped);
        prop_assert_eq!(decoded::<Anything>(&payload), Some(value.clone()));
        let longer = format!("\n {payload} behind it");
        prop_assert_eq!(decoded::<Anything>(longer), Some(value));
    }

    #[test]
    fn other_programs_read_what_is_written(value in anything()) {
        let read: Anything = serde_json::from_str(&encoded(&value)).unwrap();
        prop_assert_eq!(read, value);
    }

    #[test]
    fn rubbish_never_panics(payload in proptest::collection::vec(any::<u8>(), 0..64)) {
        drop(decoded::<User>(&payload));
        drop(decoded::<Value>(&payload));
    }

    #[test]
    fn near_misses_never_panic(
        value in anything(),
        at: proptest::sample::Index,
        byte: u8,
        cut: proptest::sample::Index,
    ) {
        let mut payload = encoded(&value).into_bytes();
        let at = at.index(payload.len());
        payload[at] = byte;
        drop(decoded::<Anything>(&payload));
        payload.truncate(cut.index(payload.len()));
        drop(decoded::<Anything>(&payload));
    }
}

#[test]
fn a_value_of_any_shape_is_spelled_in_the_same_way() {
    let value = json!({ "a": 3.0, "b": [1e21, null, "\u{2028}"], "c": { "d": 1e-7 } });
    let text = r#"{"a":3,"b":[1e+21,null,"\u2028"],"c":{"d":1e-7}}"#;
    assert_eq!(encoded(&value), text);
}
