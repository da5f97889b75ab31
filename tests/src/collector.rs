//! A collector that keeps what it is sent: OTLP over gRPC, by the protocol's own stubs.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{
            ExportLogsServiceRequest, ExportLogsServiceResponse,
            logs_service_server::{LogsService, LogsServiceServer},
        },
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::{KeyValue, any_value::Value},
    logs::v1::LogRecord,
    metrics::v1::Metric,
    resource::v1::Resource,
    trace::v1::Span,
};
use tokio::{sync::Notify, task::JoinHandle};
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

/// How long is waited for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running collector.
pub struct Collector {
    /// Where it listens.
    pub address: SocketAddr,
    kept: Arc<Kept>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Kept {
    taken: Mutex<Taken>,
    more: Notify,
}

/// What came.
#[derive(Debug, Default)]
pub struct Taken {
    /// Spans, each with the name of the service that told it.
    pub spans: Vec<(String, Span)>,
    /// Metrics.
    pub metrics: Vec<(String, Metric)>,
    /// Log lines.
    pub logs: Vec<(String, LogRecord)>,
    /// Values of the header `x-test` that came along.
    pub headers: BTreeSet<String>,
}

impl Taken {
    /// Spans of a trace.
    pub fn trace(&self, trace_id: &[u8]) -> Vec<(&str, &Span)> {
        let of = self.spans.iter().filter(|(_, span)| span.trace_id == trace_id);
        of.map(|(service, span)| (service.as_str(), span)).collect()
    }

    /// Whether a text stands anywhere in it.
    pub fn holds(&self, text: &str) -> bool {
        format!("{self:?}").contains(text)
    }
}

/// An attribute as text; empty where there is none.
pub fn attribute(attributes: &[KeyValue], name: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == name);
    match found.and_then(|found| found.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(other) => format!("{other:?}"),
        None => String::new(),
    }
}

fn service(resource: Option<&Resource>) -> String {
    resource.map(|resource| attribute(&resource.attributes, "service.name")).unwrap_or_default()
}

impl Collector {
    /// Starts one.
    pub async fn start() -> Self {
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap().with_nodelay(Some(true));
        let address = incoming.local_addr().unwrap();
        let kept = Arc::<Kept>::default();
        let (traces, metrics, logs) =
            (Taking(Arc::clone(&kept)), Taking(Arc::clone(&kept)), Taking(Arc::clone(&kept)));
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(traces))
            .add_service(MetricsServiceServer::new(metrics))
            .add_service(LogsServiceServer::new(logs));
        let server = tokio::spawn(async move { server.serve_with_incoming(incoming).await.unwrap() });
        Self { address, kept, server }
    }

    /// Waits until what came is enough.
    pub async fn wait_for(&self, what: &str, enough: impl Fn(&Taken) -> bool) {
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                let more = self.kept.more.notified();
                if enough(&self.kept.taken.lock().unwrap()) {
                    return;
                }
                more.await;
            }
        });
        if waited.await.is_err() {
            self.look(|taken| {
                let names: BTreeSet<_> = taken.spans.iter().map(|(by, span)| (by, &span.name)).collect();
                panic!("the collector got no {what}; spans: {names:?}");
            });
        }
    }

    /// Looks at what came.
    pub fn look<T>(&self, look: impl FnOnce(&Taken) -> T) -> T {
        look(&self.kept.taken.lock().unwrap())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

struct Taking(Arc<Kept>);

impl Taking {
    fn take<T>(&self, request: Request<T>, keep: impl FnOnce(T, &mut Taken)) {
        let header = request.metadata().get("x-test").map(|value| value.to_str().unwrap().to_owned());
        let mut taken = self.0.taken.lock().unwrap();
        taken.headers.extend(header);
        keep(request.into_inner(), &mut taken);
        drop(taken);
        self.0.more.notify_waiters();
    }
}

#[tonic::async_trait]
impl TraceService for Taking {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.take(request, |request, taken| {
            for resource in request.resource_spans {
                let by = service(resource.resource.as_ref());
                let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
                taken.spans.extend(spans.map(|span| (by.clone(), span)));
            }
        });
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Taking {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.take(request, |request, taken| {
            for resource in request.resource_metrics {
                let by = service(resource.resource.as_ref());
                let metrics = resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
                taken.metrics.extend(metrics.map(|metric| (by.clone(), metric)));
            }
        });
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Taking {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.take(request, |request, taken| {
            for resource in request.resource_logs {
                let by = service(resource.resource.as_ref());
                let lines = resource.scope_logs.into_iter().flat_map(|scope| scope.log_records);
                taken.logs.extend(lines.map(|line| (by.clone(), line)));
            }
        });
        Ok(Response::new(Default::default()))
    }
}
