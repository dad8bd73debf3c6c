//! What in the entries of a ring does not mean what it seems to.

use std::collections::{BTreeMap, BTreeSet};

use super::placement::points;

/// Something in the entries of a ring that its author may not have meant. Entries are told by
/// their place, the first being 1, and by their host, which is no secret.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, thiserror::Error)]
pub(crate) enum Surprise {
    /// A host is named again.
    #[error(
        "`{host}` is entry {} and entry {}, and only the later one is used: leave the \
         other out",
        .earlier + 1,
        .later + 1
    )]
    Twice {
        host: String,
        earlier: usize,
        later: usize,
    },
    /// The weight is zero or less.
    #[error("`{host}`, entry {}, has weight {weight} and gets no keys: give it 1 to 100", .entry + 1)]
    NoKeys {
        host: String,
        entry: usize,
        weight: i64,
    },
    /// The weight is above 100.
    #[error("`{host}`, entry {}, has weight {weight}, which counts as 100", .entry + 1)]
    Clamped {
        host: String,
        entry: usize,
        weight: i64,
    },
    /// Two hosts have points in common.
    #[error(
        "`{first}` and `{second}` have {points} points in common, where the order of the entries \
         decides: keep it the same in all programs, or choose other ports"
    )]
    Shared {
        first: String,
        second: String,
        points: usize,
    },
}

/// What is surprising in `entries`, each a host and its weight.
///
/// The weight of an entry that is alone matters only if it is zero or less.
pub(crate) fn surprises(entries: &[(&str, i64)]) -> Vec<Surprise> {
    let mut found = Vec::new();
    let mut used = BTreeMap::new();
    for (index, &(host, _)) in entries.iter().enumerate() {
        if let Some(earlier) = used.insert(host, index) {
            found.push(Surprise::Twice {
                host: host.to_owned(),
                earlier,
                later: index,
            });
        }
    }
    let used: BTreeSet<usize> = used.into_values().collect();
    found.extend(used.iter().filter_map(|&entry| weight(entries, entry)));
    found.extend(shared(entries));
    found
}

fn weight(entries: &[(&str, i64)], entry: usize) -> Option<Surprise> {
    let (host, weight) = entries[entry];
    let host = host.to_owned();
    if weight <= 0 {
        return Some(Surprise::NoKeys {
            host,
            entry,
            weight,
        });
    }
    let clamped = weight > 100 && entries.len() > 1;
    clamped.then_some(Surprise::Clamped {
        host,
        entry,
        weight,
    })
}

fn shared<'a>(entries: &'a [(&'a str, i64)]) -> impl Iterator<Item = Surprise> + 'a {
    let mut counts: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    let points = points(entries);
    for sharing in points.chunk_by(|left, right| left.hash == right.hash) {
        for (place, first) in sharing.iter().enumerate() {
            for second in &sharing[place + 1..] {
                *counts.entry((first.entry, second.entry)).or_default() += 1;
            }
        }
    }
    let counted = counts.into_iter();
    counted.map(|((first, second), points)| Surprise::Shared {
        first: entries[first].0.to_owned(),
        second: entries[second].0.to_owned(),
        points,
    })
}
