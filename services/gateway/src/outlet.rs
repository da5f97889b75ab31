//! The way out to the client: events are numbered, timed, and streamed or put together.

use std::{collections::VecDeque, future::poll_fn, sync::Arc, task::Poll, time::Duration};

use parking_lot::Mutex;
use signalbox_mesh::RequestContext;
use signalbox_proto::{
    cache::v1::Lease,
    common::v1::{
        Citation, Delta, GenerateEvent, Message, Part, ReasoningText, Role, Text, ToolCall, delta::Content,
        generate_event::Kind, part,
    },
    gateway::v1::{CompleteResponse, GenerateResponse},
};
use tokio::time::Instant;

use crate::{Mesh, fill::Fill, lead::Leading};

/// Events that may wait for a slow client; beyond it the whole way back to the provider waits.
pub(crate) const WAITING: usize = 32;

/// Notices that a whole answer carries at most; the contract's bound.
const NOTICES: usize = 64;

/// Where a request's events go.
pub(crate) struct Outlet {
    sink: Sink,
    sequence: u64,
    arrived: Instant,
    first_output: Option<Duration>,
    leading: Arc<Leading>,
}

/// Events on their way to the stream that the client reads. Writer and reader are one task, which writes only when it has
/// read all: so nobody needs to be woken.
pub(crate) type Queue = Arc<Mutex<VecDeque<GenerateResponse>>>;

enum Sink {
    Stream(Queue),
    Whole(Box<Whole>),
}

impl Outlet {
    /// Makes an outlet that streams.
    pub(crate) fn stream(to: Queue, arrived: Instant) -> Self {
        Self { sink: Sink::Stream(to), sequence: 0, arrived, first_output: None, leading: Arc::default() }
    }

    /// Makes an outlet that puts the answer together.
    pub(crate) fn whole(arrived: Instant) -> Self {
        Self {
            sink: Sink::Whole(Box::default()),
            sequence: 0,
            arrived,
            first_output: None,
            leading: Arc::default(),
        }
    }

    /// Waits while the client is slow: before an event is looked at, so that no event is held meanwhile.
    pub(crate) fn room(&self) -> impl Future<Output = ()> {
        poll_fn(move |_| match &self.sink {
            Sink::Stream(to) if !self.leading.is_alone() && to.lock().len() >= WAITING => Poll::Pending,
            _ => Poll::Ready(()),
        })
    }

    /// Hands an event on, with those few that belong before it.
    pub(crate) fn send(&mut self, kind: Kind) {
        self.sequence += 1;
        if matches!(kind, Kind::Delta(_)) && self.first_output.is_none() {
            self.first_output = Some(self.arrived.elapsed());
        }
        match &mut self.sink {
            // What the client would get goes nowhere once it is gone.
            Sink::Stream(to) if !self.leading.is_alone() => {
                let event = GenerateEvent { sequence: self.sequence, kind: Some(kind) };
                to.lock().push_back(GenerateResponse { event: Some(event) });
            }
            Sink::Stream(_) => {}
            Sink::Whole(whole) => whole.take(kind),
        }
    }

    /// Begins to fill an entry, which others may follow.
    pub(crate) fn lead(&self, mesh: &Mesh, context: &RequestContext, lease: Lease) -> Fill {
        self.leading.leads(context, &lease.id);
        Fill::begin(&mesh.parts, &mesh.tasks, context, lease)
    }

    /// What the client's side of the request knows of that.
    pub(crate) fn leading(&self) -> Arc<Leading> {
        Arc::clone(&self.leading)
    }

    /// Whether the answer leaves as a whole.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self.sink, Sink::Whole(_))
    }

    /// When the request came in.
    pub(crate) fn arrived(&self) -> Instant {
        self.arrived
    }

    /// How long the first piece of output took.
    pub(crate) fn first_output(&self) -> Option<Duration> {
        self.first_output
    }

    /// The answer put together; `None` for a stream.
    pub(crate) fn into_whole(self) -> Option<CompleteResponse> {
        match self.sink {
            Sink::Stream(_) => None,
            Sink::Whole(whole) => Some(whole.finish()),
        }
    }
}

/// An answer that is put together from its events.
#[derive(Default)]
struct Whole {
    response: CompleteResponse,
    parts: Vec<(u32, Part)>,
}

impl Whole {
    fn take(&mut self, kind: Kind) {
        match kind {
            Kind::Started(started) => self.response.started = Some(started),
            Kind::Finished(finished) => self.response.finished = Some(finished),
            Kind::Notice(notice) if self.response.notices.len() < NOTICES => {
                self.response.notices.push(notice);
            }
            Kind::Notice(_) => {}
            Kind::Seam(seam) => self.response.seams.push(seam),
            Kind::Delta(delta) => self.delta(delta),
        }
    }

