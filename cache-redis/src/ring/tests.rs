//! Vectors that were compared with go-zero's own code, and what they leave out.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{
    murmur3::hash64,
    placement::{NoNodes, points},
    *,
};

const VECTORS: &str = include_str!("../../tests/vectors/gozero-ring.json");

#[derive(Deserialize)]
struct Vectors {
    hash_vectors: Vec<HashVector>,
    configs: Vec<Config>,
    membership: Vec<Membership>,
}

#[derive(Deserialize)]
struct HashVector {
    input: String,
    hash: String,
}

#[derive(Deserialize)]
struct Config {
    name: String,
    nodes: Vec<Node>,
    points: usize,
    distinct_points: usize,
    shared_points: usize,
    ring_sha256: String,
    first_points: Vec<FirstPoint>,
    vectors: Vec<Placement>,
}

#[derive(Deserialize)]
struct Node {
    host: String,
    weight: i64,
    replicas: usize,
}

#[derive(Deserialize)]
struct FirstPoint {
    point: String,
    owners: Vec<String>,
}

#[derive(Deserialize)]
struct Placement {
    key: String,
    hash: String,
    point_index: usize,
    point: String,
    owners: usize,
    node: String,
}

#[derive(Deserialize)]
struct Membership {
    name: String,
    points: usize,
    #[serde(default)]
    vectors: std::collections::BTreeMap<String, String>,
}

fn vectors() -> Vectors {
    serde_json::from_str(VECTORS).unwrap()
}

impl Config {
    fn entries(&self) -> Vec<(&str, i64)> {
        let nodes = self.nodes.iter();
        nodes.map(|node| (&*node.host, node.weight)).collect()
    }
}

/// Each hash with its hosts, in the form of the vectors.
fn places(ring: &Ring, entries: &[(&str, i64)]) -> Vec<(String, Vec<String>)> {
    let places = ring
        .points()
        .chunk_by(|left, right| left.hash == right.hash);
    places
        .map(|place| {
            let hosts = place.iter().map(|p| entries[p.entry].0.to_owned());
            (format!("{:016x}", place[0].hash), hosts.collect())
        })
        .collect()
}

#[test]
fn hashes_are_those_of_go() {
    for HashVector { input, hash } in vectors().hash_vectors {
        assert_eq!(
            format!("{:016x}", hash64(input.as_bytes())),
            hash,
            "{input}"
        );
    }
}

#[test]
fn every_point_is_where_go_zero_has_it() {
    for config in vectors().configs {
        let entries = config.entries();
        let ring = Ring::new(&entries).unwrap();
        assert_eq!(ring.points().len(), config.points, "{}", config.name);
        for (index, node) in config.nodes.iter().enumerate() {
            let own = ring.points().iter().filter(|point| point.entry == index);
            assert_eq!(own.count(), node.replicas, "{} {}", config.name, node.host);
        }
        let places = places(&ring, &entries);
        assert_eq!(places.len(), config.distinct_points, "{}", config.name);
        let shared = places.iter().filter(|(_, owners)| owners.len() > 1);
        assert_eq!(shared.count(), config.shared_points, "{}", config.name);
        for (place, first) in places.iter().zip(&config.first_points) {
            assert_eq!((&place.0, &place.1), (&first.point, &first.owners));
        }
        let mut lines = String::new();
        for (point, owners) in places {
            writeln!(lines, "{point} {}", owners.join(" | ")).unwrap();
        }
        let digest = Sha256::digest(lines.as_bytes());
        assert_eq!(format!("{digest:x}"), config.ring_sha256, "{}", config.name);
    }
}

#[test]
fn every_key_is_where_go_zero_has_it() {
    for config in vectors().configs {
        let entries = config.entries();
        let ring = Ring::new(&entries).unwrap();
        let places = places(&ring, &entries);
        for vector in &config.vectors {
            let key = vector.key.as_bytes();
            assert_eq!(format!("{:016x}", hash64(key)), vector.hash);
            let (point, owners) = &places[vector.point_index];
            assert_eq!(point, &vector.point);
            assert_eq!(owners.len(), vector.owners);
            let owner = &config.nodes[ring.owner(key)].host;
            assert_eq!(owner, &vector.node, "{} {}", config.name, vector.key);
        }
    }
}

#[test]
fn members_that_leave_and_come_back_move_keys_as_in_go_zero() {
    const A: &str = "127.0.0.1:6379";
    const B: &str = "127.0.0.1:6380";
    const C: &str = "127.0.0.1:6381";
    // An entry of weight 0 is a removal: it takes the earlier one's points and brings none.
    let cases: [&[(&str, i64)]; 3] = [
        &[(A, 100), (B, 100), (C, 100), (B, 0)],
        &[(A, 100), (B, 100), (C, 100), (C, 10)],
        &[("h:6000", 10), ("h:60001", 100), ("h:6000", 0)],
    ];
    let membership = vectors().membership;
    assert_eq!(membership.len(), cases.len());
    for (case, entries) in membership.into_iter().zip(cases) {
        let ring = Ring::new(entries).unwrap();
        assert_eq!(ring.points().len(), case.points, "{}", case.name);
        for (key, node) in &case.vectors {
            assert_eq!(entries[ring.owner(key.as_bytes())].0, node, "{key}");
        }
    }
}

