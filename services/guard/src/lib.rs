//! The guard: injection, personal data and secrets; redaction and its way back; the check of the streaming answer.
//!
//! What it guarantees: nothing of an answer is released before its check, nor after a block (G1), whatever the pieces in which it
//! comes; values replaced in a prompt can be put back only for the tenant and request they belong to; no log holds content.
//! It keeps no state: what it must know again, it hands out sealed.

mod classifier;
mod config;
mod contents;
mod detect;
pub mod eval;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod injection;
mod measure;
mod naming;
mod policy;
mod reading;
mod redact;
mod screen;
mod seal;
mod segment;
mod service;
mod tiers;
mod validate;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use signalbox_config::{Live, Next, Ready, Shared};
use signalbox_embed::Embedder;
use signalbox_mesh::{Environment, Part};
use signalbox_proto::{
    guard::v1::guard_service_server::{GuardService, GuardServiceServer},
    paths,
};

pub use crate::{
    classifier::ClassifierConfig,
    config::{Config, SECTION},
    policy::{
        ActionName, Base, Expression, Judge, Locale, Mask, Name, OnInvalid, PatternConfig, PolicyConfig,
        Requests, RuleConfig, Rules, Share, SourceName, TopicConfig, Unavailable, Validation, WholeAnswers,
        Written,
    },
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

/// Builds the guard. Without an embedding model it says so once in the log, and tells attacks by patterns and pairs of words.
///
/// # Errors
/// A policy that names what does not exist, a seal key that cannot be read, a classifier that cannot be loaded.
pub async fn build(
    shared: Live<Shared>,
    config: Config,
    embedder: Option<Embedder>,
    environment: Environment,
) -> Result<Part, Error> {
    if embedder.is_none() {
        tracing::warn!(
            "attacks are told by patterns and pairs of words: there is no embedding model for what these leave open"
        );
    }
    let meaning = match &embedder {
        Some(embedder) => injection::Meaning::load(embedder).await,
        None => None,
    };
    let rules = rules(&shared.load(), &config.policies, embedder.as_ref()).await?;
    let file =
        config.seal_key_file.or_else(|| std::env::var_os("SIGNALBOX_SEAL_KEY_FILE").map(PathBuf::from));
    let sealer = seal::Sealer::new(file.as_deref(), environment.random).map_err(Error::Config)?;
    let rules = Live::new(rules);
    let (live, model) = (rules.clone(), embedder.clone());
    shared.join(move |next| reconfigured(next, live.clone(), model.clone()));
    let classifier = match config.classifier {
        Some(config) => Some(classifier::load(config).await.map_err(Error::Config)?),
        None => None,
    };
    let core = service::Core {
        rules,
        sealer: Arc::new(sealer),
        seal_ttl_ms: i64::try_from(config.seal_ttl_ms).unwrap_or(i64::MAX),
        clock: environment.clock,
        tiers: tiers::Tiers { embedder, meaning, classifier },
    };
    let guard = Arc::new(service::Guard(Arc::new(core)));
    let part = Part::new(signalbox_mesh::server!(GuardServiceServer, from Arc::clone(&guard)));
    let part = signalbox_mesh::method!(part, paths::INSPECT, guard, GuardService::inspect);
    Ok(signalbox_mesh::method!(part, paths::SCREEN, guard, GuardService::screen, stream))
}

/// Compiles policies, and checks that what tenants and policies name is there.
async fn rules(
    shared: &Shared,
    policies: &BTreeMap<String, PolicyConfig>,
    embedder: Option<&Embedder>,
) -> Result<service::Rules, Error> {
    let policies = policy::Policies::compile(policies).map_err(Error::Config)?;
    for (tenant, settings) in &shared.tenants {
        if let Some(name) = settings.guard_policy.as_deref().filter(|name| policies.get(name).is_none()) {
            let known = policies.names().join(", ");
            let message =
                format!("tenants.{tenant}.guard_policy is `{name}`, which does not exist; known: {known}");
            return Err(Error::Config(message));
        }
    }
    for policy in policies.all() {
        if let Some(judge) = &policy.judge
            && !shared.models.contains_key(&judge.model)
        {
            let known: Vec<String> = shared.models.keys().cloned().collect();
            let message = format!(
                "guard.policies.{}.judge.model is `{}`, which is no configured model; known: {}",
                policy.name,
                judge.model,
                known.join(", ")
            );
            return Err(Error::Config(message));
        }
    }
    let topics = topics(&policies, embedder).await?;
    Ok(service::Rules { policies, topics })
}

/// Checks the policies of a configuration that is about to take over.
async fn reconfigured(
    next: Arc<Next>,
    live: Live<service::Rules>,
    embedder: Option<Embedder>,
) -> Result<Ready, String> {
    let config: Config = next.document.section(SECTION).map_err(|error| error.to_string())?;
    let rules =
        rules(&next.shared, &config.policies, embedder.as_ref()).await.map_err(|error| error.to_string())?;
    // Those that a request may choose are for that.
    let chosen =
        |name: &String| config.policies.values().any(|policy| policy.requests.policies.contains(name));
    let own = config.policies.keys().filter(|name| !chosen(name));
    let warnings = next.shared.unnamed(SECTION, own, |tenant| tenant.guard_policy.as_ref());
    Ok(Ready::with(move || live.swap(rules)).warn(warnings))
}

/// The subjects of the policies that have some.
async fn topics(
    policies: &policy::Policies,
    embedder: Option<&Embedder>,
) -> Result<BTreeMap<String, tiers::Topics>, Error> {
    let mut loaded = BTreeMap::new();
    for policy in policies.all().filter(|policy| !policy.topics.is_empty()) {
        let topics = match embedder {
            Some(embedder) => tiers::Topics::load(&policy.topics, embedder).await,
            // Said once at the start, and of each prompt that it concerns.
            None => Some(tiers::Topics::default()),
        };
        let topics = topics.ok_or_else(|| {
            Error::Config(format!(
                "guard.policies.{}.topics: the embedding model failed on the examples",
                policy.name
            ))
        })?;
        loaded.insert(policy.name.clone(), topics);
    }
    Ok(loaded)
}

#[cfg(test)]
mod tests;
