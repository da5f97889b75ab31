//! A real generated service whose methods do what a test says.

use std::{future::ready, pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt as _, stream};
use signalbox_mesh::{Part, method, server};
use signalbox_proto::guard::v1::{
    InspectRequest, InspectResponse, ListDetectorsRequest, ListDetectorsResponse, ScreenClosed, ScreenEvents,
    ScreenRequest, ScreenResponse,
    guard_service_server::{GuardService, GuardServiceServer},
    screen_request, screen_response,
};
use signalbox_proto::paths;
use tonic::{Request, Response, Status, Streaming};

pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<Response<InspectResponse>, Status>> + Send>>;
pub(crate) type Screened = Pin<Box<dyn Stream<Item = Result<ScreenResponse, Status>> + Send>>;
type Inspecting = dyn Fn(Request<InspectRequest>) -> Answer + Send + Sync;
type Screening = dyn Fn(Request<Streaming<ScreenRequest>>) -> Result<Screened, Status> + Send + Sync;

pub(crate) const LIST: &str = "/signalbox.guard.v1.GuardService/ListDetectors";

/// The service; by default `Inspect` succeeds and `Screen` answers each message with one.
#[derive(Clone)]
pub(crate) struct Scripted {
    inspect: Arc<Inspecting>,
    screen: Arc<Screening>,
}

impl Default for Scripted {
    fn default() -> Self {
        Self {
            inspect: Arc::new(|_| Box::pin(ready(Ok(Response::new(InspectResponse::default()))))),
            screen: Arc::new(|r| Ok(echo(r))),
        }
    }
}

impl Scripted {
    pub(crate) fn inspect<F>(
        mut self,
        f: impl Fn(Request<InspectRequest>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<InspectResponse, Status>> + Send + 'static,
    {
        self.inspect = Arc::new(move |request| {
            let answer = f(request);
            Box::pin(async move { answer.await.map(Response::new) })
        });
        self
    }

    pub(crate) fn screen<S>(
        mut self,
        f: impl Fn(Request<Streaming<ScreenRequest>>) -> S + Send + Sync + 'static,
    ) -> Self
    where
        S: Stream<Item = Result<ScreenResponse, Status>> + Send + 'static,
    {
        self.screen = Arc::new(move |request| Ok(Box::pin(f(request))));
        self
    }

    pub(crate) fn part(self) -> Part {
        Part::new(server!(GuardServiceServer, self))
    }

    /// A part whose methods are called as functions within the process.
    pub(crate) fn direct(self) -> Part {
        let script = Arc::new(self);
        let part = Part::new(server!(GuardServiceServer, from Arc::clone(&script)));
        let part = method!(part, paths::INSPECT, script, GuardService::inspect);
        let part = method!(part, LIST, script, GuardService::list_detectors);
        method!(part, paths::SCREEN, script, GuardService::screen, stream)
    }
}

#[tonic::async_trait]
impl GuardService for Scripted {
    type ScreenStream = Screened;

    async fn inspect(&self, request: Request<InspectRequest>) -> Result<Response<InspectResponse>, Status> {
        (self.inspect)(request).await
    }

    async fn screen(&self, request: Request<Streaming<ScreenRequest>>) -> Result<Response<Screened>, Status> {
        (self.screen)(request).map(Response::new)
    }

    async fn list_detectors(
        &self,
        _: Request<ListDetectorsRequest>,
    ) -> Result<Response<ListDetectorsResponse>, Status> {
        panic!("on purpose, with nothing of the request in it");
    }
}

fn echo(request: Request<Streaming<ScreenRequest>>) -> Screened {
    Box::pin(request.into_inner().map(|message| message.map(|_| said(1))))
}

/// An answer that can be told by its number.
pub(crate) fn said(number: u32) -> ScreenResponse {
    let closed = ScreenClosed { restored: number, ..ScreenClosed::default() };
    ScreenResponse { kind: Some(screen_response::Kind::Closed(closed)) }
}

pub(crate) fn number(message: &ScreenResponse) -> u32 {
    match &message.kind {
        Some(screen_response::Kind::Closed(closed)) => closed.restored,
        other => panic!("not a numbered answer: {other:?}"),
    }
}

/// A message of a request stream.
pub(crate) fn ask() -> ScreenRequest {
    ScreenRequest { kind: Some(screen_request::Kind::Events(ScreenEvents::default())) }
}

/// The numbers as a stream that then waits forever, holding `kept`.
pub(crate) fn then_silence<T: Send + 'static>(
    numbers: impl IntoIterator<Item = u32>,
    kept: T,
) -> impl Stream<Item = Result<ScreenResponse, Status>> + Send {
    let numbers: Vec<_> = numbers.into_iter().map(|n| Ok(said(n))).collect();
    stream::iter(numbers).chain(stream::once(async move {
        std::future::pending::<()>().await;
        drop(kept);
        Ok(said(0))
    }))
}
