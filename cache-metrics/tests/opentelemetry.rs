//! The series in OpenTelemetry, through the `metrics` facade.
#![cfg(feature = "metrics")]

use std::{collections::BTreeMap, time::Duration};

use cache_core::{Event, LoadOutcome, Recorder};
use cache_metrics::{Facade, Stats};
use metrics_opentelemetry::{OpenTelemetryMetrics, OpenTelemetryRecorder};
use opentelemetry::{KeyValue, metrics::MeterProvider};
use opentelemetry_sdk::metrics::{
    InMemoryMetricExporter, PeriodicReader, SdkMeterProvider,
    data::{AggregatedMetrics, Metric, MetricData},
};

/// A series: its name and its labels, in order.
fn named(metric: &Metric, labels: Vec<&KeyValue>) -> String {
    let labels: BTreeMap<_, _> = labels
        .into_iter()
        .map(|label| (label.key.as_str(), label.value.to_string()))
        .collect();
    format!("{} {labels:?}", metric.name())
}

/// The series of a metric, each with its value.
fn series(metric: &Metric) -> Vec<(String, String)> {
    let named = |labels| named(metric, labels);
    match metric.data() {
        AggregatedMetrics::U64(MetricData::Sum(sum)) if sum.is_monotonic() => sum
            .data_points()
            .map(|it| (named(it.attributes().collect()), it.value().to_string()))
            .collect(),
        AggregatedMetrics::F64(MetricData::Gauge(gauge)) => gauge
            .data_points()
            .map(|it| (named(it.attributes().collect()), it.value().to_string()))
            .collect(),
        AggregatedMetrics::F64(MetricData::Histogram(histogram)) => histogram
            .data_points()
            .map(|it| {
                let told = format!("{} in {}", it.sum(), it.count());
                (named(it.attributes().collect()), told)
            })
            .collect(),
        other @ (AggregatedMetrics::F64(_)
        | AggregatedMetrics::U64(_)
        | AggregatedMetrics::I64(_)) => {
            unreachable!("{} is {other:?}", metric.name())
        }
    }
}

#[test]
fn all_that_is_counted_comes_out_of_the_sdk() {
    // What a service that exports by OpenTelemetry has already, but for where it exports to.
    let exporter = InMemoryMetricExporter::default();
    let reader = PeriodicReader::builder(exporter.clone()).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();

    // What it adds.
    let meter = provider.meter("cache");
    let recorder = OpenTelemetryRecorder::new(OpenTelemetryMetrics::new(meter));
    let _installed = metrics::set_default_local_recorder(&recorder);
    let stats = Stats::new();
    let facade = Facade::new(&stats);

    let user = facade.cache("user");
    for event in [
        Event::Hit,
        Event::Hit,
        Event::Led,
        Event::Load {
            outcome: LoadOutcome::Failed,
            took: Duration::from_secs(2),
        },
        Event::QueuedInvalidations(3),
    ] {
        user.record(event);
    }
    facade.publish();
    user.record(Event::Hit);
    facade.publish();

    provider.force_flush().unwrap();
    let exported = exporter.get_finished_metrics().unwrap();
    let metrics = exported.iter().flat_map(|it| it.scope_metrics());
    let all: BTreeMap<_, _> = metrics
        .flat_map(|it| it.metrics())
        .flat_map(series)
        .collect();
    for (name, value) in [
        (r#"cache_calls_total {"cache": "user"}"#, "4"),
        (
            r#"cache_requests_total {"cache": "user", "result": "hit"}"#,
            "3",
        ),
        (
            r#"cache_requests_total {"cache": "user", "result": "miss"}"#,
            "1",
        ),
        (r#"cache_db_fails_total {"cache": "user"}"#, "1"),
        (r#"cache_load_duration_seconds {"cache": "user"}"#, "2 in 1"),
        ("cache_queued_invalidations {}", "3"),
    ] {
        assert_eq!(
            all.get(name).map(String::as_str),
            Some(value),
            "{name}: {all:#?}"
        );
    }
}
