//! The gRPC face: decode, validate, call, encode. No decisions.

use std::{pin::Pin, sync::Arc, sync::atomic::Ordering};

use futures_util::{Stream, stream};
use signalbox_mesh::RequestContext;
use signalbox_proto::{
    cache::v1::{
        FeedbackRequest, FeedbackResponse, FillRequest, FillResponse, FollowCountRequest,
        FollowCountResponse, InvalidateRequest, InvalidateResponse, Lease, LookupRequest, LookupResponse,
        LookupResult, StatsRequest, StatsResponse, cache_service_server::CacheService,
        invalidate_request::By, lookup_response::Kind,
    },
    common::v1::{CacheInfo, CacheState, ChatRequest, Role, Vector},
};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    backend::Cover,
    cache::{Asked, Cache, Found, Granted},
    config::TAG_BYTES,
    embedding::LIKE_TIMEOUT,
    entry::Entry,
    error::Failure,
    fill, follow,
    judge::Opinion,
    policy::Terms,
    question::Skip,
    replay,
    tenant::Tenant,
};

/// Longest name of a model, in bytes.
const MODEL_BYTES: usize = 256;
/// Longest name of a user, in bytes.
const USER_BYTES: usize = 256;
/// Longest text to invalidate by, in bytes.
const LIKE_BYTES: usize = 8_192;
/// Longest id of a request, in bytes.
const REQUEST_ID_BYTES: usize = 128;
/// How close an entry must be to a text to be removed with it, unless the request says.
const LIKE_SIMILARITY: f64 = 0.9;

/// The service.
pub(crate) struct Service(pub(crate) Arc<Cache>);

pub(crate) type Messages = Pin<Box<dyn Stream<Item = Result<LookupResponse, Status>> + Send>>;

#[tonic::async_trait]
impl CacheService for Service {
    type LookupStream = Messages;

    async fn lookup(&self, request: Request<LookupRequest>) -> Result<Response<Messages>, Status> {
        let context = RequestContext::from_request(&request);
        let asked = self.asked(&context, request.into_inner())?;
        let (request_id, speed) = (asked.request_id.clone(), asked.terms.replay_speed);
        let found = self.0.lookup(asked).await?;
        Ok(Response::new(self.answer(found, request_id, speed)))
    }

    async fn fill(&self, request: Request<Streaming<FillRequest>>) -> Result<Response<FillResponse>, Status> {
        let tenant = self.tenant(&RequestContext::from_request(&request))?;
        Ok(Response::new(fill::fill(&self.0, &tenant, request.into_inner()).await?))
    }

    async fn feedback(
        &self,
        request: Request<FeedbackRequest>,
    ) -> Result<Response<FeedbackResponse>, Status> {
        let tenant = self.tenant(&RequestContext::from_request(&request))?;
        let FeedbackRequest { entry_id, request_id, score, estimated_error } = request.into_inner();
        if !(-1.0..=1.0).contains(&score) {
            return Err(Failure::invalid("score", "must be between -1 (wrong) and 1 (right)").into());
        }
        if request_id.len() > REQUEST_ID_BYTES {
            return Err(Failure::invalid("request_id", "is not an id that the mesh gave").into());
        }
        let id = entry_id.parse().map_err(|_| Failure::invalid("entry_id", "is not the id of an entry"))?;
        let seen = estimated_error.map(|error| 1.0 - error).filter(|seen| (0.0..1.0).contains(seen));
        self.0.judge(&tenant, id, (&request_id, seen), score).await?;
        Ok(Response::new(FeedbackResponse {}))
    }

    async fn follow_count(
        &self,
        request: Request<FollowCountRequest>,
    ) -> Result<Response<FollowCountResponse>, Status> {
        let tenant = self.tenant(&RequestContext::from_request(&request))?;
        let followers = match request.into_inner().lease_id.parse() {
            Ok(lease) => self.0.backend.followers(&tenant.name, lease).await,
            Err(_) => 0,
        };
        Ok(Response::new(FollowCountResponse { followers }))
    }

    async fn invalidate(
        &self,
        request: Request<InvalidateRequest>,
    ) -> Result<Response<InvalidateResponse>, Status> {
        let tenant = self.tenant(&RequestContext::from_request(&request))?;
        let cover = self.cover(request.into_inner().by).await?;
        let removed = self.0.invalidate(&tenant, cover).await?;
        Ok(Response::new(InvalidateResponse { removed }))
    }

