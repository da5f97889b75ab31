//! The gateway: composes the five services into the way of a request; owns no policy.
//!
//! `pipeline.rs` is the page to read first. What it guarantees: a request that was admitted is settled exactly once, whatever
//! happens to it; nothing of an answer leaves before the guard released it; a missing part is handled as DESIGN.md §4 says;
//! a client that goes away cancels everything upstream.

mod admission;
mod bell;
mod beside;
mod bill;
mod caller;
mod config;
mod content;
mod deliver;
mod door;
mod error;
mod fill;
mod follow;
mod grant;
mod inspect;
mod joined;
mod judge;
mod later;
mod lead;
mod ledger;
mod lookup;
mod measure;
mod outlet;
mod parts;
mod pipeline;
mod queries;
mod relay;
mod service;
mod shadow;
mod slice;
mod spool;
mod trail;
mod validate;
mod web;

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;
use signalbox_config::{Live, Next, Ready, Shared};
use signalbox_mesh::{Clock, Environment, Part, Random, Shutdown, TaskSet};
use signalbox_proto::gateway::v1::gateway_service_server::GatewayServiceServer;

use crate::{
    admission::Admissions,
    ledger::Ledger,
    pipeline::{Call, Entry},
    service::Gateway,
    spool::Spool,
};
pub use crate::{
    config::{
        Config, Http as HttpConfig, Peers, SECTION, Shadow as ShadowConfig, Spool as SpoolConfig, Steps,
    },
    door::TENANT_HEADER,
    error::Error,
    parts::Parts,
};

/// Finished requests that a score can still be given to, and for how long.
const REMEMBERED: u64 = 20_000;
const REMEMBERED_FOR: Duration = Duration::from_secs(3_600);
/// Fills under way at most; beyond it answers are not kept.
const FILLS: usize = 4_096;

/// What the steps of the pipeline share.
pub(crate) struct Mesh {
    pub(crate) parts: Parts,
    pub(crate) config: Live<Config>,
    shared: Live<Shared>,
    pub(crate) admissions: Admissions,
    pub(crate) ledger: Ledger,
    pub(crate) tasks: TaskSet,
    /// Copies of requests.
    pub(crate) shadows: TaskSet,
    pub(crate) shutdown: Shutdown,
    pub(crate) clock: Arc<dyn Clock>,
    random: Random,
    pub(crate) replica: Arc<str>,
    /// Whether callers without a credential may be the tenant `local`; metering decides.
    pub(crate) loopback: bool,
    remembered: Cache<String, Remembered>,
}

/// What a later score needs to know of a request.
#[derive(Clone, Default)]
pub(crate) struct Remembered {
    tenant: Arc<str>,
    pub(crate) entry_id: Option<String>,
    /// Of a hit by meaning, as it was stated.
    pub(crate) estimated_error: Option<f64>,
    pub(crate) requested_model: String,
}

/// Builds the gateway over channels to the other services.
///
/// # Errors
/// An illegal configuration, or a spool that cannot be opened.
pub fn build(
    shared: Live<Shared>,
    config: Config,
    parts: Parts,
    environment: Environment,
) -> Result<Part, Error> {
    config.validate().map_err(Error::Config)?;
    let shutdown = Shutdown::new();
    let spool = Spool::open(&environment.data_dir, config.spool.max_bytes)?;
    let ledger = Ledger::start(parts.clone(), spool, &config.spool, &shutdown);
    let replica = config.replica.clone().unwrap_or_else(|| format!("{:016x}", environment.random.u64()));
    let mesh = Arc::new(Mesh {
        admissions: Admissions::new(&config, Arc::clone(&environment.clock)),
        ledger,
        tasks: TaskSet::new(FILLS, &shutdown),
        shadows: TaskSet::new(config.shadow.most, &shutdown),
        shutdown: shutdown.clone(),
        clock: environment.clock,
        random: environment.random,
        replica: replica.into(),
        loopback: signalbox_mesh::is_loopback(&config.listen),
        remembered: Cache::builder().max_capacity(REMEMBERED).time_to_live(REMEMBERED_FOR).build(),
        config: Live::new(config),
        shared,
        parts,
    });
    let live = mesh.config.clone();
    mesh.shared.join(move |next| {
        let live = live.clone();
        async move { reconfigured(&next, live) }
    });
    let own = Part::new(signalbox_mesh::server!(GatewayServiceServer, Gateway { mesh: Arc::clone(&mesh) }));
    Ok(door::with_administration(own, &mesh).with_http(web::http(&mesh)).with_shutdown(shutdown))
}

