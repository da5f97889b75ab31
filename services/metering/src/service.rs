//! The gRPC face: decode, validate, call, encode. No decisions.

use std::{pin::Pin, sync::Arc};

use futures_util::Stream;
use signalbox_mesh::{Clock, Random, RequestContext, Shutdown, error};
use signalbox_proto::common::v1::ErrorReason;
use signalbox_proto::metering::v1::{self as proto, metering_service_server::MeteringService};
use tonic::{Code, Request, Response, Status};

use crate::{
    administration,
    admission::Admission,
    alerts::Alerts,
    backend::Backend,
    books::Extension,
    budget::Origin,
    decode, encode,
    export::Export,
    keys::{Key, KeyChange, Keys},
    ledger::Settled,
    measure,
    pricing::Pricing,
    refusal::Refusal,
    settlement, watch,
};

/// Records of one call.
const RECORDS: usize = 1_000;
/// Faults of one call that are spelled out.
const NAMED: usize = 10;
/// Reservations of the shared backend carry their tenant before the request's id.
const ID_BYTES: usize = 256;

/// The service.
pub(crate) struct Metering {
    pub(crate) admission: Admission,
    pub(crate) keys: Keys,
    pub(crate) pricing: Arc<Pricing>,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) alerts: Alerts,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Random,
    pub(crate) shutdown: Shutdown,
}

type AlertStream = Pin<Box<dyn Stream<Item = Result<proto::WatchAlertsResponse, Status>> + Send>>;
type ExportStream = Pin<Box<dyn Stream<Item = Result<proto::ExportUsageResponse, Status>> + Send>>;

#[tonic::async_trait]
impl MeteringService for Metering {
    type WatchAlertsStream = AlertStream;
    type ExportUsageStream = ExportStream;

    async fn admit(
        &self,
        request: Request<proto::AdmitRequest>,
    ) -> Result<Response<proto::AdmitResponse>, Status> {
        let admitted = self.admission.admit(request.into_inner()).await.map_err(Status::from);
        admitted.inspect_err(measure::refused).map(Response::new)
    }

    async fn extend(
        &self,
        request: Request<proto::ExtendRequest>,
    ) -> Result<Response<proto::ExtendResponse>, Status> {
        let extension = self.extension(request.get_ref())?;
        let told = self.backend.extend(extension).await?;
        Ok(Response::new(proto::ExtendResponse { reservation: Some(encode::reservation(&told)) }))
    }

    async fn settle(
        &self,
        request: Request<proto::SettleRequest>,
    ) -> Result<Response<proto::SettleResponse>, Status> {
        let settlements = request.into_inner().settlements;
        if settlements.len() > RECORDS {
            return Err(error::invalid(
                "settlements",
                format!("at most {RECORDS} records are allowed in one call"),
            ));
        }
        let now = self.clock.unix_ms();
        let (mut records, mut places, mut refused) =
            (Vec::with_capacity(settlements.len()), Vec::new(), Vec::new());
        for (place, settlement) in settlements.into_iter().enumerate() {
            measure::came(&settlement, now);
            match settlement::record(settlement, &self.pricing, now) {
                Ok(record) => {
                    if let Some(subject) = &record.subject {
                        self.admission.slices.learn(subject, &record.attempts);
                    }
                    records.push(record);
                    places.push(place);
                }
                Err(refusal) => refused.push((place, refusal)),
            }
        }
        let (settled, late) = self.backend.settle(records).await?;
        measure::recorded(&settled);
        refused.extend(late.into_iter().filter_map(|(index, refusal)| Some((*places.get(index)?, refusal))));
        if refused.is_empty() {
            let Settled { recorded, duplicates } = settled;
            return Ok(Response::new(proto::SettleResponse { recorded, duplicates }));
        }
        refused.sort_by_key(|(place, _)| *place);
        Err(partly(&settled, &refused))
    }

