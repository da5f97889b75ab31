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
    assert!(comes_true(async || so()).await, "it comes to be so");
}

/// Whether something comes to be so within a minute.
pub async fn comes_true(mut so: impl AsyncFnMut() -> bool) -> bool {
    let comes = async {
        while !so().await {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), comes).await.is_ok()
}
