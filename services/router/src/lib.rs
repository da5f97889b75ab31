//! The router: an ordered plan of candidates for a request, with its reasons.
//!
//! What it guarantees: a plan holds only targets that can answer (capabilities, context window, credential) and that principal,
//! policy and request allow; what was filtered out is named with its reason; the same question has the same plan.

mod config;
mod error;
mod needs;
mod pattern;
mod plan;
mod service;

use signalbox_catalog::Catalog;
use signalbox_config::{Live, Shared};
use signalbox_mesh::{Environment, Part};
use signalbox_proto::router::v1::router_service_server::RouterServiceServer;

pub use crate::{
    config::{Config, Policy, SECTION, Way},
    error::Error,
};

/// Builds the router.
///
/// # Errors
/// A configuration that names what does not exist.
#[expect(clippy::unused_async, reason = "all parts are built alike")]
pub async fn build(shared: Live<Shared>, config: Config, environment: Environment) -> Result<Part, Error> {
    let shared = shared.load();
    config.validate(shared.models.keys().map(String::as_str)).map_err(Error::Config)?;
    let router = service::Router::new(Catalog::new(&shared), config, environment.clock);
    Ok(Part::new(signalbox_mesh::server!(RouterServiceServer, router)))
}

#[cfg(test)]
mod tests;
