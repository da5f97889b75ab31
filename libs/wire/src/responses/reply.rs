//! Answers of this dialect, as clients read them.
//!
//! Every event names its item, every item is repeated whole when it is complete, and the last event repeats all of them: so the
//! writer keeps the answer. Items come one after the other, except that a call whose arguments are not whole yet stays open.

use bytes::Bytes;
use prost_types::Struct;
use serde_json::{Map, Value, json};
use signalbox_proto::common::v1::delta::Content;
use signalbox_proto::common::v1::generate_event::Kind;
use signalbox_proto::common::v1::{
    Citation, Delta, FinishReason, Finished, ReasoningText, Started, ToolCallDelta,
};
use signalbox_proto::gateway::v1::CompleteResponse;

use super::said::{self, Call, Item, Message, Thought};
use super::usage::written;
use crate::door::{Balance, Extension, FIELD, Failure, Head, data, extras, pieces, typed};

/// The fields of an answer that are its own, or the request's.
const TOLD: [&str; 12] = [
    "id",
    "object",
    "created_at",
    "status",
    "error",
    "incomplete_details",
    "model",
    "output",
    "usage",
    "content",
    "choices",
    "created",
];

/// Citations that are kept until there is a text.
const EARLY: usize = 256;

/// Writes a streamed answer.
#[derive(Debug)]
pub struct Reply {
    head: Head,
    extension: Extension,
    sequence: u64,
    output: Vec<Item>,
    /// Places of the items under way.
    open: Vec<usize>,
    /// Citations that came before any text.
    early: Vec<Citation>,
    /// Bytes of answer text so far.
    said: u64,
    /// What a whole answer's events would be: they are not written then.
    silent: bool,
}

impl Reply {
    pub(crate) fn new(head: Head) -> Self {
        Self {
            head,
            extension: Extension::default(),
            sequence: 0,
            output: Vec::new(),
            open: Vec::new(),
            early: Vec::new(),
            said: 0,
            silent: false,
        }
    }

    pub(crate) fn event(&mut self, event: Kind, out: &mut Vec<u8>) {
        match event {
            Kind::Started(started) => self.begin(*started, out),
            Kind::Delta(delta) => self.delta(delta, out),
            Kind::Notice(notice) => self.extension.notice(&notice, out),
            Kind::Seam(seam) => self.extension.seam(&seam, out),
            Kind::Finished(finished) => {
                let (status, response) = self.finish(&finished, out);
                self.tell(&format!("response.{status}"), json!({ "response": response }), out);
            }
        }
    }

    pub(crate) fn fail(&mut self, failure: &Failure<'_>, out: &mut Vec<u8>) {
        let mut error = failure.openai();
        // The libraries raise an error where they see this field, the reference has the others.
        error.insert("error".to_owned(), error.clone().into());
        self.tell("error", error.into(), out);
    }

    /// Writes an event.
    fn tell(&mut self, kind: &str, fields: Value, out: &mut Vec<u8>) {
        if self.silent {
            return;
        }
        let mut map = Map::from_iter([("type".to_owned(), Value::from(kind))]);
        map.insert("sequence_number".to_owned(), self.sequence.into());
        if let Value::Object(mut fields) = fields {
            fields.remove("type");
            map.append(&mut fields);
        }
        self.sequence += 1;
        data(out, kind, &map);
    }

    fn begin(&mut self, started: Started, out: &mut Vec<u8>) {
        self.extension.started(started);
        for kind in ["response.created", "response.in_progress"] {
            let response = self.response("in_progress");
            self.tell(kind, json!({ "response": response }), out);
        }
    }

    fn response(&self, status: &str) -> Map<String, Value> {
        let mut map = Map::new();
        map.insert("id".to_owned(), format!("resp_{}", self.head.request_id).into());
        map.insert("object".to_owned(), "response".into());
        map.insert("created_at".to_owned(), self.head.created.into());
        map.insert("status".to_owned(), status.into());
        map.insert("error".to_owned(), Value::Null);
        map.insert("incomplete_details".to_owned(), Value::Null);
        map.insert("model".to_owned(), self.extension.model().into());
        map.insert("output".to_owned(), json!([]));
        map.extend(self.head.echo.fields().clone());
        map.insert("usage".to_owned(), Value::Null);
        map
    }

    fn delta(&mut self, delta: Delta, out: &mut Vec<u8>) {
        let Delta { index, content, logprobs, extra } = delta;
        let extra = extra.as_ref();
        match content {
            Some(Content::Text(words)) if typed(&words, extra).is_some() => {
                self.complete(Item::Whole(said::block(extra)), out);
            }
            Some(Content::Text(words)) => self.speak(false, &words, logprobs.as_ref(), extra, out),
            Some(Content::Refusal(words)) => self.speak(true, &words, None, None, out),
            Some(Content::Reasoning(thought)) => self.think(thought, extra, out),
            Some(Content::ToolCall(call)) => self.call(index, &call, extra, out),
            Some(Content::Citation(citation)) => self.cite(*citation, out),
            Some(Content::Media(media)) => {
                let id = self.id("ig");
                self.complete(Item::Whole(said::image(&media, extra, id)), out);
            }
            None => {}
        }
    }

    fn id(&self, kind: &str) -> String {
        format!("{kind}_{}{}_{}", said::OURS, self.head.request_id, self.output.len())
    }

    /// Returns the place of the item under way, if it is of the kind that `is` knows.
    fn under_way(&self, is: impl Fn(&Item) -> bool) -> Option<usize> {
        self.open.last().copied().filter(|place| self.output.get(*place).is_some_and(is))
    }

