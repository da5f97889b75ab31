//! Metrics: what the mesh does, counted where it happens and read by Prometheus.
//!
//! The instruments are OpenTelemetry's, those of the GenAI conventions under their exact names
//! (<https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/>). Until [`start`] was called, counting costs a look at a
//! flag. Each instrument keeps at most [`MOST_SERIES`] combinations of values; what comes beyond is counted under
//! `otel_metric_overflow`, so that names which callers choose cannot fill the memory.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, http::header::CONTENT_TYPE, routing::get};
use opentelemetry::{
    KeyValue, global,
    metrics::{Counter, Gauge, Histogram, Meter, UpDownCounter},
};
use opentelemetry_sdk::{
    Resource,
    metrics::{Instrument, SdkMeterProvider, Stream},
};
use prometheus::{Encoder as _, Registry, TextEncoder};
use tokio::net::TcpListener;

use crate::semconv;

/// Combinations of values that one instrument tells apart.
pub const MOST_SERIES: usize = 2_000;

static ON: AtomicBool = AtomicBool::new(false);

/// Why metrics cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The exporter cannot be made.
    #[error("metrics cannot be exported: {0}")]
    Exporter(String),
    /// The address cannot be listened on.
    #[error(
        "telemetry.metrics_listen = \"{address}\": {source}; give a free address as host:port, such as 127.0.0.1:9464"
    )]
    Listen {
        /// As it was configured.
        address: String,
        /// What the system says.
        source: std::io::Error,
    },
}

/// What was counted in this process.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// Begins to count, for the whole process.
    ///
    /// # Errors
    /// An exporter that cannot be made.
    pub fn start(service: &'static str) -> Result<Self, Error> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .build()
            .map_err(|error| Error::Exporter(error.to_string()))?;
        let bounded = |_: &Instrument| Stream::builder().with_cardinality_limit(MOST_SERIES).build().ok();
        let resource = Resource::builder().with_service_name(service).build();
        let provider = SdkMeterProvider::builder()
            .with_reader(exporter)
            .with_resource(resource)
            .with_view(bounded)
            .build();
        global::set_meter_provider(provider);
        ON.store(true, Ordering::Release);
        Ok(Self { registry })
    }

    /// All of it in Prometheus' text form.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        // Writing into memory fails for no name that OpenTelemetry lets through.
        let _written = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Listens for Prometheus, and serves `/metrics` until the process ends. The address that it got.
    ///
    /// # Errors
    /// An address that cannot be listened on.
    pub async fn serve(self, address: &str) -> Result<std::net::SocketAddr, Error> {
        let failed = |source| Error::Listen { address: address.to_owned(), source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let shown = move || {
            let text = self.text();
            async move { ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text) }
        };
        let router = Router::new().route("/metrics", get(shown));
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "metrics are not served any more");
            }
        });
        Ok(bound)
    }
}

/// Counts from now on, where the configuration says so; `/metrics` is served until the process ends.
///
/// # Errors
/// An address that cannot be listened on.
pub async fn start(service: &'static str, listen: Option<&str>) -> Result<(), Error> {
    let Some(listen) = listen else { return Ok(()) };
    let address = Metrics::start(service)?.serve(listen).await?;
    tracing::info!(%address, "metrics are at /metrics");
    Ok(())
}

/// Whether anything is counted.
#[must_use]
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// The meter of a part of the mesh that has instruments of its own.
#[must_use]
pub fn meter() -> Meter {
    global::meter("signalbox")
}

/// A request that ended, as its gateway saw it. Durations of steps that were not taken are zero.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request<'a> {
    /// Who asked.
    pub tenant: &'a str,
    /// What was asked for.
    pub model: &'a str,
    /// How it ended, as the ledger calls it.
    pub outcome: &'a str,
    /// The cache's part, as the ledger calls it.
    pub cache: &'a str,
    /// What a hit saved, in nano-dollars.
    pub saved_nanousd: i64,
    /// From the request's arrival to its end.
    pub total: Duration,
    /// To the first output.
    pub first_output: Option<Duration>,
    /// What the mesh itself took before a model was asked.
    pub overhead: Duration,
    /// The overhead's steps.
    pub steps: [(&'static str, Duration); 4],
}

/// An attempt that ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attempt<'a> {
    /// Who asked.
    pub tenant: &'a str,
    /// What the request asked for.
    pub model: &'a str,
    /// Who was asked.
    pub provider: &'a str,
    /// The model there.
    pub target_model: &'a str,
    /// How it ended, as the ledger calls it.
    pub outcome: &'a str,
    /// Why it was made: first, retry, fallback, hedge, rescue …
    pub kind: &'a str,
    /// Whether it answered.
    pub ok: bool,
    /// Input tokens.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// What it cost, in nano-dollars.
    pub cost_nanousd: i64,
    /// How long it took.
    pub duration: Duration,
    /// To its first output.
    pub first_output: Option<Duration>,
}

