//! The alerts ask for what there is, say what to do, and are tested.

use std::collections::BTreeMap;

use config::{Config, File, FileFormat};
use integration_tests::promtool;
use serde::{Deserialize, de::DeserializeOwned};

use super::{catalogue::Catalogue, file, folder, promql::Query};

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Alert>,
}

/// An alert of the file. One that waits for nothing says so.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Alert {
    pub(crate) alert: String,
    pub(crate) expr: String,
    #[serde(rename = "for")]
    _lasts: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Tests {
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Test {
    alert_rule_test: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    alertname: String,
    exp_alerts: Vec<config::Value>,
}

pub(crate) fn alerts() -> Vec<Alert> {
    let rules: Rules = yaml("alerts.yaml");
    let groups = rules.groups.into_iter();
    groups.flat_map(|group| group.rules).collect()
}

fn yaml<T: DeserializeOwned>(name: &str) -> T {
    let source = File::from_str(&file(name), FileFormat::Yaml);
    let config = Config::builder().add_source(source).build().unwrap();
    config.try_deserialize().unwrap()
}

#[test]
fn they_are_valid_and_their_tests_pass() {
    for arguments in [
        ["check", "rules", "alerts.yaml"],
        ["test", "rules", "alerts_test.yaml"],
    ] {
        let verdict = promtool(&folder(), &arguments, "");
        assert!(verdict.is_good, "{}", verdict.text);
        assert!(verdict.text.contains("SUCCESS"), "{}", verdict.text);
    }
}

#[test]
fn each_is_tested_to_fire_and_to_be_silent() {
    let tests: Tests = yaml("alerts_test.yaml");
    let cases: Vec<_> = tests
        .tests
        .into_iter()
        .flat_map(|test| test.alert_rule_test)
        .collect();
    let alerts = alerts();
    for Alert { alert, .. } in &alerts {
        let of_this = || cases.iter().filter(|case| case.alertname == *alert);
        let fires = of_this().any(|case| !case.exp_alerts.is_empty());
        let is_silent = of_this().any(|case| case.exp_alerts.is_empty());
        assert!(fires, "no test in which {alert} fires");
        assert!(is_silent, "no test in which {alert} is silent");
    }
    for Case { alertname, .. } in &cases {
        let is_there = alerts.iter().any(|it| it.alert == *alertname);
        assert!(is_there, "{alertname} is tested and does not exist");
    }
}

#[test]
fn they_ask_for_what_is_exported() {
    let catalogue = Catalogue::new();
    for alert in alerts() {
        let outcome = Query::read(&alert.expr).check(&catalogue);
        assert!(outcome.is_ok(), "{outcome:?}: {alert:?}");
    }
}

#[test]
fn each_says_how_bad_it_is_and_what_to_do_and_marks_its_thresholds() {
    for alert in alerts() {
        let severity = alert.labels["severity"].as_str();
        assert!(["warning", "critical"].contains(&severity), "{alert:?}");
        for part in ["summary", "description"] {
            assert!(alert.annotations.contains_key(part), "{part}: {alert:?}");
        }
        let lines = || alert.expr.lines();
        assert!(lines().any(|line| line.contains("# threshold: ")));
        for line in lines().filter(|line| line.contains(['<', '>']) || line.contains("==")) {
            assert!(line.contains("# threshold: "), "{}: {line}", alert.alert);
        }
    }
}