    async fn stats(&self, request: Request<StatsRequest>) -> Result<Response<StatsResponse>, Status> {
        let tenant = self.tenant(&RequestContext::from_request(&request))?;
        Ok(Response::new(self.figures(&tenant).await))
    }
}

impl Service {
    fn tenant(&self, context: &RequestContext) -> Result<Arc<Tenant>, Failure> {
        if context.tenant().is_empty() {
            let what = "is missing from the request's context; call through the gateway";
            return Err(Failure::invalid("tenant", what));
        }
        self.0.tenants.get(context.tenant())
    }

    fn asked(&self, context: &RequestContext, request: LookupRequest) -> Result<Asked, Failure> {
        let tenant = self.tenant(context)?;
        let LookupRequest {
            chat,
            policy,
            policy_name,
            guard_digest,
            attribution,
            vector,
            redacted,
            judge_answer,
        } = request;
        let chat = checked(chat)?;
        let terms = Terms::of(&self.0.policies.load(), &policy_name, policy.as_ref())?;
        let user = attribution.and_then(|attribution| attribution.user).filter(|user| !user.is_empty());
        if user.as_ref().is_some_and(|user| user.len() > USER_BYTES) {
            return Err(Failure::invalid("attribution.user", format!("at most {USER_BYTES} bytes")));
        }
        let request_id = context.request_id().to_owned();
        Ok(Asked {
            tenant,
            chat,
            terms,
            user,
            guard_digest: guard_digest.to_vec(),
            redacted,
            vector,
            request_id,
            opinion: judge_answer.as_ref().map(Opinion::of),
        })
    }

    /// The messages of a lookup's answer. Events are decoded as they are read.
    fn answer(&self, found: Found, request_id: String, speed: f64) -> Messages {
        match found {
            Found::Bypass { skip } => alone(CacheState::Bypass, None, None, Some(skip)),
            Found::Miss { lease, vector, skip } => alone(CacheState::Miss, lease, vector, skip),
            Found::Doubtful { question, vector } => {
                let result = LookupResult {
                    cache: Some(CacheInfo { state: CacheState::Miss.into(), ..CacheInfo::default() }),
                    vector,
                    judge_needed: Some(question),
                    ..LookupResult::default()
                };
                Box::pin(stream::iter([Ok(LookupResponse { kind: Some(Kind::Result(result)) })]))
            }
            Found::Follow { follower } => follow::stream(Arc::clone(&self.0), follower, request_id),
            Found::Exact { entry, stale, lease } => {
                let result = LookupResult {
                    cache: Some(CacheInfo { stale, ..self.about(&entry, CacheState::Exact) }),
                    saved_nanousd: entry.cost_nanousd,
                    revalidate: lease.is_some(),
                    lease: lease.map(Lease::from),
                    ..LookupResult::default()
                };
                replay::stream(entry, result, request_id, speed)
            }
            Found::Semantic { close, vector, lease } => {
                let cache = CacheInfo {
                    similarity: Some(close.similarity.into()),
                    estimated_error: Some(1.0 - close.probability),
                    ..self.about(&close.entry, CacheState::Semantic)
                };
                let result = LookupResult {
                    cache: Some(cache),
                    vector,
                    saved_nanousd: close.entry.cost_nanousd,
                    shadow: lease.is_some(),
                    lease: lease.map(Lease::from),
                    ..LookupResult::default()
                };
                replay::stream(close.entry, result, request_id, speed)
            }
        }
    }

    fn about(&self, entry: &Entry, state: CacheState) -> CacheInfo {
        CacheInfo {
            state: state.into(),
            entry_id: Some(entry.id.to_string()),
            age_ms: Some(entry.age_ms(self.0.clock.unix_ms())),
            ..CacheInfo::default()
        }
    }

