//! The executor: gets one answer from a plan, whatever the provider does.
//!
//! What it guarantees:
//!
//! - **Nothing cut off is called complete** (S1). `finished` is sent only if a provider gave a finish reason.
//! - **A stream that breaks goes on** with another model from what was delivered, so that nothing is repeated or lost; where
//!   that cannot be, it ends with `STREAM_BROKEN` (`rescue.rs`, `joint.rs`).
//! - **A late answer is not given up** but gets company: whoever speaks first wins (`race.rs`).
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
mod asking;
mod attempt;
mod breaker;
mod budget;
mod client;
mod config;
mod core;
mod course;
mod driver;
mod embed;
mod error;
mod execute;
mod failure;
mod fleet;
mod joint;
mod measure;
mod payer;
mod policy;
mod race;
mod relaying;
mod rescue;
mod service;
mod stats;
mod target;
mod targets;
mod trail;
mod watch;

use std::sync::Arc;

use signalbox_config::{Live, Ready, Shared};
use signalbox_mesh::{Environment, Part, Shutdown};
use signalbox_proto::{
    executor::v1::executor_service_server::{ExecutorService, ExecutorServiceServer},
    paths,
};

use crate::budget::Budget;
use crate::client::Client;
pub use crate::client::{Connector, Io};
use crate::config::ms;
pub use crate::config::{Bounds, Breaker, Config, Limits, Pool, Rescue, Retry, SECTION, Tls};
use crate::core::Core;
pub use crate::error::Error;
use crate::fleet::Fleet;
use crate::service::Executor;
use crate::targets::Targets;

/// Builds the executor over the system's network.
///
/// # Errors
///
/// The configuration cannot be used; the error names the key or the target.
pub async fn build(shared: Live<Shared>, config: Config, environment: Environment) -> Result<Part, Error> {
    let connector = Connector::system(ms(config.limits.connect_ms), &config.tls)?;
    build_with(shared, config, environment, connector)
}

/// Builds the executor over other connections: for simulation and tests.
///
/// # Errors
///
/// As [`build`].
pub fn build_with(
    shared: Live<Shared>,
    config: Config,
    environment: Environment,
    connector: Connector,
) -> Result<Part, Error> {
    config.check().map_err(Error::Config)?;
    let random = environment.random.fork();
    let fleet = match &shared.load().redis {
        Some(redis) => Some(Arc::new(Fleet::new(redis, Arc::clone(&environment.clock), &random)?)),
        None => None,
    };
    shared.join(async |next| {
        targets::check(&next.shared).map_err(|error| error.to_string())?;
        Ok(Ready::default())
    });
    let core = Arc::new(Core {
        client: Client::new(connector, &config),
        targets: Targets::new(shared)?,
        budget: Arc::new(Budget::new(config.retry)),
        fleet: fleet.clone(),
        clock: environment.clock,
        random,
        config,
    });
    measure::tell(&core);
    let shutdown = Shutdown::new();
    if let Some(fleet) = fleet {
        let core = Arc::clone(&core);
        shutdown.spawn(fleet.follow(move || core.targets.all(), shutdown.clone()));
    }
    let executor = Arc::new(Executor(core));
    let part = Part::new(signalbox_mesh::server!(ExecutorServiceServer, from Arc::clone(&executor)));
    let part = signalbox_mesh::method!(part, paths::EXECUTE, executor, ExecutorService::execute, stream);
    Ok(part.with_shutdown(shutdown))
}

#[cfg(test)]
mod tests;
