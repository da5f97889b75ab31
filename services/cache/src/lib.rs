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
//! - **Everything is bounded**: entries by bytes and per tenant, questions by number in total and per tenant, leases by number and time.
//! - **Nobody waits for a store**: where Redis or Qdrant does not answer within its deadline, a lookup is a miss.
//!
//! Entries, leases and answers in flight are kept by a `backend`: in this process, or in a Redis that replicas share. Vectors are
//! kept by a store of `vectors`: in this process, scanned or indexed, or in a Qdrant server. `cache.rs` is the page to read first.

mod backend;
#[doc(hidden)]
pub mod bench;
mod cache;
mod canonical;
mod codec;
mod config;
mod embedding;
mod entry;
mod error;
pub mod eval;
mod fill;
mod flight;
mod follow;
mod fuse;
mod journal;
mod judge;
mod language;
mod measure;
mod policy;
mod question;
mod recording;
mod replay;
mod second_look;
mod service;
mod shadow;
mod standing;
mod tenant;
#[cfg(test)]
mod tests;
mod vault;
mod vectors;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use signalbox_config::{Live, Next, Ready, Shared};
use signalbox_mesh::{Environment, HealthHandle, Part, Shutdown};
use signalbox_proto::{
    cache::v1::cache_service_server::{CacheService, CacheServiceServer},
    paths,
};

use crate::{
    backend::{Backend, embedded::Embedded, redis::Redis},
    vault::Vault,
    vectors::{ExactScan, Qdrant, VectorStore},
};
pub use crate::{
    config::{
        Config, DEFAULT_POLICY, Disk, Encryption, Engine, Exact, Lease, Mode, Policy, Qdrant as QdrantConfig,
        SECTION, Semantic, Shared as SharedStore,
    },
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
    let shutdown = Shutdown::new();
    let random = environment.random.fork();
    let vault = Arc::new(match &config.encryption.key_file {
        Some(path) => Vault::of(path, random.fork())
            .map_err(|what| Error::Config(format!("cache.encryption.key_file: {what}")))?,
        None => Vault::open_to_all(random.fork()),
    });
    let backend: Arc<dyn Backend> = match &shared.load().redis {
        Some(redis) if config.shared.enabled => {
            Arc::new(Redis::new(redis, &config, &random, &vault, &shutdown)?)
        }
        _ => Arc::new(embedded(&config, &environment, &vault)),
    };
    let vectors = vectors(&config, &embedding, &environment, &vault, &shutdown)?;
    let stores = (Arc::clone(&backend), Arc::clone(&vectors));
    let every = Duration::from_millis(config.disk.flush_ms);
    shutdown.spawn(look_after(stores.clone(), every, health.clone(), shutdown.clone()));
    let cache = cache::Cache::new(config, embedding, backend, vectors, &environment);
    if cache.config.semantic.enabled
        && let Some(error) = cache.embedding.error()
    {
        tracing::warn!(%error, "no answers by meaning: the semantic tier is off");
        health.set_detail("semantic", cache.semantic_state());
    }
    let cache = Arc::new(cache);
    let live = cache.policies.clone();
    shared.join(move |next| {
        let live = live.clone();
        async move { reconfigured(&next, live) }
    });
    measure::tell(&cache);
    let service = Arc::new(service::Service(cache));
    let part = Part::new(signalbox_mesh::server!(CacheServiceServer, from Arc::clone(&service)));
    let part = signalbox_mesh::method!(part, paths::LOOKUP, service, CacheService::lookup, stream);
    let part = signalbox_mesh::method!(part, paths::FILL, service, CacheService::fill).with_health(health);
    Ok(part.with_shutdown(shutdown).on_drain(move || async move {
        stores.0.flush().await;
        stores.1.close().await;
    }))
}

type Stores = (Arc<dyn Backend>, Arc<dyn VectorStore>);

async fn flush((backend, vectors): &Stores) {
    backend.flush().await;
    vectors.flush().await;
}

/// Writes down now and then what would be lost with the process, and says in its health which of the stores is away.
async fn look_after(stores: Stores, every: Duration, health: HealthHandle, end: Shutdown) {
    while tokio::time::timeout(every, end.started()).await.is_err() {
        flush(&stores).await;
        for (topic, trouble) in [("store", stores.0.trouble()), ("vectors", stores.1.trouble())] {
            match trouble {
                Some(trouble) => health.set_detail(topic, trouble),
                None => health.clear_detail(topic),
            }
        }
    }
}

/// Entries in this process, with those of the last one.
fn embedded(config: &Config, environment: &Environment, vault: &Arc<Vault>) -> Embedded {
    let backend = Embedded::new(config, &environment.random.fork(), Arc::clone(vault));
    if let Some(folder) = folder(config, environment)
        && let Err(error) = backend.restore(&folder.join("entries"), environment.clock.unix_ms())
    {
        tracing::warn!(error = %error.kind(), "entries are not kept on disk: the data folder cannot be used, or another process has it");
    }
    backend
}

