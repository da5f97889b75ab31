//! What metering says to the metrics: who was refused and why, how far the ledger is behind, what is left of budgets.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram},
};
use parking_lot::Mutex;
use signalbox_proto::metering::v1::Settlement;
use signalbox_telemetry::{
    metrics::{self, Invariant},
    semconv,
};
use tonic::Status;

use crate::{
    alerts::{Alert, Kind},
    budget::Budget,
    ledger::Settled,
};

struct Instruments {
    refusals: Counter<u64>,
    records: Counter<u64>,
    lag: Histogram<f64>,
    alerts: Counter<u64>,
}

/// Between a request's end and its record, in seconds: batches take a moment, a spool hours.
const LAG: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 3_600.0, 86_400.0];

static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| {
    let meter = metrics::meter();
    let counter =
        |name: &'static str, what: &'static str| meter.u64_counter(name).with_description(what).build();
    Instruments {
        refusals: counter("signalbox.metering.refusals", "Requests that were not admitted, by why"),
        records: counter(
            "signalbox.ledger.records",
            "Settlements that were recorded, and that were known already",
        ),
        lag: metrics::seconds(&meter, "signalbox.ledger.lag", &LAG, "From a request's end to its record"),
        alerts: counter("signalbox.alerts", "Alerts that were told"),
    }
});

/// Stands at zero from the beginning what must stay there.
pub(crate) fn begin(standing: &Standing) {
    metrics::keeps(&[Invariant::M1, Invariant::M2, Invariant::B1]);
    standing.tell();
}

/// Counts a request that was not admitted.
pub(crate) fn refused(status: &Status) {
    if metrics::is_on() {
        let reason = signalbox_mesh::error::reason_of(status).map(|reason| reason.as_str_name());
        let reason = reason.unwrap_or_default().trim_start_matches("ERROR_REASON_");
        INSTRUMENTS.refusals.add(1, &[KeyValue::new(semconv::REASON, reason)]);
    }
}

/// Notes how late a record came.
pub(crate) fn came(settlement: &Settlement, now_unix_ms: i64) {
    if metrics::is_on()
        && let Some(timings) = &settlement.timings
    {
        let ended = settlement.started_unix_ms.saturating_add_unsigned(timings.total_ms);
        let lag = u64::try_from(now_unix_ms.saturating_sub(ended)).unwrap_or(0);
        INSTRUMENTS.lag.record(Duration::from_millis(lag).as_secs_f64(), &[]);
    }
}

/// Counts records.
pub(crate) fn recorded(settled: &Settled) {
    if metrics::is_on() {
        for (what, count) in [("new", settled.recorded), ("known", settled.duplicates)] {
            INSTRUMENTS.records.add(count.into(), &[KeyValue::new(semconv::RECORD, what)]);
        }
    }
}

/// Counts an alert that is told.
pub(crate) fn told(alert: &Alert) {
    if metrics::is_on() {
        let kind = match alert.kind {
            Kind::Budget => "budget",
            Kind::Forecast => "forecast",
            Kind::ErrorRate => "error_rate",
            Kind::Slow => "slow",
            Kind::Change => "change",
        };
        let tenant = KeyValue::new(semconv::TENANT, alert.tenant.clone());
        INSTRUMENTS.alerts.add(1, &[tenant, KeyValue::new(semconv::ALERT_KIND, kind)]);
    }
}

/// How budgets stood when they were looked at last.
#[derive(Clone, Default)]
pub(crate) struct Standing(Arc<Mutex<Vec<State>>>);

struct State {
    about: [KeyValue; 2],
    /// Shares of the limit; what is left is below zero where it was passed.
    remaining: f64,
    /// At the period's end, if spending goes on as so far; what is spent already, in the first tenth of it.
    forecast: Option<f64>,
}

impl Standing {
    /// Takes how budgets stand.
    pub(crate) fn look(&self, budgets: &[Budget], now_unix_ms: i64) {
        if metrics::is_on() {
            *self.0.lock() = budgets
                .iter()
                .take(metrics::MOST_SERIES)
                .filter_map(|budget| state(budget, now_unix_ms))
                .collect();
        }
    }

    fn tell(&self) {
        if !metrics::is_on() {
            return;
        }
        let meter = metrics::meter();
        let states = Arc::downgrade(&self.0);
        meter
            .f64_observable_gauge("signalbox.budget.remaining")
            .with_description(
                "What is left of a budget in its period, as a share of its limit; reserved counts as spent",
            )
            .with_callback(move |told| {
                let Some(states) = states.upgrade() else { return };
                states.lock().iter().for_each(|state| told.observe(state.remaining, &state.about));
            })
            .build();
        let states = Arc::downgrade(&self.0);
        meter
            .f64_observable_gauge("signalbox.budget.forecast")
            .with_description(
                "What will be spent of a budget at the end of its period if spending goes on as so far, as a share of its limit; in the first tenth of the period, what is spent",
            )
            .with_callback(move |told| {
                let Some(states) = states.upgrade() else { return };
                for state in states.lock().iter() {
                    if let Some(forecast) = state.forecast {
                        told.observe(forecast, &state.about);
                    }
                }
            })
            .build();
    }
}

#[expect(clippy::cast_precision_loss, reason = "a metric")]
fn state(budget: &Budget, now: i64) -> Option<State> {
    let ceiling = budget.ceiling();
    if ceiling <= 0 {
        return None;
    }
    let share = |amount: i64| amount as f64 / ceiling as f64;
    let length = budget.window.end.checked_sub(budget.window.start).filter(|_| budget.window.end < i64::MAX);
    let passed = now.saturating_sub(budget.window.start);
    let forecast = length.map(|length| {
        // Of the first tenth of a period nothing can be told.
        let lasts = if passed.saturating_mul(10) < length || passed > length { length } else { passed };
        share(budget.spent) * length as f64 / lasts as f64
    });
    Some(State {
        about: [
            KeyValue::new(semconv::TENANT, budget.terms.tenant.as_ref().to_owned()),
            KeyValue::new(semconv::BUDGET, budget.terms.name.clone()),
        ],
        remaining: share(budget.room()),
        forecast,
    })
}
