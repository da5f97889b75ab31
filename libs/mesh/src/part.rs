//! What a service crate hands over: its gRPC services, its health, and how it ends.

use std::{any::Any, convert::Infallible, fmt, pin::Pin, sync::Arc};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use tonic::{Status, body::Body, server::NamedService};
use tower::{Service, util::BoxCloneSyncService};

use crate::{HealthHandle, Http, Shutdown};

pub(crate) type Handler = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;
type Ending = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A method as a function: what it takes and gives are messages, or streams of them.
pub(crate) struct Method<Q, A> {
    path: &'static str,
    run: Box<Run<Q, A>>,
}

type Run<Q, A> = dyn Fn(tonic::Request<Q>) -> Running<A> + Send + Sync;
type Running<A> = BoxFuture<'static, Result<tonic::Response<A>, Status>>;

impl<Q, A> Method<Q, A> {
    pub(crate) fn path(&self) -> &'static str {
        self.path
    }

    pub(crate) fn call(&self, request: tonic::Request<Q>) -> Running<A> {
        (self.run)(request)
    }
}

/// The methods that may be called as functions, by path: a handful.
#[derive(Clone, Default)]
pub(crate) struct Methods(Vec<(&'static str, Arc<dyn Any + Send + Sync>)>);

impl Methods {
    pub(crate) fn get<Q: 'static, A: 'static>(&self, path: &str) -> Option<Arc<Method<Q, A>>> {
        let (_, method) = self.0.iter().find(|(known, _)| *known == path)?;
        Arc::clone(method).downcast().ok()
    }

    pub(crate) fn names(&self, path: &str) -> bool {
        self.0.iter().any(|(known, _)| *known == path)
    }
}

/// One part of the mesh, ready to be served over the network or called in process.
pub struct Part {
    name: &'static str,
    pub(crate) services: Vec<(&'static str, Handler)>,
    health: HealthHandle,
    shutdown: Shutdown,
    endings: Vec<Ending>,
    pub(crate) http: Option<Http>,
    pub(crate) methods: Methods,
}

impl Part {
    /// Creates a part from a generated server; make that with [`server!`](crate::server).
    pub fn new<S>(server: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
        S: NamedService + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        let part = Self {
            name: S::NAME,
            services: Vec::new(),
            health: HealthHandle::new(),
            shutdown: Shutdown::new(),
            endings: Vec::new(),
            http: None,
            methods: Methods::default(),
        };
        part.and(server)
    }

    /// Adds another generated server to the part.
    #[must_use]
    pub fn and<S>(mut self, server: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
        S: NamedService + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        self.services.push((S::NAME, BoxCloneSyncService::new(server)));
        self
    }

    /// Names a method of one of the part's servers, which callers in this process then reach as a function, through the same layers. See
    /// [`method!`](crate::method).
    #[must_use]
    pub fn method<Q: 'static, A: 'static>(
        mut self,
        path: &'static str,
        run: impl Fn(tonic::Request<Q>) -> BoxFuture<'static, Result<tonic::Response<A>, Status>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.methods.0.push((path, Arc::new(Method { path, run: Box::new(run) })));
        self
    }

    /// Takes over a health handle that the service reports to.
    #[must_use]
    pub fn with_health(mut self, health: HealthHandle) -> Self {
        self.health = health;
        self
    }

    /// Takes over the service's [`Shutdown`]: it begins when the last call is done, and its tasks are waited for.
    #[must_use]
    pub fn with_shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// Answers plain HTTP too, where the part is served: what no gRPC service has.
    #[must_use]
    pub fn with_http(mut self, http: Http) -> Self {
        self.http = Some(http);
        self
    }

    /// Adds something to be done at the very end, behind the tasks: flushing, closing.
    #[must_use]
    pub fn on_drain<F>(mut self, ending: impl FnOnce() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.endings.push(Box::new(move || Box::pin(ending())));
        self
    }

    /// The full name of the part's first gRPC service (`signalbox.guard.v1.GuardService`).
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The short name (`guard`).
    #[must_use]
    pub fn label(&self) -> &'static str {
        label(self.name)
    }

    /// The part's health.
    #[must_use]
    pub fn health(&self) -> HealthHandle {
        self.health.clone()
    }

    /// Ends the part: tells its tasks, waits for them, then does what was left for the end. Servers call it; so does
    /// who holds a part that is only called in process. Give it a bound.
    pub async fn drain(self) {
        self.shutdown.complete().await;
        for ending in self.endings {
            ending().await;
        }
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("name", &self.name).field("health", &self.health).finish_non_exhaustive()
    }
}

/// The short name of a gRPC service: `signalbox.guard.v1.GuardService` is `guard`.
pub(crate) fn label(service: &'static str) -> &'static str {
    let mut segments = service.split('.');
    match (segments.next(), segments.next()) {
        (Some("signalbox"), Some(part)) => part,
        _ => service,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_the_package_of_ours_and_the_full_name_of_others() {
        assert_eq!(label("signalbox.guard.v1.GuardService"), "guard");
        assert_eq!(label("grpc.health.v1.Health"), "grpc.health.v1.Health");
    }
}
