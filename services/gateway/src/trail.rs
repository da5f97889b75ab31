//! A request in its trace: its span, those of its steps, and what happened on its way.
//!
//! What is known of a traced request comes together in one place, which everybody on its way holds, and is told when the last of them
//! lets go: on every path, as its bill is settled. The ids of steps follow from the request's own ([`TraceContext::step`]), so that a
//! part is called under a span that will be told, whatever becomes of the request. A request that is not traced holds nothing.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use signalbox_mesh::{Random, RequestContext, TraceContext};
use signalbox_proto::{
    common::v1::{Finished, Notice, Seam},
    metering::v1::{RequestOutcome, Settlement},
};
use signalbox_telemetry::{
    metrics, semconv,
    trace::{self, Event, KeyValue, Kind, Span},
};
use tokio::time::Instant;
use tonic::Status;

use crate::{
    content::Content,
    measure::{self, word},
};

/// A step of a request, in the order in which they usually come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Step {
    Admit,
    Inspect,
    Lookup,
    Plan,
    Execute,
}

const STEPS: [(Step, &str); 5] = [
    (Step::Admit, "admit"),
    (Step::Inspect, "inspect"),
    (Step::Lookup, "lookup"),
    (Step::Plan, "plan"),
    (Step::Execute, "execute"),
];

/// The name of a request's span.
const REQUEST: &str = "signalbox.request";
/// Events that a span keeps at most.
const EVENTS: usize = 64;

/// What is known of a request, where it is traced.
#[derive(Clone, Default)]
pub(crate) struct Trail(Option<Arc<Mutex<Way>>>);

struct Way {
    trace: TraceContext,
    began: Instant,
    /// When each step began for the first time, and ended for the last.
    steps: [Option<(Instant, Option<Instant>)>; STEPS.len()],
    events: Vec<Event>,
    about: Vec<KeyValue>,
    error: Option<Cow<'static, str>>,
    content: Content,
}

impl Trail {
    /// Begins the span of a request; its context is within that from here on.
    pub(crate) fn begin(context: &mut RequestContext, random: &Random, began: Instant) -> Self {
        let Some(trace) = context.trace().filter(|trace| trace.sampled() && trace::is_on()) else {
            return Self::default();
        };
        let trace = trace.child(random);
        context.set_trace(trace.clone());
        Self(Some(Arc::new(Mutex::new(Way {
            trace,
            began,
            steps: [None; STEPS.len()],
            events: Vec::new(),
            about: vec![KeyValue::new(semconv::REQUEST_ID, context.request_id().to_owned())],
            // Until something better is known.
            error: Some("CANCELLED".into()),
            content: Content::default(),
        }))))
    }

    /// The context under which a step calls: within the step's span. The step begins, unless it did before.
    pub(crate) fn within<'a>(&self, step: Step, context: &'a RequestContext) -> Cow<'a, RequestContext> {
        let Some(way) = &self.0 else { return Cow::Borrowed(context) };
        let mut way = way.lock();
        way.steps[step as usize].get_or_insert((Instant::now(), None));
        let mut context = context.clone();
        context.set_trace(way.trace.step(step as u8));
        Cow::Owned(context)
    }

    /// Notes that a step is over; it may be taken up again.
    pub(crate) fn ends(&self, step: Step) {
        let Some(way) = &self.0 else { return };
        if let Some((_, end)) = &mut way.lock().steps[step as usize] {
            *end = Some(Instant::now());
        }
    }

    /// Notes where another model goes on.
    pub(crate) fn seam(&self, seam: &Seam) {
        if let Some(way) = &self.0 {
            let about = vec![
                KeyValue::new(semconv::REASON, seam.reason.clone()),
                KeyValue::new(semconv::SEAM_FROM, seam.from_model.clone()),
                KeyValue::new(semconv::SEAM_TO, seam.to_model.clone()),
                KeyValue::new(semconv::SEAM_KIND, word(seam.kind().as_str_name(), "KIND_")),
                KeyValue::new(semconv::SEAM_AT_BYTE, count(seam.at_byte)),
            ];
            way.lock().push(semconv::EVENT_SEAM, about);
        }
    }

    /// Notes what the client is told on the way: of redactions, of parts that are away, of models that were asked again.
    pub(crate) fn notice(&self, notice: &Notice) {
        if let Some(way) = &self.0 {
            let about = vec![
                KeyValue::new(semconv::PART, notice.part.clone()),
                KeyValue::new(semconv::NOTICE_KIND, word(notice.kind().as_str_name(), "KIND_")),
            ];
            way.lock().push(semconv::EVENT_NOTICE, about);
        }
    }

    /// Notes how the answer ended.
    pub(crate) fn finished(&self, finished: &Finished) {
        let Some(way) = &self.0 else { return };
        let mut way = way.lock();
        if !finished.model.is_empty() {
            way.about.push(KeyValue::new(semconv::GEN_AI_RESPONSE_MODEL, finished.model.clone()));
        }
        let reason = word(finished.finish_reason().as_str_name(), "FINISH_REASON_").to_ascii_lowercase();
        way.about.push(trace::texts(semconv::GEN_AI_FINISH_REASONS, [reason]));
        if let Some(usage) = &finished.usage {
            way.about.push(KeyValue::new(semconv::GEN_AI_USAGE_INPUT_TOKENS, count(usage.input_tokens)));
            way.about.push(KeyValue::new(semconv::GEN_AI_USAGE_OUTPUT_TOKENS, count(usage.output_tokens)));
        }
    }

    /// Notes why it was never admitted.
    pub(crate) fn refused(&self, status: &Status) {
        if let Some(way) = &self.0 {
            let reason = signalbox_mesh::error::reason_of(status);
            way.lock().error = Some(match reason {
                Some(reason) => word(reason.as_str_name(), "ERROR_REASON_").into(),
                None => format!("{:?}", status.code()).into(),
            });
        }
    }

    /// Notes how it was settled.
    pub(crate) fn settled(&self, record: &Settlement) {
        if let Some(way) = &self.0 {
            let mut way = way.lock();
            about(record, &mut way.about);
            way.error = match record.outcome() {
                RequestOutcome::Ok => None,
                _ if !record.error_reason.is_empty() => Some(record.error_reason.clone().into()),
                outcome => Some(word(outcome.as_str_name(), "REQUEST_OUTCOME_").into()),
            };
        }
    }

    /// Lets prompt or answer be noted, where that is wanted.
    pub(crate) fn content(&self, note: impl FnOnce(&mut Content)) {
        if let Some(way) = self.0.as_ref().filter(|_| trace::captures_content()) {
            note(&mut way.lock().content);
        }
    }
}

