//! What stands around every call on the calling side, over the network and in process alike.
//!
//! The deadline comes first, because a call that is too late must not be begun; then the limits in time on the answer,
//! the limit on its messages, and the count of open calls, which ends with the answer and not with its headers.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;
use signalbox_proto::codec::handed_over;
use tokio::time::Instant;
use tonic::{Status, body::Body, codegen::StdError};
use tower::Service;

use crate::{
    ClientConfig, Limits, RequestContext, error,
    frame::Meter,
    patience::{Lapse, Patience, Timer},
    timeout,
};

/// What all calls over one channel share.
pub(crate) struct Shared {
    pub(crate) label: String,
    pub(crate) limits: Limits,
    max_message_bytes: usize,
    in_process: bool,
    pub(crate) in_flight: AtomicUsize,
}

impl Shared {
    pub(crate) fn new(label: &str, config: &ClientConfig, in_process: bool) -> Self {
        Self {
            label: label.to_owned(),
            limits: config.limits,
            max_message_bytes: config.max_message_bytes,
            in_process,
            in_flight: AtomicUsize::new(0),
        }
    }

    fn lapsed(&self, lapse: Lapse) -> Status {
        let label = &self.label;
        match lapse {
            Lapse::Deadline => {
                error::deadline_exceeded(format!("the deadline passed while waiting for {label}"))
            }
            Lapse::Total(limit) => {
                let message = format!("a call to {label} took longer than total_ms = {}", limit.as_millis());
                error::deadline_exceeded(message)
            }
            Lapse::FirstMessage(limit) => self.silent("the first message", "first_message_ms", limit),
            Lapse::Idle(limit) => self.silent("the next message", "idle_ms", limit),
        }
    }

    fn silent(&self, what: &str, key: &str, limit: Duration) -> Status {
        let message = format!("{} did not send {what} within {key} = {}", self.label, limit.as_millis());
        error::unreachable(&self.label, message, error::RETRY_SOON)
    }
}

/// Says that the caller decodes the answer itself, as soon as it gets it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decodes;

/// An open call, until it is dropped.
pub(crate) struct InFlight(Arc<Shared>);

impl InFlight {
    pub(crate) fn begin(shared: &Arc<Shared>) -> Self {
        shared.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(shared))
    }

    pub(crate) fn lapsed(&self, lapse: Lapse) -> Status {
        self.0.lapsed(lapse)
    }

    pub(crate) fn max_message_bytes(&self) -> usize {
        self.0.max_message_bytes
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// When the caller had said all it had to say: before that, no answer is owed. And whether it left before: what it still had to
/// say ends then too, or HTTP/2 would keep the call open for it.
pub(crate) struct Speech {
    begin: Instant,
    /// Microseconds since `begin`, plus one; zero while the caller speaks.
    closed: AtomicU64,
    left: AtomicBool,
    /// Who waits for more to say.
    speaker: AtomicWaker,
}

impl Speech {
    pub(crate) fn begin(begin: Instant) -> Arc<Self> {
        let (closed, left) = (AtomicU64::new(0), AtomicBool::new(false));
        Arc::new(Self { begin, closed, left, speaker: AtomicWaker::new() })
    }

    pub(crate) fn leave(&self) {
        if self.closed.load(Ordering::Relaxed) == 0 {
            self.left.store(true, Ordering::Release);
            self.speaker.wake();
        }
    }

    /// Whether the caller has left; wakes the task that asks when it does.
    pub(crate) fn has_left(&self, cx: &Context<'_>) -> bool {
        self.speaker.register(cx.waker());
        self.left.load(Ordering::Acquire)
    }

    pub(crate) fn close(&self) {
        if self.closed.load(Ordering::Relaxed) == 0 {
            let micros = u64::try_from(self.begin.elapsed().as_micros()).unwrap_or(u64::MAX - 1);
            self.closed.store(micros + 1, Ordering::Relaxed);
        }
    }

    pub(crate) fn closed(&self) -> Option<Instant> {
        let micros = self.closed.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.begin + Duration::from_micros(micros))
    }
}

/// The body of an outgoing request.
pub(crate) struct Outgoing {
    body: Body,
    speech: Arc<Speech>,
}

#[cfg(test)]
impl Outgoing {
    /// One whose caller is not asked when it had said everything.
    pub(crate) fn unheard(body: Body) -> Self {
        Self { body, speech: Speech::begin(Instant::now()) }
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_pending() && self.speech.has_left(cx) {
            polled = Poll::Ready(Some(Err(error::cancelled("the caller left"))));
        }
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.speech.close();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        // The peer wants no more of it.
        self.speech.close();
    }
}

/// The layers, around a transport.
#[derive(Clone)]
pub(crate) struct Outbound<S> {
    transport: S,
    shared: Arc<Shared>,
}

impl<S> Outbound<S> {
    pub(crate) fn new(transport: S, shared: Arc<Shared>) -> Self {
        Self { transport, shared }
    }
}

