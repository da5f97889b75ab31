//! OpenTelemetry's exporters, set up for one collector.

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use hyper_rustls::HttpsConnectorBuilder;
use opentelemetry_http::{HttpClient, hyper::HyperClient};
use opentelemetry_otlp::{
    LogExporter, MetricExporter, Protocol, RetryPolicy, SpanExporter, WithExportConfig as _,
    WithHttpConfig as _, WithTonicConfig as _,
};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    logs::LogExporter as _,
    metrics::{PeriodicReader, Temporality, data::ResourceMetrics, exporter::PushMetricExporter},
    trace::SpanExporter as _,
};
use signalbox_config::{Otlp, OtlpProtocol};
use tokio::runtime::Handle;
use tonic::{
    metadata::MetadataMap,
    transport::{Channel, ClientTlsConfig, Endpoint},
};

use super::Error;

/// Where to, and as whom.
pub(crate) struct Collector<'a> {
    pub(crate) otlp: &'a Otlp,
    way: Way,
    headers: HeaderMap,
    resource: Resource,
}

/// One connection for all signals.
enum Way {
    Grpc(Channel),
    Http(Arc<dyn HttpClient>),
}

/// Builds one of the three exporters, which are made alike.
macro_rules! exporter {
    ($collector:expr, $exporter:ident, $path:literal) => {{
        let Collector { otlp, way, headers, .. } = $collector;
        // Queues of ours try again; metrics are sent anew anyway.
        let once = RetryPolicy::disabled();
        let timeout = Duration::from_millis(otlp.timeout_ms);
        let built = match way {
            Way::Grpc(channel) => $exporter::builder()
                .with_tonic()
                .with_channel(channel.clone())
                .with_metadata(MetadataMap::from_headers(headers.clone()))
                .with_timeout(timeout)
                .with_retry_policy(once)
                .build(),
            Way::Http(client) => $exporter::builder()
                .with_http()
                .with_shared_http_client(Arc::clone(client))
                .with_protocol(Protocol::HttpBinary)
                .with_endpoint(format!("{}{}", otlp.endpoint.trim_end_matches('/'), $path))
                .with_headers(texts(headers))
                .with_timeout(timeout)
                .with_retry_policy(once)
                .build(),
        };
        built.map_err(|error| at_fault(otlp, &error))
    }};
}

impl<'a> Collector<'a> {
    /// Prepares the way; nothing is sent yet.
    ///
    /// # Errors
    /// A file of headers that cannot be read; an address or roots that no connection can be made by.
    pub(crate) fn new(otlp: &'a Otlp, resource: Resource) -> Result<Self, Error> {
        let headers = headers(&otlp.headers_file)?;
        let timeout = Duration::from_millis(otlp.timeout_ms);
        let way = match otlp.protocol {
            OtlpProtocol::Grpc => Way::Grpc(channel(otlp, timeout)?),
            OtlpProtocol::Http => Way::Http(client(otlp, timeout)?),
        };
        Ok(Self { otlp, way, headers, resource })
    }

    /// The exporter of spans.
    ///
    /// # Errors
    /// An address that OpenTelemetry refuses.
    pub(crate) fn spans(&self) -> Result<SpanExporter, Error> {
        let mut exporter = exporter!(self, SpanExporter, "/v1/traces")?;
        exporter.set_resource(&self.resource);
        Ok(exporter)
    }

    /// The exporter of log lines.
    ///
    /// # Errors
    /// An address that OpenTelemetry refuses.
    pub(crate) fn logs(&self) -> Result<LogExporter, Error> {
        let mut exporter = exporter!(self, LogExporter, "/v1/logs")?;
        exporter.set_resource(&self.resource);
        Ok(exporter)
    }
}