struct Instruments {
    requests: Counter<u64>,
    attempts: Counter<u64>,
    cost: Counter<f64>,
    saved: Counter<f64>,
    in_flight: UpDownCounter<i64>,
    total: Histogram<f64>,
    first_output: Histogram<f64>,
    overhead: Histogram<f64>,
    step: Histogram<f64>,
    operation: Histogram<f64>,
    provider_first: Histogram<f64>,
    tokens: Histogram<u64>,
    configuration: Gauge<u64>,
    reloads: Counter<u64>,
}

/// As the conventions say, in seconds.
const OPERATION: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
/// As the conventions say, in seconds.
const FIRST: [f64; 16] =
    [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// As the conventions say, in tokens.
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
/// Of the mesh's own work, in seconds.
const OWN: [f64; 12] = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];

static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| {
    let meter = meter();
    let seconds = |name: &'static str, bounds: &[f64], what: &'static str| {
        meter
            .f64_histogram(name)
            .with_unit("s")
            .with_boundaries(bounds.to_vec())
            .with_description(what)
            .build()
    };
    Instruments {
        requests: meter.u64_counter("signalbox.requests").with_description("Requests that ended").build(),
        attempts: meter
            .u64_counter("signalbox.attempts")
            .with_description("Attempts at providers, failed and cancelled ones included")
            .build(),
        cost: meter.f64_counter("signalbox.cost.usd").with_description("What attempts cost").build(),
        saved: meter
            .f64_counter("signalbox.saved.usd")
            .with_description("What answers from the cache saved")
            .build(),
        in_flight: meter
            .i64_up_down_counter("signalbox.requests.in_flight")
            .with_description("Admitted requests that have not ended")
            .build(),
        total: seconds("signalbox.request.duration", &OPERATION, "A request, to its end"),
        first_output: seconds("signalbox.request.first_output", &FIRST, "A request, to its first output"),
        overhead: seconds(
            "signalbox.request.overhead",
            &OWN,
            "What the mesh took before a model was asked, or the cache answered",
        ),
        step: seconds("signalbox.request.step", &OWN, "A step of that: admit, inspect, lookup, plan"),
        operation: seconds("gen_ai.client.operation.duration", &OPERATION, "An attempt at a provider"),
        provider_first: seconds("gen_ai.server.time_to_first_token", &FIRST, "A provider's first output"),
        tokens: meter
            .u64_histogram("gen_ai.client.token.usage")
            .with_unit("{token}")
            .with_boundaries(TOKENS.to_vec())
            .with_description("Tokens of an attempt")
            .build(),
        configuration: meter
            .u64_gauge("signalbox.config.version")
            .with_description("The configuration in use, counted from 1 at the start")
            .build(),
        reloads: meter
            .u64_counter("signalbox.config.reloads")
            .with_description("Changed configurations, taken over or refused")
            .build(),
    }
});

/// Notes which configuration is in use, counted from 1 at the start, and what came of a change: `took_over`, `refused`.
pub fn configured(version: u64, outcome: Option<&'static str>) {
    if !is_on() {
        return;
    }
    INSTRUMENTS.configuration.record(version, &[]);
    if let Some(outcome) = outcome {
        INSTRUMENTS.reloads.add(1, &[KeyValue::new(semconv::OUTCOME, outcome)]);
    }
}

/// Counts a request that was admitted.
pub fn began(tenant: &str) {
    in_flight(tenant, 1);
}

fn in_flight(tenant: &str, change: i64) {
    if is_on() {
        INSTRUMENTS.in_flight.add(change, &[KeyValue::new(semconv::TENANT, tenant.to_owned())]);
    }
}

/// Counts a request that ended.
pub fn ended(request: &Request<'_>) {
    if !is_on() {
        return;
    }
    let of = &*INSTRUMENTS;
    let tenant = KeyValue::new(semconv::TENANT, request.tenant.to_owned());
    let model = KeyValue::new(semconv::GEN_AI_REQUEST_MODEL, request.model.to_owned());
    let cache = KeyValue::new(semconv::CACHE_STATE, request.cache.to_owned());
    let outcome = KeyValue::new(semconv::OUTCOME, request.outcome.to_owned());
    in_flight(request.tenant, -1);
    of.requests.add(1, &[tenant.clone(), model.clone(), cache.clone(), outcome]);
    if request.saved_nanousd > 0 {
        of.saved.add(dollars(request.saved_nanousd), &[tenant, model.clone()]);
    }
    of.total.record(request.total.as_secs_f64(), &[model.clone(), cache.clone()]);
    if let Some(first) = request.first_output {
        of.first_output.record(first.as_secs_f64(), &[model, cache.clone()]);
    }
    of.overhead.record(request.overhead.as_secs_f64(), &[cache]);
    for (step, took) in request.steps.iter().filter(|(_, took)| !took.is_zero()) {
        of.step.record(took.as_secs_f64(), &[KeyValue::new(semconv::STEP, *step)]);
    }
}

