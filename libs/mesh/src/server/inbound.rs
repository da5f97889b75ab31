//! What stands before every handler, over the network and in process alike.
//!
//! From the outside in, and why there:
//!
//! 1. concurrency limit: refusing must cost nothing, so it comes before anything is read;
//! 2. caller: who may call, where certificates tell;
//! 3. context: metadata becomes a [`RequestContext`]; from outside the mesh it is stripped first;
//! 4. span: everything below is logged with the trace id;
//! 5. message limit: on the request's body, before it is decoded;
//! 6. deadline: over the whole answer, not only its headers;
//! 7. panic: closest to the handler, so that all of the above still works after one.

use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response, request::Parts};
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;
use signalbox_proto::common::v1::ErrorReason;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Code, Status, body::Body, codegen::StdError};
use tracing::Span;

use super::{
    ContextTrust, Manner,
    dispatch::{Answering, Dispatch},
    probe, refusal,
    told::Told,
};
use crate::{
    Random, RequestContext, TraceContext, error,
    frame::Metered,
    metadata::PRIVATE_PREFIX,
    patience::{Patience, Timer},
    tls::Stranger,
};

/// Health and reflection: answered also under overload, and never a reason to hold up the end.
const OWN_SERVICES: &str = "/grpc.";
/// What everybody may ask: probes have no certificates.
const HEALTH: &str = "/grpc.health.";

/// What all calls of one listener, or of one part in process, share.
pub(crate) struct Shared {
    pub(crate) concurrency: usize,
    pub(crate) max_message_bytes: usize,
    pub(crate) trust: ContextTrust,
    /// The context comes as an extension, and the calling side keeps the deadline.
    pub(crate) in_process: bool,
    pub(crate) random: Random,
    pub(crate) draining: CancellationToken,
    in_flight: AtomicUsize,
}

impl Shared {
    pub(crate) fn new(
        config: &crate::ServerConfig,
        trust: ContextTrust,
        in_process: bool,
        random: Random,
        draining: CancellationToken,
    ) -> Self {
        Self {
            concurrency: config.concurrency,
            max_message_bytes: config.max_message_bytes,
            trust,
            in_process,
            random,
            draining,
            in_flight: AtomicUsize::new(0),
        }
    }

    fn admit(self: &Arc<Self>) -> Option<Permit> {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        // Built first, so that its drop takes the count back in both cases.
        let permit = Permit(Arc::clone(self));
        (before < self.concurrency).then_some(permit)
    }

    fn context(&self, parts: &mut Parts) -> RequestContext {
        let mut context = match self.trust {
            ContextTrust::Mesh if self.in_process => {
                parts.extensions.remove::<RequestContext>().unwrap_or_default()
            }
            ContextTrust::Mesh => RequestContext::read(&parts.headers, Instant::now),
            ContextTrust::Public => {
                strip(&mut parts.headers);
                RequestContext::read(&parts.headers, Instant::now)
            }
        };
        self.trace(&mut context);
        context
    }

    fn trace(&self, context: &mut RequestContext) {
        let trace = match context.trace() {
            // Within a process the caller's span is this one already.
            Some(_) if self.in_process => return,
            Some(trace) => trace.child(&self.random),
            None => {
                let mut trace = TraceContext::root(&self.random, false);
                // Traces begin at the door; work of the mesh's own is none.
                let begins = self.trust == ContextTrust::Public;
                trace.set_sampled(begins && signalbox_telemetry::trace::samples(trace.trace_id()));
                trace
            }
        };
        context.set_trace(trace);
    }

    /// Lets in a call of this process that is none of gRPC's: what holds its place, to its end.
    ///
    /// # Errors
    /// So many calls are being served as may be.
    pub(crate) fn enter(self: &Arc<Self>, path: &str, context: &mut RequestContext) -> Result<Rest, Status> {
        let permit = self.admit().ok_or_else(|| overloaded(self.concurrency))?;
        self.trace(context);
        let span = span(path, context, true);
        let (grpc, manner) = (true, refusal::grpc as Manner);
        Ok(Rest { span, grpc, manner, _permit: Some(permit), began: Instant::now(), told: None })
    }
}

fn strip(headers: &mut HeaderMap) {
    let private: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with(PRIVATE_PREFIX)).cloned().collect();
    for name in private {
        headers.remove(name);
    }
}