impl Way {
    fn push(&mut self, name: &'static str, about: Vec<KeyValue>) {
        if self.events.len() < EVENTS {
            self.events.push(Event::new(name, SystemTime::now(), about, 0));
        }
    }
}

/// Where the last who knew something of the request lets go of it.
impl Drop for Way {
    fn drop(&mut self) {
        let (now, end) = (Instant::now(), SystemTime::now());
        let before = |instant: Instant| end.checked_sub(now - instant).unwrap_or(end);
        for (times, (step, name)) in self.steps.iter().zip(STEPS) {
            let Some((begun, ended)) = *times else { continue };
            let (of, ended) = (self.trace.step(step as u8), ended.unwrap_or(now));
            trace::emit(Span {
                name: name.into(),
                kind: Kind::Client,
                trace_id: of.trace_id(),
                id: of.span_id(),
                parent: of.parent_id(),
                remote_parent: false,
                took: ended - begun,
                end: before(ended),
                attributes: vec![KeyValue::new(semconv::STEP, name)],
                events: Vec::new(),
                error: None,
            });
        }
        let mut attributes = std::mem::take(&mut self.about);
        attributes.extend(std::mem::take(&mut self.content).into_attributes());
        trace::emit(Span {
            name: REQUEST.into(),
            kind: Kind::Internal,
            trace_id: self.trace.trace_id(),
            id: self.trace.span_id(),
            parent: self.trace.parent_id(),
            remote_parent: false,
            took: now - self.began,
            end,
            attributes,
            events: std::mem::take(&mut self.events),
            error: self.error.take(),
        });
    }
}

fn about(record: &Settlement, about: &mut Vec<KeyValue>) {
    let mut text = |name: &'static str, value: &str| {
        if !value.is_empty() {
            about.push(KeyValue::new(name, value.to_owned()));
        }
    };
    text(semconv::GEN_AI_OPERATION_NAME, measure::operation(record));
    text(semconv::GEN_AI_REQUEST_MODEL, &record.requested_model);
    if let Some(principal) = &record.principal {
        text(semconv::TENANT, &principal.tenant);
        text(semconv::PRINCIPAL, &principal.id);
    }
    text(semconv::OUTCOME, word(record.outcome().as_str_name(), "REQUEST_OUTCOME_"));
    text(semconv::CACHE_STATE, word(record.cache().as_str_name(), "CACHE_STATE_"));
    if let Some(attribution) = &record.attribution {
        text(semconv::GEN_AI_CONVERSATION_ID, attribution.conversation_id());
        text(semconv::FEATURE, attribution.feature());
    }
    if let Some(route) = &record.route {
        text(semconv::POLICY, &route.policy);
    }
    let cost = record.attempts.iter().map(|attempt| attempt.cost_nanousd).sum::<i64>();
    for (name, nanousd) in [(semconv::COST_USD, cost), (semconv::SAVED_USD, record.saved_nanousd)] {
        if nanousd > 0 {
            about.push(KeyValue::new(name, metrics::dollars(nanousd)));
        }
    }
    about.push(KeyValue::new(semconv::ATTEMPTS, count(record.attempts.len() as u64)));
    if let Some(timings) = &record.timings {
        if timings.overhead_us > 0 {
            let overhead = Duration::from_micros(timings.overhead_us).as_secs_f64();
            about.push(KeyValue::new(semconv::OVERHEAD, overhead));
        }
        if let Some(first) = timings.first_output_ms {
            let first = Duration::from_millis(first).as_secs_f64();
            about.push(KeyValue::new(semconv::GEN_AI_TIME_TO_FIRST_CHUNK, first));
        }
    }
}

fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
