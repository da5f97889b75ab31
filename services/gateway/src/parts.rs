//! The five services behind the gateway, each a channel that is local or remote.

use std::time::Duration;

use signalbox_mesh::{Channel, error};
use signalbox_proto::{
    cache::v1::cache_service_client::CacheServiceClient, common::v1::ErrorReason,
    executor::v1::executor_service_client::ExecutorServiceClient,
    guard::v1::guard_service_client::GuardServiceClient,
    metering::v1::metering_service_client::MeteringServiceClient,
    router::v1::router_service_client::RouterServiceClient,
};
use tonic::{Code, Response, Status};

use crate::measure;

/// Channels to the other services.
#[derive(Clone)]
pub struct Parts {
    /// To the guard.
    pub guard: Channel,
    /// To the cache.
    pub cache: Channel,
    /// To the router.
    pub router: Channel,
    /// To the executor.
    pub executor: Channel,
    /// To metering.
    pub metering: Channel,
}

impl Parts {
    pub(crate) fn guard(&self) -> GuardServiceClient<Channel> {
        signalbox_mesh::client!(GuardServiceClient, self.guard)
    }

    pub(crate) fn cache(&self) -> CacheServiceClient<Channel> {
        signalbox_mesh::client!(CacheServiceClient, self.cache)
    }

    pub(crate) fn router(&self) -> RouterServiceClient<Channel> {
        signalbox_mesh::client!(RouterServiceClient, self.router)
    }

    pub(crate) fn executor(&self) -> ExecutorServiceClient<Channel> {
        signalbox_mesh::client!(ExecutorServiceClient, self.executor)
    }

    pub(crate) fn metering(&self) -> MeteringServiceClient<Channel> {
        signalbox_mesh::client!(MeteringServiceClient, self.metering)
    }
}

/// Bounds one step before the answer: a part that takes longer counts as away.
pub(crate) fn step<T>(
    part: &'static str,
    limit_ms: u64,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> impl Future<Output = Result<T, Status>> {
    // Boxed: a client's call holds some 12 KiB, and would stay part of every open stream that is past this step.
    let call = Box::pin(call);
    async move {
        let answer = match tokio::time::timeout(Duration::from_millis(limit_ms), call).await {
            Ok(answer) => answer.map(Response::into_inner),
            Err(_) => Err(away(part, &format!("{part} did not answer within {limit_ms} ms"))),
        };
        answer.inspect_err(|status| missed(part, status))
    }
}

/// The status for a part that is away.
pub(crate) fn away(part: &str, message: &str) -> Status {
    error::status(Code::Unavailable, ErrorReason::ServiceUnavailable, message)
        .with_metadata("service", part)
        .with_retry(Duration::from_secs(1))
        .into()
}

/// Counts a call that found its part away.
pub(crate) fn missed(part: &'static str, status: &Status) {
    if is_away(status) {
        measure::away(part);
    }
}

/// Whether a status says that the part is away, rather than that it answered.
pub(crate) fn is_away(status: &Status) -> bool {
    match error::reason_of(status) {
        Some(reason) => {
            matches!(
                reason,
                ErrorReason::ServiceUnavailable | ErrorReason::Overloaded | ErrorReason::Draining
            )
        }
        None => matches!(status.code(), Code::Unavailable | Code::Unknown),
    }
}

/// Whether the request can do without this answer of an optional part (cache, router): the part is away or broken,
/// while an answer about the request itself stands.
pub(crate) fn is_optional_loss(status: &Status) -> bool {
    is_away(status) || matches!(status.code(), Code::Internal | Code::Unimplemented | Code::DeadlineExceeded)
}
