//! What a settled request says: requests, attempts, money, tokens, durations.

use std::{sync::LazyLock, time::Duration};

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram, UpDownCounter},
};

use super::{OWN, is_on, meter, seconds};
use crate::semconv;

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
    /// What was asked for, as the GenAI conventions call it.
    pub operation: &'a str,
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
static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| {
    let meter = meter();
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
        total: seconds(&meter, "signalbox.request.duration", &OPERATION, "A request, to its end"),
        first_output: seconds(
            &meter,
            "signalbox.request.first_output",
            &FIRST,
            "A request, to its first output",
        ),
        overhead: seconds(
            &meter,
            "signalbox.request.overhead",
            &OWN,
            "What the mesh took before a model was asked, or the cache answered",
        ),
        step: seconds(&meter, "signalbox.request.step", &OWN, "A step of that: admit, inspect, lookup, plan"),
        operation: seconds(
            &meter,
            "gen_ai.client.operation.duration",
            &OPERATION,
            "An attempt at a provider",
        ),
        provider_first: seconds(
            &meter,
            "gen_ai.server.time_to_first_token",
            &FIRST,
            "A provider's first output",
        ),
        tokens: meter
            .u64_histogram("gen_ai.client.token.usage")
            .with_unit("{token}")
            .with_boundaries(TOKENS.to_vec())
            .with_description("Tokens of an attempt")
            .build(),
    }
});

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
        KeyValue::new(semconv::GEN_AI_OPERATION_NAME, attempt.operation.to_owned()),
        KeyValue::new(semconv::GEN_AI_PROVIDER_NAME, semconv::provider(attempt.provider).to_owned()),
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

/// An amount as telemetry has it.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a metric")]
pub fn dollars(nanousd: i64) -> f64 {
    nanousd as f64 / 1e9
}
