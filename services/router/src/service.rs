//! The gRPC face: decode, plan, remember, encode.

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;
use signalbox_catalog::TargetInfo as Known;
use signalbox_config::Live;
use signalbox_embed::Embedder;
use signalbox_mesh::{Clock, RequestContext, error};
use signalbox_proto::{
    common::v1::{
        Attempt, AttemptKind, AttemptOutcome, Attribution, ChatRequest, ErrorReason, Role, Vector, part,
    },
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
    learned::Learned,
    measure,
    needs::Needs,
    order::Basis,
    pattern::covers,
    plan::{Chosen, Question, choose, plan},
    receipts::{Receipt, Receipts},
    record::{self, Asked},
    rules::Facts,
    setup::Setup,
    stats::Stats,
};

/// Reports taken in one call; the contract's bound.
const REPORTS: usize = 1_000;

/// How long a vector may take; features alone decide then.
const EMBED_TIMEOUT: Duration = Duration::from_millis(100);

/// The service.
pub(crate) struct Router {
    setup: Live<Setup>,
    recent: Arc<Recent>,
    stats: Arc<Stats>,
    learned: Arc<Learned>,
    receipts: Arc<Receipts>,
    /// The other replicas, where they can be asked.
    fleet: Option<Arc<Fleet>>,
    /// Attempts that are known of requests which another replica planned.
    elsewhere: Cache<String, usize>,
    embedder: Option<Embedder>,
    clock: Arc<dyn Clock>,
}

impl Router {
    pub(crate) fn new(
        setup: Live<Setup>,
        recent: Arc<Recent>,
        (stats, learned): (Arc<Stats>, Arc<Learned>),
        (receipts, fleet): (Arc<Receipts>, Option<Arc<Fleet>>),
        embedder: Option<Embedder>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let present = setup.load();
        let (most, kept) = (present.config.receipts, present.config.kept());
        let elsewhere = Cache::builder().max_capacity(most).time_to_live(kept).build();
        let embedder = embedder.filter(|embedder| MODEL.understands(embedder.model_hash().as_bytes()));
        Self { setup, recent, stats, learned, receipts, fleet, elsewhere, embedder, clock }
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
        self.receipts.keep(asked.request_id.clone(), receipt);
        self.recent.add(asked);
    }

    /// Learns from attempts that were not known before, and from a score that is new.
    fn learn(&self, explained: &ExplainResponse, attempts: &[Attempt], score: Option<f64>) {
        let now_ms = self.clock.unix_ms();
        attempts.iter().for_each(|attempt| self.stats.record(attempt, now_ms));
        let Some(plan) = &explained.plan else { return };
        let setup = self.setup.load();
        let Some(policy) = setup.config.policies.get(&plan.policy).filter(|p| p.way == Way::Learned) else {
            return;
        };
        let of = (plan.policy.as_str(), explained.requested_model.as_str());
        let dearest = plan.candidates.iter().filter_map(|c| c.predicted_cost_nanousd).max();
        attempts.iter().for_each(|attempt| self.learned.served(&policy.learn, of, attempt, dearest));
        let known = explained.report.iter().flat_map(|report| &report.attempts);
        let answered = known.chain(attempts).rfind(|a| a.outcome() == AttemptOutcome::Ok && is_own(a));
        if let Some((score, answered)) = score.zip(answered) {
            self.learned.scored(&policy.learn, of, &answered.target_id, score);
        }
    }
}

impl Router {
    /// Takes in what became of a request that another replica planned: of its targets, not of its policy. True: it was new.
    fn learn_elsewhere(&self, report: &signalbox_proto::router::v1::Report) -> bool {
        let known = self.elsewhere.get(&report.request_id).unwrap_or(0);
        let new = report.attempts.get(known..).unwrap_or_default();
        if new.is_empty() || report.request_id.is_empty() {
            return false;
        }
        let now_ms = self.clock.unix_ms();
        new.iter().for_each(|attempt| self.stats.record(attempt, now_ms));
        self.elsewhere.insert(report.request_id.clone(), report.attempts.len());
        true
    }
}

/// Counts a request without a plan.
fn refused(error: crate::Error) -> Status {
    let status = error.into();
    measure::refused(&status);
    status
}

/// Whether an attempt was made for the answer itself: no judge, and no copy beside it.
fn is_own(attempt: &Attempt) -> bool {
    !matches!(attempt.kind(), AttemptKind::Shadow | AttemptKind::Judge)
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
        let basis = Basis::of(&question, &chosen, &self.stats, &self.learned, needs_large, &sticky);
        let planned = plan(&setup, &question, &chosen, &basis).map_err(refused)?;
        let mut response = PlanResponse { vector, ..planned };
        if !request.dry_run && !context.request_id().is_empty() {
            measure::planned(&chosen, &response);
            let record = record::of(&question, &chosen, needs_large, sticky);
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
        let mut accepted = 0;
        for report in reports {
            // A report that is known changes nothing.
            let Some(receipt) = self.receipts.get(&report.request_id) else {
                accepted += u32::from(self.learn_elsewhere(&report));
                continue;
            };
            if *receipt.tenant != *report.tenant {
                continue;
            }
            let mut explained = ExplainResponse::clone(&receipt.explained);
            let known = explained.report.as_ref();
            let (attempts_known, score_known) =
                known.map_or((0, None), |known| (known.attempts.len(), known.quality));
            let score = report.quality.filter(|score| score_known != Some(*score));
            let new = report.attempts.get(attempts_known..).unwrap_or_default();
            if new.is_empty() && score.is_none() {
                continue;
            }
            self.learn(&explained, new, score);
            let known = explained.report.get_or_insert_default();
            let attempts = if report.attempts.is_empty() {
                std::mem::take(&mut known.attempts)
            } else {
                report.attempts
            };
            let quality = report.quality.or(known.quality);
            let request_id = report.request_id.clone();
            *known = signalbox_proto::router::v1::Report { attempts, quality, ..report };
            accepted += 1;
            self.receipts.keep(request_id, Receipt { explained: Arc::new(explained), ..receipt });
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
        let (tenant, id) = (context.tenant(), &request.get_ref().request_id);
        if let Some(explained) = self.receipts.of(tenant, id) {
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
