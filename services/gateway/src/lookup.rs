//! The question to the cache: known already? And the cache's own question to a judge model, asked here.

use std::time::Duration;

use signalbox_mesh::{Answers, RequestContext, error};
use signalbox_proto::{
    cache::v1::{
        JudgeAnswer, JudgeQuestion, Lease, LookupRequest, LookupResponse, LookupResult, lookup_response,
    },
    common::v1::{CacheInfo, CacheState, ErrorReason, Vector, cache_policy},
    metering::v1::Principal,
};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::{
    Mesh,
    inspect::Inspected,
    judge,
    parts::{self, is_optional_loss},
    pipeline::{Call, Entry, Log, micros, no_cache, only_if_cached},
    trail::Step,
};

/// What the cache knows.
pub(crate) enum Known {
    /// An answer; its events follow in the stream. With a lease the model is to be asked as well, in the background.
    Hit { stream: Answers<LookupResponse>, cache: CacheInfo, saved_nanousd: i64, lease: Option<Lease> },
    /// Nothing; perhaps with the right to fill.
    Miss { cache: CacheInfo, lease: Option<Lease>, vector: Option<Vector> },
}

/// What the cache says to one call.
enum Said {
    Known(Box<Known>),
    /// That is for a judge to say.
    Doubtful {
        question: Box<JudgeQuestion>,
        vector: Option<Vector>,
    },
}

/// Finds out what the cache knows, and asks the judge that it names.
///
/// # Errors
/// As [`lookup`].
pub(crate) async fn known(
    mesh: &Mesh,
    context: &RequestContext,
    call: &Call,
    entry: &mut Entry,
    inspected: &Inspected,
    log: &mut Log,
) -> Result<Known, Status> {
    if let Some(beside) = &call.beside {
        // What was redacted under another policy does not belong into that entry.
        let lease = (beside.policy_digest == inspected.policy_digest).then(|| beside.lease.clone());
        let lease = lease.ok_or_else(|| parts::away("guard", "the guard's policy has changed meanwhile"))?;
        return Ok(Known::Miss { cache: no_cache(CacheState::Miss), lease: Some(lease), vector: None });
    }
    let (question, vector) = match lookup(mesh, context, call, &entry.principal, inspected, None, log).await?
    {
        Said::Known(known) => return Ok(*known),
        Said::Doubtful { question, vector } => (question, vector),
    };
    let JudgeQuestion { model, chat, token } = *question;
    let text = match chat {
        Some(chat) => judge::ask(mesh, context, entry, &model, chat).await,
        None => String::new(),
    };
    let answer = Some((JudgeAnswer { token, text }, vector.clone()));
    match lookup(mesh, context, call, &entry.principal, inspected, answer, log).await? {
        Said::Known(known) => Ok(match *known {
            // A vector that was sent is not sent back.
            Known::Miss { cache, lease, vector: fresh } => {
                Known::Miss { cache, lease, vector: fresh.or(vector) }
            }
            hit @ Known::Hit { .. } => hit,
        }),
        // One question is asked, not a series.
        Said::Doubtful { .. } => Ok(Known::Miss { cache: no_cache(CacheState::Miss), lease: None, vector }),
    }
}

/// Asks the cache; without it, the request goes on as a miss.
///
/// # Errors
/// `NOT_CACHED` and the cache's judgement on a malformed request; `SERVICE_UNAVAILABLE` only for a request that wants
/// nothing but the cache.
async fn lookup(
    mesh: &Mesh,
    context: &RequestContext,
    call: &Call,
    principal: &Principal,
    inspected: &Inspected,
    judged: Option<(JudgeAnswer, Option<Vector>)>,
    log: &mut Log,
) -> Result<Said, Status> {
    let policy = call.request.policies.as_ref().and_then(|p| p.cache.clone());
    // An unchecked prompt is neither answered from nor written to what others read.
    if inspected.unguarded || policy.as_ref().is_some_and(|p| p.mode() == cache_policy::Mode::Off) {
        return Ok(Said::Known(Box::new(Known::Miss {
            cache: no_cache(CacheState::Bypass),
            lease: None,
            vector: None,
        })));
    }
    let (judge_answer, vector) = judged.unzip();
    let begun = Instant::now();
    let request = call.trail.within(Step::Lookup, context).request(LookupRequest {
        chat: Some(inspected.chat.clone()),
        policy,
        policy_name: principal.cache_policy.clone(),
        guard_digest: inspected.policy_digest.clone(),
        attribution: call.request.attribution.clone(),
        redacted: inspected.redacted > 0,
        vector: vector.flatten(),
        judge_answer,
    });
    let limit_ms = mesh.config.load().steps.lookup_ms;
    let asked = tokio::time::timeout(Duration::from_millis(limit_ms), first(mesh, request)).await;
    log.lookup_us += micros(begun);
    call.trail.ends(Step::Lookup);
    let asked = asked.unwrap_or_else(|_| Err(parts::away("cache", "the cache did not answer in time")));
    let asked = asked.inspect_err(|status| parts::missed("cache", status));
    match asked {
        Ok((result, stream)) => Ok(read(result, stream)),
        Err(status) if is_optional_loss(&status) && !only_if_cached(call) => {
            log.degraded("cache", "the cache is away; the model is asked");
            let cache = no_cache(CacheState::Unspecified);
            Ok(Said::Known(Box::new(Known::Miss { cache, lease: None, vector: None })))
        }
        Err(status) => Err(status),
    }
}

async fn first(
    mesh: &Mesh,
    request: tonic::Request<LookupRequest>,
) -> Result<(LookupResult, Answers<LookupResponse>), Status> {
    let mut stream = mesh.parts.lookup(request).await?.into_inner();
    match stream.message().await? {
        Some(LookupResponse { kind: Some(lookup_response::Kind::Result(result)) }) => Ok((result, stream)),
        _ => Err(error::status(
            Code::Internal,
            ErrorReason::Internal,
            "the cache's answer does not begin with a result",
        )
        .into()),
    }
}

fn read(result: LookupResult, stream: Answers<LookupResponse>) -> Said {
    let LookupResult { cache, lease, vector, saved_nanousd, judge_needed, .. } = result;
    let cache = cache.unwrap_or_default();
    match (cache.state(), judge_needed) {
        (CacheState::Exact | CacheState::Semantic | CacheState::Follow, _) => {
            Said::Known(Box::new(Known::Hit { stream, cache, saved_nanousd, lease }))
        }
        (_, Some(question)) => Said::Doubtful { question, vector },
        _ => Said::Known(Box::new(Known::Miss { cache, lease, vector })),
    }
}