    async fn score(
        &self,
        request: Request<proto::ScoreRequest>,
    ) -> Result<Response<proto::ScoreResponse>, Status> {
        let context = RequestContext::from_request(&request);
        let tenant = decode::tenant("tenant", context.tenant())?;
        let request = request.get_ref();
        let id = decode::bounded("request_id", &request.request_id, settlement::ID_BYTES)?;
        let score = decode::score(request)?;
        self.backend.score(&tenant, id, score).await?;
        Ok(Response::new(proto::ScoreResponse {}))
    }

    async fn count_tokens(
        &self,
        request: Request<proto::CountTokensRequest>,
    ) -> Result<Response<proto::CountTokensResponse>, Status> {
        let chat = request.into_inner().chat.ok_or_else(|| error::invalid("chat", "is required"))?;
        let reach = self.pricing.reach(&chat.model)?;
        let count = self.admission.counting.count(&reach.vocabulary, chat).await?;
        Ok(Response::new(proto::CountTokensResponse {
            input_tokens: count.tokens,
            exact: count.exact,
            margin_tokens: count.margin,
        }))
    }

    async fn query_usage(
        &self,
        request: Request<proto::QueryUsageRequest>,
    ) -> Result<Response<proto::QueryUsageResponse>, Status> {
        let question = decode::question(request.get_ref(), self.clock.unix_ms())?;
        let (groups, truncated) = self.backend.answer(question).await?;
        let rows = groups.iter().map(encode::usage_row).collect();
        Ok(Response::new(proto::QueryUsageResponse { rows, truncated }))
    }

    async fn create_key(
        &self,
        request: Request<proto::CreateKeyRequest>,
    ) -> Result<Response<proto::CreateKeyResponse>, Status> {
        let (actor, request) = acting(request);
        let wanted = request.key.ok_or_else(|| error::invalid("key", "is required"))?;
        let (key, credential) = administration::new_key(&wanted, &self.random, self.clock.unix_ms())?;
        let key = self.backend.create_key(key, &actor).await?;
        Ok(Response::new(proto::CreateKeyResponse { key: Some(encode::key(&key)), credential }))
    }

    async fn list_keys(
        &self,
        request: Request<proto::ListKeysRequest>,
    ) -> Result<Response<proto::ListKeysResponse>, Status> {
        let (request, now) = (request.into_inner(), self.clock.unix_ms());
        let of_tenant = |key: &Arc<Key>| request.tenant.is_empty() || *key.tenant == *request.tenant;
        let listed = |key: &Arc<Key>| of_tenant(key) && (request.include_ended || !key.has_ended(now));
        let keys = self.keys.all().iter().filter(|key| listed(key)).map(|key| encode::key(key)).collect();
        Ok(Response::new(proto::ListKeysResponse { keys }))
    }

    async fn update_key(
        &self,
        request: Request<proto::UpdateKeyRequest>,
    ) -> Result<Response<proto::UpdateKeyResponse>, Status> {
        let (actor, request) = acting(request);
        let wanted = request.key.ok_or_else(|| error::invalid("key", "is required"))?;
        let change = administration::key_update(&wanted)?;
        let key = self.backend.change_key(&wanted.id, change, &actor).await?;
        Ok(Response::new(proto::UpdateKeyResponse { key: Some(encode::key(&key)) }))
    }

    async fn revoke_key(
        &self,
        request: Request<proto::RevokeKeyRequest>,
    ) -> Result<Response<proto::RevokeKeyResponse>, Status> {
        let (actor, request) = acting(request);
        let key = self.backend.change_key(&request.id, KeyChange::Revoke, &actor).await?;
        Ok(Response::new(proto::RevokeKeyResponse { key: Some(encode::key(&key)) }))
    }

