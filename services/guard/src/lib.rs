//! The guard: injection, personal data and secrets; redaction and its way back; the check of the streaming answer.
//!
//! What it guarantees: nothing of an answer is released before its check, nor after a block (G1), whatever the pieces in which it
//! comes; values replaced in a prompt can be put back only for the tenant and request they belong to; no log holds content.
//! It keeps no state: what it must know again, it hands out sealed.

mod config;
mod detect;
pub mod eval;
mod injection;
mod policy;
mod redact;
mod screen;
mod seal;
mod segment;
mod service;

use std::{path::PathBuf, sync::Arc};

use signalbox_config::{Live, Shared};
use signalbox_embed::Embedder;
use signalbox_mesh::{Environment, Part};
use signalbox_proto::guard::v1::guard_service_server::GuardServiceServer;

pub use crate::{
    config::{Config, SECTION},
    policy::{ActionName, PolicyConfig},
};

/// Why a guard cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is illegal; the text names the key.
    #[error("{0}")]
    Config(String),
}

impl Config {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// A sentence that names the key and what to change.
    pub fn validate(&self) -> Result<(), String> {
        policy::Policies::compile(&self.policies).map(|_| ())
    }
}

/// Builds the guard. Without an embedding model it says so once in the log, and tells attacks by patterns alone.
///
/// # Errors
/// A policy that names what does not exist, or a seal key that cannot be read.
#[expect(clippy::unused_async, reason = "all parts are built alike")]
pub async fn build(
    shared: Live<Shared>,
    config: Config,
    embedder: Option<Embedder>,
    environment: Environment,
) -> Result<Part, Error> {
    if embedder.is_none() {
        tracing::warn!(
            "attacks are told by patterns alone: there is no embedding model for the learned tier"
        );
    }
    let policies = policy::Policies::compile(&config.policies).map_err(Error::Config)?;
    for (tenant, settings) in &shared.load().tenants {
        if let Some(name) = settings.guard_policy.as_deref().filter(|name| policies.get(name).is_none()) {
            let known = policies.names().join(", ");
            let message =
                format!("tenants.{tenant}.guard_policy is `{name}`, which does not exist; known: {known}");
            return Err(Error::Config(message));
        }
    }
    let file =
        config.seal_key_file.or_else(|| std::env::var_os("SIGNALBOX_SEAL_KEY_FILE").map(PathBuf::from));
    let core = service::Core {
        policies,
        sealer: seal::Sealer::new(file.as_deref(), environment.random).map_err(Error::Config)?,
        seal_ttl_ms: i64::try_from(config.seal_ttl_ms).unwrap_or(i64::MAX),
        clock: environment.clock,
        embedder,
    };
    Ok(Part::new(signalbox_mesh::server!(GuardServiceServer, service::Guard(Arc::new(core)))))
}

#[cfg(test)]
mod tests;
