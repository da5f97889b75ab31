//! The one public door: besides `GatewayService` it lets an allow-list of administrative methods of the other services
//! through, as they are and only with an admin key.

use std::{
    convert::Infallible,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use signalbox_mesh::{Channel, Part, error};
use signalbox_proto::{
    cache::v1::cache_service_server::CacheServiceServer, common::v1::ErrorReason,
    executor::v1::executor_service_server::ExecutorServiceServer,
    guard::v1::guard_service_server::GuardServiceServer,
    metering::v1::metering_service_server::MeteringServiceServer,
    router::v1::router_service_server::RouterServiceServer,
};
use tonic::{Code, Request, Status, body::Body, metadata::MetadataMap, server::NamedService};
use tower::{Service, ServiceExt as _};

use crate::{Mesh, caller::Caller, parts};

/// Names the tenant that an administrative call is about, where the method takes it from the context.
/// Absent: the caller's own.
pub const TENANT_HEADER: &str = "x-signalbox-tenant";

/// The administrative methods, by service.
const METERING: [&str; 17] = [
    "QueryUsage",
    "ExportUsage",
    "CreateKey",
    "ListKeys",
    "UpdateKey",
    "RotateKey",
    "RevokeKey",
    "ListAudit",
    "CreateBudget",
    "ListBudgets",
    "UpdateBudget",
    "DeleteBudget",
    "CreateLimit",
    "ListLimits",
    "UpdateLimit",
    "DeleteLimit",
    "WatchAlerts",
];
const CACHE: [&str; 2] = ["Invalidate", "Stats"];
const ROUTER: [&str; 3] = ["Explain", "ListModels", "Plan"];
const EXECUTOR: [&str; 1] = ["ListTargets"];
const GUARD: [&str; 2] = ["ListDetectors", "Inspect"];

/// Adds the administrative methods to the gateway's own.
pub(crate) fn with_administration(own: Part, mesh: &Arc<Mesh>) -> Part {
    let parts = &mesh.parts;
    own.and(Door::<MeteringServiceServer<()>>::new("metering", mesh, &parts.metering, &METERING))
        .and(Door::<CacheServiceServer<()>>::new("cache", mesh, &parts.cache, &CACHE))
        .and(Door::<RouterServiceServer<()>>::new("router", mesh, &parts.router, &ROUTER))
        .and(Door::<ExecutorServiceServer<()>>::new("executor", mesh, &parts.executor, &EXECUTOR))
        .and(Door::<GuardServiceServer<()>>::new("guard", mesh, &parts.guard, &GUARD))
}

/// Forwards the listed methods of a service; `N` lends the service's name.
struct Door<N> {
    part: &'static str,
    mesh: Arc<Mesh>,
    channel: Channel,
    methods: &'static [&'static str],
    name: PhantomData<fn() -> N>,
}

impl<N> Clone for Door<N> {
    fn clone(&self) -> Self {
        Self {
            part: self.part,
            mesh: Arc::clone(&self.mesh),
            channel: self.channel.clone(),
            methods: self.methods,
            name: PhantomData,
        }
    }
}

impl<N: NamedService> NamedService for Door<N> {
    const NAME: &'static str = N::NAME;
}

impl<N: NamedService> Door<N> {
    fn new(
        part: &'static str,
        mesh: &Arc<Mesh>,
        channel: &Channel,
        methods: &'static [&'static str],
    ) -> Self {
        Self { part, mesh: Arc::clone(mesh), channel: channel.clone(), methods, name: PhantomData }
    }

    async fn forward(self, request: http::Request<Body>) -> Result<http::Response<Body>, Status> {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default();
        if !self.methods.contains(&method) {
            let message = "this method is for the mesh itself and is not served at the public door";
            let refused = error::status(Code::Unimplemented, ErrorReason::NotSupported, message);
            return Err(refused.with_metadata("part", self.part).into());
        }
        let (mut head, body) = request.into_parts();
        let metadata = MetadataMap::from_headers(head.headers.clone());
        let knock = Request::from_parts(metadata, head.extensions.clone(), ());
        let caller = Caller::of(&knock, &self.mesh)?;
        let principal = caller.identify(&self.mesh, true).await?;
        let tenant = match head.headers.remove(TENANT_HEADER) {
            Some(tenant) => tenant
                .to_str()
                .map(str::to_owned)
                .map_err(|_| error::invalid(TENANT_HEADER, "is not ASCII text; name a configured tenant"))?,
            None => principal.tenant,
        };
        // The credential ends here; the context is the mesh's own.
        head.headers.remove(http::header::AUTHORIZATION);
        head.extensions.insert(caller.context.with_principal(&tenant, &principal.id));
        let request = http::Request::from_parts(head, body);
        let failed = |error| parts::away(self.part, &format!("{} cannot be reached: {error}", self.part));
        self.channel.oneshot(request).await.map_err(failed)
    }
}

impl<N: NamedService + 'static> Service<http::Request<Body>> for Door<N> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let forward = self.clone().forward(request);
        Box::pin(async { Ok(forward.await.unwrap_or_else(Status::into_http)) })
    }
}
