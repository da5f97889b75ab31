//! Metrics: what the mesh does, counted where it happens; read by Prometheus, sent to a collector, or both.
//!
//! The instruments are OpenTelemetry's, those of the GenAI conventions under their exact names
//! (<https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/>). Until they are begun, counting costs a look at a
//! flag. Each instrument keeps at most [`MOST_SERIES`] combinations of values; what comes beyond is counted under
//! `otel_metric_overflow`, so that names which callers choose cannot fill the memory.

mod configuration;
mod invariant;
mod settled;
#[cfg(test)]
mod tests;

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use axum::{Router, http::header::CONTENT_TYPE, routing::get};
use opentelemetry::{
    KeyValue, global,
    metrics::{Histogram, Meter},
};
use opentelemetry_sdk::{
    Resource,
    metrics::{Instrument, PeriodicReader, SdkMeterProvider, Stream, exporter::PushMetricExporter},
};
use prometheus::{Encoder as _, Registry, TextEncoder};
use tokio::net::TcpListener;

pub use self::{
    configuration::configured,
    invariant::{Invariant, keeps, violated},
    settled::{Attempt, Request, attempted, began, dollars, ended},
};
use crate::{
    otlp::{LOGS, SPANS},
    semconv,
};

/// Combinations of values that one instrument tells apart.
pub const MOST_SERIES: usize = 2_000;

/// Of the mesh's own work, in seconds.
pub const OWN: [f64; 12] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];

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
pub(crate) struct Metrics {
    registry: Registry,
    provider: SdkMeterProvider,
}

impl Metrics {
    /// Begins to count, for the whole process: for Prometheus where `scraped`, and for whoever `sent` sends it to.
    ///
    /// # Errors
    /// An exporter that cannot be made.
    pub(crate) fn begin<E: PushMetricExporter>(
        resource: Resource,
        scraped: bool,
        sent: Option<PeriodicReader<E>>,
    ) -> Result<Self, Error> {
        let registry = Registry::new();
        let bounded = |_: &Instrument| Stream::builder().with_cardinality_limit(MOST_SERIES).build().ok();
        let mut provider = SdkMeterProvider::builder().with_resource(resource).with_view(bounded);
        if scraped {
            let exporter = opentelemetry_prometheus::exporter()
                .with_registry(registry.clone())
                .scope_info_enabled(false)
                .build()
                .map_err(|error| Error::Exporter(error.to_string()))?;
            provider = provider.with_reader(exporter);
        }
        if let Some(sent) = sent {
            provider = provider.with_reader(sent);
        }
        let provider = provider.build();
        global::set_meter_provider(provider.clone());
        ON.store(true, Ordering::Release);
        tell_of_telemetry();
        Ok(Self { registry, provider })
    }

    /// All of it in Prometheus' text form.
    pub(crate) fn text(&self) -> String {
        let mut text = Vec::new();
        // Writing into memory fails for no name that OpenTelemetry lets through.
        let _written = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Listens for Prometheus, and serves `/metrics` until the process ends. The address that it got.
    ///
    /// # Errors
    /// An address that cannot be listened on.
    pub(crate) async fn serve(self, address: &str) -> Result<std::net::SocketAddr, Error> {
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

    /// Sends the last figures. Blocks.
    pub(crate) fn end(self, within: Duration) {
        // A collector that is away is no news at the end.
        let _sent = self.provider.shutdown_with_timeout(within);
    }
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

/// A histogram of durations, in seconds.
#[must_use]
pub fn seconds(meter: &Meter, name: &'static str, bounds: &[f64], what: &'static str) -> Histogram<f64> {
    let histogram = meter.f64_histogram(name).with_unit("s").with_boundaries(bounds.to_vec());
    histogram.with_description(what).build()
}

/// What became of spans and log lines on their way to the collector.
fn tell_of_telemetry() {
    let meter = meter();
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    meter
        .u64_observable_counter("signalbox.telemetry.sent")
        .with_description("Spans and log lines that a collector took")
        .with_callback(move |told| {
            for counts in [&SPANS, &LOGS] {
                told.observe(read(&counts.sent), &[KeyValue::new(semconv::SIGNAL, counts.signal)]);
            }
        })
        .build();
    meter
        .u64_observable_counter("signalbox.telemetry.dropped")
        .with_description(
            "Spans and log lines that no collector got: the queue was full, or it was tried in vain",
        )
        .with_callback(move |told| {
            for counts in [&SPANS, &LOGS] {
                for (why, count) in [("queue", &counts.full), ("collector", &counts.failed)] {
                    let about =
                        [KeyValue::new(semconv::SIGNAL, counts.signal), KeyValue::new(semconv::REASON, why)];
                    told.observe(read(count), &about);
                }
            }
        })
        .build();
}