    async fn rotate_key(
        &self,
        request: Request<proto::RotateKeyRequest>,
    ) -> Result<Response<proto::RotateKeyResponse>, Status> {
        let (actor, request) = acting(request);
        let (change, credential) = administration::rotation(&request, &self.random)?;
        let key = self.backend.change_key(&request.id, change, &actor).await?;
        Ok(Response::new(proto::RotateKeyResponse { key: Some(encode::key(&key)), credential }))
    }

    async fn list_audit(
        &self,
        request: Request<proto::ListAuditRequest>,
    ) -> Result<Response<proto::ListAuditResponse>, Status> {
        let changes = self.backend.audit(decode::look(request.into_inner())).await?;
        let entries = changes.into_iter().map(encode::change).collect();
        Ok(Response::new(proto::ListAuditResponse { entries }))
    }

    async fn create_budget(
        &self,
        request: Request<proto::CreateBudgetRequest>,
    ) -> Result<Response<proto::CreateBudgetResponse>, Status> {
        let (actor, request) = acting(request);
        let budget = request.budget.ok_or_else(|| error::invalid("budget", "is required"))?;
        let terms = decode::terms(&budget)?;
        let budget = self.backend.put_budget(None, terms, Origin::Call, &actor).await?;
        Ok(Response::new(proto::CreateBudgetResponse { budget: Some(encode::budget(&budget)) }))
    }

    async fn list_budgets(
        &self,
        request: Request<proto::ListBudgetsRequest>,
    ) -> Result<Response<proto::ListBudgetsResponse>, Status> {
        let budgets = self.backend.budgets(&request.into_inner().tenant).await?;
        let budgets = budgets.iter().map(encode::budget).collect();
        Ok(Response::new(proto::ListBudgetsResponse { budgets }))
    }

    async fn update_budget(
        &self,
        request: Request<proto::UpdateBudgetRequest>,
    ) -> Result<Response<proto::UpdateBudgetResponse>, Status> {
        let (actor, request) = acting(request);
        let budget = request.budget.ok_or_else(|| error::invalid("budget", "is required"))?;
        let (id, terms) = (numeric("budget", &budget.id)?, decode::terms(&budget)?);
        let budget = self.backend.put_budget(Some(id), terms, Origin::Call, &actor).await?;
        Ok(Response::new(proto::UpdateBudgetResponse { budget: Some(encode::budget(&budget)) }))
    }

    async fn delete_budget(
        &self,
        request: Request<proto::DeleteBudgetRequest>,
    ) -> Result<Response<proto::DeleteBudgetResponse>, Status> {
        let (actor, request) = acting(request);
        self.backend.delete_budget(numeric("budget", &request.id)?, &actor).await?;
        Ok(Response::new(proto::DeleteBudgetResponse {}))
    }

    async fn create_limit(
        &self,
        request: Request<proto::CreateLimitRequest>,
    ) -> Result<Response<proto::CreateLimitResponse>, Status> {
        let (actor, request) = acting(request);
        let limit = request.limit.ok_or_else(|| error::invalid("limit", "is required"))?;
        let limit = self.backend.put_limit(None, decode::limit(&limit)?, Origin::Call, &actor).await?;
        Ok(Response::new(proto::CreateLimitResponse { limit: Some(encode::limit(&limit)) }))
    }

    async fn list_limits(
        &self,
        request: Request<proto::ListLimitsRequest>,
    ) -> Result<Response<proto::ListLimitsResponse>, Status> {
        let limits = self.backend.limits(&request.into_inner().tenant).await?;
        let limits = limits.iter().map(encode::limit).collect();
        Ok(Response::new(proto::ListLimitsResponse { limits }))
    }

    async fn update_limit(
        &self,
        request: Request<proto::UpdateLimitRequest>,
    ) -> Result<Response<proto::UpdateLimitResponse>, Status> {
        let (actor, request) = acting(request);
        let limit = request.limit.ok_or_else(|| error::invalid("limit", "is required"))?;
        let (id, terms) = (numeric("limit", &limit.id)?, decode::limit(&limit)?);
        let limit = self.backend.put_limit(Some(id), terms, Origin::Call, &actor).await?;
        Ok(Response::new(proto::UpdateLimitResponse { limit: Some(encode::limit(&limit)) }))
    }

