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
pub mod fleet;
pub mod invariants;
pub mod plain;
pub mod process;
pub mod prometheus;
pub mod sandbox;

/// Waits until something is so; a bound on a hang, not on the work.
pub async fn reached(mut so: impl FnMut() -> bool) {
    let reached = async {
        while !so() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let patience = std::time::Duration::from_secs(60);
    assert!(tokio::time::timeout(patience, reached).await.is_ok(), "it comes to be so");
}
