//! What a test holds.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use serde_json::Value;
use url::form_urlencoded;

use super::{http, process::Process};
use crate::{Error, server::expect, wait::until_ok};

/// It opens its storage first.
const START: Duration = Duration::from_secs(30);

/// A Prometheus of a test's own, which scrapes one target every half second.
///
/// It listens on 127.0.0.1 only, and ends when this is dropped.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
}

/// One series of an answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Sample {
    /// Its labels, `__name__` included if the query keeps it.
    pub labels: BTreeMap<String, String>,
    /// Its value now.
    pub value: f64,
}

impl Prometheus {
    /// Starts one that scrapes `http://{target}/metrics` as job `test`, and waits until it can be asked.
    ///
    /// # Panics
    ///
    /// Panics if there is no `prometheus` on the `PATH`, with a text that says how to get it, and if it
    /// does not start.
    ///
    /// # Cancel safety
    ///
    /// Safe: what was started ends with a drop.
    pub async fn scraping(target: SocketAddr) -> Self {
        expect(Self::start(target).await)
    }

    async fn start(target: SocketAddr) -> Result<Self, Error> {
        let config = format!(
            "global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\n\
             scrape_configs: [{{job_name: test, static_configs: [{{targets: ['{target}']}}]}}]\n"
        );
        let process = Process::start(&config)?;
        let ready = until_ok(START, async || match process.last_words() {
            // Nothing will come of waiting.
            Some(words) => Ok(Err(Error::new(words))),
            None => is_ready(process.port()).await.map(Ok),
        });
        ready.await??;
        Ok(Self { process })
    }

    /// Answers `promql` as of now: one sample for a number, and none if there is no such series.
    ///
    /// # Panics
    ///
    /// Panics if Prometheus refuses the query, or does not answer.
    ///
    /// # Cancel safety
    ///
    /// Safe: a query changes nothing.
    pub async fn query(&self, promql: &str) -> Vec<Sample> {
        expect(self.ask(promql).await)
    }

    async fn ask(&self, promql: &str) -> Result<Vec<Sample>, Error> {
        let query: String = form_urlencoded::Serializer::new(String::new())
            .append_pair("query", promql)
            .finish();
        let (status, text) =
            http::get(self.process.port(), &format!("/api/v1/query?{query}")).await?;
        let answer = || Error::new(format!("{promql}\nis answered {status}: {text}"));
        let body: Value = serde_json::from_str(&text).map_err(|_not_json| answer())?;
        if body["status"] != "success" {
            return Err(answer());
        }
        samples(&body["data"]).ok_or_else(answer)
    }
}

async fn is_ready(port: u16) -> Result<(), Error> {
    let (status, text) = http::get(port, "/-/ready").await?;
    if status.is_success() {
        Ok(())
    } else {
        Err(Error::new(format!("prometheus is not ready: {text}")))
    }
}

fn samples(data: &Value) -> Option<Vec<Sample>> {
    let result = &data["result"];
    match data["resultType"].as_str()? {
        "scalar" => Some(vec![sample(&Value::Null, result)?]),
        "vector" => result
            .as_array()?
            .iter()
            .map(|series| sample(&series["metric"], &series["value"]))
            .collect(),
        _ => None,
    }
}

/// Reads `[time, "value"]`.
fn sample(labels: &Value, pair: &Value) -> Option<Sample> {
    let labels = labels.as_object().into_iter().flatten();
    Some(Sample {
        labels: labels
            .map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect::<Option<_>>()?,
        // Prometheus writes `+Inf`, `-Inf` and `NaN`, which are read here.
        value: pair[1].as_str()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_and_series_are_read() {
        let scalar = samples(&json!({"resultType": "scalar", "result": [1.5, "NaN"]})).unwrap();
        assert!(scalar[0].value.is_nan());
        let series = json!({"metric": {"cache": "user"}, "value": [1.5, "0.25"]});
        let vector = samples(&json!({"resultType": "vector", "result": [series]})).unwrap();
        assert_eq!(vector[0].labels["cache"], "user");
        assert_eq!(vector[0].value.to_bits(), 0.25_f64.to_bits());
        assert!(samples(&json!({"resultType": "matrix", "result": []})).is_none());
    }
}
