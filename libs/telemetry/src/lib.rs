//! Traces, metrics and logs, with one set of names.
//!
//! Log lines go to standard error, metrics to whoever asks `/metrics`, and all three to a collector where one is configured. They hold
//! ids, codes, counts and durations; nothing of a prompt, an answer or a key. The one exception is content capture, which is asked
//! for, holds only what the guard redacted, and goes into spans alone.
//!
//! Nothing here waits for anybody: what is told goes into a bounded queue or is dropped and counted, and a task of its own sends it.

mod logs;
pub mod metrics;
mod otlp;
pub mod semconv;
pub mod trace;

use std::time::Duration;

use opentelemetry_sdk::Resource;
use signalbox_config::Telemetry;

pub use self::{
    logs::{init, relevel},
    otlp::Error as CollectorError,
};
use self::{metrics::Metrics, otlp::Collector};

/// How long the end waits for the collector. Telemetry is worth no more to whoever stops a process.
const LAST: Duration = Duration::from_secs(3);

/// Why telemetry cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Metrics.
    #[error(transparent)]
    Metrics(#[from] metrics::Error),
    /// What is sent to a collector.
    #[error(transparent)]
    Collector(#[from] CollectorError),
}

/// Telemetry of this process, until [`Running::end`].
#[must_use = "what waits for the collector is sent by `end`"]
pub struct Running {
    pipes: Option<otlp::Pipes>,
    metrics: Option<Metrics>,
}

/// Begins to log, and to count, trace and send where the configuration says so; once in a process. A collector that is away is no error
/// and slows nothing.
///
/// # Errors
/// An address that cannot be listened on, a header file that cannot be read, roots that a certificate could not be checked by.
pub async fn start(service: &'static str, config: &Telemetry) -> Result<Running, Error> {
    let resource = resource(service);
    let collector = config.collector().map(|otlp| Collector::new(otlp, resource.clone())).transpose()?;
    let pipes = collector.as_ref().map(|collector| otlp::start(collector, config)).transpose()?;
    logs::begin(service, config, pipes.as_ref().and_then(otlp::Pipes::logs));
    let sent = collector.as_ref().filter(|collector| collector.otlp.metrics);
    let metrics = if config.metrics_listen.is_some() || sent.is_some() {
        let metrics = Metrics::begin(
            resource,
            config.metrics_listen.is_some(),
            sent.map(otlp::metric_reader).transpose()?,
        )?;
        if let Some(listen) = &config.metrics_listen {
            let address = metrics.clone().serve(listen).await?;
            tracing::info!(%address, "metrics are at /metrics");
        }
        Some(metrics)
    } else {
        None
    };
    if let Some(otlp) = config.collector() {
        tracing::info!(endpoint = %otlp.endpoint, traces = otlp.traces, metrics = otlp.metrics, logs = otlp.logs, "telemetry is sent");
    }
    Ok(Running { pipes, metrics })
}

impl Running {
    /// Sends what waits, within three seconds.
    pub async fn end(self) {
        let sent = async {
            if let Some(metrics) = self.metrics {
                // Blocks until the last figures are sent.
                let _ended = tokio::task::spawn_blocking(move || metrics.end(LAST)).await;
            }
            if let Some(pipes) = self.pipes {
                pipes.end().await;
            }
        };
        let _late = tokio::time::timeout(LAST, sent).await;
    }
}

/// Who tells: a process of its own each, also of the same service on the same machine.
fn resource(service: &'static str) -> Resource {
    let name = if service == "signalbox" { service.to_owned() } else { format!("signalbox-{service}") };
    Resource::builder()
        .with_service_name(name)
        .with_attribute(opentelemetry::KeyValue::new(semconv::SERVICE_VERSION, env!("CARGO_PKG_VERSION")))
        .with_attribute(opentelemetry::KeyValue::new(
            semconv::SERVICE_INSTANCE,
            format!("{:016x}", instance()),
        ))
        .build()
}

/// A number that no other process has, as far as anybody can tell.
fn instance() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    // Its keys are the operating system's random numbers.
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.finish()
}
