//! What the guard says to the metrics: verdicts, findings by detector, and how long a prompt took in which tier.

use std::{sync::LazyLock, time::Duration};

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram},
};
use signalbox_proto::guard::v1::{Action, Finding, InspectResponse, ScreenClosed, Verdict};
use signalbox_telemetry::{metrics, semconv};

struct Instruments {
    verdicts: Counter<u64>,
    findings: Counter<u64>,
    inspect: Histogram<f64>,
}

static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| {
    let meter = metrics::meter();
    Instruments {
        verdicts: meter
            .u64_counter("signalbox.guard.verdicts")
            .with_description("Prompts and answers that were checked, by verdict")
            .build(),
        findings: meter
            .u64_counter("signalbox.guard.findings")
            .with_description("Findings, by detector and what was done about them")
            .build(),
        inspect: metrics::seconds(
            &meter,
            "signalbox.guard.inspect",
            &metrics::OWN,
            "A prompt's check: by patterns alone, or by the learned tiers behind them too",
        ),
    }
});

/// Counts the check of a prompt. One for which a judge is asked comes twice, and counts when it is decided.
pub(crate) fn inspected(policy: &str, answer: &InspectResponse, learned: bool, took: Duration) {
    if !metrics::is_on() || answer.judge_needed.is_some() {
        return;
    }
    let tier = if learned { "learned" } else { "patterns" };
    INSTRUMENTS.inspect.record(took.as_secs_f64(), &[KeyValue::new(semconv::TIER, tier)]);
    count(policy, "prompt", answer.verdict(), &answer.findings);
}

/// Counts the check of an answer.
pub(crate) fn screened(policy: &str, closed: &ScreenClosed) {
    if metrics::is_on() {
        count(policy, "answer", closed.verdict(), &closed.findings);
    }
}

fn count(policy: &str, direction: &'static str, verdict: Verdict, findings: &[Finding]) {
    let of = &*INSTRUMENTS;
    let policy = KeyValue::new(semconv::POLICY, policy.to_owned());
    let direction = KeyValue::new(semconv::DIRECTION, direction);
    let word = verdict.as_str_name().trim_start_matches("VERDICT_");
    of.verdicts.add(1, &[policy.clone(), direction.clone(), KeyValue::new(semconv::VERDICT, word)]);
    for finding in findings.iter().filter(|finding| finding.action() != Action::Unspecified) {
        let action = finding.action().as_str_name().trim_start_matches("ACTION_");
        of.findings.add(
            1,
            &[
                policy.clone(),
                direction.clone(),
                // Detectors are built in or configured.
                KeyValue::new(semconv::DETECTOR, finding.detector.clone()),
                KeyValue::new(semconv::ACTION, action),
            ],
        );
    }
}