/// What reads the metrics and sends them, again and again.
///
/// # Errors
/// An address that OpenTelemetry refuses.
pub(crate) fn metric_reader(collector: &Collector<'_>) -> Result<PeriodicReader<Metrics>, Error> {
    let inner = exporter!(collector, MetricExporter, "/v1/metrics")?;
    let timeout = Duration::from_millis(collector.otlp.timeout_ms);
    let exporter = Metrics { inner, runtime: Handle::current(), timeout };
    let interval = Duration::from_millis(collector.otlp.metrics_ms);
    Ok(PeriodicReader::builder(exporter).with_interval(interval).build())
}

/// Sends metrics from the reader's own thread by this runtime, where the connection lives.
pub(crate) struct Metrics {
    inner: MetricExporter,
    runtime: Handle,
    timeout: Duration,
}

impl PushMetricExporter for Metrics {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.runtime.block_on(async {
            let sent = tokio::time::timeout(self.timeout, self.inner.export(metrics)).await;
            sent.unwrap_or(Err(OTelSdkError::Timeout(self.timeout)))
        })
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.inner.temporality()
    }
}

fn channel(otlp: &Otlp, timeout: Duration) -> Result<Channel, Error> {
    let failed = |error: tonic::transport::Error| at_fault(otlp, &error);
    let mut endpoint = Endpoint::from_shared(otlp.endpoint.clone())
        .map_err(failed)?
        .timeout(timeout)
        .connect_timeout(timeout);
    if is_https(otlp) {
        endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots()).map_err(failed)?;
    }
    Ok(endpoint.connect_lazy())
}

fn client(otlp: &Otlp, timeout: Duration) -> Result<Arc<dyn HttpClient>, Error> {
    if !is_https(otlp) {
        return Ok(Arc::new(HyperClient::with_default_connector(timeout, None)));
    }
    let provider = rustls::crypto::ring::default_provider();
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(provider)
        .map_err(|error| at_fault(otlp, &error))?
        .https_or_http()
        .enable_all_versions()
        .build();
    Ok(Arc::new(HyperClient::new(connector, timeout, None)))
}

fn is_https(otlp: &Otlp) -> bool {
    otlp.endpoint.starts_with("https://")
}

fn at_fault(otlp: &Otlp, error: &dyn std::error::Error) -> Error {
    let mut problem = error.to_string();
    if let Some(source) = error.source() {
        problem = format!("{problem}: {source}");
    }
    Error::Endpoint { endpoint: otlp.endpoint.clone(), problem }
}

/// Reads a file of headers, `name=value` a line; empty lines and those that begin with `#` say nothing.
fn headers(path: &Path) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    if path.as_os_str().is_empty() {
        return Ok(headers);
    }
    let failed = |problem: String| Error::Headers { path: path.to_owned(), problem };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let lines = text.lines().map(str::trim).enumerate();
    for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let malformed = || failed(format!("line {} is no header", number + 1));
        let (name, value) = line.split_once('=').ok_or_else(malformed)?;
        let name: HeaderName = name.trim().to_ascii_lowercase().parse().map_err(|_| malformed())?;
        let mut value = HeaderValue::from_str(value.trim()).map_err(|_| malformed())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

fn texts(headers: &HeaderMap) -> HashMap<String, String> {
    let texts =
        headers.iter().filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_and_never_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("headers");
        std::fs::write(&path, "# the vendor's\n\nX-Api-Key = s3cret=\nauthorization=Bearer b\n").unwrap();
        let read = headers(&path).unwrap();
        assert_eq!(
            (&read["x-api-key"], &read["authorization"]),
            (&"s3cret=".parse().unwrap(), &"Bearer b".parse().unwrap())
        );
        std::fs::write(&path, "authorization=Bearer b\ns3cret").unwrap();
        let told = headers(&path).unwrap_err().to_string();
        assert!(told.contains("line 2") && told.contains("name=value") && !told.contains("s3cret"), "{told}");
        assert!(headers(Path::new("")).unwrap().is_empty());
        assert!(headers(Path::new("/nowhere")).unwrap_err().to_string().contains("headers_file"));
    }
}
