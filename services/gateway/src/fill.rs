//! Filling the cache while the answer flows.
//!
//! The call to the cache is gone on with by the request itself, when there is something for it and when it asks for that: a task
//! of its own would be woken for each piece of each answer, mostly on another core, which costs more than all else that is
//! done with a piece. Only what is left of the call when the answer has ended is done by a task.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use futures_util::{Stream, StreamExt as _, future::BoxFuture, stream};
use parking_lot::Mutex;
use signalbox_mesh::{Place, RequestContext, TaskSet};
use signalbox_proto::{
    cache::v1::{CachedEvents, FillAbort, FillCommit, FillOpen, FillRequest, Lease, fill_request::Kind},
    common::v1::GenerateEvent,
};

use crate::{bell::Bell, parts::Parts};

/// Messages that may wait for a slow cache; beyond it the fill is given up, because the client must not wait for it.
const WAITING: usize = 256;

/// A fill under way. Dropped without [`Fill::commit`], the cache gets its lease back and keeps nothing.
pub(crate) struct Fill {
    /// `None`: there was no room, it was given up, or the cache has ended it.
    call: Option<Call>,
    entry_id: String,
}

struct Call {
    answer: BoxFuture<'static, ()>,
    messages: Arc<Mutex<Messages>>,
    bell: Bell,
    place: Place,
}

/// What the cache is sent.
#[derive(Default)]
struct Messages {
    queue: VecDeque<FillRequest>,
    ended: bool,
    reader: Option<Waker>,
}

impl Fill {
    /// Begins to fill under a lease. Without room for another fill there is none.
    pub(crate) fn begin(parts: &Parts, tasks: &TaskSet, context: &RequestContext, lease: Lease) -> Self {
        let Lease { id: lease_id, entry_id, .. } = lease;
        let Some(place) = tasks.reserve() else { return Self { call: None, entry_id } };
        let messages = Arc::<Mutex<Messages>>::default();
        let open = FillRequest { kind: Some(Kind::Open(FillOpen { lease_id, tags: Vec::new() })) };
        let request = context.request(stream::iter([open]).chain(Reading(Arc::clone(&messages))));
        let filled = parts.fill(request);
        let answer = Box::pin(async move {
            if let Err(status) = filled.await {
                tracing::debug!(code = ?status.code(), "a fill failed");
            }
        });
        let call = Call { answer, messages, bell: Bell::new(), place };
        let mut fill = Self { call: Some(call), entry_id };
        // Claims the lease now: a request that fails before its first event gives it back all the same.
        fill.go_on();
        fill
    }

    /// The id that the entry will have.
    pub(crate) fn entry_id(&self) -> &str {
        &self.entry_id
    }

    /// Goes on with the call if it asks for that; wakes the task when it does.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) {
        let Some(call) = &self.call else { return };
        call.bell.listen(cx);
        if call.bell.rang() {
            self.go_on();
        }
    }

    /// Hands events on in their stored form.
    pub(crate) fn push(&mut self, events: Vec<GenerateEvent>) {
        self.send(Kind::Events(CachedEvents { events, ..CachedEvents::default() }));
    }

    /// Completes the entry.
    pub(crate) fn commit(mut self, cost_nanousd: i64) {
        self.send(Kind::Commit(FillCommit { cost_nanousd }));
    }

    /// Gives the lease back.
    pub(crate) fn abort(mut self, reason: &str) {
        self.send(Kind::Abort(FillAbort { reason: reason.into() }));
    }

    fn send(&mut self, kind: Kind) {
        let Some(call) = &self.call else { return };
        let mut messages = call.messages.lock();
        if messages.queue.len() >= WAITING {
            // The stream ends without a commit, which is an abort.
            drop(messages);
            return self.end();
        }
        messages.queue.push_back(FillRequest { kind: Some(kind) });
        drop(messages);
        self.go_on();
    }

    /// Goes on with the call as far as it comes.
    fn go_on(&mut self) {
        let Some(call) = &mut self.call else { return };
        if call.answer.as_mut().poll(&mut call.bell.context()).is_ready() {
            self.call = None;
            return;
        }
        // In process the call itself has read all; over the network a connection does.
        let mut messages = call.messages.lock();
        let reader = if messages.queue.is_empty() { None } else { messages.reader.take() };
        drop(messages);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Says that nothing follows, and leaves the rest to a task.
    fn end(&mut self) {
        let Some(call) = &self.call else { return };
        let mut messages = call.messages.lock();
        messages.ended = true;
        let reader = messages.reader.take();
        drop(messages);
        self.go_on();
        if let Some(Call { answer, place, .. }) = self.call.take() {
            place.spawn(answer);
        }
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        self.end();
    }
}

/// The messages as a stream.
struct Reading(Arc<Mutex<Messages>>);

impl Stream for Reading {
    type Item = FillRequest;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<FillRequest>> {
        let mut messages = self.0.lock();
        if let Some(message) = messages.queue.pop_front() {
            return Poll::Ready(Some(message));
        }
        if messages.ended {
            return Poll::Ready(None);
        }
        if !messages.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
            messages.reader = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}