    async fn delete_limit(
        &self,
        request: Request<proto::DeleteLimitRequest>,
    ) -> Result<Response<proto::DeleteLimitResponse>, Status> {
        let (actor, request) = acting(request);
        self.backend.delete_limit(numeric("limit", &request.id)?, &actor).await?;
        Ok(Response::new(proto::DeleteLimitResponse {}))
    }

    async fn export_usage(
        &self,
        request: Request<proto::ExportUsageRequest>,
    ) -> Result<Response<ExportStream>, Status> {
        let export = Export::of(&request.into_inner(), self.clock.unix_ms())?;
        Ok(Response::new(Box::pin(export.stream(Arc::clone(&self.backend)))))
    }

    async fn watch_alerts(
        &self,
        request: Request<proto::WatchAlertsRequest>,
    ) -> Result<Response<AlertStream>, Status> {
        let tenant = request.into_inner().tenant;
        let watch = watch::watch(tenant, &self.alerts, Arc::clone(&self.backend), self.shutdown.clone());
        Ok(Response::new(Box::pin(watch.await?)))
    }
}

impl Metering {
    fn extension(&self, request: &proto::ExtendRequest) -> Result<Extension, Refusal> {
        let reservation_id = decode::bounded("reservation_id", &request.reservation_id, ID_BYTES)?.into();
        if request.extension == 0 {
            return Err(Refusal::invalid("extension", "count the extensions of a reservation from 1"));
        }
        if request.amount_nanousd < 0 {
            return Err(Refusal::invalid(
                "amount_nanousd",
                "must not be negative; settle to give money back",
            ));
        }
        let another_attempt = match request.purpose.as_str() {
            "" | "output" => false,
            "attempt" | "hedge" | "shadow" | "judge" => true,
            _ => return Err(Refusal::invalid("purpose", "use output, attempt, hedge, shadow or judge")),
        };
        let output_picousd = match request.target_id.as_str() {
            "" => None,
            target => self.pricing.output_picousd(target),
        };
        Ok(Extension {
            reservation_id,
            number: request.extension,
            nanousd: request.amount_nanousd,
            output_tokens: i64::try_from(request.output_tokens).unwrap_or(i64::MAX),
            output_picousd,
            another_attempt,
        })
    }
}

fn numeric(kind: &'static str, id: &str) -> Result<i64, Refusal> {
    id.parse().map_err(|_| Refusal::NotFound { kind, id: id.chars().take(64).collect() })
}

/// Who makes an administrative call: the gateway says which admin key was shown at its door.
fn acting<T>(request: Request<T>) -> (String, T) {
    let context = RequestContext::from_request(&request);
    let actor = match context.principal() {
        "" => "unknown",
        principal => principal,
    };
    (actor.to_owned(), request.into_inner())
}

/// Some records of a batch are at fault; the others were kept.
fn partly(settled: &Settled, refused: &[(usize, Refusal)]) -> Status {
    let words = format!(
        "{} records of the batch are at fault and were left out; the others are kept: {} new, {} known",
        refused.len(),
        settled.recorded,
        settled.duplicates
    );
    let status = error::status(Code::InvalidArgument, ErrorReason::InvalidRequest, words)
        .with_metadata("recorded", settled.recorded.to_string())
        .with_metadata("duplicates", settled.duplicates.to_string());
    let named = refused.iter().take(NAMED).fold(status, |status, (place, refusal)| match refusal {
        Refusal::Invalid { field, what } => {
            status.with_bad_request(format!("settlements[{place}].{field}"), what)
        }
        other => status.with_bad_request(format!("settlements[{place}]"), other.to_string()),
    });
    named.into()
}
