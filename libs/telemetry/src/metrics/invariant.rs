//! What must never happen, counted where it would be seen.

use std::sync::LazyLock;

use opentelemetry::metrics::Counter;

use super::{is_on, meter};

/// An invariant of the design that a running process can see violated; the others are checked by tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Invariant {
    /// The ledger is what the providers reported.
    M1,
    /// Each request is settled exactly once.
    M2,
    /// No hard budget is passed by more than a chunk per open stream.
    B1,
    /// Nothing leaves after a block verdict; a blocked prompt reaches no provider.
    G1,
    /// An answer is complete, or is not called so.
    S1,
    /// A request ends by its deadline.
    D1,
}

const NAMES: [(&str, &str); 6] = [
    ("signalbox.invariant.m1", "Ledger records that differ from what the provider reported"),
    ("signalbox.invariant.m2", "Settlements that were lost, or told twice and differently"),
    ("signalbox.invariant.b1", "Settlements that took a hard budget beyond its limit and what was reserved"),
    ("signalbox.invariant.g1", "Blocked prompts that reached a provider"),
    ("signalbox.invariant.s1", "Answers that were called complete and are not"),
    ("signalbox.invariant.d1", "Requests that ended after their deadline"),
];

static COUNTERS: LazyLock<[Counter<u64>; 6]> = LazyLock::new(|| {
    let meter = meter();
    NAMES.map(|(name, what)| meter.u64_counter(name).with_description(what).build())
});

/// Says which invariants a service would see violated, so that their counters stand at zero from the beginning.
pub fn keeps(invariants: &[Invariant]) {
    if is_on() {
        for invariant in invariants {
            COUNTERS[*invariant as usize].add(0, &[]);
        }
    }
}

/// Counts a violation and logs it. `what` holds ids and counts.
pub fn violated(invariant: Invariant, what: &str) {
    tracing::error!(invariant = ?invariant, what, "an invariant is violated; please report this");
    if is_on() {
        COUNTERS[invariant as usize].add(1, &[]);
    }
}
