//! Metering: who may spend what, and what was spent.
//!
//! What it guarantees:
//!
//! - **No overspending** (B1). All budgets that cover a request are checked together by one owner and held before
//!   the request goes out. Spent and reserved together never pass a hard limit, except by what is settled above its
//!   reservation or after it expired; that is counted.
//! - **Nothing counts twice or is lost** (M2). Attempts are written once by request id and number, requests once by their id,
//!   in one transaction with the budgets that they change; whoever got an answer finds it after kill -9.
//! - **Nothing leaks** (L1). A reservation ends when its request is settled, else at its expiry; the request is then recorded
//!   as abandoned.
//! - **A revoked key stops with the next call**, and neither secret nor prompt is ever kept or logged.
//!
//! `admission.rs` is the way of a request, `books.rs` the rules, `store/` how they survive.

mod administration;
mod admission;
mod alerts;
mod audit;
mod backend;
mod books;
mod budget;
mod config;
mod configured;
#[cfg(test)]
mod contract;
mod counters;
mod counting;
mod credential;
mod decode;
mod encode;
mod error;
pub mod eval;
mod export;
mod fleet;
mod http;
mod jwt;
mod keys;
mod ledger;
mod limit;
mod measure;
mod meters;
mod network;
mod period;
mod pricing;
mod prompt;
mod query;
pub mod reconcile;
mod refusal;
mod reservation;
mod rollup;
mod service;
mod settlement;
mod sketch;
mod slices;
mod store;
mod subject;
mod terms;
mod watch;
mod watchman;
mod webhook;

use std::{fmt, sync::Arc, time::Duration};

use signalbox_catalog::Book;
use signalbox_config::{Live, Ready, Redis, Secret, Shared};
use signalbox_mesh::{Environment, Part, Random, Shutdown};
use signalbox_proto::{
    metering::v1::{
        AdmitRequest, AdmitResponse, SettleRequest, SettleResponse,
        metering_service_server::{MeteringService, MeteringServiceServer},
    },
    paths,
};
use tonic::{Request, Status};

use crate::{
    admission::Admission,
    alerts::Alerts,
    backend::Backend,
    counting::Counting,
    credential::{ADMIN_ID, Credential, Hash},
    fleet::Fleet,
    http::Http,
    jwt::Tokens,
    keys::Keys,
    pricing::Pricing,
    slices::Slices,
    store::{Setting, Store},
    watchman::Watchman,
    webhook::Webhook,
};
pub use crate::{
    config::{
        Alerting, Allowances, Bounds, Config, Grants, Issuer, Place, Receiver, Retention, SECTION, Sharing,
    },
    counters::Violations,
    error::Error,
};

/// The environment variable that holds the first admin credential, `sb_admin_<secret>`.
pub const ADMIN_KEY_VARIABLE: &str = "SIGNALBOX_ADMIN_KEY";
/// How often the clock is looked at when nobody calls.
const TICK: Duration = Duration::from_secs(1);
/// How often the file of prices is looked at.
const PRICES_TICK: Duration = Duration::from_secs(10);

/// Metering, ready to be served.
#[derive(Debug)]
pub struct Metering {
    /// The service.
    pub part: Part,
    /// What must never happen, counted when it does.
    pub violations: Violations,
    /// The same as a library, without a channel between.
    pub library: Library,
}

/// Metering as a library: the calls that every request makes. Clones are the same.
#[derive(Clone)]
pub struct Library(Arc<service::Metering>);

impl Library {
    /// Admits a request. Cancel safe: what is reserved for a caller that went away returns at its expiry.
    ///
    /// # Errors
    /// As the method of the contract.
    pub async fn admit(&self, request: AdmitRequest) -> Result<AdmitResponse, Status> {
        Ok(self.0.admission.admit(request).await?)
    }

    /// Records what was used. Cancel safe: a record that is sent again counts once.
    ///
    /// # Errors
    /// As the method of the contract.
    pub async fn settle(&self, request: SettleRequest) -> Result<SettleResponse, Status> {
        Ok(MeteringService::settle(&*self.0, Request::new(request)).await?.into_inner())
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Library")
    }
}

/// Builds metering; see [`open`].
///
/// # Errors
/// As [`open`].
pub async fn build(shared: Live<Shared>, config: Config, environment: Environment) -> Result<Part, Error> {
    open(shared, config, environment).await.map(|metering| metering.part)
}

