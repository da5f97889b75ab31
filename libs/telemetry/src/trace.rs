//! Spans: told when they are over, by whoever knows how it went.
//!
//! Whoever ends something (a call, a request, an attempt) knows when it began, which ids it has and how it ended, and tells all of
//! it at once with [`emit`]. Nothing is carried through a future for it, and a request that is not traced costs a look at a flag.

use std::{
    borrow::Cow,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use opentelemetry::{
    InstrumentationScope, SpanId, StringValue, TraceFlags, TraceId, Value,
    trace::{SpanContext, SpanKind, Status, TraceState},
};
pub use opentelemetry::{KeyValue, trace::Event};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::otlp::{self, Queue};

static ON: AtomicBool = AtomicBool::new(false);
static TRACER: OnceLock<Tracer> = OnceLock::new();

struct Tracer {
    queue: Queue<SpanData>,
    scope: InstrumentationScope,
    /// Traces whose id is below it are recorded; it is by 2^64 the share.
    below: u128,
    content: bool,
}

/// What a span is to those that it is between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Work within a process.
    Internal,
    /// A call that came in.
    Server,
    /// A call that went out.
    Client,
}

/// Something that was done, with its beginning and its end.
#[derive(Debug, Clone)]
pub struct Span {
    /// What was done: few names, nothing of who or what about.
    pub name: Cow<'static, str>,
    /// What it is to others.
    pub kind: Kind,
    /// The trace's id.
    pub trace_id: u128,
    /// The span's id.
    pub id: u64,
    /// The id of the span that it belongs to; 0: none.
    pub parent: u64,
    /// Whether that one is another process'.
    pub remote_parent: bool,
    /// How long it took, until `end`.
    pub took: Duration,
    /// When it ended.
    pub end: SystemTime,
    /// About it.
    pub attributes: Vec<KeyValue>,
    /// What happened within it.
    pub events: Vec<Event>,
    /// The class of the error in which it ended, as `error.type` has it.
    pub error: Option<Cow<'static, str>>,
}

/// An attribute that is a list of texts.
pub fn texts(name: &'static str, texts: impl IntoIterator<Item = String>) -> KeyValue {
    let texts: Vec<StringValue> = texts.into_iter().map(StringValue::from).collect();
    KeyValue::new(name, Value::Array(texts.into()))
}

/// Whether spans are recorded at all.
#[must_use]
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Whether a trace that begins here is recorded: by its id, so that whoever asks is told the same.
#[must_use]
pub fn samples(trace_id: u128) -> bool {
    is_on() && TRACER.get().is_some_and(|tracer| (trace_id & u128::from(u64::MAX)) < tracer.below)
}

/// Whether prompts and answers, redacted, may stand in spans.
#[must_use]
pub fn captures_content() -> bool {
    is_on() && TRACER.get().is_some_and(|tracer| tracer.content)
}

/// Tells a span of a trace that is recorded. Never waits.
pub fn emit(span: Span) {
    let Some(tracer) = TRACER.get() else { return };
    tracer.queue.offer(data(span, &tracer.scope));
}

/// Records from now on.
pub(crate) fn begin(queue: Queue<SpanData>, sample_ratio: f64, content: bool) {
    let tracer = Tracer { queue, scope: otlp::scope(), below: threshold(sample_ratio), content };
    if TRACER.set(tracer).is_ok() {
        ON.store(true, Ordering::Release);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the share is between 0 and 1, and a share of 2^64 is at most 2^64"
)]
fn threshold(share: f64) -> u128 {
    (share * 2f64.powi(64)) as u128
}

fn data(span: Span, scope: &InstrumentationScope) -> SpanData {
    let Span { name, kind, trace_id, id, parent, remote_parent, took, end, mut attributes, events, error } =
        span;
    let status = match error {
        Some(class) => {
            attributes.push(KeyValue::new(crate::semconv::ERROR_TYPE, class));
            Status::Error { description: Cow::Borrowed("") }
        }
        None => Status::Unset,
    };
    let mut happened = SpanEvents::default();
    happened.events = events;
    SpanData {
        span_context: SpanContext::new(
            TraceId::from(trace_id),
            SpanId::from(id),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        ),
        parent_span_id: SpanId::from(parent),
        parent_span_is_remote: remote_parent,
        span_kind: match kind {
            Kind::Internal => SpanKind::Internal,
            Kind::Server => SpanKind::Server,
            Kind::Client => SpanKind::Client,
        },
        name,
        start_time: end.checked_sub(took).unwrap_or(end),
        end_time: end,
        attributes,
        dropped_attributes_count: 0,
        events: happened,
        links: SpanLinks::default(),
        status,
        instrumentation_scope: scope.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_decides_by_the_lower_half_of_the_id() {
        assert_eq!(threshold(1.0), 1 << 64);
        assert_eq!(threshold(0.5), 1 << 63);
        assert_eq!(threshold(0.0), 0);
        assert!(u128::from(u64::MAX) < threshold(1.0), "all of them");
    }

    #[test]
    fn a_span_keeps_its_ids_and_its_times() {
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let span = Span {
            name: "chat".into(),
            kind: Kind::Client,
            trace_id: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
            id: 0x00f0_67aa_0ba9_02b7,
            parent: 7,
            remote_parent: true,
            took: Duration::from_millis(1_500),
            end,
            attributes: Vec::new(),
            events: Vec::new(),
            error: Some("TIMEOUT".into()),
        };
        let data = data(span, &otlp::scope());
        assert_eq!(data.span_context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(data.span_context.span_id().to_string(), "00f067aa0ba902b7");
        assert_eq!(data.end_time.duration_since(data.start_time).unwrap(), Duration::from_millis(1_500));
        assert_eq!(data.attributes, [KeyValue::new("error.type", "TIMEOUT")]);
        assert!(matches!(data.status, Status::Error { .. }));
    }
}
