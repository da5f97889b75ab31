//! The answer's way from its source (executor or cache) into the guard's screen.
//!
//! The source's stream *is* the request stream of `Screen`: no task and no queue stands between them, so that a slow
//! client slows the provider, and dropping the screen drops the source.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_util::Stream;
use parking_lot::Mutex;
use signalbox_mesh::Answers;
use signalbox_proto::{
    cache::v1::{LookupResponse, lookup_response},
    common::v1::GenerateEvent,
    executor::v1::{ExecuteResponse, execute_response},
    guard::v1::{ScreenEvents, ScreenOpen, ScreenRequest, screen_request},
};
use tonic::Status;

use crate::{
    bell::Bell,
    bill::Progress,
    follow::Following,
    grant::{self, Grant},
    joined,
};

/// Events that travel in one message at most; the contract's bound is 256.
const BATCH: usize = 32;

/// Where an answer comes from.
pub(crate) enum Source {
    /// A provider's, by the executor.
    Executor(Answers<ExecuteResponse>),
    /// An earlier one's, by the cache.
    Cache(Answers<LookupResponse>),
    /// One that is being given to somebody else right now, by the cache.
    Follow(Box<Following>),
}

impl Source {
    /// The next events: none for a message that carries only an attempt.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        progress: &Mutex<Progress>,
        grant: &mut Option<Box<Grant>>,
        out: &mut VecDeque<GenerateEvent>,
        join: bool,
    ) -> Poll<Option<Result<(), Status>>> {
        match self {
            Self::Executor(stream) => match ready!(Pin::new(stream).poll_next(cx)) {
                Some(Ok(ExecuteResponse { kind: Some(execute_response::Kind::Event(event)) })) => {
                    progress.lock().event(&event);
                    if let Some(grant) = grant {
                        grant.note(&event);
                    }
                    let event = if join { joined::append(out.back_mut(), event) } else { Some(event) };
                    out.extend(event);
                }
                Some(Ok(ExecuteResponse {
                    kind: Some(execute_response::Kind::Attempt(attempt)), ..
                })) => {
                    if let Some(grant) = grant {
                        grant.ended(&attempt);
                    }
                    progress.lock().attempt(*attempt);
                }
                Some(Ok(ExecuteResponse { kind: None })) => {}
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None => return Poll::Ready(None),
            },
            Self::Cache(stream) => match ready!(Pin::new(stream).poll_next(cx)) {
                Some(Ok(LookupResponse { kind: Some(lookup_response::Kind::Events(events)) })) => {
                    out.extend(events.events);
                }
                Some(Ok(_)) => {}
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None => return Poll::Ready(None),
            },
            Self::Follow(following) => match ready!(following.poll(cx, progress, out)) {
                Some(Ok(Some(own))) => *self = Self::Executor(own),
                Some(Ok(None)) => {}
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None => return Poll::Ready(None),
            },
        }
        Poll::Ready(Some(Ok(())))
    }
}

/// The money of the answer under way, and the way to end it: what the source's stream, which the guard's call holds, shares with
/// whoever began it.
#[derive(Default)]
pub(crate) struct Purse {
    grant: Option<Box<Grant>>,
    closed: bool,
}

impl Purse {
    /// Takes the money back. The source is not asked again.
    pub(crate) fn close(&mut self) -> Option<Box<Grant>> {
        self.closed = true;
        self.grant.take()
    }
}

/// A source as a stream of events. Ends at the source's end or error; the error is left in [`Progress`].
pub(crate) struct Events {
    source: Option<Source>,
    progress: Arc<Mutex<Progress>>,
    purse: Arc<Mutex<Purse>>,
    ready: VecDeque<GenerateEvent>,
    /// Pieces that are there at once become one: the answer is read as a whole.
    join: bool,
    /// For the source.
    bell: Bell,
    /// The source had nothing, and has not rung since.
    waits: bool,
}

impl Events {
    /// Makes the stream.
    pub(crate) fn new(
        source: Source,
        progress: Arc<Mutex<Progress>>,
        grant: Option<Box<Grant>>,
        join: bool,
    ) -> Self {
        let (source, bell) = (Some(source), Bell::new());
        let purse = Arc::new(Mutex::new(Purse { grant, closed: false }));
        Self { source, progress, purse, ready: VecDeque::new(), join, bell, waits: false }
    }

    /// The money that it runs on.
    pub(crate) fn purse(&self) -> Arc<Mutex<Purse>> {
        Arc::clone(&self.purse)
    }

    /// What is there without waiting, at least one event unless the source ended.
    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Vec<GenerateEvent>>> {
        self.bell.listen(cx);
        self.waits &= !self.bell.rang();
        let cx = &mut self.bell.context();
        let mut purse = self.purse.lock();
        if purse.closed {
            self.source = None;
        }
        while let Some(source) = &mut self.source
            && self.ready.len() < BATCH
            && !self.waits
        {
            let polled = match grant::poll(&mut purse.grant, cx) {
                Poll::Ready(Ok(())) => {
                    source.poll(cx, &self.progress, &mut purse.grant, &mut self.ready, self.join)
                }
                Poll::Ready(Err(status)) => {
                    self.ready.extend(grant::end(&purse.grant, &self.progress, status));
                    self.source = None;
                    break;
                }
                Poll::Pending => Poll::Pending,
            };
            self.waits = polled.is_pending();
            match polled {
                Poll::Ready(Some(Ok(()))) => {}
                Poll::Ready(Some(Err(status))) => {
                    self.progress.lock().fail(status);
                    self.source = None;
                }
                Poll::Ready(None) => {
                    self.progress.lock().end();
                    self.source = None;
                }
                Poll::Pending => {}
            }
        }
        if self.ready.is_empty() && self.source.is_some() {
            return Poll::Pending;
        }
        let rest = self.ready.split_off(self.ready.len().min(BATCH));
        // As it is: nothing is copied, and a stream that waits keeps no room for what has left.
        let batch = Vec::from(std::mem::replace(&mut self.ready, rest));
        Poll::Ready((!batch.is_empty()).then_some(batch))
    }
}

impl Stream for Events {
    type Item = Vec<GenerateEvent>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_batch(cx)
    }
}

/// The request stream of `Screen`: its opening, then the source's events.
pub(crate) struct Screened {
    open: Option<ScreenOpen>,
    events: Events,
}

impl Screened {
    /// Makes the stream.
    pub(crate) fn new(open: ScreenOpen, events: Events) -> Self {
        Self { open: Some(open), events }
    }
}

impl Stream for Screened {
    type Item = ScreenRequest;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let kind = match this.open.take() {
            Some(open) => screen_request::Kind::Open(open),
            None => match ready!(this.events.poll_batch(cx)) {
                Some(events) => screen_request::Kind::Events(ScreenEvents { events }),
                None => return Poll::Ready(None),
            },
        };
        Poll::Ready(Some(ScreenRequest { kind: Some(kind) }))
    }
}