/// Opens the database in the environment's data folder, or connects to Redis, and builds the service over it.
///
/// # Errors
/// An illegal configuration or admin credential; a data folder that cannot be written, is in use by another process, or was
/// written by a newer version; a Redis that does not answer.
pub async fn open(shared: Live<Shared>, config: Config, environment: Environment) -> Result<Metering, Error> {
    config.validate().map_err(Error::Config)?;
    let admin = admin_key(Secret::from_env(ADMIN_KEY_VARIABLE).ok(), &config, &environment.random)?;
    let (violations, alerts) = (Violations::default(), Alerts::new());
    let shutdown = Shutdown::new();
    let opening = Opening {
        shared: &shared.load(),
        config: &config,
        environment: &environment,
        admin,
        alerts: &alerts,
        violations: &violations,
        shutdown: &shutdown,
    };
    let (backend, keys) = opening.open().await?;
    let standing = measure::Standing::default();
    measure::begin(&standing);
    watch_traffic(&config, &backend, &alerts, standing, &environment, &shutdown)?;
    // A vocabulary takes a tenth of a second and more, which no request shall wait for.
    let models = shared.load();
    let _loaded = tokio::task::spawn_blocking(move || {
        let targets = models.models.values().flat_map(|alias| &alias.targets);
        signalbox_catalog::tokens::warm(targets.map(|target| target.model.as_str()));
    })
    .await;
    watch_clock(Arc::clone(&backend), &shutdown);
    if let Some(file) = &shared.load().prices.file {
        Book::read(file).map_err(|error| Error::Config(format!("prices.file: {error}")))?;
    }
    let pricing = Arc::new(Pricing::new(shared.clone()));
    watch_prices(&pricing, &shutdown);
    follow_configuration(&shared, &backend, &shutdown);
    let tokens =
        Tokens::open(&config.issuers, Arc::clone(&environment.clock)).await.map_err(Error::Config)?;
    if !config.issuers.is_empty() {
        let every = Duration::from_millis(config.issuers_every_ms);
        shutdown.spawn(tokens.clone().follow(every, shutdown.clone()));
    }
    let admission = Admission {
        tokens,
        shared,
        keys: keys.clone(),
        pricing: Arc::clone(&pricing),
        counting: Counting::new(config.count_inline_bytes, config.count_threads),
        slices: Arc::new(Slices::new(config.grants.slice_percent)),
        backend: Arc::clone(&backend),
        clock: Arc::clone(&environment.clock),
    };
    let service = Arc::new(service::Metering {
        admission,
        keys,
        pricing,
        backend: Arc::clone(&backend),
        alerts,
        clock: environment.clock,
        random: environment.random,
        shutdown: shutdown.clone(),
    });
    // The message limits are those of the layers around it.
    let server = MeteringServiceServer::from_arc(Arc::clone(&service))
        .max_decoding_message_size(usize::MAX)
        .max_encoding_message_size(usize::MAX);
    let part = Part::new(server).with_shutdown(shutdown);
    let part = signalbox_mesh::method!(part, paths::ADMIT, service, MeteringService::admit);
    let part = signalbox_mesh::method!(part, paths::EXTEND, service, MeteringService::extend);
    let part = signalbox_mesh::method!(part, paths::SETTLE, service, MeteringService::settle);
    let part = part.on_drain(move || async move { backend.close().await });
    Ok(Metering { part, violations, library: Library(service) })
}

/// What a backend is opened with.
struct Opening<'a> {
    shared: &'a Shared,
    config: &'a Config,
    environment: &'a Environment,
    admin: Option<Hash>,
    alerts: &'a Alerts,
    violations: &'a Violations,
    shutdown: &'a Shutdown,
}

impl Opening<'_> {
    /// Opens the backend that the configuration names.
    async fn open(self) -> Result<(Arc<dyn Backend>, Keys), Error> {
        let configured = configured::of(self.shared).map_err(Error::Config)?;
        let redis = redis(self.shared, self.config);
        let place =
            self.config.backend.unwrap_or(if redis.is_some() { Place::Redis } else { Place::Embedded });
        let clock = Arc::clone(&self.environment.clock);
        let (alerts, violations) = (self.alerts.clone(), self.violations.clone());
        if place == Place::Redis {
            let what = "metering.backend is redis, but no address is given; add a [redis] section with a url";
            let redis = redis.ok_or_else(|| Error::Config(what.to_owned()))?;
            let setting = fleet::Setting {
                redis: &redis,
                config: self.config,
                configured,
                admin: self.admin,
                clock,
                random: &self.environment.random,
                alerts,
                violations,
                shutdown: self.shutdown,
            };
            let (fleet, keys) = Fleet::open(setting).await?;
            return Ok((Arc::new(fleet), keys));
        }
        let setting = Setting {
            folder: &self.environment.data_dir,
            config: self.config,
            configured,
            admin: self.admin,
            clock,
            alerts,
            violations,
        };
        let (store, keys) = Store::open(setting)?;
        Ok((Arc::new(store), keys))
    }
}

/// The Redis that metering shares its state through: its own, else the one of all.
fn redis(shared: &Shared, config: &Config) -> Option<Redis> {
    let Sharing { url, url_env, url_file, .. } = config.redis.clone();
    let prefix = shared.redis.as_ref().map_or_else(|| Redis::default().prefix, |redis| redis.prefix.clone());
    if url.is_some() || url_env.is_some() || url_file.is_some() {
        return Some(Redis { url, url_env, url_file, prefix });
    }
    shared.redis.clone()
}

