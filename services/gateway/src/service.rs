//! The gRPC face: decode, validate, call the pipeline, encode. No decisions.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::Stream;
use signalbox_proto::{
    common::v1::{FinishReason, Finished, Notice, notice},
    gateway::v1::{
        CompleteRequest, CompleteResponse, CountTokensRequest, CountTokensResponse, EmbedRequest,
        EmbedResponse, FeedbackRequest, FeedbackResponse, GenerateRequest, GenerateResponse,
        ListModelsRequest, ListModelsResponse, gateway_service_server::GatewayService,
    },
};
use tonic::{Request, Response, Status};

use crate::{
    Mesh,
    bell::Bell,
    caller::Caller,
    lead::Running,
    outlet::{Outlet, Queue, WAITING},
    pipeline::{self, Call},
    queries, validate,
};

/// The public service.
pub(crate) struct Gateway {
    pub(crate) mesh: Arc<Mesh>,
}

#[tonic::async_trait]
impl GatewayService for Gateway {
    type GenerateStream = Events;

    async fn generate(&self, request: Request<GenerateRequest>) -> Result<Response<Events>, Status> {
        let caller = Caller::of(&request, &self.mesh)?;
        let request = request.into_inner();
        validate::generate(&request)?;
        let call = caller.call(request, &self.mesh);
        Ok(Response::new(Events::new(Arc::clone(&self.mesh), call)))
    }

    async fn complete(
        &self,
        request: Request<CompleteRequest>,
    ) -> Result<Response<CompleteResponse>, Status> {
        let caller = Caller::of(&request, &self.mesh)?;
        let request = request.into_inner().request.unwrap_or_default();
        validate::generate(&request)?;
        let call = caller.call(request, &self.mesh);
        complete(&self.mesh, call, caller.arrived).await.map(Response::new)
    }

    async fn embed(&self, request: Request<EmbedRequest>) -> Result<Response<EmbedResponse>, Status> {
        let caller = Caller::of(&request, &self.mesh)?;
        let request = request.into_inner();
        validate::embed(&request)?;
        queries::embed(&self.mesh, caller, request).await.map(Response::new)
    }

    async fn count_tokens(
        &self,
        request: Request<CountTokensRequest>,
    ) -> Result<Response<CountTokensResponse>, Status> {
        let caller = Caller::of(&request, &self.mesh)?;
        queries::count_tokens(&self.mesh, caller, request.into_inner()).await.map(Response::new)
    }

    async fn list_models(
        &self,
        request: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        let caller = Caller::of(&request, &self.mesh)?;
        queries::list_models(&self.mesh, caller).await.map(Response::new)
    }

    async fn feedback(
        &self,
        request: Request<FeedbackRequest>,
    ) -> Result<Response<FeedbackResponse>, Status> {
        let caller = Caller::of(&request, &self.mesh)?;
        queries::feedback(&self.mesh, caller, request.into_inner()).await.map(Response::new)
    }
}

/// An answer that a budget ended, with a notice in the place of the status; `None` where it was not that.
fn cut(mut whole: CompleteResponse, status: &Status) -> Option<CompleteResponse> {
    let ended_by = whole.finished.as_deref().map(Finished::finish_reason);
    if ended_by != Some(FinishReason::Budget) {
        return None;
    }
    whole.notices.push(Notice {
        kind: notice::Kind::Budget.into(),
        part: "metering".into(),
        message: status.message().to_owned(),
        ..Notice::default()
    });
    Some(whole)
}

/// Answers a request as a whole.
pub(crate) async fn complete(
    mesh: &Arc<Mesh>,
    call: Arc<Call>,
    arrived: tokio::time::Instant,
) -> Result<CompleteResponse, Status> {
    let mut outlet = Outlet::whole(arrived);
    let leading = outlet.leading();
    let held = Arc::clone(mesh);
    let work = async move { (run(&held, call, &mut outlet).await, outlet) };
    let (ended, outlet) = Running::new(Arc::clone(mesh), leading, work).await;
    let whole = outlet.into_whole().unwrap_or_default();
    match ended {
        Ok(()) => Ok(whole),
        // What there is of the answer was paid for.
        Err(status) => cut(whole, &status).ok_or(status),
    }
}

/// Runs the pipeline within the request's deadline.
async fn run(mesh: &Arc<Mesh>, call: Arc<Call>, outlet: &mut Outlet) -> Result<(), Status> {
    let deadline = call.deadline;
    match tokio::time::timeout_at(deadline, pipeline::answer(mesh, call, outlet)).await {
        Ok(ended) => ended,
        Err(_) => Err(pipeline::deadline_exceeded()),
    }
}

/// The stream of a request's events. The pipeline runs inside it: it goes no faster than the client reads, and ends when
/// the client drops it, unless others follow.
pub(crate) struct Events {
    queue: Queue,
    /// Until it has ended.
    running: Option<Running<Result<(), Status>>>,
    /// For what runs.
    bell: Bell,
    /// What runs had nothing to do, and has not rung since.
    waits: bool,
    /// How it ended, if in an error: behind the events that were sent before it.
    failed: Option<Status>,
}

impl Events {
    pub(crate) fn new(mesh: Arc<Mesh>, call: Arc<Call>) -> Self {
        let queue = Queue::default();
        let mut outlet = Outlet::stream(Arc::clone(&queue), call.arrived);
        let (leading, held) = (outlet.leading(), Arc::clone(&mesh));
        let work = async move { run(&mesh, call, &mut outlet).await };
        let running = Some(Running::new(held, leading, work));
        Self { queue, running, bell: Bell::new(), waits: false, failed: None }
    }
}

impl Stream for Events {
    type Item = Result<GenerateResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            // The way down to the provider is long: it is gone once for all that it brought, not once for each piece.
            let mut queue = this.queue.lock();
            if let Some(event) = queue.pop_front() {
                // Whoever waited for room has some now.
                this.waits &= queue.len() + 1 < WAITING;
                return Poll::Ready(Some(Ok(event)));
            }
            drop(queue);
            let Some(running) = &mut this.running else {
                return Poll::Ready(this.failed.take().map(Err));
            };
            this.bell.listen(cx);
            this.waits &= !this.bell.rang();
            if this.waits {
                return Poll::Pending;
            }
            match Pin::new(running).poll(&mut this.bell.context()) {
                Poll::Ready(ended) => {
                    this.running = None;
                    this.failed = ended.err();
                }
                Poll::Pending => this.waits = true,
            }
        }
    }
}
