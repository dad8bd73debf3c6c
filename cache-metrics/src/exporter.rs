//! The series in Prometheus's text format.

use std::{collections::HashSet, fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{
        DescriptorEncoder, EncodeLabel, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet,
        prometheus_text,
    },
    metrics::{MetricType, exemplar::Exemplar},
    registry::{Registry, Unit},
};

use crate::{
    SetupError, Snapshot, Stats,
    catalogue::{FAMILIES, Family, Kind, Value},
};

/// Writes what was counted in Prometheus's text format.
///
/// Cheap to clone: clones share everything.
///
/// ```
/// use cache_core::{Event, Recorder};
/// use cache_metrics::{Exporter, Stats};
///
/// let stats = Stats::new();
/// let exporter = Exporter::new(&stats);
/// let user = stats.cache("user");
/// user.record(Event::Hit);
///
/// let text = exporter.text();
/// assert!(text.contains("cache_requests_total{cache=\"user\",result=\"hit\"} 1\n"));
/// ```
///
/// # With a registry of your own
///
/// It is a [`Collector`] of `prometheus-client`: a service that has a
/// [`Registry`] already says
/// `registry.register_collector(Box::new(exporter))`. This is the one place where this crate names
/// a type of another, and it follows its major versions.
#[derive(Clone, Debug)]
pub struct Exporter {
    engines: Arc<[Stats]>,
}

impl Exporter {
    /// The `Content-Type` of [`text`](Self::text).
    pub const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

    /// An exporter of the stats of one engine.
    #[must_use]
    pub fn new(stats: &Stats) -> Self {
        Self {
            engines: [stats.clone()].into(),
        }
    }

    /// An exporter of the stats of several engines, each [named](Stats::named).
    ///
    /// # Errors
    ///
    /// [`SetupError::SameEngine`] if two have the same engine name, or none: their series would be
    /// the same.
    pub fn of_engines(engines: impl IntoIterator<Item = Stats>) -> Result<Self, SetupError> {
        let engines: Arc<[Stats]> = engines.into_iter().collect();
        let mut names = HashSet::new();
        for stats in &*engines {
            let name = stats.engine_name();
            if !names.insert(name) {
                let name = name.unwrap_or_default().to_owned();
                return Err(SetupError::SameEngine { name });
            }
        }
        Ok(Self { engines })
    }

    /// What was counted up to now, in Prometheus's text format, version 0.0.4.
    ///
    /// It takes some microseconds per cache, of the thread that calls it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.clone()));
        let mut text = String::new();
        // Writing into a string does not fail.
        match prometheus_text::encode(&mut text, &registry) {
            Ok(()) | Err(fmt::Error) => text,
        }
    }
}

impl Collector for Exporter {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let engines: Vec<_> = self
            .engines
            .iter()
            .map(|stats| (stats.engine_name(), stats.snapshot()))
            .collect();
        FAMILIES
            .iter()
            .try_for_each(|family| encode(family, &engines, &mut encoder))
    }
}

/// Encodes all series of a family, with its description if there are any.
fn encode(
    family: &Family,
    engines: &[(Option<&str>, Snapshot)],
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    let mut is_empty = true;
    for (_, snapshot) in engines {
        family.read(snapshot, &mut |_, _| is_empty = false);
    }
    if is_empty {
        return Ok(());
    }
    // The encoder adds the endings.
    let (kind, ending, unit) = match family.kind() {
        Kind::Counter => (MetricType::Counter, "_total", None),
        Kind::Gauge => (MetricType::Gauge, "", None),
        Kind::Histogram => (MetricType::Histogram, "_seconds", Some(Unit::Seconds)),
    };
    let whole = family.name();
    let name = whole.strip_suffix(ending).unwrap_or(whole);
    let help = format!("{}.", family.help());
    let mut encoder = encoder.encode_descriptor(name, &help, unit.as_ref(), kind)?;
    let mut outcome = Ok(());
    for (engine, snapshot) in engines {
        family.read(snapshot, &mut |values, value| {
            let labels = Labels {
                engine: *engine,
                names: family.labels(),
                values,
            };
            if outcome.is_ok() {
                outcome = encode_value(&mut encoder, &labels, value);
            }
        });
    }
    outcome
}

fn encode_value(
    encoder: &mut MetricEncoder<'_>,
    labels: &Labels<'_>,
    value: Value<'_>,
) -> fmt::Result {
    let mut encoder = encoder.encode_family(labels)?;
    match value {
        Value::Count(count) => encoder.encode_counter(&count, None::<&Exemplar<NoLabelSet, u64>>),
        Value::Level(level) => encoder.encode_gauge(&level),
        Value::Distribution(distribution) => {
            let buckets: Vec<_> = distribution
                .buckets()
                .map(|(bound, count)| {
                    let bound = bound.map_or(f64::INFINITY, |bound| bound.as_secs_f64());
                    (bound, count)
                })
                .collect();
            encoder.encode_histogram::<NoLabelSet>(
                distribution.sum().as_secs_f64(),
                distribution.count(),
                &buckets,
                None,
            )
        }
    }
}

/// The labels of one series.
struct Labels<'a> {
    engine: Option<&'a str>,
    names: &'a [&'a str],
    values: &'a [&'a str],
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let engine = self.engine.map(|name| ("engine", name));
        let others = self.names.iter().copied().zip(self.values.iter().copied());
        engine
            .into_iter()
            .chain(others)
            .try_for_each(|label| label.encode(encoder.encode_label()))
    }
}
