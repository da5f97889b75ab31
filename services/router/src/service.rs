//! The gRPC face: decode, plan, remember, encode.

use std::{sync::Arc, time::Duration};

use signalbox_catalog::TargetInfo as Known;
use signalbox_config::Live;
use signalbox_embed::Embedder;
use signalbox_mesh::{Clock, RequestContext, error};
use signalbox_proto::{
    common::v1::{Attribution, ChatRequest, ErrorReason, Learning, Role, Vector, part},
    router::v1::{
        ExplainRequest, ExplainResponse, ListModelsRequest, ListModelsResponse, ModelInfo, PlanRequest,
        PlanResponse, ReportRequest, ReportResponse, TargetInfo, router_service_server::RouterService,
    },
};
use tonic::{Code, Request, Response, Status};

use crate::{
    complexity::MODEL,
    config::{Policy, StickTo, Way},
    fleet::Fleet,
    follow::Recent,
    hash::digest,
    measure,
    needs::Needs,
    order::Basis,
    pattern::covers,
    plan::{Chosen, Question, choose, plan},
    receipts::Receipt,
    record::{self, Asked},
    reports::{Reports, dearest},
    rules::Facts,
    setup::Setup,
};

/// Reports taken in one call; the contract's bound.
const REPORTS: usize = 1_000;

/// How long a vector may take; features alone decide then.
const EMBED_TIMEOUT: Duration = Duration::from_millis(100);

/// The service.
pub(crate) struct Router {
    setup: Live<Setup>,
    recent: Arc<Recent>,
    /// What is known of earlier plans and their targets.
    reports: Arc<Reports>,
    /// The other replicas, where they can be asked.
    fleet: Option<Arc<Fleet>>,
    embedder: Option<Embedder>,
    clock: Arc<dyn Clock>,
}

impl Router {
    pub(crate) fn new(
        setup: Live<Setup>,
        recent: Arc<Recent>,
        reports: Arc<Reports>,
        fleet: Option<Arc<Fleet>>,
        embedder: Option<Embedder>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let embedder = embedder.filter(|embedder| MODEL.understands(embedder.model_hash().as_bytes()));
        Self { setup, recent, reports, fleet, embedder, clock }
    }

    /// The probability that the large model is better, and the vector if it had to be computed. None is computed where the answer is
    /// only recorded.
    async fn complexity(
        &self,
        chat: &ChatRequest,
        given: Option<&Vector>,
        decides: bool,
    ) -> (f64, Option<Vector>) {
        let text = last_user_turn(chat);
        if let Some(vector) = given.filter(|vector| MODEL.understands(&vector.model_hash)) {
            return (MODEL.needs_large(&text, Some(&vector.values)), None);
        }
        let embedded = match self.embedder.as_ref().filter(|_| decides) {
            Some(embedder) => tokio::time::timeout(EMBED_TIMEOUT, embedder.embed(&text)).await.ok(),
            None => None,
        };
        // Without a vector in time the features decide alone.
        let Some((vector, embedder)) = embedded.and_then(Result::ok).zip(self.embedder.as_ref()) else {
            return (MODEL.needs_large(&text, None), None);
        };
        let needs_large = MODEL.needs_large(&text, Some(&*vector));
        let model_hash = embedder.model_hash().as_bytes().to_vec();
        (needs_large, Some(Vector { model_hash: model_hash.into(), values: vector.into() }))
    }

    /// Keeps a plan for `Explain`, and what was asked for the check of a new policy.
    fn remember(&self, asked: Asked, response: &PlanResponse) {
        // The vector says what the prompt was about: it is not kept.
        let plan = PlanResponse { vector: None, ..response.clone() };
        let explained = ExplainResponse {
            plan: Some(plan),
            requested_model: asked.model.clone(),
            input_tokens: asked.record.input_tokens,
            planned_unix_ms: asked.unix_ms,
            report: None,
        };
        let receipt = Receipt { tenant: asked.tenant.as_str().into(), explained: Arc::new(explained) };
        self.reports.receipts.keep(asked.request_id.clone(), receipt);
        self.recent.add(asked);
    }
}

/// Counts a request without a plan.
fn refused(error: crate::Error) -> Status {
    let status = error.into();
    measure::refused(&status);
    status
}

#[tonic::async_trait]
impl RouterService for Router {
    async fn plan(&self, request: Request<PlanRequest>) -> Result<Response<PlanResponse>, Status> {
        let context = RequestContext::from_request(&request);
        let request = request.into_inner();
        let Some(chat) = &request.chat else {
            return Err(error::invalid("chat", "is missing; say what is asked"));
        };
        let needs = Needs::of(chat, request.input_tokens);
        let wishes = request.policy.unwrap_or_default();
        if wishes.quality.is_some_and(|quality| !(0.0..=1.0).contains(&quality)) {
            return Err(error::invalid(
                "policy.quality",
                "is not from 0 to 1; 0.95 keeps 95 % of the large model's",
            ));
        }
        let attribution = request.attribution.unwrap_or_default();
        let facts = Facts {
            request_id: context.request_id(),
            tenant: context.tenant(),
            model: &chat.model,
            attribution: &attribution,
            tokens: needs.input_tokens,
            turns: chat.messages.len(),
            tools: !chat.tools.is_empty(),
            unix_ms: self.clock.unix_ms(),
        };
        let unix_ms = facts.unix_ms;
        let question = Question {
            model: &chat.model,
            needs,
            wishes,
            policy: &request.policy_name,
            allowed: &request.allowed_models,
            facts,
            recorded: None,
        };
        let setup = self.setup.load();
        let chosen = choose(&setup, &question).map_err(refused)?;
        let decides = chosen.by_complexity();
        let (needs_large, vector) = if decides || setup.config.record_complexity {
            let (needs_large, vector) = self.complexity(chat, request.vector.as_ref(), decides).await;
            (Some(needs_large), vector)
        } else {
            (None, None)
        };
        let sticky = sticky_key(&chosen, &question, chat, &attribution);
        let sticky = if sticky.is_empty() { sticky } else { digest(context.tenant(), &sticky) };
        let basis =
            Basis::of(&question, &chosen, &self.reports.stats, &self.reports.learned, needs_large, &sticky);
        let planned = plan(&setup, &question, &chosen, &basis).map_err(refused)?;
        let mut response = PlanResponse { vector, ..planned };
        if !request.dry_run && !context.request_id().is_empty() {
            measure::planned(&chosen, &response);
            let mut record = record::of(&question, &chosen, needs_large, sticky);
            if chosen.policy.way == Way::Learned {
                let dearest_nanousd = dearest(&response.candidates);
                record.learning = Some(Learning { policy: response.policy.clone(), dearest_nanousd });
            }
            response.record = Some(record.clone());
            let asked = Asked {
                request_id: context.request_id().to_owned(),
                tenant: context.tenant().to_owned(),
                model: chat.model.clone(),
                allowed: request.allowed_models.clone(),
                attribution: attribution.clone(),
                unix_ms,
                record,
            };
            self.remember(asked, &response);
        }
        Ok(Response::new(response))
    }

