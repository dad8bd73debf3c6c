//! What the docs say of the series is what the code exports.

use std::{collections::BTreeSet, time::Duration};

use cache_core::{BackendCall, BreakerState, ErrorKind, Event, Guarantee, LoadOutcome, Recorder};
use cache_metrics::{
    Stats,
    catalogue::{FAMILIES, Family},
};

const DOCS: &str = include_str!("../../docs/metrics.md");

/// The lines of the table whose heading begins like this.
fn table(heading: &str) -> Vec<&'static str> {
    let lines = DOCS.lines().skip_while(|line| !line.starts_with(heading));
    let rows: Vec<_> = lines
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert!(!rows.is_empty(), "there is no table {heading:?}");
    rows
}

fn row(family: &Family) -> String {
    let labels: Vec<_> = family
        .labels()
        .iter()
        .map(|label| format!("`{label}`"))
        .collect();
    let (name, kind) = (family.name(), family.kind().as_str());
    let (labels, help) = (labels.join(", "), family.help());
    format!("| `{name}` | {kind} | {labels} | {help} |").replace("|  |", "| |")
}

#[test]
fn the_table_of_the_docs_has_every_series_and_no_other() {
    let expected: Vec<_> = FAMILIES.iter().map(row).collect();
    let expected = expected.join("\n");
    assert_eq!(
        table("| series |").join("\n"),
        expected,
        "docs/metrics.md should have:\n{expected}\n"
    );
}

/// The words in back quotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn the_docs_have_every_word_of_every_label_and_no_other() {
    let stats = Stats::new();
    let user = stats.cache("user");
    let took = Duration::from_millis(1);
    for kind in ErrorKind::ALL {
        user.record(Event::Failed(kind));
        let error = Some(kind);
        for call in BackendCall::ALL {
            user.record(Event::Backend { call, took, error });
        }
    }
    for outcome in LoadOutcome::ALL {
        user.record(Event::Load { outcome, took });
    }
    user.record(Event::Breaker(BreakerState::Open));
    user.record(Event::Guarantee(Guarantee::Strict));

    let mut used = BTreeSet::new();
    let snapshot = stats.snapshot();
    for family in FAMILIES {
        family.read(&snapshot, &mut |values, _| {
            for (label, value) in family.labels().iter().zip(values) {
                if *label == "outcome" {
                    used.insert((format!("{label} {}", family.name()), (*value).to_owned()));
                } else if *label != "cache" {
                    used.insert(((*label).to_owned(), (*value).to_owned()));
                }
            }
        });
    }
    let mut documented = BTreeSet::new();
    for row in table("| label |") {
        let mut cells = row.split('|').skip(1);
        let label: Vec<_> = quoted(cells.next().expect("a label")).collect();
        let label = label.join(" ");
        for word in quoted(cells.next().expect("words")) {
            documented.insert((label.clone(), word.to_owned()));
        }
    }
    assert_eq!(documented, used);
}

#[test]
fn names_and_helps_are_as_prometheus_wants_them() {
    for family in FAMILIES {
        let (name, help) = (family.name(), family.help());
        assert!(name.starts_with("cache_"), "{name}");
        let ending = match family.kind().as_str() {
            "counter" => "_total",
            "histogram" => "_seconds",
            _ => "",
        };
        assert!(name.ends_with(ending), "{name}");
        assert!(!help.ends_with('.'), "{name}: the exporter adds it");
        assert!(help.is_ascii(), "{name}");
    }
    let names: BTreeSet<_> = FAMILIES.iter().map(Family::name).collect();
    assert_eq!(names.len(), FAMILIES.len(), "each once");
}