    async fn cover(&self, by: Option<By>) -> Result<Cover, Failure> {
        Ok(match by.ok_or_else(|| Failure::invalid("by", "say what to remove"))? {
            By::EntryId(id) => Cover::Entry(
                id.parse().map_err(|_| Failure::invalid("entry_id", "is not the id of an entry"))?,
            ),
            By::Tag(tag) if (1..=TAG_BYTES).contains(&tag.len()) => Cover::Tag(tag.into()),
            By::Tag(_) => return Err(Failure::invalid("tag", format!("give 1 to {TAG_BYTES} bytes"))),
            // A name without its provider would remove nothing, and say so as if nothing were there.
            By::Model(model) if model.len() <= MODEL_BYTES && model.contains('/') => {
                Cover::Model(model.into())
            }
            By::Model(_) => return Err(Failure::invalid("model", "give it as `provider/model`")),
            By::All(true) => Cover::All,
            By::All(false) => {
                return Err(Failure::invalid("all", "is false; set it, or name what to remove"));
            }
            By::Like(like) => {
                let least = like.min_similarity.unwrap_or(LIKE_SIMILARITY);
                if !(0.0..=1.0).contains(&least) {
                    return Err(Failure::invalid("like.min_similarity", "must be between 0 and 1"));
                }
                if like.text.trim().is_empty() || like.text.len() > LIKE_BYTES {
                    return Err(Failure::invalid(
                        "like.text",
                        format!("give 1 to {LIKE_BYTES} bytes of text"),
                    ));
                }
                let vector = self.0.embedding.embed(like.text.trim(), LIKE_TIMEOUT).await;
                let vector = vector.map_err(|skip| self.no_vector(skip))?;
                #[expect(clippy::cast_possible_truncation, reason = "between 0 and 1")]
                let at_least = least as f32;
                Cover::Like { vector, at_least }
            }
        })
    }

    fn no_vector(&self, skip: Skip) -> Failure {
        match skip {
            Skip::Timeout | Skip::Busy => Failure::Busy,
            _ => Failure::NotSupported(format!(
                "texts cannot be compared: semantic tier {}",
                self.0.semantic_state()
            )),
        }
    }

    async fn figures(&self, tenant: &Tenant) -> StatsResponse {
        let figures = &tenant.figures;
        let (entries, bytes) = self.0.backend.extent(&tenant.name).await;
        let estimate = figures.estimate();
        StatsResponse {
            entries,
            bytes,
            lookups: figures.lookups.load(Ordering::Relaxed),
            exact_hits: figures.exact_hits.load(Ordering::Relaxed),
            semantic_hits: figures.semantic_hits.load(Ordering::Relaxed),
            follows: figures.follows.load(Ordering::Relaxed),
            leases: self.0.backend.leases(&tenant.name),
            stored: figures.stored.load(Ordering::Relaxed),
            refused: figures.refused.load(Ordering::Relaxed),
            saved_nanousd: figures.saved_nanousd.load(Ordering::Relaxed),
            wrong_hits: u64::try_from(figures.wrong_hits.load(Ordering::Relaxed)).unwrap_or(0),
            estimated_error: estimate.map(|estimate| estimate.share),
            estimated_error_low: estimate.map(|estimate| estimate.low),
            estimated_error_high: estimate.map(|estimate| estimate.high),
            verified_hits: figures.verified(),
            shadow_checks: figures.shadow_checks.load(Ordering::Relaxed),
            shadow_agreed: figures.shadow_agreed.load(Ordering::Relaxed),
            shadow_differed: figures.shadow_differed.load(Ordering::Relaxed),
            judged_candidates: figures.judged_candidates.load(Ordering::Relaxed),
            stale_hits: figures.stale_hits.load(Ordering::Relaxed),
            hit_rate: figures.hit_rate(),
            semantic_state: self.0.semantic_state().into(),
            model_hash: self.0.embedding.hash().map(|hash| hash.to_vec()).unwrap_or_default().into(),
        }
    }
}

fn checked(chat: Option<ChatRequest>) -> Result<ChatRequest, Failure> {
    let chat = chat.ok_or_else(|| Failure::invalid("chat", "give the request"))?;
    if !(1..=MODEL_BYTES).contains(&chat.model.len()) {
        return Err(Failure::invalid("chat.model", format!("give 1 to {MODEL_BYTES} bytes")));
    }
    if chat.messages.is_empty() {
        return Err(Failure::invalid("chat.messages", "add at least one message"));
    }
    if chat.messages.iter().any(|message| message.role() == Role::Unspecified) {
        return Err(Failure::invalid("chat.messages.role", "say who speaks in each message"));
    }
    Ok(chat)
}

fn alone(state: CacheState, lease: Option<Granted>, vector: Option<Vector>, skip: Option<Skip>) -> Messages {
    let lease = lease.map(Lease::from);
    let result = LookupResult {
        cache: Some(CacheInfo { state: state.into(), ..CacheInfo::default() }),
        lease,
        vector,
        semantic_skipped: skip.map(Skip::as_str).unwrap_or_default().into(),
        ..LookupResult::default()
    };
    Box::pin(stream::iter([Ok(LookupResponse { kind: Some(Kind::Result(result)) })]))
}

impl From<Granted> for Lease {
    fn from(Granted { id, expires_unix_ms, entry_id }: Granted) -> Self {
        Self { id, expires_unix_ms, entry_id: entry_id.to_string() }
    }
}
