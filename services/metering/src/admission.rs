//! Admission: who calls, may they, what may it cost, is there money for it.

use std::sync::Arc;

use signalbox_config::{Guarding, Live, Shared, Tenant};
use signalbox_mesh::Clock;
use signalbox_proto::metering::v1 as proto;

use crate::{
    backend::Backend,
    books::Ask,
    counting::{Count, Counting},
    decode, encode,
    jwt::Tokens,
    keys::{Caller, Key, Keys, allows},
    limit::RateTold,
    pricing::Pricing,
    prompt,
    refusal::Refusal,
    slices::Slices,
};

const ID_BYTES: usize = 64;
const MODEL_BYTES: usize = 256;

/// Admits requests.
pub(crate) struct Admission {
    pub(crate) tokens: Tokens,
    pub(crate) shared: Live<Shared>,
    pub(crate) keys: Keys,
    pub(crate) pricing: Arc<Pricing>,
    pub(crate) counting: Counting,
    pub(crate) slices: Arc<Slices>,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Admission {
    /// Admits a request, or says who calls.
    pub(crate) async fn admit(&self, request: proto::AdmitRequest) -> Result<proto::AdmitResponse, Refusal> {
        let caller =
            Caller { credential: &request.credential, loopback: request.loopback, peer_ip: &request.peer_ip };
        let (key, user) = match Tokens::is_token(caller.credential) {
            true if !self.tokens.is_empty() => self.tokens.identify(caller.credential)?,
            _ => (self.keys.identify(caller, self.clock.unix_ms())?, None),
        };
        if request.require_admin && !key.admin {
            return Err(Refusal::AdminRequired);
        }
        let shared = self.shared.load();
        let tenant = shared.tenants.get(&*key.tenant);
        let principal = Some(principal(&key, tenant));
        if request.identify_only {
            return Ok(proto::AdmitResponse { principal, ..proto::AdmitResponse::default() });
        }
        let request = with_user(request, user);
        let (ask, count) = self.ask(request, &key, tenant).await?;
        let admitted = self.backend.admit(ask).await?;
        Ok(proto::AdmitResponse {
            principal,
            reservation: Some(encode::reservation(&admitted.reservation)),
            input_tokens: count.tokens,
            input_tokens_exact: count.exact,
            rate: admitted.rates.iter().min_by_key(|rate| tightness(rate)).map(encode::rate),
            rates: admitted.rates.iter().map(encode::rate).collect(),
            allowance: admitted.allowance.as_ref().map(encode::allowance),
            low_budgets: admitted.low_budgets,
        })
    }

    /// Checks, counts and prices a request.
    async fn ask(
        &self,
        request: proto::AdmitRequest,
        key: &Key,
        tenant: Option<&Tenant>,
    ) -> Result<(Ask, Count), Refusal> {
        let request_id: Arc<str> = decode::bounded("request_id", &request.request_id, ID_BYTES)?.into();
        if request.gateway_id.len() > ID_BYTES {
            return Err(Refusal::invalid("gateway_id", format!("at most {ID_BYTES} bytes are allowed")));
        }
        let chat = request
            .chat
            .ok_or_else(|| Refusal::invalid("chat", "is required unless identify_only is set"))?;
        let model = decode::bounded("chat.model", &chat.model, MODEL_BYTES)?.to_owned();
        let team = key.scope.team.clone();
        let subject =
            decode::subject(Arc::clone(&key.tenant), Arc::clone(&key.id), team, request.attribution, model)?;
        allowed(key, tenant, &subject.model, subject.feature.as_deref())?;
        let reach = self.pricing.reach(&subject.model)?;
        let limit = chat.sampling.as_ref().and_then(|sampling| sampling.max_output_tokens);
        let an_hour = prompt::is_kept_an_hour(&chat);
        let count = self.counting.count(&reach.vocabulary, chat).await?;
        let quote = reach.quote(count.tokens, limit, an_hour)?;
        let slice_tokens = if reach.hides { None } else { self.slices.first(&subject) };
        let ask = Ask {
            request_id,
            gateway_id: request.gateway_id.into(),
            subject: Arc::new(subject),
            quote,
            slice_tokens,
        };
        Ok((ask, count))
    }
}

/// The user that a token names goes before the one that the request names.
fn with_user(mut request: proto::AdmitRequest, user: Option<String>) -> proto::AdmitRequest {
    if user.is_some() {
        request.attribution.get_or_insert_default().user = user;
    }
    request
}

/// The share of a limit that remains, in parts of a million.
fn tightness(rate: &RateTold) -> i64 {
    rate.remaining.saturating_mul(1_000_000) / rate.limit.max(1)
}

/// Checks model and feature against the key and its tenant: both must allow them.
fn allowed(key: &Key, tenant: Option<&Tenant>, model: &str, feature: Option<&str>) -> Result<(), Refusal> {
    let tenants = tenant.map_or(&[][..], |tenant| &tenant.allowed_models);
    if !allows(&key.scope.models, model) || !allows(tenants, model) {
        return Err(Refusal::NotAllowed { kind: "model", value: model.to_owned() });
    }
    match feature {
        // A key bound to features must say which one it is used for.
        None if !key.scope.features.is_empty() => {
            Err(Refusal::NotAllowed { kind: "feature", value: String::new() })
        }
        Some(feature) if !allows(&key.scope.features, feature) => {
            Err(Refusal::NotAllowed { kind: "feature", value: feature.to_owned() })
        }
        _ => Ok(()),
    }
}

/// The key with its tenant's policies where it has none of its own.
fn principal(key: &Key, tenant: Option<&Tenant>) -> proto::Principal {
    let policy = |own: &Option<String>, of: fn(&Tenant) -> &Option<String>| {
        own.clone().or_else(|| tenant.and_then(|tenant| of(tenant).clone())).unwrap_or_default()
    };
    let scope = &key.scope;
    let models = match scope.models.is_empty() {
        true => tenant.map(|tenant| tenant.allowed_models.clone()).unwrap_or_default(),
        false => scope.models.clone(),
    };
    proto::Principal {
        tenant: key.tenant.as_ref().to_owned(),
        id: key.id.as_ref().to_owned(),
        admin: key.admin,
        guard_policy: policy(&scope.guard_policy, |tenant| &tenant.guard_policy),
        cache_policy: policy(&scope.cache_policy, |tenant| &tenant.cache_policy),
        route_policy: policy(&scope.route_policy, |tenant| &tenant.route_policy),
        allowed_models: models,
        guard_fail_open: tenant.is_some_and(|tenant| tenant.guard_unavailable == Guarding::Open),
        team: scope.team.as_deref().map(str::to_owned),
        allowed_features: scope.features.clone(),
    }
}
