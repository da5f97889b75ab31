//! What a settled request says to the metrics.

use std::time::Duration;

use signalbox_proto::{
    common::v1::{Attempt, AttemptOutcome},
    metering::v1::Settlement,
};
use signalbox_telemetry::metrics;

/// Counts a request that was admitted.
pub(crate) fn began(record: &Settlement) {
    metrics::began(tenant(record));
}

/// Counts a request that ended, with its attempts.
pub(crate) fn ended(record: &Settlement) {
    if !metrics::is_on() {
        return;
    }
    let timings = record.timings.unwrap_or_default();
    let micros = Duration::from_micros;
    metrics::ended(&metrics::Request {
        tenant: tenant(record),
        model: &record.requested_model,
        outcome: word(record.outcome().as_str_name(), "REQUEST_OUTCOME_"),
        cache: word(record.cache().as_str_name(), "CACHE_STATE_"),
        saved_nanousd: record.saved_nanousd,
        total: Duration::from_millis(timings.total_ms),
        first_output: timings.first_output_ms.map(Duration::from_millis),
        overhead: micros(timings.overhead_us),
        steps: [
            ("admit", micros(timings.admit_us)),
            ("inspect", micros(timings.inspect_us)),
            ("lookup", micros(timings.lookup_us)),
            ("plan", micros(timings.plan_us)),
        ],
    });
    for attempt in &record.attempts {
        attempted(record, attempt);
    }
}

fn attempted(record: &Settlement, attempt: &Attempt) {
    let usage = attempt.usage.unwrap_or_default();
    metrics::attempted(&metrics::Attempt {
        tenant: tenant(record),
        model: &record.requested_model,
        provider: &attempt.provider,
        target_model: &attempt.model,
        outcome: word(attempt.outcome().as_str_name(), "ATTEMPT_OUTCOME_"),
        kind: word(attempt.kind().as_str_name(), "ATTEMPT_KIND_"),
        ok: attempt.outcome() == AttemptOutcome::Ok,
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cost_nanousd: attempt.cost_nanousd,
        duration: Duration::from_millis(attempt.duration_ms),
        first_output: attempt.first_output_ms.map(Duration::from_millis),
    });
}

fn tenant(record: &Settlement) -> &str {
    record.principal.as_ref().map_or("", |principal| &principal.tenant)
}

/// A name without what all of its kind begin with.
fn word(name: &'static str, prefix: &str) -> &'static str {
    name.strip_prefix(prefix).unwrap_or(name)
}
