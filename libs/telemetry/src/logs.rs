//! Log lines: on standard error, and to a collector where there is one.

use std::{
    fmt,
    io::IsTerminal as _,
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use opentelemetry::{
    SpanId, TraceFlags, TraceId,
    logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity},
};
use opentelemetry_sdk::logs::{SdkLogRecord, SdkLogger, SdkLoggerProvider};
use signalbox_config::{LogFormat, Telemetry};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    layer::{Context, SubscriberExt as _},
    registry::LookupSpan,
    reload,
    util::SubscriberInitExt as _,
};

use crate::{otlp::Queue, semconv};

/// Goes before the configuration.
const VARIABLE: &str = "RUST_LOG";
/// The way to the filter in use.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();
/// Longest text of a line or of one of its fields that is sent, in bytes.
const LONGEST: usize = 4_096;
/// Whose lines are about the sending itself: sent, they would breed.
const SENDERS: [&str; 6] = ["opentelemetry", "h2", "hyper", "tonic", "tower", "rustls"];

/// Starts logging for the whole process; a second call changes nothing.
///
/// `RUST_LOG` goes before the configured filter. A filter that cannot be read falls back on `info`, and says so.
pub fn init(service: &'static str, config: &Telemetry) {
    begin(service, config, None);
}

/// The same, with the way to a collector.
pub(crate) fn begin(service: &'static str, config: &Telemetry, queue: Option<Arc<Queue<SdkLogRecord>>>) {
    let wanted = std::env::var(VARIABLE).ok().or_else(|| config.log_level.clone());
    let (filter, refused) = match filter(wanted.as_deref()) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let (filter, handle) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match config.log_format {
        LogFormat::Human => lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let first = tracing_subscriber::registry().with(filter).with(lines).with(queue.map(Sent::new)).try_init();
    if first.is_err() {
        return;
    }
    // Once in a process, as the lines themselves.
    let _first = FILTER.set(handle);
    if let Some(error) = refused {
        tracing::warn!(service, error, "the log filter cannot be read; logging at info");
    }
}

/// What lets a line through.
///
/// # Errors
/// What is wrong with it.
fn filter(wanted: Option<&str>) -> Result<EnvFilter, String> {
    let wanted = wanted.unwrap_or("info");
    let filter = EnvFilter::try_new(wanted).map_err(|error| error.to_string())?;
    // OpenTelemetry's own lines are about itself, but for what goes wrong.
    Ok(match "opentelemetry=warn".parse() {
        Ok(quiet) if !wanted.contains("opentelemetry") => filter.add_directive(quiet),
        _ => filter,
    })
}

/// Checks a log level, and says how it takes over while the process runs; `RUST_LOG` still goes before it.
///
/// # Errors
/// What is wrong with it.
pub fn relevel(config: &Telemetry) -> Result<impl FnOnce() + Send + 'static, String> {
    let fault =
        |error| format!("telemetry.log_level: {error}; give a level, or target=level, several with commas");
    let filter = filter(config.log_level.as_deref()).map_err(fault)?;
    Ok(move || {
        if std::env::var_os(VARIABLE).is_none()
            && let Some(handle) = FILTER.get()
        {
            // It fails only without the lines that it filters.
            let _set = handle.reload(filter);
        }
    })
}

/// Sends lines to the collector, each with the trace of the call that it belongs to.
struct Sent {
    queue: Arc<Queue<SdkLogRecord>>,
    logger: SdkLogger,
}

/// What a call says about all lines within it.
#[derive(Default)]
struct Call {
    trace: Option<(TraceId, SpanId, TraceFlags)>,
    about: Vec<(&'static str, String)>,
}

impl Sent {
    fn new(queue: Arc<Queue<SdkLogRecord>>) -> Self {
        // Makes records, and sees none of them again.
        Self { queue, logger: SdkLoggerProvider::builder().build().logger("signalbox") }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Sent {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let mut call = Call::default();
        attributes.record(&mut call);
        if (call.trace.is_some() || !call.about.is_empty())
            && let Some(span) = context.span(id)
        {
            span.extensions_mut().insert(call);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let about = event.metadata();
        if is_sender(about) {
            return;
        }
        let mut record = self.logger.create_log_record();
        let now = SystemTime::now();
        record.set_timestamp(now);
        record.set_observed_timestamp(now);
        record.set_target(about.target());
        let (severity, text) = severity(*about.level());
        record.set_severity_number(severity);
        record.set_severity_text(text);
        event.record(&mut Fields(&mut record));
        for span in context.event_scope(event).into_iter().flatten() {
            let extensions = span.extensions();
            let Some(call) = extensions.get::<Call>() else { continue };
            if let Some((trace, span, flags)) = call.trace {
                record.set_trace_context(trace, span, Some(flags));
            }
            record.add_attributes(call.about.iter().map(|(name, value)| (*name, value.clone())));
            break;
        }
        self.queue.offer(record);
    }
}

fn is_sender(about: &Metadata<'_>) -> bool {
    let target = about.target();
    SENDERS.iter().any(|sender| {
        target.strip_prefix(sender).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '_']))
    })
}