/// Counts an attempt that ended.
pub fn attempted(attempt: &Attempt<'_>) {
    if !is_on() {
        return;
    }
    let of = &*INSTRUMENTS;
    let outcome = KeyValue::new(semconv::OUTCOME, attempt.outcome.to_owned());
    let mut about = vec![
        KeyValue::new(semconv::GEN_AI_OPERATION_NAME, "chat"),
        KeyValue::new(semconv::GEN_AI_PROVIDER_NAME, attempt.provider.to_owned()),
        KeyValue::new(semconv::GEN_AI_REQUEST_MODEL, attempt.model.to_owned()),
        KeyValue::new(semconv::GEN_AI_RESPONSE_MODEL, attempt.target_model.to_owned()),
    ];
    if attempt.cost_nanousd > 0 {
        let tenant = KeyValue::new(semconv::TENANT, attempt.tenant.to_owned());
        of.cost.add(dollars(attempt.cost_nanousd), &[tenant, about[1].clone(), about[3].clone()]);
    }
    let kind = KeyValue::new(semconv::ATTEMPT_KIND, attempt.kind.to_owned());
    of.attempts.add(1, &[about[1].clone(), about[3].clone(), outcome, kind]);
    if let Some(first) = attempt.first_output {
        of.provider_first.record(first.as_secs_f64(), &about);
    }
    for (name, tokens) in [("input", attempt.input_tokens), ("output", attempt.output_tokens)] {
        if tokens > 0 {
            about.push(KeyValue::new(semconv::GEN_AI_TOKEN_TYPE, name));
            of.tokens.record(tokens, &about);
            about.pop();
        }
    }
    if !attempt.ok {
        about.push(KeyValue::new(semconv::ERROR_TYPE, attempt.outcome.to_owned()));
    }
    of.operation.record(attempt.duration.as_secs_f64(), &about);
}

#[expect(clippy::cast_precision_loss, reason = "a metric")]
fn dollars(nanousd: i64) -> f64 {
    nanousd as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test, because what is counted is the process'.
    #[tokio::test]
    async fn what_is_counted_is_read_by_its_names() {
        ended(&Request { tenant: "early", ..Request::default() });
        let metrics = Metrics::start("signalbox-test").unwrap();
        began("acme");
        ended(&Request {
            tenant: "acme",
            model: "fast",
            outcome: "OK",
            cache: "MISS",
            saved_nanousd: 500_000_000,
            total: Duration::from_millis(30),
            first_output: Some(Duration::from_millis(7)),
            overhead: Duration::from_micros(300),
            steps: [
                ("admit", Duration::from_micros(200)),
                ("plan", Duration::ZERO),
                ("lookup", Duration::ZERO),
                ("inspect", Duration::ZERO),
            ],
        });
        attempted(&Attempt {
            tenant: "acme",
            model: "fast",
            provider: "lab",
            target_model: "small",
            outcome: "TIMEOUT",
            kind: "FIRST",
            input_tokens: 12,
            cost_nanousd: 250_000_000,
            duration: Duration::from_secs(3),
            ..Attempt::default()
        });
        let text = metrics.text();
        let value = |name: &str, with: &[&str]| {
            let mut lines = text.lines().filter(|line| line.starts_with(name));
            let line = lines.find(|line| with.iter().all(|part| line.contains(part)));
            line.unwrap_or_else(|| panic!("no {name} {with:?} in\n{text}"))
                .rsplit(' ')
                .next()
                .unwrap()
                .to_owned()
        };
        let requests =
            ["signalbox_tenant=\"acme\"", "gen_ai_request_model=\"fast\"", "signalbox_cache_state=\"MISS\""];
        assert_eq!(value("signalbox_requests_total{", &requests), "1");
        assert_eq!(value("signalbox_requests_in_flight{", &["acme"]), "0");
        assert_eq!(value("signalbox_saved_usd_total{", &["acme"]), "0.5");
        assert_eq!(value("signalbox_cost_usd_total{", &["acme", "small"]), "0.25");
        assert_eq!(value("signalbox_attempts_total{", &["TIMEOUT", "FIRST"]), "1");
        assert_eq!(value("signalbox_request_step_seconds_count{", &["admit"]), "1");
        assert!(!text.contains("\"plan\"") && !text.contains("early"), "{text}");
        let operation =
            ["gen_ai_operation_name=\"chat\"", "gen_ai_provider_name=\"lab\"", "error_type=\"TIMEOUT\""];
        assert_eq!(value("gen_ai_client_operation_duration_seconds_count{", &operation), "1");
        assert_eq!(value("gen_ai_client_token_usage_count{", &["gen_ai_token_type=\"input\""]), "1");

        // Names that callers choose are bounded.
        for n in 0..MOST_SERIES * 2 {
            ended(&Request { tenant: &n.to_string(), ..Request::default() });
        }
        let series =
            metrics.text().lines().filter(|line| line.starts_with("signalbox_requests_total{")).count();
        assert_eq!(series, MOST_SERIES + 1, "and what came beyond, together");
        assert!(metrics.text().contains("otel_metric_overflow"));

        let address = metrics.serve("127.0.0.1:0").await.unwrap();
        let taken = start("again", Some(&address.to_string())).await.unwrap_err().to_string();
        assert!(taken.contains("metrics_listen") && taken.contains("9464"), "{taken}");
    }
}
