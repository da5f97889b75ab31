//! What must never happen, counted when it does.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use signalbox_telemetry::metrics::{self, Invariant};

/// Violations of the invariants that metering owns (DESIGN.md §3), seen at run time. All stay 0. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Violations(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    m1: AtomicU64,
    m2: AtomicU64,
    b1: AtomicU64,
}

impl Violations {
    /// M1: an attempt was reported twice with different usage, so that the ledger cannot equal both.
    #[must_use]
    pub fn m1(&self) -> u64 {
        self.0.m1.load(Ordering::Relaxed)
    }

    /// M2: a request was settled twice with different outcomes.
    #[must_use]
    pub fn m2(&self) -> u64 {
        self.0.m2.load(Ordering::Relaxed)
    }

    /// B1: a hard budget was passed by more than what came in above its reservations.
    #[must_use]
    pub fn b1(&self) -> u64 {
        self.0.b1.load(Ordering::Relaxed)
    }

    pub(crate) fn count_m1(&self, request_id: &str, attempt: u32) {
        self.0.m1.fetch_add(1, Ordering::Relaxed);
        let what = format!("attempt {attempt} of {request_id} was reported twice with different usage");
        metrics::violated(Invariant::M1, &what);
    }

    pub(crate) fn count_m2(&self, request_id: &str) {
        self.0.m2.fetch_add(1, Ordering::Relaxed);
        metrics::violated(Invariant::M2, &format!("{request_id} was settled twice with different outcomes"));
    }

    pub(crate) fn count_b1(&self, tenant: &str, budget: &str, past: i64) {
        self.0.b1.fetch_add(1, Ordering::Relaxed);
        metrics::violated(
            Invariant::B1,
            &format!("the hard budget {budget} of {tenant} was passed by {past}"),
        );
    }
}
