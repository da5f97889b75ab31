//! The configuration in use.

use std::sync::LazyLock;

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge},
};

use super::{is_on, meter};
use crate::semconv;

struct Instruments {
    version: Gauge<u64>,
    reloads: Counter<u64>,
}

static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| {
    let meter = meter();
    let version = meter.u64_gauge("signalbox.config.version");
    let reloads = meter.u64_counter("signalbox.config.reloads");
    Instruments {
        version: version.with_description("The configuration in use, counted from 1 at the start").build(),
        reloads: reloads.with_description("Changed configurations, taken over or refused").build(),
    }
});

/// Notes which configuration is in use, counted from 1 at the start, and what came of a change: `took_over`, `refused`.
pub fn configured(version: u64, outcome: Option<&'static str>) {
    if !is_on() {
        return;
    }
    INSTRUMENTS.version.record(version, &[]);
    if let Some(outcome) = outcome {
        INSTRUMENTS.reloads.add(1, &[KeyValue::new(semconv::OUTCOME, outcome)]);
    }
}
