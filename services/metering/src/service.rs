//! The gRPC face: decode, validate, call, encode. No decisions.

use std::{
    collections::{HashSet, VecDeque},
    pin::Pin,
    sync::Arc,
};

use futures_util::{Stream, stream};
use signalbox_mesh::{Clock, Random, Shutdown, error};
use signalbox_proto::common::v1::ErrorReason;
use signalbox_proto::metering::v1::{self as proto, metering_service_server::MeteringService};
use tokio::sync::broadcast::{self, error::RecvError};
use tonic::{Code, Request, Response, Status};

use crate::{
    admission::Admission,
    alerts::{Alert, Alerts},
    books::Extension,
    budget::Origin,
    credential::{self, Credential, Hash},
    decode, encode,
    keys::{Key, Keys},
    ledger::Settled,
    pricing::Pricing,
    refusal::Refusal,
    settlement,
    store::{Reader, Store},
};

/// Records of one call.
const RECORDS: usize = 1_000;
/// Faults of one call that are spelled out.
const NAMED: usize = 10;
const ID_BYTES: usize = 128;

/// The service.
pub(crate) struct Metering {
    pub(crate) admission: Admission,
    pub(crate) keys: Keys,
    pub(crate) pricing: Arc<Pricing>,
    pub(crate) store: Store,
    pub(crate) reader: Reader,
    pub(crate) alerts: Alerts,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Random,
    pub(crate) shutdown: Shutdown,
}

type AlertStream = Pin<Box<dyn Stream<Item = Result<proto::WatchAlertsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl MeteringService for Metering {
    type WatchAlertsStream = AlertStream;

    async fn admit(
        &self,
        request: Request<proto::AdmitRequest>,
    ) -> Result<Response<proto::AdmitResponse>, Status> {
        Ok(Response::new(self.admission.admit(request.into_inner()).await?))
    }

    async fn extend(
        &self,
        request: Request<proto::ExtendRequest>,
    ) -> Result<Response<proto::ExtendResponse>, Status> {
        let extension = self.extension(request.get_ref())?;
        let told = self.store.ask(move |desk| desk.extend(&extension)).await?;
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
            match settlement::record(settlement, &self.pricing, now) {
                Ok(record) => {
                    records.push(record);
                    places.push(place);
                }
                Err(refusal) => refused.push((place, refusal)),
            }
        }
        let (settled, late) = self.store.ask(move |desk| desk.settle(&records)).await?;
        refused.extend(late.into_iter().filter_map(|(index, refusal)| Some((*places.get(index)?, refusal))));
        if refused.is_empty() {
            let Settled { recorded, duplicates } = settled;
            return Ok(Response::new(proto::SettleResponse { recorded, duplicates }));
        }
        refused.sort_by_key(|(place, _)| *place);
        Err(partly(&settled, &refused))
    }

    async fn count_tokens(
        &self,
        request: Request<proto::CountTokensRequest>,
    ) -> Result<Response<proto::CountTokensResponse>, Status> {
        let chat = request.into_inner().chat.ok_or_else(|| error::invalid("chat", "is required"))?;
        let reach = self.pricing.reach(&chat.model)?;
        let count = self.admission.counting.count(&reach.vocabulary, chat).await?;
        Ok(Response::new(proto::CountTokensResponse { input_tokens: count.tokens, exact: count.exact }))
    }

    async fn query_usage(
        &self,
        request: Request<proto::QueryUsageRequest>,
    ) -> Result<Response<proto::QueryUsageResponse>, Status> {
        let question = decode::question(request.get_ref(), self.clock.unix_ms())?;
        let (groups, truncated) = self.reader.answer(question).await?;
        let rows = groups.iter().map(encode::usage_row).collect();
        Ok(Response::new(proto::QueryUsageResponse { rows, truncated }))
    }

    async fn create_key(
        &self,
        request: Request<proto::CreateKeyRequest>,
    ) -> Result<Response<proto::CreateKeyResponse>, Status> {
        let key = request.into_inner().key.ok_or_else(|| error::invalid("key", "is required"))?;
        let (key, credential) = self.new_key(&key)?;
        let key = self.store.ask(move |desk| desk.create_key(key)).await?;
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
        let wanted = request.into_inner().key.ok_or_else(|| error::invalid("key", "is required"))?;
        let (scope, name) = (decode::key_scope(&wanted)?, decode::key_name(&wanted)?);
        let change = move |key: &mut Key| {
            if !wanted.tenant.is_empty() && *key.tenant != *wanted.tenant {
                return Err(Refusal::invalid("key.tenant", "a key cannot change its tenant; make a new one"));
            }
            (key.scope, key.name, key.admin, key.expires_unix_ms) =
                (scope, name, wanted.admin, wanted.expires_unix_ms);
            Ok(())
        };
        let key = self.store.ask(move |desk| desk.change_key(&wanted.id.clone(), change)).await?;
        Ok(Response::new(proto::UpdateKeyResponse { key: Some(encode::key(&key)) }))
    }

    async fn revoke_key(
        &self,
        request: Request<proto::RevokeKeyRequest>,
    ) -> Result<Response<proto::RevokeKeyResponse>, Status> {
        let id = request.into_inner().id;
        let key = self.store.ask(move |desk| {
            let now = desk.now();
            desk.change_key(&id, |key| {
                // Revoking again keeps the first time.
                key.revoked_unix_ms.get_or_insert(now);
                Ok(())
            })
        });
        Ok(Response::new(proto::RevokeKeyResponse { key: Some(encode::key(&*key.await?)) }))
    }

    async fn create_budget(
        &self,
        request: Request<proto::CreateBudgetRequest>,
    ) -> Result<Response<proto::CreateBudgetResponse>, Status> {
        let budget = request.into_inner().budget.ok_or_else(|| error::invalid("budget", "is required"))?;
        let terms = decode::terms(&budget)?;
        let budget = self.store.ask(move |desk| desk.create_budget(terms, Origin::Call)).await?;
        Ok(Response::new(proto::CreateBudgetResponse { budget: Some(encode::budget(&budget)) }))
    }

    async fn list_budgets(
        &self,
        request: Request<proto::ListBudgetsRequest>,
    ) -> Result<Response<proto::ListBudgetsResponse>, Status> {
        let tenant = request.into_inner().tenant;
        let budgets = self.store.ask(move |desk| Ok(Ok(desk.budgets(&tenant)))).await?;
        Ok(Response::new(proto::ListBudgetsResponse {
            budgets: budgets.iter().map(encode::budget).collect(),
        }))
    }

    async fn update_budget(
        &self,
        request: Request<proto::UpdateBudgetRequest>,
    ) -> Result<Response<proto::UpdateBudgetResponse>, Status> {
        let budget = request.into_inner().budget.ok_or_else(|| error::invalid("budget", "is required"))?;
        let (id, terms) = (budget_id(&budget.id)?, decode::terms(&budget)?);
        let budget = self.store.ask(move |desk| desk.change_budget(id, terms, Origin::Call)).await?;
        Ok(Response::new(proto::UpdateBudgetResponse { budget: Some(encode::budget(&budget)) }))
    }

    async fn delete_budget(
        &self,
        request: Request<proto::DeleteBudgetRequest>,
    ) -> Result<Response<proto::DeleteBudgetResponse>, Status> {
        let id = budget_id(&request.get_ref().id)?;
        self.store.ask(move |desk| desk.delete_budget(id)).await?;
        Ok(Response::new(proto::DeleteBudgetResponse {}))
    }

    async fn watch_alerts(
        &self,
        request: Request<proto::WatchAlertsRequest>,
    ) -> Result<Response<AlertStream>, Status> {
        let tenant = request.into_inner().tenant;
        // First listen, then look: nothing is missed in between.
        let news = self.alerts.watch();
        let active = active(&self.store, &tenant).await?;
        let told = active.iter().map(|alert| alert.id.clone()).collect();
        let watch = Watch {
            tenant,
            news,
            waiting: active,
            told,
            store: self.store.clone(),
            end: self.shutdown.clone(),
        };
        Ok(Response::new(Box::pin(stream::unfold(watch, |mut watch| async move {
            let alert = watch.next().await?;
            let message = proto::WatchAlertsResponse { alert: Some(encode::alert(&alert)) };
            Some((Ok(message), watch))
        }))))
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

    fn new_key(&self, wanted: &proto::Key) -> Result<(Key, String), Refusal> {
        let now = self.clock.unix_ms();
        if wanted.expires_unix_ms.is_some_and(|at| at <= now) {
            return Err(Refusal::invalid(
                "key.expires_unix_ms",
                "is in the past; give a later time, or none",
            ));
        }
        let (id, text) = credential::mint(&self.random);
        let minted = Credential::parse(&text).ok_or(Refusal::CredentialInvalid)?;
        let key = Key {
            id: id.into(),
            tenant: decode::tenant("key.tenant", &wanted.tenant)?,
            name: decode::key_name(wanted)?,
            admin: wanted.admin,
            hash: Hash::new(minted, &self.random),
            scope: decode::key_scope(wanted)?,
            created_unix_ms: now,
            expires_unix_ms: wanted.expires_unix_ms,
            revoked_unix_ms: None,
        };
        Ok((key, text))
    }
}

