//! What a change of the entries moves, as `docs/operations.md` tells it.

use std::ops::Range;

use super::Ring;

const DOCS: &str = include_str!("../../../docs/operations.md");

/// Fleets whose servers have other names, for the points of a ring come from those.
const FLEETS: Range<usize> = 0..10;
const KEYS_PER_FLEET: usize = 10_000;

/// A change of the weights of servers of the same names.
struct Change {
    name: &'static str,
    before: &'static [i64],
    after: &'static [i64],
}

const CHANGES: [Change; 11] = [
    change("2 servers, one more", &[100, 100, 0], &[100, 100, 100]),
    change("3 servers, one more", &[100, 100, 100, 0], &[100; 4]),
    change(
        "5 servers, one more",
        &[100, 100, 100, 100, 100, 0],
        &[100; 6],
    ),
    change("2 servers, one less", &[100, 100], &[100, 0]),
    change("3 servers, one less", &[100, 100, 100], &[100, 100, 0]),
    change("5 servers, one less", &[100; 5], &[100, 100, 100, 100, 0]),
    change(
        "3 servers, the first from 100 to 50",
        &[100; 3],
        &[50, 100, 100],
    ),
    change(
        "3 servers, the first from 50 to 100",
        &[50, 100, 100],
        &[100; 3],
    ),
    change(
        "3 servers, the first from 100 to 10",
        &[100; 3],
        &[10, 100, 100],
    ),
    change("3 servers, all from 100 to 50", &[100; 3], &[50; 3]),
    change("3 servers, all from 100 to 10", &[100; 3], &[10; 3]),
];

const fn change(name: &'static str, before: &'static [i64], after: &'static [i64]) -> Change {
    Change {
        name,
        before,
        after,
    }
}

fn owners(fleet: usize, weights: &[i64]) -> Vec<usize> {
    let hosts: Vec<String> = (0..weights.len())
        .map(|server| format!("cache-{fleet}-{server}.internal:6379"))
        .collect();
    let hosts = hosts.iter().map(String::as_str);
    let entries: Vec<(&str, i64)> = hosts.zip(weights.iter().copied()).collect();
    let ring = Ring::new(&entries).unwrap();
    (0..KEYS_PER_FLEET)
        .map(|key| ring.owner(format!("cache:user:id:{key}").as_bytes()))
        .collect()
}

/// Percents with one decimal, so that the text is the same on any machine.
fn percent(part: usize, whole: usize) -> String {
    let tenths = (part * 1_000 + whole / 2) / whole;
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// `least to most`, and `mean`, of counts out of the keys of a fleet.
fn summary(counts: &[usize]) -> (String, String) {
    let least = percent(*counts.iter().min().unwrap(), KEYS_PER_FLEET);
    let most = percent(*counts.iter().max().unwrap(), KEYS_PER_FLEET);
    let mean = percent(counts.iter().sum(), KEYS_PER_FLEET * counts.len());
    (format!("{least} to {most} %"), format!("{mean} %"))
}

/// Rows are compared together, so that a failure prints the whole table.
fn are_in_the_docs(rows: &[String]) {
    let table = rows.join("\n");
    assert!(
        DOCS.contains(&table),
        "docs/operations.md should say\n{table}"
    );
}

#[test]
fn the_docs_say_how_many_keys_a_change_moves() {
    let mut rows = Vec::new();
    for Change {
        name,
        before,
        after,
    } in CHANGES
    {
        let mut moved = Vec::new();
        for fleet in FLEETS {
            let (old, new) = (owners(fleet, before), owners(fleet, after));
            let moves = old.iter().zip(&new).filter(|(old, new)| old != new);
            // Keys go to whoever has more points, or leave who has fewer, and no others move.
            for (&old, &new) in moves.clone() {
                let grown = after[new] > before[new];
                let shrunk = after[old] < before[old];
                assert!(grown || shrunk, "{name}: from {old} to {new}");
            }
            moved.push(moves.count());
        }
        let (range, mean) = summary(&moved);
        rows.push(format!("| {name} | {mean} | {range} |"));
    }
    are_in_the_docs(&rows);
}

#[test]
fn the_docs_say_how_evenly_keys_are_spread() {
    let mut rows = Vec::new();
    for (name, weights) in [
        ("2 servers of weight 100", &[100; 2][..]),
        ("3 servers of weight 100", &[100; 3]),
        ("5 servers of weight 100", &[100; 5]),
        ("3 servers of weight 10", &[10; 3]),
        ("3 servers of weight 1", &[1; 3]),
    ] {
        let (mut least, mut most) = (Vec::new(), Vec::new());
        for fleet in FLEETS {
            let owners = owners(fleet, weights);
            let shares = (0..weights.len())
                .map(|server| owners.iter().filter(|owner| **owner == server).count());
            least.push(shares.clone().min().unwrap());
            most.push(shares.max().unwrap());
        }
        let (least, most) = (summary(&least).0, summary(&most).0);
        rows.push(format!("| {name} | {least} | {most} |"));
    }
    are_in_the_docs(&rows);
}
