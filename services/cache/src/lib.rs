//! Cache: answers seen before, exact and close in meaning.
//!
//! What it guarantees:
//!
//! - **Who asks is a partition; only what is asked is similarity** (C1). Tenant, user where the policy says so, system prompt,
//!   earlier turns, tools, format, sampling, model alias and guard policy must be equal for any hit.
//! - **Nothing incomplete or refused is kept** (C2): only what was committed, ended with a good reason, and was not invalidated
//!   since its lease was given.
//! - **A hit by meaning stands a second look**: numbers, units, placeholders, names, code, negations, opposites, order and kind
//!   of the question agree. No threshold on a cosine does that.
//! - **Its error is stated**: a calibrated model and the entry's own history give the probability that it is right, and policy and
//!   request set the bound.
//! - **It is never needed.** Without an embedding model there are no hits by meaning; when a vector takes too long it is a miss.
//! - **Everything is bounded**: entries by bytes, questions by number in total and per tenant, leases by number and time.
//!
//! Entries live in this process's memory; they are gone when it ends. `cache.rs` is the page to read first.

mod cache;
mod canonical;
mod config;
mod embedding;
mod entry;
mod error;
pub mod eval;
mod fill;
mod flight;
mod follow;
mod lease;
mod policy;
mod question;
mod recording;
mod second_look;
mod service;
mod standing;
mod tenant;
#[cfg(test)]
mod tests;
mod vectors;

use std::sync::Arc;

use signalbox_config::{Live, Shared};
use signalbox_mesh::{Environment, HealthHandle, Part};
use signalbox_proto::cache::v1::cache_service_server::CacheServiceServer;

pub use crate::{
    config::{Config, DEFAULT_POLICY, Exact, Lease, Mode, Policy, SECTION, Semantic},
    embedding::{Embedding, embedder},
    error::Error,
};

/// Builds the cache. Without an embedding model it says so once in the log and in its health, and goes on without.
///
/// # Errors
/// [`Error::Config`] with the key at fault.
pub async fn build(
    shared: Live<Shared>,
    config: Config,
    embedding: Embedding,
    environment: Environment,
) -> Result<Part, Error> {
    config.validate().map_err(Error::Config)?;
    known_policies(&shared.load(), &config)?;
    let health = HealthHandle::new();
    let cache = cache::Cache::new(config, embedding, &environment);
    if cache.config.semantic.enabled
        && let Some(error) = cache.embedding.error()
    {
        tracing::warn!(%error, "no answers by meaning: the semantic tier is off");
        health.set_detail("semantic", cache.semantic_state());
    }
    let service = service::Service(Arc::new(cache));
    Ok(Part::new(signalbox_mesh::server!(CacheServiceServer, service)).with_health(health))
}

/// Checks that the policies that tenants name exist.
fn known_policies(shared: &Shared, config: &Config) -> Result<(), Error> {
    for (tenant, settings) in &shared.tenants {
        let Some(policy) = &settings.cache_policy else { continue };
        if policy != DEFAULT_POLICY && !config.policies.contains_key(policy) {
            return Err(Error::Config(format!(
                "tenants.{tenant}.cache_policy is `{policy}`, which is not configured; add [cache.policies.{policy}]"
            )));
        }
    }
    Ok(())
}