/// Looks at budgets and traffic, and delivers alerts.
fn watch_traffic(
    config: &Config,
    backend: &Arc<dyn Backend>,
    alerts: &Alerts,
    standing: measure::Standing,
    environment: &Environment,
    shutdown: &Shutdown,
) -> Result<(), Error> {
    let hooks = config
        .alerts
        .webhooks
        .iter()
        .map(Webhook::of)
        .collect::<Result<Vec<_>, _>>()
        .map_err(Error::Config)?;
    if !hooks.is_empty() {
        let http =
            Http::new().map_err(|error| Error::Config(format!("metering.alerts.webhooks: {error}")))?;
        let waiting = (alerts.deliver(webhook::WAITING), webhook::PAUSE);
        let clock = Arc::clone(&environment.clock);
        shutdown.spawn(webhook::run(hooks, http, clock, waiting, shutdown.clone()));
    }
    let watchman = Watchman {
        backend: Arc::clone(backend),
        alerts: alerts.clone(),
        standing,
        clock: Arc::clone(&environment.clock),
        config: config.alerts.clone(),
    };
    shutdown.spawn(watchman.run(shutdown.clone()));
    Ok(())
}

/// Gives back what has expired, also when nobody calls.
fn watch_clock(backend: Arc<dyn Backend>, shutdown: &Shutdown) {
    let end = shutdown.started();
    shutdown.spawn(async move {
        let mut end = std::pin::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return,
                () = tokio::time::sleep(TICK) => backend.tick().await,
            }
        }
    });
}

/// Brings budgets and limits up to date when the configuration was changed; as often as it takes, if Redis is away.
fn follow_configuration(shared: &Live<Shared>, backend: &Arc<dyn Backend>, shutdown: &Shutdown) {
    let (sender, mut changed) = tokio::sync::watch::channel(store::Configured::default());
    shared.join(move |next| {
        let sender = sender.clone();
        async move {
            let configured = configured::of(&next.shared)?;
            Ok(Ready::with(move || drop(sender.send_replace(configured))))
        }
    });
    let (backend, end) = (Arc::clone(backend), shutdown.started());
    shutdown.spawn(async move {
        let follow = async {
            while changed.changed().await.is_ok() {
                loop {
                    let configured = changed.borrow_and_update().clone();
                    match backend.configure(configured).await {
                        Ok(()) => break,
                        Err(error) => tracing::warn!(%error, "budgets and limits of the configuration wait"),
                    }
                    tokio::time::sleep(TICK).await;
                }
            }
        };
        tokio::select! {
            () = end => {}
            () = follow => {}
        }
    });
}

/// Reads the file of prices again when it was changed.
fn watch_prices(pricing: &Arc<Pricing>, shutdown: &Shutdown) {
    let (pricing, end) = (Arc::clone(pricing), shutdown.started());
    shutdown.spawn(async move {
        let mut end = std::pin::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return,
                () = tokio::time::sleep(PRICES_TICK) => {}
            }
            let pricing = Arc::clone(&pricing);
            let _read = tokio::task::spawn_blocking(move || pricing.refresh()).await;
        }
    });
}

/// The first admin credential: the one given, else from a file.
fn admin_key(given: Option<Secret>, config: &Config, random: &Random) -> Result<Option<Hash>, Error> {
    let (secret, origin) = match (given, &config.admin_key_file) {
        (Some(secret), _) => (secret, ADMIN_KEY_VARIABLE.to_owned()),
        (None, Some(file)) => {
            let origin = "metering.admin_key_file".to_owned();
            match Secret::from_file(file) {
                Ok(secret) => (secret, origin),
                Err(error) => return Err(Error::AdminKey { origin, what: error.to_string() }),
            }
        }
        (None, None) => return Ok(None),
    };
    match Credential::parse(secret.expose()) {
        Some(credential) if credential.id == ADMIN_ID && credential.is_long_enough() => {
            Ok(Some(Hash::new(credential, random)))
        }
        _ => {
            let what =
                "it must have the form sb_admin_<secret>, the secret at least 16 characters of [A-Za-z0-9_-]";
            Err(Error::AdminKey { origin, what: what.to_owned() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_admin_key_comes_from_the_environment_or_a_file_and_is_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("admin.key");
        let random = Random::seeded(1);
        let config = Config { admin_key_file: Some(file.clone()), ..Config::default() };
        let of = |given: Option<&str>, config: &Config| admin_key(given.map(Secret::new), config, &random);
        assert!(of(None, &Config::default()).unwrap().is_none());
        let missing = of(None, &config).unwrap_err().to_string();
        assert!(missing.contains("metering.admin_key_file") && missing.contains("admin.key"), "{missing}");
        std::fs::write(&file, "sb_admin_0123456789abcdef\n").unwrap();
        assert!(of(None, &config).unwrap().is_some());
        for wrong in ["sb_admin_short", "sb_root_0123456789abcdef", "hunter2hunter2hunter2"] {
            let refused = of(Some(wrong), &config).unwrap_err().to_string();
            assert!(refused.starts_with(ADMIN_KEY_VARIABLE) && !refused.contains(wrong), "{refused}");
        }
    }
}