    fn delta(&mut self, delta: Delta) {
        if let Some(logprobs) = delta.logprobs {
            self.response.logprobs.push(logprobs);
        }
        let Some(content) = delta.content else { return };
        // A piece goes on from the last one of the same kind with the same index.
        let mut open = self
            .parts
            .iter_mut()
            .rev()
            .find(|(index, part)| {
                *index == delta.index && part.kind.as_ref().is_some_and(|kind| same(kind, &content))
            })
            .map(|(_, part)| part);
        if let (Some(part), Some(extra)) = (&mut open, &delta.extra) {
            let fields = extra.fields.iter().map(|(key, value)| (key.clone(), value.clone()));
            part.extra.get_or_insert_default().fields.extend(fields);
        }
        match (open.and_then(|part| part.kind.as_mut()), content) {
            (_, Content::Citation(citation)) => self.cite(*citation),
            (Some(part::Kind::Text(text)), Content::Text(more))
            | (Some(part::Kind::Refusal(text)), Content::Refusal(more)) => text.text.push_str(&more),
            (Some(part::Kind::Reasoning(so_far)), Content::Reasoning(more)) => {
                so_far.text.push_str(&more.text);
                so_far.signature = more.signature.or(so_far.signature.take());
            }
            (Some(part::Kind::ToolCall(call)), Content::ToolCall(more)) => {
                call.arguments.push_str(&more.arguments);
            }
            (_, content) => {
                let part = Part { kind: Some(begin(content)), extra: delta.extra, ..Part::default() };
                self.parts.push((delta.index, part));
            }
        }
    }

    fn cite(&mut self, citation: Citation) {
        self.response.citations.push(citation);
    }

    fn finish(mut self) -> CompleteResponse {
        self.parts.sort_by_key(|(index, _)| *index);
        let parts = self.parts.into_iter().map(|(_, part)| part).collect();
        self.response.message = Some(Message { role: Role::Assistant.into(), parts, ..Message::default() });
        self.response
    }
}

fn same(part: &part::Kind, content: &Content) -> bool {
    match (part, content) {
        (part::Kind::Text(_), Content::Text(_))
        | (part::Kind::Refusal(_), Content::Refusal(_))
        | (part::Kind::Reasoning(_), Content::Reasoning(_)) => true,
        // A new id under an old index is a new call.
        (part::Kind::ToolCall(call), Content::ToolCall(more)) => {
            more.id.as_ref().is_none_or(|id| *id == call.id)
        }
        _ => false,
    }
}

fn begin(content: Content) -> part::Kind {
    match content {
        Content::Text(text) => part::Kind::Text(Text { text }),
        Content::Refusal(text) => part::Kind::Refusal(Text { text }),
        Content::Reasoning(ReasoningText { text, signature, provider }) => {
            part::Kind::Reasoning(ReasoningText { text, signature, provider })
        }
        Content::ToolCall(call) => part::Kind::ToolCall(ToolCall {
            id: call.id.unwrap_or_default(),
            name: call.name.unwrap_or_default(),
            arguments: call.arguments,
        }),
        Content::Media(media) => match media.media_type.split('/').next() {
            Some("audio") => part::Kind::Audio(*media),
            Some("image") => part::Kind::Image(*media),
            _ => part::Kind::File(*media),
        },
        Content::Citation(_) => part::Kind::Text(Text::default()),
    }
}

#[cfg(test)]
mod tests {
    use signalbox_proto::common::v1::ToolCallDelta;

    use super::*;

    fn delta(index: u32, content: Content) -> Kind {
        Kind::Delta(Delta { index, content: Some(content), ..Delta::default() })
    }

    fn call(id: Option<&str>, arguments: &str) -> Content {
        Content::ToolCall(ToolCallDelta {
            id: id.map(Into::into),
            name: id.map(|_| "weather".into()),
            arguments: arguments.into(),
        })
    }

    #[test]
    fn puts_interleaved_pieces_together() {
        let mut outlet = Outlet::whole(Instant::now());
        for kind in [
            delta(0, Content::Text("Let me ".into())),
            delta(1, call(Some("a"), "{\"city\":")),
            delta(2, call(Some("b"), "{}")),
            delta(0, Content::Text("look.".into())),
            delta(1, call(None, "\"Oslo\"}")),
        ] {
            outlet.send(kind);
        }
        let message = outlet.into_whole().unwrap().message.unwrap();
        let kinds: Vec<_> = message.parts.into_iter().filter_map(|p| p.kind).collect();
        let expected = |id: &str, arguments: &str| {
            part::Kind::ToolCall(ToolCall {
                id: id.into(),
                name: "weather".into(),
                arguments: arguments.into(),
            })
        };
        assert_eq!(
            kinds,
            [
                part::Kind::Text(Text { text: "Let me look.".into() }),
                expected("a", "{\"city\":\"Oslo\"}"),
                expected("b", "{}"),
            ]
        );
    }

    #[tokio::test]
    async fn numbers_events_from_one_and_waits_while_nobody_reads() {
        let queue = Queue::default();
        let mut outlet = Outlet::stream(Arc::clone(&queue), Instant::now());
        for _ in 0..WAITING {
            assert!(futures_util::poll!(Box::pin(outlet.room())).is_ready());
            outlet.send(delta(0, Content::Text("x".into())));
        }
        assert!(futures_util::poll!(Box::pin(outlet.room())).is_pending());
        for expected in 1..=WAITING as u64 {
            assert_eq!(queue.lock().pop_front().unwrap().event.unwrap().sequence, expected);
        }
        assert!(futures_util::poll!(Box::pin(outlet.room())).is_ready());
        outlet.send(delta(0, Content::Text("last".into())));
        assert_eq!(queue.lock().pop_front().unwrap().event.unwrap().sequence, WAITING as u64 + 1);
    }
}