/// A place among the calls that are served at a time; given back when it is dropped.
struct Permit(Arc<Shared>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The layers, around the services of a listener or of a part.
#[derive(Clone)]
pub(crate) struct Inbound {
    dispatch: Dispatch,
    shared: Arc<Shared>,
}

impl Inbound {
    pub(crate) fn new(dispatch: Dispatch, shared: Shared) -> Self {
        Self { dispatch, shared: Arc::new(shared) }
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    pub(crate) fn serve<B>(&self, request: Request<B>) -> Serving
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<StdError>,
    {
        let shared = &self.shared;
        let grpc = refusal::speaks_grpc(request.headers());
        let path = request.uri().path();
        let own = path.starts_with(OWN_SERVICES) || probe::is_probe(path);
        let permit = shared.admit();
        let (mut parts, body) = request.into_parts();
        let manner = if shared.in_process { refusal::grpc } else { self.dispatch.manner(&parts) };
        if permit.is_none() && !own {
            return Serving::refused(manner, &overloaded(shared.concurrency));
        }

        if let Some(stranger) = parts.extensions.get::<Stranger>()
            && !parts.uri.path().starts_with(HEALTH)
        {
            return Serving::refused(manner, &stranger.refusal());
        }

        let context = shared.context(&mut parts);
        let deadline = context.deadline().filter(|_| !shared.in_process);
        let patience = Patience::until(deadline);
        if deadline.is_some_and(|_| patience.has_ended(Instant::now())) {
            return Serving::refused(manner, &deadline_passed());
        }
        let span = span(parts.uri.path(), &context, shared.in_process);
        let told = if shared.in_process || own { None } else { Told::of(&parts, &context, grpc) };
        parts.extensions.insert(context);

        let limit = grpc.then_some(shared.max_message_bytes);
        let request = Request::from_parts(parts, Body::new(Metered::new(body, limit, shared.in_process)));
        let answering = guarded(&span, || self.dispatch.call(request));
        let Some(answering) = answering else { return Serving::refused(manner, &panicked()) };
        Serving {
            answering: Some(answering),
            refused: None,
            timer: Timer::new(patience),
            rest: Some(Rest { span, grpc, manner, _permit: permit, began: Instant::now(), told }),
            until: own.then(|| shared.draining.clone().cancelled_owned()),
        }
    }
}

impl<B> tower::Service<Request<B>> for Inbound
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<StdError>,
{
    type Response = Response<Served>;
    type Error = Infallible;
    type Future = Serving;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Serving {
        self.serve(request)
    }
}

/// Costs a branch when nobody listens. Within a process the caller's span is around this one already and says the same, so
/// that a second one is only for who looks for details.
fn span(path: &str, context: &RequestContext, in_process: bool) -> Span {
    if in_process && tracing::dispatcher::get_default(|lines| lines.current_span().id().is_some()) {
        return tracing::debug_span!(target: "signalbox::call", "call", method = path);
    }
    tracing::info_span!(
        target: "signalbox::call",
        "call",
        method = path,
        request_id = context.request_id(),
        tenant = context.tenant(),
        trace = context.trace().map(tracing::field::display),
    )
}

/// Runs a piece of a handler within its span; `None` when it panicked.
pub(crate) fn guarded<T>(span: &Span, run: impl FnOnce() -> T) -> Option<T> {
    // What a panic leaves behind is never used again: the handler's future or stream is dropped.
    match span.in_scope(|| catch_unwind(AssertUnwindSafe(run))) {
        Ok(value) => Some(value),
        Err(_) => {
            span.in_scope(|| tracing::error!("a handler panicked; its call ends with INTERNAL"));
            None
        }
    }
}

/// What lasts from the headers of an answer to its end.
pub(crate) struct Rest {
    pub(crate) span: Span,
    grpc: bool,
    manner: Manner,
    /// None for our own services under overload.
    _permit: Option<Permit>,
    began: Instant,
    /// Where the call is traced.
    told: Option<Box<Told>>,
}

impl Drop for Rest {
    fn drop(&mut self) {
        let elapsed = self.began.elapsed();
        let elapsed_us = elapsed.as_micros();
        self.span.in_scope(|| tracing::debug!(target: "signalbox::call", elapsed_us, "ended"));
        if let Some(told) = self.told.take() {
            told.tell(elapsed);
        }
    }
}

pin_project! {
    /// The future of one call on the serving side.
    pub(crate) struct Serving {
        answering: Option<Answering>,
        refused: Option<Response<Body>>,
        #[pin]
        timer: Timer,
        rest: Option<Rest>,
        until: Option<WaitForCancellationFutureOwned>,
    }
}

impl Serving {
    fn refused(manner: Manner, status: &Status) -> Self {
        Self {
            answering: None,
            refused: Some(manner(status)),
            timer: Timer::new(Patience::until(None)),
            rest: None,
            until: None,
        }
    }
}

impl Future for Serving {
    type Output = Result<Response<Served>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let (Some(answering), Some(rest)) = (&mut this.answering, &mut this.rest) else {
            let refused = this.refused.take().unwrap_or_default();
            return Poll::Ready(Ok(refused.map(Served::whole)));
        };
        let response = match guarded(&rest.span, || answering.as_mut().poll(cx)) {
            Some(Poll::Ready(Ok(response))) => {
                *this.answering = None;
                response
            }
            Some(Poll::Pending) => match this.timer.as_mut().poll_lapse(cx, || None) {
                Poll::Ready(_) => {
                    // Dropped here, so that the handler ends with the deadline and not with the connection.
                    *this.answering = None;
                    (rest.manner)(&deadline_passed())
                }
                Poll::Pending => return Poll::Pending,
            },
            None => {
                *this.answering = None;
                (rest.manner)(&panicked())
            }
        };
        let (timer, until) = (Timer::new(this.timer.patience()), this.until.take());
        let mut rest = this.rest.take();
        if let Some(told) = rest.as_mut().and_then(|rest| rest.told.as_mut()) {
            told.head(&response);
        }
        Poll::Ready(Ok(response.map(|body| Served {
            body: Some(body),
            timer,
            rest,
            until: until.map(Box::pin),
        })))
    }
}

pin_project! {
    /// The body of an answer, kept to its deadline and safe from panics to its end.
    pub(crate) struct Served {
        body: Option<Body>,
        #[pin]
        timer: Timer,
        rest: Option<Rest>,
        until: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    }
}

impl Served {
    fn whole(body: Body) -> Self {
        Self { body: Some(body), timer: Timer::new(Patience::until(None)), rest: None, until: None }
    }
}

impl HttpBody for Served {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut this = self.project();
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let Some(rest) = this.rest else { return Pin::new(body).poll_frame(cx) };

        let ended = match guarded(&rest.span, || Pin::new(body).poll_frame(cx)) {
            Some(Poll::Ready(Some(Ok(frame)))) if frame.is_data() => return Poll::Ready(Some(Ok(frame))),
            Some(Poll::Ready(last)) => last,
            Some(Poll::Pending) => {
                if this.timer.as_mut().poll_lapse(cx, || None).is_ready() {
                    Some(refusal::ending(rest.grpc, deadline_passed()))
                } else if let Some(until) = &mut this.until
                    && until.as_mut().poll(cx).is_ready()
                {
                    Some(refusal::ending(rest.grpc, draining()))
                } else {
                    return Poll::Pending;
                }
            }
            None => Some(refusal::ending(rest.grpc, panicked())),
        };
        if let Some(told) = &mut rest.told {
            told.end(ended.as_ref());
        }
        // The handler's stream and its place are free as soon as the last frame is out, whoever still holds this.
        *this.body = None;
        *this.rest = None;
        Poll::Ready(ended)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

fn overloaded(limit: usize) -> Status {
    error::status(
        Code::Unavailable,
        ErrorReason::Overloaded,
        format!("{limit} calls are being served, the limit"),
    )
    .with_retry(error::RETRY_SOON)
    .into()
}

fn draining() -> Status {
    error::status(Code::Unavailable, ErrorReason::Draining, "the server is ending")
        .with_retry(error::RETRY_SOON)
        .into()
}

fn deadline_passed() -> Status {
    error::deadline_exceeded("the caller's deadline passed")
}

pub(crate) fn panicked() -> Status {
    error::internal("the handler of this call failed; the server goes on")
}
