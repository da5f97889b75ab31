//! What the router says to the metrics: how models were chosen, and what was left out.

use std::sync::LazyLock;

use opentelemetry::{KeyValue, metrics::Counter};
use signalbox_proto::router::v1::PlanResponse;
use signalbox_telemetry::{metrics, semconv};
use tonic::Status;

use crate::{config::Way, plan::Chosen};

struct Instruments {
    plans: Counter<u64>,
    filtered: Counter<u64>,
    refusals: Counter<u64>,
}

static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| {
    let meter = metrics::meter();
    let counter =
        |name: &'static str, what: &'static str| meter.u64_counter(name).with_description(what).build();
    Instruments {
        plans: counter("signalbox.router.plans", "Plans, by who named the policy and how it chose"),
        filtered: counter("signalbox.router.filtered", "Targets that were left out of a plan, by why"),
        refusals: counter("signalbox.router.refusals", "Requests for which there was no plan, by why"),
    }
});

/// Counts a plan.
pub(crate) fn planned(chosen: &Chosen<'_>, plan: &PlanResponse) {
    if !metrics::is_on() {
        return;
    }
    let of = &*INSTRUMENTS;
    let first = plan.candidates.first().map(|first| first.target_id.clone()).unwrap_or_default();
    of.plans.add(
        1,
        &[
            KeyValue::new(semconv::POLICY, plan.policy.clone()),
            KeyValue::new(semconv::ROUTE_WAY, way(chosen)),
            KeyValue::new(semconv::NAMED_BY, chosen.named_by),
            KeyValue::new(semconv::TARGET, first),
        ],
    );
    for rejected in &plan.rejected {
        left_out(&rejected.target_id, &rejected.reason);
    }
}

/// Counts a request without a plan.
pub(crate) fn refused(status: &Status) {
    if metrics::is_on() {
        let reason = signalbox_mesh::error::reason_of(status).map(|reason| reason.as_str_name());
        let reason = reason.unwrap_or_default().trim_start_matches("ERROR_REASON_");
        INSTRUMENTS.refusals.add(1, &[KeyValue::new(semconv::REASON, reason)]);
    }
}

fn left_out(target_id: &str, reason: &str) {
    let about = [
        KeyValue::new(semconv::TARGET, target_id.to_owned()),
        KeyValue::new(semconv::REASON, reason.to_owned()),
    ];
    INSTRUMENTS.filtered.add(1, &about);
}

fn way(chosen: &Chosen<'_>) -> &'static str {
    if chosen.is_by_rule() {
        return "rule";
    }
    match chosen.policy.way {
        Way::Fixed => "fixed",
        Way::LowestCost => "lowest_cost",
        Way::LowestLatency => "lowest_latency",
        Way::Balanced => "balanced",
        Way::Weighted => "weighted",
        Way::Complexity => "complexity",
        Way::Sticky => "sticky",
        Way::Learned => "learned",
    }
}
