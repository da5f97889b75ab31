//! The gRPC face: decode, plan, remember, encode.

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;
use signalbox_catalog::TargetInfo as Known;
use signalbox_config::Live;
use signalbox_embed::Embedder;
use signalbox_mesh::{Clock, RequestContext, error};
use signalbox_proto::{
    common::v1::{Attribution, ChatRequest, ErrorReason, Role, Vector, part},
    router::v1::{
        ExplainRequest, ExplainResponse, ListModelsRequest, ListModelsResponse, ModelInfo, PlanRequest,
        PlanResponse, ReportRequest, ReportResponse, TargetInfo, router_service_server::RouterService,
    },
};
use tonic::{Code, Request, Response, Status};

use crate::{
    complexity::MODEL,
    config::{Policy, StickTo, Way},
    needs::Needs,
    order::Basis,
    pattern::covers,
    plan::{Chosen, Question, choose, plan},
    rules::Facts,
    setup::Setup,
    stats::Stats,
};

/// Reports taken in one call; the contract's bound.
const REPORTS: usize = 1_000;

/// A plan as it was given, and to whom.
#[derive(Clone)]
struct Receipt {
    tenant: Arc<str>,
    explained: Arc<ExplainResponse>,
}

/// How long a vector may take; features alone decide then.
const EMBED_TIMEOUT: Duration = Duration::from_millis(100);

/// The service.
pub(crate) struct Router {
    setup: Live<Setup>,
    stats: Stats,
    receipts: Cache<String, Receipt>,
    embedder: Option<Embedder>,
    clock: Arc<dyn Clock>,
}

impl Router {
    pub(crate) fn new(setup: Setup, embedder: Option<Embedder>, clock: Arc<dyn Clock>) -> Self {
        let receipts = Cache::builder()
            .max_capacity(setup.config.receipts)
            .time_to_live(Duration::from_secs(setup.config.receipts_seconds))
            .build();
        let embedder = embedder.filter(|embedder| MODEL.understands(embedder.model_hash().as_bytes()));
        Self { setup: Live::new(setup), stats: Stats::default(), receipts, embedder, clock }
    }

    /// The probability that the large model is better, and the vector if it had to be computed.
    async fn complexity(&self, chat: &ChatRequest, given: Option<&Vector>) -> (f64, Option<Vector>) {
        let text = last_user_turn(chat);
        if let Some(vector) = given.filter(|vector| MODEL.understands(&vector.model_hash)) {
            return (MODEL.needs_large(&text, Some(&vector.values)), None);
        }
        let embedded = match &self.embedder {
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

    fn remember(&self, context: &RequestContext, request: &PlanRequest, needs: u64, response: &PlanResponse) {
        if request.dry_run || context.request_id().is_empty() {
            return;
        }
        // The vector says what the prompt was about: it is not kept.
        let plan = PlanResponse { vector: None, ..response.clone() };
        let explained = ExplainResponse {
            plan: Some(plan),
            requested_model: request.chat.as_ref().map(|c| c.model.clone()).unwrap_or_default(),
            input_tokens: needs,
            planned_unix_ms: self.clock.unix_ms(),
            report: None,
        };
        let receipt = Receipt { tenant: context.tenant().into(), explained: Arc::new(explained) };
        self.receipts.insert(context.request_id().to_owned(), receipt);
    }
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
        let input_tokens = needs.input_tokens;
        let wishes = request.policy.clone().unwrap_or_default();
        if wishes.quality.is_some_and(|quality| !(0.0..=1.0).contains(&quality)) {
            return Err(error::invalid(
                "policy.quality",
                "is not from 0 to 1; 0.95 keeps 95 % of the large model's",
            ));
        }
        let nobody = Attribution::default();
        let attribution = request.attribution.as_ref().unwrap_or(&nobody);
        let facts = Facts {
            tenant: context.tenant(),
            model: &chat.model,
            attribution,
            tokens: input_tokens,
            turns: chat.messages.len(),
            tools: !chat.tools.is_empty(),
            unix_ms: self.clock.unix_ms(),
        };
        let question = Question {
            model: &chat.model,
            needs,
            wishes,
            policy: &request.policy_name,
            allowed: &request.allowed_models,
            facts,
        };
        let setup = self.setup.load();
        let chosen = choose(&setup, &question)?;
        let quality = question.wishes.quality.unwrap_or(chosen.policy.quality);
        let (needs_large, vector) = if chosen.by_complexity() {
            let (needs_large, vector) = self.complexity(chat, request.vector.as_ref()).await;
            (Some(needs_large), vector)
        } else {
            (None, None)
        };
        let basis = Basis {
            stats: &self.stats,
            request_key: context.request_id(),
            sticky_key: &sticky_key(&chosen, &question, chat, attribution),
            needs_large,
            threshold: if needs_large.is_some() { MODEL.threshold(quality) } else { 1.0 },
            quality,
        };
        let response = PlanResponse { vector, ..plan(&setup, &question, &chosen, &basis)? };
        self.remember(&context, &request, input_tokens, &response);
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
        let mut accepted = 0;
        for report in reports {
            // Only who planned it may report it, and a report that is known changes nothing.
            let Some(receipt) = self.receipts.get(&report.request_id) else { continue };
            if *receipt.tenant != *report.tenant {
                continue;
            }
            let mut explained = ExplainResponse::clone(&receipt.explained);
            let known = explained.report.get_or_insert_default();
            let news = report.attempts.len() > known.attempts.len()
                || report.quality.is_some_and(|q| known.quality != Some(q));
            if news {
                let now_ms = self.clock.unix_ms();
                for attempt in report.attempts.iter().skip(known.attempts.len()) {
                    self.stats.record(attempt, now_ms);
                }
                let attempts = if report.attempts.is_empty() {
                    std::mem::take(&mut known.attempts)
                } else {
                    report.attempts
                };
                let quality = report.quality.or(known.quality);
                let request_id = report.request_id.clone();
                *known = signalbox_proto::router::v1::Report { attempts, quality, ..report };
                accepted += 1;
                self.receipts.insert(request_id, Receipt { explained: Arc::new(explained), ..receipt });
            }
        }
        Ok(Response::new(ReportResponse { accepted }))
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
        let id = &request.get_ref().request_id;
        let receipt = self.receipts.get(id).filter(|receipt| *receipt.tenant == *context.tenant());
        let missing = || {
            let message = "no plan of this tenant's request is kept; receipts are bounded in number and time";
            Status::from(error::status(Code::NotFound, ErrorReason::NotFound, message))
        };
        Ok(Response::new(ExplainResponse::clone(&receipt.ok_or_else(missing)?.explained)))
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
