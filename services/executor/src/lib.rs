//! The executor: gets one answer from a plan, whatever the provider does.
//!
//! What it guarantees:
//!
//! - **Nothing cut off is called complete** (S1). `finished` is sent only if the provider gave a finish reason; a stream that
//!   breaks after output ends with `STREAM_BROKEN`.
//! - **Retries are bounded** (R1) by attempts per target, one budget over all requests, and the request's deadline; what
//!   the provider says about waiting is obeyed. One table decides what follows a failure (`policy.rs`).
//! - **Every attempt is reported once**, with its usage as given, or counted and marked so.
//! - **Dropping the answer drops the provider's connection** and gives back all that was held (L1). There is no task and no
//!   channel per request: an answer moves when it is polled, so a slow reader slows the provider.
//! - **Keys are never logged**, and masked in what providers say.
//!
//! `execute.rs` is the page to read first.

mod account;
mod answer;
mod attempt;
mod breaker;
mod budget;
mod client;
mod config;
mod core;
mod course;
mod embed;
mod execute;
mod failure;
mod policy;
mod service;
mod stats;
mod target;
mod targets;
mod tariff;
mod watch;

pub use client::{Connector, Io};
pub use config::{Bounds, Breaker, Config, Limits, Pool, Retry, SECTION};

use signalbox_mesh::Part;
use signalbox_proto::executor::v1::executor_service_server::ExecutorServiceServer;

use crate::core::Core;
use crate::service::Executor;

/// Puts the service together.
fn part(core: Core) -> Part {
    Part::new(signalbox_mesh::server!(ExecutorServiceServer, Executor(std::sync::Arc::new(core))))
}

#[cfg(test)]
mod tests;