fn budget_id(id: &str) -> Result<i64, Refusal> {
    id.parse().map_err(|_| Refusal::NotFound { kind: "budget", id: id.chars().take(64).collect() })
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

/// The alerts of a tenant, or of all, that are active now.
async fn active(store: &Store, tenant: &str) -> Result<VecDeque<Alert>, Refusal> {
    let tenant = tenant.to_owned();
    let budgets = store.ask(move |desk| Ok(Ok(desk.budgets(&tenant)))).await?;
    Ok(budgets.iter().filter_map(Alert::of).collect())
}

/// Somebody who watches alerts.
struct Watch {
    /// Empty: all.
    tenant: String,
    news: broadcast::Receiver<Alert>,
    waiting: VecDeque<Alert>,
    /// What was active when the watch began; it may be heard a second time as news.
    told: HashSet<String>,
    store: Store,
    end: Shutdown,
}

impl Watch {
    /// The next alert; `None` at the end of the service.
    async fn next(&mut self) -> Option<Alert> {
        loop {
            if let Some(alert) = self.waiting.pop_front() {
                return Some(alert);
            }
            let news = tokio::select! {
                () = self.end.started() => return None,
                news = self.news.recv() => news,
            };
            match news {
                Ok(alert) if self.tenant.is_empty() || self.tenant == alert.tenant => {
                    if !self.told.remove(&alert.id) {
                        return Some(alert);
                    }
                }
                Ok(_) => {}
                // It was too slow: what is still active is told again.
                Err(RecvError::Lagged(_)) => self.waiting = active(&self.store, &self.tenant).await.ok()?,
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