    /// Begins an item, and ends those that are complete.
    fn start(&mut self, item: Item, out: &mut Vec<u8>) -> usize {
        let is_call = matches!(item, Item::Call(_));
        for place in std::mem::take(&mut self.open) {
            match self.output.get(place) {
                Some(Item::Call(call)) if is_call && !call.balance.is_whole() => self.open.push(place),
                _ => self.stop(place, out),
            }
        }
        let place = self.output.len();
        self.tell("response.output_item.added", json!({ "output_index": place, "item": item.begun() }), out);
        self.output.push(item);
        self.open.push(place);
        place
    }

    fn complete(&mut self, item: Item, out: &mut Vec<u8>) {
        let place = self.start(item, out);
        self.open.pop();
        self.stop(place, out);
    }

    /// Says an item whole, and the texts in it.
    fn stop(&mut self, place: usize, out: &mut Vec<u8>) {
        let Some(item) = self.output.get(place) else { return };
        let (last, whole) = (item.last(place), item.done());
        for (kind, fields) in last {
            self.tell(kind, fields, out);
        }
        self.tell("response.output_item.done", json!({ "output_index": place, "item": whole }), out);
    }

    fn speak(
        &mut self,
        refuses: bool,
        words: &str,
        logprobs: Option<&Struct>,
        extra: Option<&Struct>,
        out: &mut Vec<u8>,
    ) {
        if words.is_empty() {
            return;
        }
        let found = self.under_way(|item| matches!(item, Item::Message(_)));
        let place = match found {
            Some(place) => place,
            None => {
                let message = Message::new(self.id("msg"), extra);
                self.start(Item::Message(message), out)
            }
        };
        let said = self.said;
        let Some(Item::Message(message)) = self.output.get_mut(place) else { return };
        let told = message.add(refuses, words, logprobs, said, place);
        if !refuses {
            self.said += words.len() as u64;
        }
        for (kind, fields) in told {
            self.tell(kind, fields, out);
        }
        for citation in std::mem::take(&mut self.early) {
            self.cite(citation, out);
        }
    }

    fn think(&mut self, thought: ReasoningText, extra: Option<&Struct>, out: &mut Vec<u8>) {
        let found = self.under_way(|item| matches!(item, Item::Thought(thought) if !thought.is_sealed()));
        let place = match found {
            Some(place) => place,
            None => {
                let item = Item::Thought(Thought::new(self.id("rs")));
                self.start(item, out)
            }
        };
        let Some(Item::Thought(known)) = self.output.get_mut(place) else { return };
        let told = known.add(thought, extra, place);
        for (kind, fields) in told {
            self.tell(kind, fields, out);
        }
    }

    fn call(&mut self, index: u32, call: &ToolCallDelta, extra: Option<&Struct>, out: &mut Vec<u8>) {
        let fresh = call.id.is_some() && call.name.is_some();
        let of = |place: &&usize| matches!(self.output.get(**place), Some(Item::Call(known)) if known.index == index);
        let found = self.open.iter().rev().find(of).copied().filter(|_| !fresh);
        let place = match found {
            Some(place) => place,
            None => {
                let item =
                    Call { index, balance: Balance::default(), item: said::call(call, extra, self.id("fc")) };
                self.start(Item::Call(item), out)
            }
        };
        let Some(Item::Call(known)) = self.output.get_mut(place) else { return };
        if call.arguments.is_empty() {
            return;
        }
        let told = known.add(&call.arguments, place);
        self.tell(told.0, told.1, out);
    }

    /// Adds a citation to the text that it belongs to.
    fn cite(&mut self, citation: Citation, out: &mut Vec<u8>) {
        let end = citation.end_byte.unwrap_or(self.said);
        let mut messages = self.output.iter_mut().enumerate().rev().filter_map(|(place, item)| match item {
            Item::Message(message) => Some((place, message)),
            _ => None,
        });
        let told = messages.find_map(|(place, message)| message.cite(&citation, end, place));
        match told {
            Some((kind, fields)) => self.tell(kind, fields, out),
            None if self.early.len() < EARLY => self.early.push(citation),
            None => {}
        }
    }

    /// Ends what is under way; returns the answer's status and all of it.
    fn finish(&mut self, finished: &Finished, out: &mut Vec<u8>) -> (&'static str, Value) {
        for place in std::mem::take(&mut self.open) {
            self.stop(place, out);
        }
        let reason = match finished.finish_reason() {
            FinishReason::Length | FinishReason::Budget => Some("max_output_tokens"),
            FinishReason::ContentFilter | FinishReason::Guard => Some("content_filter"),
            _ => None,
        };
        let status = if reason.is_some() { "incomplete" } else { "completed" };
        let mut map = self.response(status);
        map.insert("incomplete_details".to_owned(), reason.map(|reason| json!({ "reason": reason })).into());
        map.insert("output".to_owned(), self.output.iter().map(Item::done).collect::<Vec<_>>().into());
        map.insert("usage".to_owned(), written(&finished.usage.unwrap_or_default()));
        extras(&mut map, finished.extra.as_ref(), &TOLD);
        map.insert(FIELD.to_owned(), self.extension.value(finished));
        (status, map.into())
    }
}

/// Writes a whole answer.
pub(crate) fn reply(head: Head, mut answer: CompleteResponse) -> Bytes {
    let mut reply = Reply { silent: true, ..Reply::new(head) };
    let last = answer.finished.take().unwrap_or_default();
    let mut unread = Vec::new();
    for event in pieces(answer) {
        reply.event(event, &mut unread);
    }
    Bytes::from(reply.finish(&last, &mut unread).1.to_string())
}
