//! Following an answer that somebody else is being given, and going on with it when that one fails.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::{Stream as _, future::BoxFuture};
use parking_lot::Mutex;
use signalbox_mesh::{Answers, error};
use signalbox_proto::{
    cache::v1::{Handover, Lease, LookupResponse, lookup_response},
    common::v1::{Delta, ErrorReason, GenerateEvent, delta::Content, generate_event::Kind},
    executor::v1::{DeliveredPrefix, ExecuteResponse},
};
use tonic::{Code, Status};

use crate::bill::Progress;

type Asking = BoxFuture<'static, Result<Answers<ExecuteResponse>, Status>>;

/// Asks a model oneself, from what was delivered.
pub(crate) type TakeOver = Box<dyn FnOnce(Option<DeliveredPrefix>) -> Asking + Send>;

/// A follower that became the leader.
pub(crate) struct Turn {
    /// The right to fill. Absent: the answer cannot be kept.
    pub(crate) lease: Option<Lease>,
    /// Bytes of answer text that the fill has already.
    pub(crate) delivered_bytes: u64,
}

/// A follow under way.
pub(crate) struct Following {
    stream: Answers<LookupResponse>,
    text: String,
    model: String,
    /// Whether there was output that a model cannot go on from.
    beyond_text: bool,
    take_over: Option<TakeOver>,
    asking: Option<Asking>,
}

impl Following {
    /// Makes one that goes on by `take_over` when the leader fails.
    pub(crate) fn new(stream: Answers<LookupResponse>, take_over: TakeOver) -> Self {
        Self {
            stream,
            text: String::new(),
            model: String::new(),
            beyond_text: false,
            take_over: Some(take_over),
            asking: None,
        }
    }

    /// The next events; once, the stream of the follower's own execution, which takes this one's place.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        progress: &Mutex<Progress>,
        out: &mut VecDeque<GenerateEvent>,
    ) -> Poll<Option<Result<Option<Answers<ExecuteResponse>>, Status>>> {
        if let Some(asking) = &mut self.asking {
            return Poll::Ready(Some(ready!(asking.as_mut().poll(cx)).map(Some)));
        }
        match ready!(Pin::new(&mut self.stream).poll_next(cx)) {
            Some(Ok(LookupResponse { kind: Some(lookup_response::Kind::Events(events)) })) => {
                events.events.iter().for_each(|event| self.note(event));
                out.extend(events.events);
            }
            Some(Ok(LookupResponse { kind: Some(lookup_response::Kind::Handover(handover)) })) => {
                return self
                    .turn(handover, progress)
                    .map_or(Poll::Ready(Some(Ok(None))), |status| Poll::Ready(Some(Err(status))));
            }
            Some(Ok(_)) => {}
            Some(Err(status)) => return Poll::Ready(Some(Err(status))),
            None => return Poll::Ready(None),
        }
        Poll::Ready(Some(Ok(None)))
    }

    fn note(&mut self, event: &GenerateEvent) {
        match &event.kind {
            Some(Kind::Started(started)) => self.model.clone_from(&started.model),
            Some(Kind::Seam(seam)) => self.model.clone_from(&seam.to_model),
            Some(Kind::Delta(Delta { content: Some(content), .. })) => match content {
                Content::Text(text) => self.text.push_str(text),
                // Thoughts and sources are not part of what is gone on from.
                Content::Reasoning(_) | Content::Citation(_) => {}
                Content::ToolCall(_) | Content::Media(_) | Content::Refusal(_) => self.beyond_text = true,
            },
            _ => {}
        }
    }

    /// Becomes the leader; a status if it cannot.
    fn turn(&mut self, handover: Handover, progress: &Mutex<Progress>) -> Option<Status> {
        let Handover { lease, delivered_bytes, reason } = handover;
        progress.lock().turn(Turn { lease, delivered_bytes });
        let take_over = self.take_over.take().filter(|_| !self.beyond_text);
        let Some(take_over) = take_over else {
            let message = "the answer broke off after output that no model can go on from";
            return Some(error::status(Code::Unavailable, ErrorReason::StreamBroken, message).into());
        };
        let delivered = (!self.text.is_empty()).then(|| DeliveredPrefix {
            text: std::mem::take(&mut self.text),
            model: std::mem::take(&mut self.model),
            reason,
        });
        self.asking = Some(take_over(delivered));
        None
    }
}