/// Checks a configuration that is about to take over; what is in use since the start stays as it is.
fn reconfigured(next: &Next, live: Live<Config>) -> Result<Ready, String> {
    let config: Config = next.document.section(SECTION).map_err(|error| error.to_string())?;
    config.validate()?;
    if let Some(model) = &config.default_model
        && !next.shared.models.contains_key(model)
        && !model.contains('/')
    {
        return Err(format!("gateway.default_model is `{model}`, which is no configured model"));
    }
    let next = config.running_since(&live.load());
    Ok(Ready::with(move || live.swap(next)))
}

fn named_targets(shared: &Shared, config: &Config, model: &str) -> Option<Vec<String>> {
    let model = match model {
        "auto" => config.default_model.clone().or_else(|| shared.models.keys().next().cloned())?,
        other => other.to_owned(),
    };
    match shared.models.get(&model) {
        Some(alias) => Some(alias.targets.iter().map(signalbox_config::Target::id).collect()),
        None => model.contains('/').then(|| vec![model]),
    }
}

impl Mesh {
    /// Mints a request id.
    pub(crate) fn new_request_id(&self) -> String {
        signalbox_mesh::request_id(self.clock.as_ref(), &self.random)
    }

    /// The configured targets of a model, in their order: what the router would begin with. Those outside a tenant's regions are left
    /// out; `None`: nothing is left, or known.
    pub(crate) fn configured_targets(&self, model: &str, tenant: &str) -> Option<Vec<String>> {
        let shared = self.shared.load();
        let targets = named_targets(&shared, &self.config.load(), model)?;
        let regions = shared.tenants.get(tenant).map_or(&[][..], |tenant| &tenant.regions);
        if regions.is_empty() {
            return Some(targets);
        }
        // Any deployment of a target may be asked.
        let all = || shared.models.values().flat_map(|alias| &alias.targets);
        let within = |id: &String| {
            let mut deployments = all().filter(|target| target.id() == *id).peekable();
            deployments.peek().is_some() && deployments.all(|target| target.within(regions))
        };
        let left: Vec<String> = targets.into_iter().filter(within).collect();
        (!left.is_empty()).then_some(left)
    }

    /// The provider that must have written a conversation's reasoning, if the model's targets leave no doubt.
    pub(crate) fn only_provider(&self, model: &str) -> Option<String> {
        let targets = named_targets(&self.shared.load(), &self.config.load(), model)?;
        let mut providers = targets.iter().filter_map(|target| Some(target.split_once('/')?.0));
        let first = providers.next()?;
        providers.all(|provider| provider == first).then(|| first.to_owned())
    }

    /// Whether an alias is configured to be asked twice where the first is slow.
    pub(crate) fn hedges(&self, model: &str) -> bool {
        self.shared.load().models.get(model).is_some_and(|alias| alias.hedge)
    }

    /// Remembers a finished request, for a later score.
    pub(crate) fn remember(
        &self,
        call: &Call,
        entry: &Entry,
        (entry_id, estimated_error): (Option<String>, Option<f64>),
    ) {
        let remembered = Remembered {
            tenant: entry.principal.tenant.as_str().into(),
            entry_id,
            estimated_error,
            requested_model: call.request.chat.as_ref().map(|c| c.model.clone()).unwrap_or_default(),
        };
        self.remembered.insert(call.context.request_id().to_owned(), remembered);
    }

    /// What is remembered of a tenant's request.
    pub(crate) fn recall(&self, request_id: &str, tenant: &str) -> Option<Remembered> {
        self.remembered.get(request_id).filter(|r| &*r.tenant == tenant)
    }
}
