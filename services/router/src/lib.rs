//! The router: an ordered plan of candidates for a request, with its reasons.
//!
//! What it guarantees: a plan holds only targets that can answer (capabilities, context window, credential) and that principal,
//! policy and request allow; what was filtered out is named with its reason; the same question has the same plan.

mod complexity;
mod config;
mod error;
pub mod eval;
mod needs;
mod order;
mod pattern;
mod plan;
mod rules;
mod service;
mod setup;
mod stats;

use signalbox_config::{Live, Shared};
use signalbox_embed::Embedder;
use signalbox_mesh::{Environment, Part};
use signalbox_proto::router::v1::router_service_server::RouterServiceServer;

pub use crate::{
    config::{Balance, Config, Latency, Policy, Rule, SECTION, StickTo, Way},
    error::Error,
};

/// Builds the router. `embedder` serves policies by complexity whose requests bring no vector; without it the prompt's features decide alone.
///
/// # Errors
/// A configuration that names what does not exist, contradicts itself, or leaves an alias without a candidate.
#[expect(clippy::unused_async, reason = "all parts are built alike")]
pub async fn build(
    shared: Live<Shared>,
    config: Config,
    embedder: Option<Embedder>,
    environment: Environment,
) -> Result<Part, Error> {
    let setup = setup::Setup::new(&shared.load(), config).map_err(Error::Config)?;
    let router = service::Router::new(setup, embedder, environment.clock);
    Ok(Part::new(signalbox_mesh::server!(RouterServiceServer, router)))
}

/// Checks a configuration as [`build`] does.
///
/// # Errors
/// A sentence that names the key and what to change.
pub fn check(shared: &Shared, config: &Config) -> Result<(), String> {
    setup::Setup::new(shared, config.clone()).map(drop)
}

#[cfg(test)]
mod tests;
