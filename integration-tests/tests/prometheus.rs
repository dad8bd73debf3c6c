//! What the caches export is understood by the real Prometheus, and the dashboard and the alerts ask for
//! what is exported.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

#[path = "prometheus/alerts.rs"]
mod alerts;
#[path = "prometheus/catalogue.rs"]
mod catalogue;
#[path = "prometheus/dashboard.rs"]
mod dashboard;
#[path = "prometheus/live.rs"]
mod live;
#[path = "prometheus/promql.rs"]
mod promql;

use std::path::{Path, PathBuf};

use cache_metrics::{Exporter, Stats, catalogue::FAMILIES};
use integration_tests::promtool;

/// Where the dashboard and the alerts are.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../cache-metrics/dashboard")
}

fn file(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

#[test]
fn nothing_is_wrong_with_the_text_of_all_series() {
    for stats in [Stats::new(), Stats::named("main")] {
        let caches = catalogue::record_everything(&stats);
        let text = Exporter::new(&stats).text();
        for family in FAMILIES {
            let kind = format!("# TYPE {} {}\n", family.name(), family.kind().as_str());
            assert!(text.contains(&kind), "no {kind:?} in:\n{text}");
        }
        let verdict = promtool(&folder(), &["check", "metrics"], &text);
        assert!(verdict.is_good && verdict.text.is_empty(), "{verdict:?}");

        let (help, rest) = text.split_once('\n').unwrap();
        assert!(help.starts_with("# HELP "));
        let verdict = promtool(&folder(), &["check", "metrics"], rest);
        assert!(!verdict.is_good, "a help that is missing is seen");
        drop(caches);
    }
}