    async fn report(&self, request: Request<ReportRequest>) -> Result<Response<ReportResponse>, Status> {
        let reports = request.into_inner().reports;
        if reports.len() > REPORTS {
            return Err(error::invalid(
                "reports",
                format!("has {}; at most {REPORTS} are taken", reports.len()),
            ));
        }
        let new = reports.into_iter().map(|report| self.reports.take(report)).filter(|new| *new).count();
        Ok(Response::new(ReportResponse { accepted: u32::try_from(new).unwrap_or(u32::MAX) }))
    }

    async fn list_models(
        &self,
        request: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        let allowed = request.into_inner().allowed_models;
        let setup = self.setup.load();
        let Setup { catalog, config, .. } = &*setup;
        let may = |name: &str| allowed.is_empty() || allowed.iter().any(|pattern| covers(pattern, name));
        let mut models: Vec<ModelInfo> = catalog
            .aliases()
            .filter(|(name, _)| may(name))
            .map(|(name, targets)| ModelInfo {
                name: name.to_owned(),
                targets: targets.iter().map(target).collect(),
                policy: config.aliases.get(name).cloned().unwrap_or_else(|| Way::Fixed.name().to_owned()),
                in_auto: config.auto.as_ref().is_none_or(|auto| auto.iter().any(|a| a == name)),
            })
            .collect();
        models.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Response::new(ListModelsResponse { models }))
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Result<Response<ExplainResponse>, Status> {
        let context = RequestContext::from_request(&request);
        let (tenant, id) = (context.tenant(), &request.get_ref().request_id);
        if let Some(explained) = self.reports.receipts.of(tenant, id) {
            return Ok(Response::new(ExplainResponse::clone(&explained)));
        }
        let elsewhere = match &self.fleet {
            Some(fleet) => fleet.find(tenant, id).await,
            None => None,
        };
        let missing = || {
            let message = "no plan of this tenant's request is kept; receipts are bounded in number and time";
            Status::from(error::status(Code::NotFound, ErrorReason::NotFound, message))
        };
        elsewhere.map(Response::new).ok_or_else(missing)
    }
}

/// What keeps a request with others; empty: nothing.
fn sticky_key(
    chosen: &Chosen<'_>,
    question: &Question<'_>,
    chat: &ChatRequest,
    attribution: &Attribution,
) -> String {
    let Policy { way: Way::Sticky, stick_to, .. } = &*chosen.policy else { return String::new() };
    if let Some(own) = question.wishes.sticky_key.as_ref().filter(|key| !key.is_empty()) {
        return own.clone();
    }
    match stick_to {
        StickTo::User => attribution.user.clone().unwrap_or_default(),
        StickTo::Conversation => match &attribution.conversation_id {
            Some(id) if !id.is_empty() => id.clone(),
            _ => prefix(chat),
        },
        StickTo::Prefix => prefix(chat),
    }
}

/// The beginning that conversations of one application share; empty without any.
fn prefix(chat: &ChatRequest) -> String {
    let system = chat.messages.iter().filter(|m| matches!(m.role(), Role::System | Role::Developer));
    let mut prefix: String = system.map(text_of).collect::<Vec<_>>().join("\n");
    for tool in &chat.tools {
        prefix.push('\n');
        prefix.push_str(&tool.name);
    }
    prefix
}

fn last_user_turn(chat: &ChatRequest) -> String {
    chat.messages.iter().rev().find(|m| m.role() == Role::User).map(text_of).unwrap_or_default()
}

fn text_of(message: &signalbox_proto::common::v1::Message) -> String {
    let texts = message.parts.iter().filter_map(|part| match &part.kind {
        Some(part::Kind::Text(text)) => Some(text.text.as_str()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

fn target(known: &Known) -> TargetInfo {
    TargetInfo {
        target_id: known.id.clone(),
        capabilities: known.capabilities.iter().map(ToString::to_string).collect(),
        context_window_tokens: known.context_window,
        max_output_tokens: known.max_output,
        input_nanousd_per_mtok: known.price.map(|p| p.rates.input_nanousd_per_mtok),
        output_nanousd_per_mtok: known.price.map(|p| p.rates.output_nanousd_per_mtok),
        simulated: known.simulated,
        has_credential: known.has_credential(),
    }
}
