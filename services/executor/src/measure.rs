//! What the executor says to the metrics, whenever they are read.

use std::sync::Arc;

use opentelemetry::KeyValue;
use signalbox_proto::executor::v1::BreakerState;
use signalbox_telemetry::{metrics, semconv};
use tokio::time::Instant;

use crate::core::Core;

/// Has the state of each target told as long as the executor is there.
pub(crate) fn tell(core: &Arc<Core>) {
    if !metrics::is_on() {
        return;
    }
    let looked = Arc::downgrade(core);
    metrics::meter()
        .u64_observable_gauge("signalbox.target.state")
        .with_description("A target's breaker: 0 closed, 1 half open, 2 open; the worst of its deployments")
        .with_callback(move |told| {
            let (Some(core), now) = (looked.upgrade(), Instant::now()) else { return };
            for (id, deployments) in core.targets.all().iter() {
                let states = deployments.iter().map(|target| level(target.memory.breaker.read(now).0));
                told.observe(states.max().unwrap_or(0), &[KeyValue::new(semconv::TARGET, id.clone())]);
            }
        })
        .build();
    let looked = Arc::downgrade(core);
    metrics::meter()
        .i64_observable_gauge("signalbox.target.in_flight")
        .with_description("Requests under way at a target, over all its deployments")
        .with_callback(move |told| {
            let Some(core) = looked.upgrade() else { return };
            for (id, deployments) in core.targets.all().iter() {
                let open: u64 = deployments.iter().map(|target| target.memory.stats.read().in_flight).sum();
                let open = i64::try_from(open).unwrap_or(i64::MAX);
                told.observe(open, &[KeyValue::new(semconv::TARGET, id.clone())]);
            }
        })
        .build();
}

const fn level(state: BreakerState) -> u64 {
    match state {
        BreakerState::Open => 2,
        BreakerState::HalfOpen => 1,
        BreakerState::Closed | BreakerState::Unspecified => 0,
    }
}