/// Where this service keeps what outlives it, if it does.
fn folder(config: &Config, environment: &Environment) -> Option<PathBuf> {
    let there = config.disk.enabled && !environment.data_dir.as_os_str().is_empty();
    there.then(|| environment.data_dir.join("cache"))
}

/// Where vectors of the embedding model are kept.
fn vectors(
    config: &Config,
    embedding: &Embedding,
    environment: &Environment,
    vault: &Arc<Vault>,
    shutdown: &Shutdown,
) -> Result<Arc<dyn VectorStore>, Error> {
    let semantic = &config.semantic;
    if let (Some(folder), Some(hash)) = (folder(config, environment), embedding.hash()) {
        forget_others(config, &folder, &hash);
    }
    Ok(match (&config.qdrant.url, embedding.hash(), embedding.dimensions()) {
        (Some(_), Some(hash), Some(dimensions)) if semantic.enabled => {
            let clock = Arc::clone(&environment.clock);
            Arc::new(Qdrant::new(&config.qdrant, &hash, dimensions, clock, shutdown)?)
        }
        #[cfg(feature = "qdrant-edge")]
        (None, Some(hash), Some(dimensions)) if semantic.engine == Engine::QdrantEdge => {
            edge(config, &hash, dimensions, environment, shutdown)
        }
        (_, Some(hash), _) => Arc::new(scan(config, &hash, environment, vault)),
        _ => Arc::new(ExactScan::new(semantic.max_entries, semantic.max_entries_per_tenant)),
    })
}

/// The name of what a model's vectors are kept in.
fn kept_as(engine: Engine, model: &embedding::Hash) -> String {
    let [scan, edge] = vectors::leftover::KINDS;
    // Enough of a model's hash to tell its vectors from another's.
    let model: String = model[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}{model}", if engine == Engine::Scan { scan } else { edge })
}

/// Removes vectors of models that were used before, when all of them have ended.
fn forget_others(config: &Config, folder: &Path, model: &embedding::Hash) {
    let own = kept_as(config.semantic.engine, model);
    match vectors::leftover::remove(folder, &own, config.longest(), SystemTime::now()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(error = %error.kind(), "vectors of other models cannot be looked for");
        }
        _ => {}
    }
}

/// Vectors in this process, with those of the last one that had the same model.
fn scan(
    config: &Config,
    model: &embedding::Hash,
    environment: &Environment,
    vault: &Arc<Vault>,
) -> ExactScan {
    let Semantic { max_entries, max_entries_per_tenant, .. } = config.semantic;
    let restored = folder(config, environment).map(|folder| {
        let path = folder.join(kept_as(Engine::Scan, model));
        let (now, vault) = (environment.clock.unix_ms(), Arc::clone(vault));
        ExactScan::restored(max_entries, max_entries_per_tenant, &path, now, vault)
    });
    match restored {
        Some(Ok(scan)) => scan,
        Some(Err(error)) => {
            tracing::warn!(error = %error.kind(), "vectors are not kept on disk: the data folder cannot be used, or another process has it");
            ExactScan::new(max_entries, max_entries_per_tenant)
        }
        None => ExactScan::new(max_entries, max_entries_per_tenant),
    }
}

/// Vectors in the embedded engine, with those of the last process that had the same model.
#[cfg(feature = "qdrant-edge")]
fn edge(
    config: &Config,
    model: &embedding::Hash,
    dimensions: usize,
    environment: &Environment,
    shutdown: &Shutdown,
) -> Arc<dyn VectorStore> {
    let Semantic { max_entries, max_entries_per_tenant, .. } = config.semantic;
    let now = environment.clock.unix_ms();
    let opened = match folder(config, environment) {
        Some(folder) => {
            let folder = folder.join(kept_as(Engine::QdrantEdge, model));
            vectors::Edge::open(&folder, dimensions, max_entries, max_entries_per_tenant, now)
        }
        None => Err(std::io::ErrorKind::NotFound.into()),
    };
    match opened {
        Ok(edge) => {
            shutdown.spawn(edge.clone().look_after(shutdown.clone()));
            Arc::new(edge)
        }
        Err(error) => {
            tracing::warn!(error = %error.kind(), "vectors are kept in memory only, without the embedded engine: the data folder cannot be used, or another process has it");
            Arc::new(ExactScan::new(max_entries, max_entries_per_tenant))
        }
    }
}

/// Checks the policies of a configuration that is about to take over; all else stays as it was at the start.
fn reconfigured(next: &Next, live: Live<Config>) -> Result<Ready, String> {
    let config: Config = next.document.section(SECTION).map_err(|error| error.to_string())?;
    config.validate()?;
    known_policies(&next.shared, &config).map_err(|error| error.to_string())?;
    let warnings =
        next.shared.unnamed(SECTION, config.policies.keys(), |tenant| tenant.cache_policy.as_ref());
    let next = Config { policies: config.policies, ..Config::clone(&live.load()) };
    Ok(Ready::with(move || live.swap(next)).warn(warnings))
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
