//! What the gateway says to the metrics: settled requests, parts that are away, what waits for metering.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use opentelemetry::{KeyValue, metrics::Counter};
use parking_lot::Mutex;
use signalbox_proto::{
    common::v1::{Attempt, AttemptKind, AttemptOutcome, CacheState},
    metering::v1::{RequestOutcome, Settlement},
};
use signalbox_telemetry::{
    metrics::{self, Invariant},
    semconv,
};
use tokio::{sync::mpsc, time::Instant};

use crate::spool::Spool;

/// How long after its deadline a request may end: what a busy machine takes to notice.
const SLACK: Duration = Duration::from_secs(5);

struct Instruments {
    degraded: Counter<u64>,
    away: Counter<u64>,
}

static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| {
    let meter = metrics::meter();
    let counter =
        |name: &'static str, what: &'static str| meter.u64_counter(name).with_description(what).build();
    Instruments {
        degraded: counter(
            "signalbox.requests.degraded",
            "Requests that went on without a part; of the guard: that passed unchecked",
        ),
        away: counter("signalbox.part.away", "Calls that found their part away"),
    }
});

/// Has what waits for metering told as long as it is there, and what must not happen stand at zero.
pub(crate) fn tell(spool: &Arc<Mutex<Spool>>, queue: &mpsc::Sender<Settlement>) {
    if !metrics::is_on() {
        return;
    }
    metrics::keeps(&[Invariant::M2, Invariant::G1, Invariant::S1, Invariant::D1]);
    for part in ["guard", "cache", "router", "executor", "metering"] {
        let about = [KeyValue::new(semconv::PART, part)];
        INSTRUMENTS.degraded.add(0, &about);
        INSTRUMENTS.away.add(0, &about);
    }
    let meter = metrics::meter();
    let gauges = [
        ("signalbox.spool.size", "Settlements on disk that wait for metering"),
        ("signalbox.spool.limit", "How large the spool may get; then requests are refused"),
    ];
    for (at, (name, what)) in gauges.into_iter().enumerate() {
        let looked = Arc::downgrade(spool);
        meter
            .u64_observable_gauge(name)
            .with_unit("By")
            .with_description(what)
            .with_callback(move |told| {
                let Some(spool) = looked.upgrade() else { return };
                let (size, limit) = spool.lock().waiting();
                told.observe([size, limit][at], &[]);
            })
            .build();
    }
    let queue = queue.downgrade();
    meter
        .u64_observable_gauge("signalbox.settlements.waiting")
        .with_description("Settlements in memory on their way to metering")
        .with_callback(move |told| {
            let Some(queue) = queue.upgrade() else { return };
            told.observe((queue.max_capacity() - queue.capacity()) as u64, &[]);
        })
        .build();
}

/// Counts a request that goes on without a part.
pub(crate) fn degraded(part: &'static str) {
    if metrics::is_on() {
        INSTRUMENTS.degraded.add(1, &[KeyValue::new(semconv::PART, part)]);
    }
}

/// Counts a call that found its part away.
pub(crate) fn away(part: &'static str) {
    if metrics::is_on() {
        INSTRUMENTS.away.add(1, &[KeyValue::new(semconv::PART, part)]);
    }
}

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
        operation: operation(record),
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

/// Counts what must never happen to a request: that it ends after its deadline (D1), that a model was asked although the prompt was
/// blocked (G1), that it was called complete although no model completed it (S1).
pub(crate) fn check(record: &Settlement, deadline: Instant) {
    let id = &record.request_id;
    if Instant::now() > deadline + SLACK {
        metrics::violated(Invariant::D1, &format!("{id} ended {} ms late", deadline.elapsed().as_millis()));
    }
    let own = |attempt: &&Attempt| !matches!(attempt.kind(), AttemptKind::Judge | AttemptKind::Shadow);
    let mut asked = record.attempts.iter().filter(own);
    let hit = matches!(record.cache(), CacheState::Exact | CacheState::Semantic | CacheState::Follow);
    match record.outcome() {
        RequestOutcome::Blocked if asked.next().is_some() => {
            metrics::violated(Invariant::G1, &format!("{id} was blocked, and a model was asked"));
        }
        RequestOutcome::Ok if !hit && !asked.any(|attempt| attempt.outcome() == AttemptOutcome::Ok) => {
            metrics::violated(Invariant::S1, &format!("{id} was called complete, and no attempt was"));
        }
        _ => {}
    }
}

/// What was asked for, as the GenAI conventions call it.
pub(crate) fn operation(record: &Settlement) -> &str {
    if record.operation.is_empty() { "chat" } else { &record.operation }
}

fn tenant(record: &Settlement) -> &str {
    record.principal.as_ref().map_or("", |principal| &principal.tenant)
}

/// A name without what all of its kind begin with.
pub(crate) fn word(name: &'static str, prefix: &str) -> &'static str {
    name.strip_prefix(prefix).unwrap_or(name)
}
