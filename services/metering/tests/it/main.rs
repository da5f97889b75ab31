//! Metering as its callers see it: through its contract, in process and as a process that is killed.

#![expect(clippy::unwrap_used, reason = "tests")]

mod admission;
mod crash;
mod ledger;
mod world;