impl<S, B> Service<Request<Body>> for Outbound<S>
where
    S: Service<Request<Outgoing>, Response = Response<B>, Error = Status>,
    B: HttpBody<Data = Bytes, Error = Status> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = StdError;
    type Future = Calling<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        self.transport.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<Body>) -> Calling<S::Future> {
        let shared = &self.shared;
        let begin = Instant::now();
        let known = request.extensions_mut().remove::<RequestContext>();
        let context = bring_context(request.headers(), known, begin);
        let deadline = context.deadline();
        request.extensions_mut().insert(context);
        let limits = request.extensions_mut().remove::<Limits>().unwrap_or(shared.limits);
        let patience = Patience::new(begin, deadline, limits);
        let decodes = request.extensions_mut().remove::<Decodes>().is_some();
        let handed_over = if decodes && shared.in_process { shared.max_message_bytes } else { 0 };

        let speech = Speech::begin(begin);
        let answering = (!patience.has_ended(begin)).then(|| {
            let speech = Arc::clone(&speech);
            self.transport.call(request.map(|body| Outgoing { body, speech }))
        });
        let (timer, in_flight) = (Timer::new(patience), Some(InFlight::begin(shared)));
        Calling { answering, timer, speech, in_flight, handed_over }
    }
}

/// The context that a request carries, or its metadata, with the nearest of all deadlines in it.
pub(crate) fn bring_context(
    headers: &HeaderMap,
    known: Option<RequestContext>,
    now: Instant,
) -> RequestContext {
    let asked = timeout::read(headers).map(|left| now + left);
    let context = known.unwrap_or_else(|| RequestContext::read(headers, || now));
    match asked {
        Some(asked) => context.with_deadline_before(asked),
        None => context,
    }
}

pin_project! {
    /// The future of one call on the calling side. Dropping it cancels the call.
    pub(crate) struct Calling<F> {
        #[pin]
        answering: Option<F>,
        #[pin]
        timer: Timer,
        speech: Arc<Speech>,
        in_flight: Option<InFlight>,
        handed_over: usize,
    }

    impl<F> PinnedDrop for Calling<F> {
        fn drop(this: Pin<&mut Self>) {
            // An answer that began has taken this.
            if this.in_flight.is_some() {
                this.speech.leave();
            }
        }
    }
}

impl<F, B> Future for Calling<F>
where
    F: Future<Output = Result<Response<B>, Status>>,
    B: HttpBody<Data = Bytes, Error = Status> + Send + 'static,
{
    type Output = Result<Response<Body>, StdError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(answering) = this.answering.as_mut().as_pin_mut() else {
            return Poll::Ready(Err(too_late().into()));
        };
        let polled = answering.poll(cx);
        if polled.is_pending() {
            let Poll::Ready(lapse) = this.timer.as_mut().poll_lapse(cx, || this.speech.closed()) else {
                return Poll::Pending;
            };
            this.answering.set(None);
            this.speech.leave();
            let status = this.in_flight.take().map_or_else(too_late, |open| open.0.lapsed(lapse));
            return Poll::Ready(Err(status.into()));
        }
        let open = this.in_flight.take();
        polled.map(|response| {
            let response = response?;
            // Without a status in the headers it must come in the trailers: an answer that just stops is broken.
            let owes_status =
                response.status() == StatusCode::OK && !response.headers().contains_key(Status::GRPC_STATUS);
            let answer = |body| Answer {
                body: Some(body),
                timer: Timer::new(this.timer.patience()),
                speech: Arc::clone(this.speech),
                meter: Meter::new(open.as_ref().map_or(0, |open| open.0.max_message_bytes)),
                handed_over: *this.handed_over,
                owes_status,
                in_flight: open,
            };
            Ok(response.map(|body| Body::new(answer(body))))
        })
    }
}

pub(crate) fn too_late() -> Status {
    error::deadline_exceeded("the deadline had passed before the call was begun")
}

pin_project! {
    /// The body of an answer. Dropping it cancels the call.
    pub(crate) struct Answer<B> {
        #[pin]
        body: Option<B>,
        #[pin]
        timer: Timer,
        speech: Arc<Speech>,
        in_flight: Option<InFlight>,
        meter: Meter,
        // Messages up to this size do not become bytes.
        handed_over: usize,
        owes_status: bool,
    }

    impl<B> PinnedDrop for Answer<B> {
        fn drop(this: Pin<&mut Self>) {
            this.speech.leave();
        }
    }
}

impl<B> HttpBody for Answer<B>
where
    B: HttpBody<Data = Bytes, Error = Status>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut this = self.project();
        let (Some(body), Some(open)) = (this.body.as_mut().as_pin_mut(), &this.in_flight) else {
            return Poll::Ready(None);
        };
        let polled = match this.meter.refused() {
            Some(status) => Poll::Ready(Some(Err(status))),
            None => handed_over(*this.handed_over, || body.poll_frame(cx)),
        };
        let ended = match polled {
            Poll::Ready(Some(Ok(frame))) if frame.is_data() => match this.meter.pass(frame) {
                Ok(frame) => {
                    this.timer.touch();
                    return Poll::Ready(Some(Ok(frame)));
                }
                Err(status) => Some(Err(status)),
            },
            Poll::Ready(None) if *this.owes_status => Some(Err(broken(&open.0.label))),
            Poll::Ready(last) => last,
            Poll::Pending => match this.timer.as_mut().poll_lapse(cx, || this.speech.closed()) {
                Poll::Ready(lapse) => Some(Err(open.0.lapsed(lapse))),
                Poll::Pending => return Poll::Pending,
            },
        };
        // Whoever still holds this holds nothing upstream.
        this.body.set(None);
        *this.in_flight = None;
        Poll::Ready(ended)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.is_end_stream() && !self.owes_status)
    }
}

fn broken(label: &str) -> Status {
    error::unreachable(label, format!("the answer of {label} broke off without a status"), error::RETRY_SOON)
}
