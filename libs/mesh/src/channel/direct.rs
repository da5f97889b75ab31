//! Calls of methods in this process that never become gRPC: what is asked and what is answered are handed over as they are.
//!
//! The layers are those of [`super::outbound`] and of the serving side, in the same order and with the same errors. What is left out is
//! what a message needs on its way through a socket: headers, frames, and bodies that nobody can see into.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{Stream, future::BoxFuture, stream::BoxStream};
use http_body::{Body as HttpBody, Frame};
use pin_project_lite::pin_project;
use prost::Message;
use signalbox_proto::codec::{ProstDecoder, hand_over};
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use super::outbound::{InFlight, Shared, Speech, bring_context, too_late};
use crate::{
    Limits, RequestContext, error,
    part::{Method, Methods},
    patience::{Patience, Timer},
    server::{self, Rest, guarded, panicked},
};

/// A part in this process: its methods, and what its calls share.
pub(super) struct Direct {
    pub(super) methods: Methods,
    pub(super) server: Arc<server::Shared>,
}

/// What a call passes through on both sides, from its beginning to its end.
struct Passage {
    rest: Rest,
    in_flight: InFlight,
    speech: Arc<Speech>,
}

impl Drop for Passage {
    fn drop(&mut self) {
        // What the caller still had to say ends too.
        self.speech.leave();
    }
}

impl Direct {
    /// Begins a call; `enter` makes of the request what the method takes.
    pub(super) fn call<R, Q, A>(
        &self,
        shared: &Arc<Shared>,
        method: &Method<Q, A>,
        mut request: Request<R>,
        enter: impl FnOnce(R, &Arc<Speech>, usize) -> Result<Q, Status>,
    ) -> Result<Calling<A>, Status>
    where
        Q: 'static,
        A: 'static,
    {
        let begin = Instant::now();
        let known = request.extensions_mut().remove::<RequestContext>();
        let mut context = bring_context(request.metadata().as_ref(), known, begin);
        let limits = request.extensions_mut().remove::<Limits>().unwrap_or(shared.limits);
        let patience = Patience::new(begin, context.deadline(), limits);
        if patience.has_ended(begin) {
            return Err(too_late());
        }
        let in_flight = InFlight::begin(shared);
        let rest = self.server.enter(method.path(), &mut context)?;
        request.extensions_mut().insert(context);
        let speech = Speech::begin(begin);
        let (metadata, extensions, message) = request.into_parts();
        let message = enter(message, &speech, self.server.max_message_bytes)?;
        let request = Request::from_parts(metadata, extensions, message);
        let answering = guarded(&rest.span, || method.call(request)).ok_or_else(panicked)?;
        let passage = Some(Passage { rest, in_flight, speech });
        Ok(Calling { answering: Some(answering), timer: Timer::new(patience), passage })
    }
}

/// Lets one message in, if it is not too large.
pub(super) fn message<Q: Message>(message: Q, speech: &Arc<Speech>, most: usize) -> Result<Q, Status> {
    speech.close();
    checked(message, most)
}

/// Lets a stream of messages in.
pub(super) fn messages<S, Q>(messages: S, speech: &Arc<Speech>, most: usize) -> Result<Streaming<Q>, Status>
where
    S: Stream<Item = Q> + Send + 'static,
    Q: Message + Default + 'static,
{
    let body = Asking { messages: Some(messages), speech: Arc::clone(speech), most };
    Ok(Streaming::new_request(ProstDecoder::default(), body, None, Some(usize::MAX)))
}

fn checked<M: Message>(message: M, most: usize) -> Result<M, Status> {
    let length = message.encoded_len();
    if length > most { Err(error::too_large(length as u64, most)) } else { Ok(message) }
}

pin_project! {
    /// What a caller says, for a method that takes a stream.
    struct Asking<S> {
        #[pin]
        messages: Option<S>,
        speech: Arc<Speech>,
        most: usize,
    }

    impl<S> PinnedDrop for Asking<S> {
        fn drop(this: Pin<&mut Self>) {
            this.speech.close();
        }
    }
}