const fn severity(level: Level) -> (Severity, &'static str) {
    match level {
        Level::ERROR => (Severity::Error, "ERROR"),
        Level::WARN => (Severity::Warn, "WARN"),
        Level::INFO => (Severity::Info, "INFO"),
        Level::DEBUG => (Severity::Debug, "DEBUG"),
        Level::TRACE => (Severity::Trace, "TRACE"),
    }
}

impl Visit for Call {
    fn record_str(&mut self, field: &Field, value: &str) {
        let name = match field.name() {
            "request_id" => semconv::REQUEST_ID,
            "tenant" => semconv::TENANT,
            _ => return,
        };
        if !value.is_empty() {
            self.about.push((name, bounded(value.to_owned())));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "trace" {
            self.trace = parse(&format!("{value:?}"));
        }
    }
}

/// Reads a `traceparent`.
fn parse(text: &str) -> Option<(TraceId, SpanId, TraceFlags)> {
    let trace = TraceId::from_hex(text.get(3..35)?).ok()?;
    let span = SpanId::from_hex(text.get(36..52)?).ok()?;
    let flags = u8::from_str_radix(text.get(53..55)?, 16).ok()?;
    Some((trace, span, TraceFlags::new(flags)))
}

/// A line's message, and its other fields.
struct Fields<'a>(&'a mut SdkLogRecord);

impl Fields<'_> {
    fn set(&mut self, field: &Field, value: AnyValue) {
        match field.name() {
            "message" => self.0.set_body(value),
            name => self.0.add_attribute(name, value),
        }
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, bounded(format!("{value:?}")).into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, bounded(value.to_owned()).into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match i64::try_from(value) {
            Ok(value) => self.set(field, value.into()),
            Err(_) => self.set(field, value.to_string().into()),
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.into());
    }
}

fn bounded(mut text: String) -> String {
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::otlp::{Counts, queue};

    /// What the layer sends of what is logged meanwhile.
    async fn sent(log: impl FnOnce()) -> Vec<SdkLogRecord> {
        static COUNTS: Counts = Counts::new("test");
        let pace = queue::Pace { batch: Duration::from_millis(1), timeout: Duration::from_secs(10) };
        let (queue, pipe) = queue::new(100, pace, &COUNTS);
        let layer = Sent::new(Arc::new(queue));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let (end, ending) = tokio::sync::watch::channel(true);
        let (told, mut lines) = tokio::sync::mpsc::channel(4);
        pipe.run(ending, |batch| std::future::ready(told.try_send(batch).map_err(|error| error.to_string())))
            .await;
        drop(end);
        lines.try_recv().unwrap_or_default()
    }

    #[tokio::test]
    async fn a_line_has_its_fields_and_the_trace_of_its_call() {
        let lines = sent(|| {
            let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
            let call = tracing::info_span!("call", request_id = "r-1", tenant = "", trace = %trace);
            let _in = call.enter();
            tracing::info_span!("deeper").in_scope(|| {
                tracing::warn!(attempts = 3u64, why = ?Some("x"), text = "y".repeat(5_000), "it failed");
            });
            tracing::warn!(target: "h2::proto", "not about us");
        })
        .await;
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!(line.body(), Some(&AnyValue::from("it failed")));
        assert_eq!(line.severity_number(), Some(Severity::Warn));
        let trace = line.trace_context().unwrap();
        assert_eq!(trace.trace_id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(trace.span_id.to_string(), "00f067aa0ba902b7");
        let value = |name: &str| {
            let mut all = line.attributes_iter();
            all.find(|(key, _)| key.as_str() == name).map(|(_, value)| format!("{value:?}"))
        };
        assert!(value("attempts").unwrap().contains('3'));
        assert!(value("why").unwrap().contains("Some"));
        assert!(value("text").unwrap().len() < LONGEST + 100);
        assert!(value("signalbox.request_id").unwrap().contains("r-1"));
        assert_eq!(value("signalbox.tenant"), None);
    }

    #[tokio::test]
    async fn a_line_outside_of_a_call_has_no_trace() {
        let lines = sent(|| tracing::info!("alone")).await;
        assert!(lines[0].trace_context().is_none());
    }
}
