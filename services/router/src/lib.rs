//! The router: an ordered plan of candidates for a request, with its reasons.
//!
//! What it guarantees: a plan holds only targets that can answer (capabilities, context window, credential) and that principal,
//! policy and request allow; what was filtered out is named with its reason; the same question has the same plan.

pub mod compare;
mod complexity;
mod config;
mod error;
pub mod eval;
mod experiment;
mod fleet;
mod follow;
mod hash;
mod learned;
pub mod ledger;
mod measure;
mod needs;
mod order;
mod pattern;
mod plan;
mod receipts;
mod record;
pub mod replay;
mod reports;
mod rules;
mod service;
mod setup;
mod stats;

use std::sync::Arc;

use signalbox_config::{Live, Shared};
use signalbox_embed::Embedder;
use signalbox_mesh::{Environment, Part, Shutdown};
use signalbox_proto::{
    paths,
    router::v1::router_service_server::{RouterService, RouterServiceServer},
};

pub use crate::{
    config::{Balance, Config, Latency, Policy, Rule, SECTION, StickTo, Way},
    error::Error,
    experiment::{Arm, Experiment, Shadow, SplitBy},
    learned::Learn,
};

/// Builds the router. `embedder` serves policies by complexity whose requests bring no vector; without it the prompt's features decide
/// alone. A changed configuration is checked against catalog and recent requests, and takes over only if it stands both.
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
    let setup = Live::new(setup::Setup::new(&shared.load(), config).map_err(Error::Config)?);
    let recent = Arc::new(follow::Recent::default());
    let shutdown = Shutdown::new();
    let random = environment.random.fork();
    let present = setup.load();
    let receipts = Arc::new(receipts::Receipts::new(present.config.receipts, present.config.kept()));
    let fleet = match &shared.load().redis {
        Some(redis) => Some(Arc::new(fleet::Fleet::new(redis, &random)?)),
        None => None,
    };
    let (stats, learned) = match &fleet {
        Some(_) => (stats::Stats::shared(), learned::Learned::shared(random)),
        None => (stats::Stats::default(), learned::Learned::new(random)),
    };
    let known = (Arc::new(stats), Arc::new(learned), receipts);
    let clock = environment.clock;
    let reports = Arc::new(reports::Reports::new(setup.clone(), known, fleet.is_some(), Arc::clone(&clock)));
    if let Some(fleet) = &fleet {
        shutdown.spawn(Arc::clone(fleet).follow(Arc::clone(&reports), shutdown.clone()));
    }
    let router =
        Arc::new(service::Router::new(setup.clone(), Arc::clone(&recent), reports, fleet, embedder, clock));
    shared.join(move |next| {
        let (setup, recent) = (setup.clone(), Arc::clone(&recent));
        async move { follow::check(&setup, &recent, &next) }
    });
    let part = Part::new(signalbox_mesh::server!(RouterServiceServer, from Arc::clone(&router)));
    let part = signalbox_mesh::method!(part, paths::PLAN, router, RouterService::plan);
    Ok(signalbox_mesh::method!(part, paths::REPORT, router, RouterService::report).with_shutdown(shutdown))
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
