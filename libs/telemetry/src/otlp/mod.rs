//! The way to a collector: OTLP over gRPC or HTTP.
//!
//! The exporters are OpenTelemetry's own. What they are given waits in queues of ours ([`queue`]), because those count what they drop,
//! keep what is newest while a collector is away, and run as tasks of the process' runtime, without threads of their own.

mod exporter;
pub(crate) mod queue;

use std::{sync::Arc, time::Duration};

use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::{
    logs::{LogBatch, LogExporter as _, SdkLogRecord},
    trace::{SpanData, SpanExporter as _},
};
use signalbox_config::Telemetry;
use tokio::{sync::watch, task::JoinHandle};

pub(crate) use self::{
    exporter::{Collector, metric_reader},
    queue::{Counts, Queue},
};
use crate::trace;

/// Why nothing can be sent to a collector.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file of headers cannot be read.
    #[error("telemetry.otlp.headers_file = {path:?}: {problem}; write a header a line, as name=value")]
    Headers {
        /// As it was configured.
        path: std::path::PathBuf,
        /// What is wrong; never a header's value.
        problem: String,
    },
    /// The way there cannot be made.
    #[error("telemetry.otlp.endpoint = {endpoint:?}: {problem}")]
    Endpoint {
        /// As it was configured.
        endpoint: String,
        /// What is wrong.
        problem: String,
    },
}

/// What was sent and what was dropped of the spans, and of the log lines.
pub(crate) static SPANS: Counts = Counts::new("traces");
pub(crate) static LOGS: Counts = Counts::new("logs");

/// The tasks that send.
pub(crate) struct Pipes {
    tasks: Vec<JoinHandle<()>>,
    ending: watch::Sender<bool>,
    logs: Option<Arc<Queue<SdkLogRecord>>>,
}

impl Pipes {
    /// Where log lines go, if they are sent.
    pub(crate) fn logs(&self) -> Option<Arc<Queue<SdkLogRecord>>> {
        self.logs.clone()
    }

    /// Sends what waits.
    pub(crate) async fn end(self) {
        let _nobody = self.ending.send(true);
        for task in self.tasks {
            let _ended = task.await;
        }
    }
}

/// Starts to send spans and log lines, each where it is wanted.
///
/// # Errors
/// As [`Collector::new`].
pub(crate) fn start(collector: &Collector<'_>, config: &Telemetry) -> Result<Pipes, Error> {
    let otlp = collector.otlp;
    let (ending, end) = watch::channel(false);
    let mut tasks = Vec::new();
    let pace = queue::Pace {
        batch: Duration::from_millis(otlp.batch_ms),
        // A hung collector is left even where its exporter waits on.
        timeout: Duration::from_millis(otlp.timeout_ms) + Duration::from_secs(1),
    };
    if otlp.traces {
        let exporter = Arc::new(collector.spans()?);
        let (queue, pipe) = queue::new::<SpanData>(otlp.queue, pace, &SPANS);
        trace::begin(queue, otlp.sample_ratio, config.capture_content);
        tasks.push(tokio::spawn(pipe.run(end.clone(), move |batch: Vec<SpanData>| {
            let exporter = Arc::clone(&exporter);
            async move { exporter.export(batch).await.map_err(|error| error.to_string()) }
        })));
    }
    let mut logs = None;
    if otlp.logs {
        let exporter = Arc::new(collector.logs()?);
        let (queue, pipe) = queue::new::<SdkLogRecord>(otlp.queue, pace, &LOGS);
        logs = Some(Arc::new(queue));
        tasks.push(tokio::spawn(pipe.run(end, move |batch: Vec<SdkLogRecord>| {
            let exporter = Arc::clone(&exporter);
            async move {
                let scope = scope();
                let lines: Vec<_> = batch.iter().map(|line| (line, &scope)).collect();
                exporter.export(LogBatch::new(&lines)).await.map_err(|error| error.to_string())
            }
        })));
    }
    Ok(Pipes { tasks, ending, logs })
}

/// Who made the spans and log lines, within a process.
pub(crate) fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("signalbox").with_version(env!("CARGO_PKG_VERSION")).build()
}
