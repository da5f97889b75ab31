//! The question to the cache: known already?

use std::time::Duration;

use signalbox_mesh::{RequestContext, error};
use signalbox_proto::{
    cache::v1::{Lease, LookupRequest, LookupResponse, LookupResult, lookup_response},
    common::v1::{CacheInfo, CacheState, ErrorReason, Vector, cache_policy},
    metering::v1::Principal,
};
use tokio::time::Instant;
use tonic::{Code, Status, Streaming};

use crate::{
    Mesh,
    inspect::Inspected,
    parts::{self, is_optional_loss},
    pipeline::{Call, Log, micros, no_cache, only_if_cached},
};

/// What the cache knows.
pub(crate) enum Known {
    /// An answer; its events follow in the stream.
    Hit { stream: Streaming<LookupResponse>, cache: CacheInfo, saved_nanousd: i64 },
    /// Nothing; perhaps with the right to fill.
    Miss { cache: CacheInfo, lease: Option<Lease>, vector: Option<Vector> },
}

/// Asks the cache; without it, the request goes on as a miss.
///
/// # Errors
/// `NOT_CACHED` and the cache's judgement on a malformed request; `SERVICE_UNAVAILABLE` only for a request that wants
/// nothing but the cache.
pub(crate) async fn lookup(
    mesh: &Mesh,
    context: &RequestContext,
    call: &Call,
    principal: &Principal,
    inspected: &Inspected,
    log: &mut Log,
) -> Result<Known, Status> {
    let policy = call.request.policies.as_ref().and_then(|p| p.cache.clone());
    // An unchecked prompt is neither answered from nor written to what others read.
    if inspected.unguarded || policy.as_ref().is_some_and(|p| p.mode() == cache_policy::Mode::Off) {
        return Ok(Known::Miss { cache: no_cache(CacheState::Bypass), lease: None, vector: None });
    }
    let begun = Instant::now();
    let request = context.request(LookupRequest {
        chat: Some(inspected.chat.clone()),
        policy,
        policy_name: principal.cache_policy.clone(),
        guard_digest: inspected.policy_digest.clone(),
        attribution: call.request.attribution.clone(),
        redacted: inspected.redacted > 0,
        ..LookupRequest::default()
    });
    let limit_ms = mesh.config.load().steps.lookup_ms;
    let asked = tokio::time::timeout(Duration::from_millis(limit_ms), first(mesh, request)).await;
    log.lookup_us = micros(begun);
    let asked = asked.unwrap_or_else(|_| Err(parts::away("cache", "the cache did not answer in time")));
    match asked {
        Ok((result, stream)) => Ok(known(result, stream)),
        Err(status) if is_optional_loss(&status) && !only_if_cached(call) => {
            log.degraded("cache", "the cache is away; the model is asked");
            Ok(Known::Miss { cache: no_cache(CacheState::Unspecified), lease: None, vector: None })
        }
        Err(status) => Err(status),
    }
}

async fn first(
    mesh: &Mesh,
    request: tonic::Request<LookupRequest>,
) -> Result<(LookupResult, Streaming<LookupResponse>), Status> {
    let mut stream = mesh.parts.cache().lookup(request).await?.into_inner();
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

fn known(result: LookupResult, stream: Streaming<LookupResponse>) -> Known {
    let cache = result.cache.unwrap_or_default();
    match cache.state() {
        CacheState::Exact | CacheState::Semantic | CacheState::Follow => {
            Known::Hit { stream, cache, saved_nanousd: result.saved_nanousd }
        }
        _ => Known::Miss { cache, lease: result.lease, vector: result.vector },
    }
}
