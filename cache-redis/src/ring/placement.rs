//! The points of a ring, and the owner of a key.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::murmur3::hash64;

/// The most points that an entry can have.
const MOST_POINTS: u32 = 100;

/// Which entry of a configuration owns a key.
#[derive(Clone)]
pub(crate) struct Ring {
    /// Ascending by hash, and then by entry: points at one hash are neighbours, in the order in
    /// which they were added. Never empty, unless there is a sole owner.
    points: Box<[Point]>,
    /// The only entry, which owns everything.
    sole: Option<usize>,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Point {
    pub(super) hash: u64,
    pub(super) entry: usize,
}

/// No entry has a point, so no key has an owner.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no cache nodes: name at least one server with a weight of 1 or more")]
pub(crate) struct NoNodes;

impl Ring {
    /// Places `entries`, each a host and its weight, in the order of the configuration.
    ///
    /// A weight from 1 to 100 is a number of points, one above 100 is 100, and one of zero or less
    /// is none. A host that comes again replaces its earlier entry. An entry that is alone owns
    /// everything. What of this is worth a word to the operator says
    /// [`surprises`](super::surprises()).
    ///
    /// # Errors
    ///
    /// [`NoNodes`] if no entry has a point.
    pub(crate) fn new(entries: &[(&str, i64)]) -> Result<Self, NoNodes> {
        let sole = (entries.len() == 1).then_some(0);
        let points = points(entries);
        if points.is_empty() {
            return Err(NoNodes);
        }
        Ok(Self {
            points: if sole.is_some() {
                Box::default()
            } else {
                points
            },
            sole,
        })
    }

    /// The entries that own keys.
    pub(crate) fn entries(&self) -> BTreeSet<usize> {
        let points = self.points.iter().map(|point| point.entry);
        points.chain(self.sole).collect()
    }

    /// The index of the entry that owns `key`.
    pub(crate) fn owner(&self, key: &[u8]) -> usize {
        if let Some(sole) = self.sole {
            return sole;
        }
        let hash = hash64(key);
        let behind = self.points.partition_point(|point| point.hash < hash);
        // Behind the last point comes the first.
        let first = behind % self.points.len();
        let sharing = &self.points[first..];
        let found = sharing[0].hash;
        let count = sharing.iter().take_while(|p| p.hash == found).count();
        let chosen = if count == 1 { 0 } else { choose(key, count) };
        sharing[chosen].entry
    }

    #[cfg(test)]
    pub(super) fn points(&self) -> &[Point] {
        &self.points
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("entries", &self.entries())
            .finish_non_exhaustive()
    }
}

/// Which of `count` entries that share a point owns `key`.
fn choose(key: &[u8], count: usize) -> usize {
    let inner = [b"16777619:", key].concat();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the remainder is less than `count`, which is a `usize`"
    )]
    let chosen = (hash64(&inner) % count as u64) as usize;
    chosen
}

/// The points of `entries`, ascending.
pub(super) fn points(entries: &[(&str, i64)]) -> Box<[Point]> {
    let mut places = Places::default();
    for (index, &(host, weight)) in entries.iter().enumerate() {
        places.add(index, host, weight);
    }
    places.into_points()
}

/// What is at each hash, while entries are being added.
#[derive(Default)]
struct Places<'a> {
    places: BTreeMap<u64, Place>,
    /// The entry of each host so far.
    hosts: BTreeMap<&'a str, usize>,
}

/// `listed` and `entries` are two things in go-zero, a sorted list of hashes and a map from a hash
/// to its nodes, and removals let them diverge: a place that is not listed is never found.
#[derive(Default)]
struct Place {
    listed: usize,
    entries: Vec<usize>,
}

impl<'a> Places<'a> {
    fn add(&mut self, index: usize, host: &'a str, weight: i64) {
        if let Some(earlier) = self.hosts.insert(host, index) {
            self.remove(earlier, host);
        }
        let count = weight.clamp(0, i64::from(MOST_POINTS));
        for number in 0..count {
            let place = self.places.entry(point(host, number)).or_default();
            place.listed += 1;
            place.entries.push(index);
        }
    }

    /// Takes all hundred hashes of `host` off the list, whatever its weight was, and so also what
    /// is a neighbour's: go-zero does, and keys are where it puts them.
    fn remove(&mut self, earlier: usize, host: &str) {
        for number in 0..i64::from(MOST_POINTS) {
            if let Some(place) = self.places.get_mut(&point(host, number)) {
                place.listed = place.listed.saturating_sub(1);
                place.entries.retain(|entry| *entry != earlier);
            }
        }
    }

    fn into_points(self) -> Box<[Point]> {
        let found = self
            .places
            .into_iter()
            .filter(|(_, place)| place.listed > 0);
        let points = found.flat_map(|(hash, place)| {
            let entries = place.entries.into_iter();
            entries.map(move |entry| Point { hash, entry })
        });
        points.collect()
    }
}

/// The hash of point `number` of `host`, with nothing between the two.
fn point(host: &str, number: i64) -> u64 {
    hash64(format!("{host}{number}").as_bytes())
}
