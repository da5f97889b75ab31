//! The body of a streamed answer.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::Bytes;
use futures_util::Stream as _;
use http_body::{Body, Frame};
use signalbox_wire::door::Writer;
use tonic::Status;

use super::failure::with_failure;
use crate::service::Events;

/// Bytes that are gathered before they are handed on, where events wait.
const GATHERED: usize = 16 << 10;

/// Server-sent events, written as the client reads them. Dropping it cancels what makes them.
pub(super) struct Sse {
    /// Until they have ended.
    events: Option<Events>,
    writer: Writer,
    ready: Vec<u8>,
    request_id: String,
}

impl Sse {
    pub(super) fn new(events: Events, writer: Writer, ready: Vec<u8>, request_id: String) -> Self {
        Self { events: Some(events), writer, ready, request_id }
    }

    /// A stream that failed right after it began.
    pub(super) fn failed(writer: Writer, ready: Vec<u8>, status: &Status, request_id: String) -> Self {
        let mut sse = Self { events: None, writer, ready, request_id };
        sse.fail(status);
        sse
    }

    fn fail(&mut self, status: &Status) {
        with_failure(status, &self.request_id, |failure| self.writer.fail(failure, &mut self.ready));
    }
}

impl Body for Sse {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let mut waits = false;
        while let Some(events) = &mut this.events
            && this.ready.len() < GATHERED
        {
            match Pin::new(events).poll_next(cx) {
                Poll::Ready(Some(Ok(response))) => {
                    if let Some(kind) = response.event.and_then(|event| event.kind) {
                        this.writer.event(kind, &mut this.ready);
                    }
                }
                Poll::Ready(Some(Err(status))) => {
                    this.events = None;
                    this.fail(&status);
                }
                Poll::Ready(None) => this.events = None,
                Poll::Pending => {
                    waits = true;
                    break;
                }
            }
        }
        if !this.ready.is_empty() {
            // What is written next is mostly as much.
            let next = Vec::with_capacity(this.ready.len().min(4 << 10));
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from(std::mem::replace(&mut this.ready, next))))));
        }
        if waits { Poll::Pending } else { Poll::Ready(None) }
    }
}
