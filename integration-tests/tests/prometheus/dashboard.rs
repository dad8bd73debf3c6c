//! The dashboard shows what there is, in a form that Grafana can import.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use cache_metrics::catalogue::FAMILIES;
use integration_tests::promtool;
use serde_json::{Value, json};

use super::{catalogue::Catalogue, file, promql::Query};

/// Values for the variables of Grafana: everything, as the dashboard begins.
const VARIABLES: [(&str, &str); 4] = [
    ("$__rate_interval", "5s"),
    ("$job", ".*"),
    ("$engine", ".*"),
    ("$cache", ".*"),
];

/// A query of a panel, by the title of that.
#[derive(Debug)]
pub(crate) struct Target {
    panel: String,
    /// With values for the variables.
    pub(crate) query: String,
    legend: String,
}

pub(crate) fn targets() -> Vec<Target> {
    let mut targets = Vec::new();
    for panel in panels() {
        for target in list(&panel["targets"]) {
            targets.push(Target {
                panel: text(&panel["title"]).to_owned(),
                query: filled_in(text(&target["expr"])),
                legend: text(&target["legendFormat"]).to_owned(),
            });
        }
    }
    targets
}

fn dashboard() -> Value {
    serde_json::from_str(&file("grafana.json")).unwrap()
}

/// All but the rows, which only have a title.
fn panels() -> Vec<Value> {
    let mut panels = list(&dashboard()["panels"]);
    panels.retain(|panel| panel["type"] != "row");
    panels
}

fn filled_in(query: &str) -> String {
    let all = |query: String, (variable, value)| query.replace(variable, value);
    let query = VARIABLES.into_iter().fold(query.to_owned(), all);
    assert!(!query.contains('$'), "an unknown variable: {query}");
    query
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn its_queries_ask_for_what_is_exported_and_leave_nothing_out() {
    let catalogue = Catalogue::new();
    let mut shown = BTreeSet::new();
    for target in targets() {
        match Query::read(&target.query).check(&catalogue) {
            Ok(families) => shown.extend(families),
            Err(wrong) => panic!("{wrong:?}: {target:?}"),
        }
    }
    let all: BTreeSet<_> = FAMILIES.iter().map(|family| family.name()).collect();
    assert_eq!(shown, all);
}

#[test]
fn its_legends_name_labels_that_the_answer_has() {
    for target in targets() {
        let query = Query::read(&target.query);
        assert!(!target.legend.is_empty(), "{target:?}");
        for rest in target.legend.split("{{").skip(1) {
            let (label, _) = rest.split_once("}}").unwrap();
            assert!(query.groups_by(label), "{}: no {label}", target.panel);
        }
    }
}

#[test]
fn its_queries_are_valid() {
    // Prometheus reads queries from rules, and JSON is YAML.
    let rule = |target: &Target| json!({"record": "a:query", "expr": target.query});
    let check = |rules: Vec<Value>| {
        let folder = tempfile::tempdir().unwrap();
        let file = json!({"groups": [{"name": "dashboard", "rules": rules}]});
        fs::write(folder.path().join("rules.yaml"), file.to_string()).unwrap();
        promtool(
            folder.path(),
            &["check", "rules", "--lint=none", "rules.yaml"],
            "",
        )
    };
    let mut targets = targets();
    let verdict = check(targets.iter().map(rule).collect());
    let found = format!("{} rules found", targets.len());
    assert!(verdict.is_good, "{verdict:?}");
    assert!(verdict.text.contains(&found), "{verdict:?}");

    targets[0].query.push(')');
    assert!(!check(targets.iter().map(rule).collect()).is_good);
}

#[test]
fn its_variables_are_read_from_labels_that_exist() {
    let catalogue = Catalogue::new();
    let variables = list(&dashboard()["templating"]["list"]);
    let mut names = Vec::new();
    for variable in &variables {
        names.push(text(&variable["name"]));
        if variable["type"] != "query" {
            continue;
        }
        // `label_values(SELECTOR, LABEL)` is Grafana's own.
        let query = text(&variable["query"]["query"]);
        let inner = query
            .strip_prefix("label_values(")
            .and_then(|it| it.strip_suffix(')'));
        let (selector, label) = inner.unwrap().rsplit_once(", ").unwrap();
        let grouped = format!("count by ({label}) ({})", filled_in(selector));
        let outcome = Query::read(&grouped).check(&catalogue);
        assert!(outcome.is_ok(), "{outcome:?}: {query}");
        assert_eq!(query, text(&variable["definition"]));
        // Matches what has no such label, too: an engine need not have a name.
        assert_eq!(variable["includeAll"], true, "{query}");
        assert_eq!(variable["allValue"], ".*", "{query}");
    }
    assert_eq!(names, ["datasource", "job", "engine", "cache"]);
}

#[test]
fn its_panels_say_what_they_show() {
    let mut titles = BTreeSet::new();
    for panel in panels() {
        let title = text(&panel["title"]).to_owned();
        for (part, value) in [
            ("title", &panel["title"]),
            ("description", &panel["description"]),
            ("unit", &panel["fieldConfig"]["defaults"]["unit"]),
            ("data source", &panel["datasource"]["uid"]),
        ] {
            assert!(!text(value).is_empty(), "no {part}: {title:?} {panel}");
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        assert!(!list(&panel["targets"]).is_empty(), "{title}");
        assert!(titles.insert(title.clone()), "twice: {title}");
    }
}

#[test]
fn its_panels_fill_the_grid_and_do_not_overlap() {
    let panels = list(&dashboard()["panels"]);
    let mut ids = BTreeSet::new();
    // Who covers each cell of the grid.
    let mut cells: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for panel in &panels {
        let id = panel["id"].as_u64().unwrap();
        assert!(ids.insert(id), "id {id} is there twice");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|it| panel["gridPos"][it].as_u64().unwrap());
        for cell in (y..y + h).flat_map(|row| (x..x + w).map(move |column| (row, column))) {
            let other = cells.insert(cell, id);
            assert_eq!(other, None, "panels {id} and {other:?} overlap");
        }
    }
    let rows = cells.keys().map(|(row, _)| row + 1).max().unwrap();
    let all = (0..rows).flat_map(|row| (0..24).map(move |column| (row, column)));
    assert!(all.eq(cells.into_keys()), "24 columns, without a gap");
}
