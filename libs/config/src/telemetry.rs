//! `[telemetry]`: logs, metrics, traces, and where they go.

use std::path::PathBuf;

use serde::Deserialize;

/// `[telemetry]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// `human` or `json`. Default `human`.
    pub log_format: LogFormat,
    /// A filter such as `info` or `signalbox_executor=debug,warn`. Default `info`; `RUST_LOG` goes before it.
    pub log_level: Option<String>,
    /// Where Prometheus finds `/metrics`, as `host:port`, usually port 9464. Default: it is not served.
    pub metrics_listen: Option<String>,
    /// Whether prompts and answers, as the guard redacted them, stand in the spans of requests that are traced. Default false. What the
    /// guard has not seen is never kept.
    pub capture_content: bool,
    /// Where traces, metrics and logs are sent: `[telemetry.otlp]`. Without it nothing is.
    pub otlp: Option<Otlp>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// `[telemetry.otlp]`: an OpenTelemetry collector, or whatever else speaks OTLP.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Otlp {
    /// The collector, such as `http://127.0.0.1:4317`, usually port 4317 for gRPC and 4318 for HTTP. With `https` its certificate is
    /// checked by the system's roots. Empty: nothing is sent.
    pub endpoint: String,
    /// `grpc`, or `http`: protobuf over HTTP, to `/v1/traces`, `/v1/metrics` and `/v1/logs` behind the endpoint. Default `grpc`.
    pub protocol: OtlpProtocol,
    /// A file of headers that are sent along, `name=value` a line: where a collector's credential stands. Empty: none.
    pub headers_file: PathBuf,
    /// Whether spans are sent. Default true.
    pub traces: bool,
    /// Whether metrics are sent. Default true.
    pub metrics: bool,
    /// Whether log lines are sent, beside standard error. Default true.
    pub logs: bool,
    /// The share of requests that are traced, of those whose client has not decided it in its `traceparent`; 0 to 1. Default 1. A traced
    /// request costs about a dozen spans.
    pub sample_ratio: f64,
    /// Spans that wait for the collector at most, and as many log lines; what comes beyond is dropped and counted. Default 4,096:
    /// about 8 MiB of spans.
    pub queue: usize,
    /// How long spans and log lines are collected before they are sent, in milliseconds. Default 1,000.
    pub batch_ms: u64,
    /// How often metrics are sent, in milliseconds. Default 15,000.
    pub metrics_ms: u64,
    /// How long the collector may take, in milliseconds. Default 10,000.
    pub timeout_ms: u64,
}

/// How OTLP travels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OtlpProtocol {
    /// gRPC.
    #[default]
    Grpc,
    /// Protobuf over HTTP.
    Http,
}

impl Default for Otlp {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            protocol: OtlpProtocol::default(),
            headers_file: PathBuf::new(),
            traces: true,
            metrics: true,
            logs: true,
            sample_ratio: 1.0,
            queue: 4_096,
            batch_ms: 1_000,
            metrics_ms: 15_000,
            timeout_ms: 10_000,
        }
    }
}

impl Telemetry {
    /// The collector, if there is one.
    #[must_use]
    pub fn collector(&self) -> Option<&Otlp> {
        self.otlp.as_ref().filter(|otlp| !otlp.endpoint.is_empty())
    }

    /// What types cannot check: a key below `telemetry`, and what is wrong with it.
    pub(crate) fn problems(&self) -> Vec<(String, String)> {
        let Some(otlp) = &self.otlp else { return Vec::new() };
        let mut problems = Vec::new();
        let mut wrong = |key: &str, what: String| problems.push((format!("telemetry.otlp.{key}"), what));
        if !(0.0..=1.0).contains(&otlp.sample_ratio) {
            wrong("sample_ratio", format!("is {}; set it between 0 and 1", otlp.sample_ratio));
        }
        let within = [
            ("queue", otlp.queue as u64, 1, 1 << 20),
            ("batch_ms", otlp.batch_ms, 1, 60_000),
            ("metrics_ms", otlp.metrics_ms, 100, 3_600_000),
            ("timeout_ms", otlp.timeout_ms, 1, 600_000),
        ];
        for (key, value, least, most) in within {
            if !(least..=most).contains(&value) {
                wrong(key, format!("is {value}; set it between {least} and {most}"));
            }
        }
        if !otlp.endpoint.is_empty() && !is_endpoint(&otlp.endpoint) {
            wrong(
                "endpoint",
                format!(
                    "= {:?} is no http or https address; give one such as http://127.0.0.1:4317",
                    otlp.endpoint
                ),
            );
        }
        problems
    }
}

fn is_endpoint(endpoint: &str) -> bool {
    url::Url::parse(endpoint).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(otlp: &str) -> Vec<(String, String)> {
        toml::from_str::<Telemetry>(&format!("[otlp]\n{otlp}")).unwrap().problems()
    }

    #[test]
    fn what_types_accept_is_checked_and_named() {
        assert!(
            problems("endpoint = 'http://collector:4317'\nprotocol = 'http'\nheaders_file = ''").is_empty()
        );
        let told = problems("endpoint = 'collector:4317'\nsample_ratio = 2.0\nqueue = 0");
        let keys: Vec<&str> = told.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["telemetry.otlp.sample_ratio", "telemetry.otlp.queue", "telemetry.otlp.endpoint"]);
        assert!(told[2].1.contains("http://127.0.0.1:4317"), "{told:?}");
    }

    #[test]
    fn without_an_endpoint_there_is_no_collector() {
        let read = |text: &str| toml::from_str::<Telemetry>(text).unwrap();
        assert!(read("").collector().is_none());
        assert!(read("[otlp]\ntraces = false").collector().is_none());
        assert!(read("[otlp]\nendpoint = 'http://c:4317'").collector().is_some());
    }
}