impl<S, Q> HttpBody for Asking<S>
where
    S: Stream<Item = Q>,
    Q: Message + 'static,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut this = self.project();
        let Some(messages) = this.messages.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let ended = match messages.poll_next(cx) {
            Poll::Ready(Some(message)) => match checked(message, *this.most) {
                Ok(message) => return Poll::Ready(Some(Ok(Frame::data(hand_over(message))))),
                Err(status) => Some(Err(status)),
            },
            Poll::Ready(None) => None,
            Poll::Pending if this.speech.has_left(cx) => Some(Err(error::cancelled("the caller left"))),
            Poll::Pending => return Poll::Pending,
        };
        this.messages.set(None);
        this.speech.close();
        Poll::Ready(ended)
    }
}

pin_project! {
    /// The future of one call. Dropping it cancels the call.
    pub(super) struct Calling<A> {
        answering: Option<BoxFuture<'static, Result<Response<A>, Status>>>,
        #[pin]
        timer: Timer,
        passage: Option<Passage>,
    }
}

impl<A> Future for Calling<A> {
    type Output = Result<(Response<A>, Open), Status>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let (Some(answering), Some(passage)) = (&mut this.answering, &*this.passage) else {
            return Poll::Ready(Err(panicked()));
        };
        let answer = match guarded(&passage.rest.span, || answering.as_mut().poll(cx)) {
            Some(Poll::Ready(answer)) => answer,
            Some(Poll::Pending) => {
                let Poll::Ready(lapse) = this.timer.as_mut().poll_lapse(cx, || passage.speech.closed())
                else {
                    return Poll::Pending;
                };
                Err(passage.in_flight.lapsed(lapse))
            }
            None => Err(panicked()),
        };
        *this.answering = None;
        let passage = this.passage.take();
        let patience = this.timer.patience();
        Poll::Ready(answer.and_then(|answer| {
            let passage = passage.ok_or_else(panicked)?;
            Ok((answer, Open { passage, patience }))
        }))
    }
}

/// A call whose answer has begun.
pub(super) struct Open {
    passage: Passage,
    patience: Patience,
}

impl Open {
    /// Ends the call: the answer is this one message.
    pub(super) fn message<A: Message>(self, answer: Response<A>) -> Result<Response<A>, Status> {
        let (metadata, message, extensions) = answer.into_parts();
        let message = checked(message, self.passage.in_flight.max_message_bytes())?;
        Ok(Response::from_parts(metadata, message, extensions))
    }

    /// Goes on with the messages of an answer.
    pub(super) fn messages<A>(
        self,
        answer: Response<BoxStream<'static, Result<A, Status>>>,
    ) -> Response<Answering<A>> {
        let Self { passage, patience } = self;
        answer.map(|messages| Answering {
            messages: Some(messages),
            timer: Timer::new(patience),
            passage: Some(passage),
        })
    }
}

pin_project! {
    /// The messages of an answer. Dropping it cancels the call.
    pub(super) struct Answering<A> {
        messages: Option<BoxStream<'static, Result<A, Status>>>,
        #[pin]
        timer: Timer,
        passage: Option<Passage>,
    }
}

impl<A: Message> Stream for Answering<A> {
    type Item = Result<A, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<A, Status>>> {
        let mut this = self.project();
        let (Some(messages), Some(passage)) = (&mut this.messages, &*this.passage) else {
            return Poll::Ready(None);
        };
        let ended = match guarded(&passage.rest.span, || messages.as_mut().poll_next(cx)) {
            Some(Poll::Ready(Some(Ok(message)))) => {
                match checked(message, passage.in_flight.max_message_bytes()) {
                    Ok(message) => {
                        this.timer.touch();
                        return Poll::Ready(Some(Ok(message)));
                    }
                    Err(status) => Some(Err(status)),
                }
            }
            Some(Poll::Ready(last)) => last,
            Some(Poll::Pending) => match this.timer.as_mut().poll_lapse(cx, || passage.speech.closed()) {
                Poll::Ready(lapse) => Some(Err(passage.in_flight.lapsed(lapse))),
                Poll::Pending => return Poll::Pending,
            },
            None => Some(Err(panicked())),
        };
        // Whoever still holds this holds nothing upstream.
        *this.messages = None;
        *this.passage = None;
        Poll::Ready(ended)
    }
}
