//! The gRPC face: decode, plan, remember, encode.

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;
use signalbox_catalog::{Catalog, TargetInfo as Known};
use signalbox_config::Live;
use signalbox_mesh::{Clock, RequestContext, error};
use signalbox_proto::{
    common::v1::ErrorReason,
    router::v1::{
        ExplainRequest, ExplainResponse, ListModelsRequest, ListModelsResponse, ModelInfo, PlanRequest,
        PlanResponse, ReportRequest, ReportResponse, TargetInfo, router_service_server::RouterService,
    },
};
use tonic::{Code, Request, Response, Status};

use crate::{
    config::{Config, Way},
    needs::Needs,
    pattern::covers,
    plan::{Question, plan},
};

/// Reports taken in one call; the contract's bound.
const REPORTS: usize = 1_000;

/// A plan as it was given, and to whom.
#[derive(Clone)]
struct Receipt {
    tenant: Arc<str>,
    explained: Arc<ExplainResponse>,
}

/// The service.
pub(crate) struct Router {
    catalog: Live<Catalog>,
    config: Live<Config>,
    receipts: Cache<String, Receipt>,
    clock: Arc<dyn Clock>,
}

impl Router {
    pub(crate) fn new(catalog: Catalog, config: Config, clock: Arc<dyn Clock>) -> Self {
        let receipts = Cache::builder()
            .max_capacity(config.receipts)
            .time_to_live(Duration::from_secs(config.receipts_seconds))
            .build();
        Self { catalog: Live::new(catalog), config: Live::new(config), receipts, clock }
    }

    fn remember(&self, context: &RequestContext, request: &PlanRequest, needs: u64, response: &PlanResponse) {
        if request.dry_run || context.request_id().is_empty() {
            return;
        }
        let explained = ExplainResponse {
            plan: Some(response.clone()),
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
        let question = Question {
            model: &chat.model,
            needs,
            wishes: request.policy.clone().unwrap_or_default(),
            policy: &request.policy_name,
            allowed: &request.allowed_models,
        };
        let response = plan(&self.catalog.load(), &self.config.load(), &question)?;
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
        let (catalog, config) = (self.catalog.load(), self.config.load());
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
