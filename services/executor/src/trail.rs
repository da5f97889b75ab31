//! An attempt in its request's trace: the provider is told where it stands, and its span is told when it ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use signalbox_mesh::{Random, TraceContext};
use signalbox_proto::common::v1::{Attempt, AttemptKind, AttemptOutcome};
use signalbox_telemetry::semconv;
use signalbox_telemetry::trace::{self, Event, KeyValue, Kind, Span};
use tokio::time::Instant;

use crate::account::Record;

/// Is where an attempt stands.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    trace: Option<TraceContext>,
    told: AtomicBool,
}

impl Trail {
    /// Continues the trace of a request for one attempt, under a span of its own where it is recorded.
    pub(crate) fn of(request: Option<&TraceContext>, random: &Random) -> Self {
        let trace = request.map(|trace| if trace.sampled() { trace.child(random) } else { trace.clone() });
        Self { trace, told: AtomicBool::new(false) }
    }

    /// Returns what the provider is told.
    pub(crate) fn headers(&self) -> Option<TraceContext> {
        self.trace.clone()
    }

    /// Tells the span, once; without an attempt, of one that nobody waited for.
    pub(crate) fn tell(&self, record: &Record, attempt: Option<&Attempt>) {
        let Some(trace) = self.trace.as_ref().filter(|trace| trace.sampled() && trace::is_on()) else {
            return;
        };
        // One that was still waiting for its turn has asked nobody.
        if self.told.swap(true, Ordering::Relaxed) || record.began > Instant::now() {
            return;
        }
        trace::emit(span(trace, record, attempt));
    }
}

fn span(trace: &TraceContext, record: &Record, attempt: Option<&Attempt>) -> Span {
    let target = &record.target;
    let outcome = attempt.map_or(AttemptOutcome::Cancelled, Attempt::outcome);
    let mut attributes = vec![
        KeyValue::new(semconv::GEN_AI_OPERATION_NAME, record.operation()),
        KeyValue::new(semconv::GEN_AI_PROVIDER_NAME, semconv::provider(&target.provider).to_owned()),
        KeyValue::new(semconv::GEN_AI_REQUEST_MODEL, target.model.clone()),
        KeyValue::new(semconv::SERVER_ADDRESS, address(&target.base.host)),
        KeyValue::new(semconv::TARGET, target.id.clone()),
        KeyValue::new(semconv::ATTEMPT_NUMBER, i64::from(record.number)),
        KeyValue::new(semconv::ATTEMPT_KIND, kind(record.kind)),
        KeyValue::new(semconv::OUTCOME, word(outcome)),
    ];
    if let Some(seen) = record.seen.get() {
        attributes.push(KeyValue::new(semconv::HTTP_STATUS, i64::from(seen.http_status)));
        if let Some(id) = &seen.request_id {
            attributes.push(KeyValue::new(semconv::GEN_AI_RESPONSE_ID, id.clone()));
        }
    }
    if let Some(usage) = attempt.and_then(|attempt| attempt.usage.as_ref()) {
        let counts = [
            (semconv::GEN_AI_USAGE_INPUT_TOKENS, usage.input_tokens),
            (semconv::GEN_AI_USAGE_OUTPUT_TOKENS, usage.output_tokens),
            (semconv::GEN_AI_USAGE_CACHE_READ, usage.cached_input_tokens),
        ];
        for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            attributes.push(KeyValue::new(name, i64::try_from(count).unwrap_or(i64::MAX)));
        }
    }
    let (took, end) = (record.began.elapsed(), SystemTime::now());
    let mut events = Vec::new();
    if let Some(first) = record.first_output {
        attributes.push(KeyValue::new(semconv::GEN_AI_TIME_TO_FIRST_CHUNK, first.as_secs_f64()));
        let at = end.checked_sub(took.saturating_sub(first)).unwrap_or(end);
        events.push(Event::new(semconv::EVENT_FIRST_OUTPUT, at, Vec::new(), 0));
    }
    Span {
        // Configured models: few.
        name: format!("{} {}", record.operation(), target.model).into(),
        kind: Kind::Client,
        trace_id: trace.trace_id(),
        id: trace.span_id(),
        parent: trace.parent_id(),
        remote_parent: false,
        took,
        end,
        attributes,
        events,
        error: (outcome != AttemptOutcome::Ok).then(|| word(outcome).into()),
    }
}

/// Returns a host without its port.
fn address(host: &str) -> String {
    let port = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    port.map_or(host, |(host, _)| host).to_owned()
}

fn word(outcome: AttemptOutcome) -> &'static str {
    outcome.as_str_name().trim_start_matches("ATTEMPT_OUTCOME_")
}

fn kind(kind: AttemptKind) -> &'static str {
    kind.as_str_name().trim_start_matches("ATTEMPT_KIND_")
}