#[test]
fn a_key_behind_the_last_point_belongs_to_the_first() {
    let entries = [("a:1", 1), ("b:1", 1)];
    let ring = Ring::new(&entries).unwrap();
    let [first, last] = ring.points() else {
        panic!("two points");
    };
    let mut seen = [0; 3];
    for number in 0..1_000 {
        let key = format!("key/{number}");
        let hash = hash64(key.as_bytes());
        let (owner, part) = match hash {
            hash if hash <= first.hash => (first, 0),
            hash if hash <= last.hash => (last, 1),
            _ => (first, 2),
        };
        assert_eq!(ring.owner(key.as_bytes()), owner.entry, "{key}");
        seen[part] += 1;
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}

#[test]
fn a_key_whose_hash_is_a_point_belongs_to_that_point() {
    let entries = [("a:1", 100), ("b:1", 100)];
    let ring = Ring::new(&entries).unwrap();
    for (index, (host, _)) in entries.iter().enumerate() {
        for number in 0..100 {
            assert_eq!(ring.owner(format!("{host}{number}").as_bytes()), index);
        }
    }
}

#[test]
fn where_two_share_a_point_a_second_hash_chooses_and_their_order_matters() {
    // `h:6000` + `1x` is `h:60001` + `x`.
    let (short, long) = (("h:6000", 100), ("h:60001", 100));
    let ring = Ring::new(&[short, long]).unwrap();
    let turned = Ring::new(&[long, short]).unwrap();
    assert_eq!(ring.points().len(), 200);

    let (mut shared, mut chosen) = (0, [0; 2]);
    for number in 0..2_000 {
        let key = format!("key/{number}");
        let hash = hash64(key.as_bytes());
        let place = ring.points().iter().find(|point| point.hash >= hash);
        let place = place.unwrap_or_else(|| &ring.points()[0]).hash;
        let at_place = ring.points().iter().filter(|point| point.hash == place);
        let owner = ring.owner(key.as_bytes());
        if at_place.count() == 2 {
            let inner = hash64(format!("16777619:{key}").as_bytes());
            assert_eq!(owner as u64, inner % 2, "{key}");
            assert_eq!(turned.owner(key.as_bytes()), owner, "the other host: {key}");
            chosen[owner] += 1;
            shared += 1;
        } else {
            assert_eq!(turned.owner(key.as_bytes()), 1 - owner, "the same: {key}");
        }
    }
    assert!(shared > 0 && chosen.iter().all(|count| *count > 0));
}

#[test]
fn a_weight_is_a_number_of_points_from_none_to_a_hundred() {
    for (weight, count) in [
        (i64::MIN, 0),
        (-1, 0),
        (0, 0),
        (1, 1),
        (99, 99),
        (100, 100),
        (101, 100),
        (i64::MAX, 100),
    ] {
        assert_eq!(points(&[("a:1", weight)]).len(), count, "{weight}");
    }
}

#[test]
fn a_host_that_comes_again_replaces_its_earlier_entry() {
    let ring = Ring::new(&[("a:1", 100), ("b:1", 100), ("a:1", 50)]).unwrap();
    let count = |entry| ring.points().iter().filter(|p| p.entry == entry).count();
    assert_eq!([count(0), count(1), count(2)], [0, 100, 50]);
}

#[test]
fn an_entry_that_is_alone_owns_everything_whatever_its_weight_above_zero() {
    for weight in [1, 100, 1_000] {
        let ring = Ring::new(&[("a:1", weight)]).unwrap();
        assert_eq!(ring.owner(b"key"), 0);
        assert_eq!(ring.owner(b""), 0);
    }
}

#[test]
fn without_any_point_there_is_no_ring() {
    for entries in [
        &[][..],
        &[("a:1", 0)],
        &[("a:1", -5)],
        &[("a:1", 0), ("b:1", -1)],
        &[("a:1", 100), ("a:1", 0)],
    ] {
        assert_eq!(Ring::new(entries).unwrap_err(), NoNodes, "{entries:?}");
    }
    let ring = Ring::new(&[("a:1", -1), ("b:1", 0), ("c:1", 1)]).unwrap();
    assert_eq!(ring.owner(b"key"), 2);
}

#[test]
fn what_is_surprising_is_said_once_and_with_its_remedy() {
    fn told(entries: &[(&str, i64)]) -> Vec<String> {
        surprises(entries).iter().map(ToString::to_string).collect()
    }
    assert_eq!(told(&[("a:1", 1), ("b:1", 100)]), <[&str; 0]>::default());
    assert_eq!(told(&[("a:1", 1_000)]), <[&str; 0]>::default(), "alone");
    assert_eq!(
        told(&[
            ("a:1", 100),
            ("b:1", 0),
            ("c:1", 101),
            ("a:1", 100),
            ("d:1", -7)
        ]),
        [
            "`a:1` is entry 1 and entry 4, and only the later one is used: leave the other out",
            "`b:1`, entry 2, has weight 0 and gets no keys: give it 1 to 100",
            "`c:1`, entry 3, has weight 101, which counts as 100",
            "`d:1`, entry 5, has weight -7 and gets no keys: give it 1 to 100",
        ]
    );
    assert_eq!(
        told(&[("h:60001", 100), ("h:6000", 15)]),
        [
            "`h:60001` and `h:6000` have 5 points in common, where the order of the entries \
             decides: keep it the same in all programs, or choose other ports",
        ]
    );
}

proptest! {
    #[test]
    fn any_key_has_an_owner_that_has_points(
        weights in proptest::collection::vec(-5_i64..120, 1..8),
        key in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let hosts: Vec<String> = (0..weights.len()).map(|n| format!("h{}:1", n % 5)).collect();
        let entries: Vec<(&str, i64)> =
            hosts.iter().map(String::as_str).zip(weights.iter().copied()).collect();
        if let Ok(ring) = Ring::new(&entries) {
            let owner = ring.owner(&key);
            prop_assert!(entries[owner].1 > 0);
            let replaced = entries[owner + 1..].iter().any(|(host, _)| *host == entries[owner].0);
            prop_assert!(!replaced);
        } else {
            prop_assert!(points(&entries).is_empty());
        }
    }
}
