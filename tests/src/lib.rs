//! The mesh as its users see it: a sandbox that starts it in one process or as six, against the provider simulator, and the
//! invariants of the design, checked at the end of every scenario.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

pub mod ask;
pub mod collector;
pub mod invariants;
pub mod plain;
pub mod process;
pub mod prometheus;
pub mod sandbox;
