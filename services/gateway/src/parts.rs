//! The five services behind the gateway, each a channel that is local or remote.

use std::time::Duration;

use futures_util::Stream;
use signalbox_mesh::{Answers, Called, Channel, error};
use signalbox_proto::{
    cache::v1::{
        FillRequest, FillResponse, LookupRequest, LookupResponse, cache_service_client::CacheServiceClient,
    },
    common::v1::ErrorReason,
    executor::v1::{ExecuteRequest, ExecuteResponse, executor_service_client::ExecutorServiceClient},
    guard::v1::{InspectRequest, InspectResponse, ScreenRequest, ScreenResponse},
    metering::v1::{
        AdmitRequest, AdmitResponse, SettleRequest, SettleResponse,
        metering_service_client::MeteringServiceClient,
    },
    paths,
    router::v1::{
        PlanRequest, PlanResponse, ReportRequest, ReportResponse, router_service_client::RouterServiceClient,
    },
};
use tonic::{Code, Request, Response, Status};

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

/// Calls that each request makes, or a batch of them: as functions where the part stands in this process.
impl Parts {
    pub(crate) fn admit(
        &self,
        request: Request<AdmitRequest>,
    ) -> impl Future<Output = Called<AdmitResponse>> + Send + use<> {
        self.metering.unary(paths::ADMIT, request)
    }

    pub(crate) fn inspect(
        &self,
        request: Request<InspectRequest>,
    ) -> impl Future<Output = Called<InspectResponse>> + Send + use<> {
        self.guard.unary(paths::INSPECT, request)
    }

    pub(crate) fn lookup(
        &self,
        request: Request<LookupRequest>,
    ) -> impl Future<Output = Called<Answers<LookupResponse>>> + Send + use<> {
        self.cache.server_streaming(paths::LOOKUP, request)
    }

    pub(crate) fn plan(
        &self,
        request: Request<PlanRequest>,
    ) -> impl Future<Output = Called<PlanResponse>> + Send + use<> {
        self.router.unary(paths::PLAN, request)
    }

    pub(crate) fn execute<S: Stream<Item = ExecuteRequest> + Send + 'static>(
        &self,
        request: Request<S>,
    ) -> impl Future<Output = Called<Answers<ExecuteResponse>>> + Send + use<S> {
        self.executor.streaming(paths::EXECUTE, request)
    }

    pub(crate) fn screen<S: Stream<Item = ScreenRequest> + Send + 'static>(
        &self,
        request: Request<S>,
    ) -> impl Future<Output = Called<Answers<ScreenResponse>>> + Send + use<S> {
        self.guard.streaming(paths::SCREEN, request)
    }

    pub(crate) fn fill<S: Stream<Item = FillRequest> + Send + 'static>(
        &self,
        request: Request<S>,
    ) -> impl Future<Output = Called<FillResponse>> + Send + use<S> {
        self.cache.client_streaming(paths::FILL, request)
    }

    pub(crate) fn settle(
        &self,
        request: Request<SettleRequest>,
    ) -> impl Future<Output = Called<SettleResponse>> + Send + use<> {
        self.metering.unary(paths::SETTLE, request)
    }

    pub(crate) fn report(
        &self,
        request: Request<ReportRequest>,
    ) -> impl Future<Output = Called<ReportResponse>> + Send + use<> {
        self.router.unary(paths::REPORT, request)
    }
}

/// Clients of the other methods.
impl Parts {
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
pub(crate) async fn step<T>(
    part: &'static str,
    limit_ms: u64,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Status> {
    let answer = match tokio::time::timeout(Duration::from_millis(limit_ms), call).await {
        Ok(answer) => answer.map(Response::into_inner),
        Err(_) => Err(away(part, &format!("{part} did not answer within {limit_ms} ms"))),
    };
    answer.inspect_err(|status| missed(part, status))
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
