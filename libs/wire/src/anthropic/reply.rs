//! Answers of this dialect, as clients read them.
//!
//! Blocks come one after the other, except that a call whose arguments are not whole yet stays open beside the next one.

use bytes::Bytes;
use prost_types::Struct;
use serde_json::{Map, Value, json};
use signalbox_proto::common::v1::delta::Content;
use signalbox_proto::common::v1::generate_event::Kind;
use signalbox_proto::common::v1::{Delta, Finished, Started, ToolCallDelta};
use signalbox_proto::gateway::v1::CompleteResponse;

use super::said::{block, citation, cited, end, usage};
use crate::door::{Balance, Extension, FIELD, Head, data, extras, pieces, typed};

/// Writes a streamed answer.
#[derive(Debug)]
pub struct Reply {
    head: Head,
    extension: Extension,
    /// Blocks under way.
    open: Vec<Open>,
    blocks: u32,
    refusal: String,
    called: bool,
}

/// Is a block under way.
#[derive(Debug)]
struct Open {
    block: u32,
    holds: Holds,
}

#[derive(Debug)]
enum Holds {
    Text,
    Thinking,
    /// A call: its index among the answer's deltas, and whether its arguments are whole.
    Call(u32, Balance),
}

impl Reply {
    pub(crate) fn new(head: Head) -> Self {
        Self {
            head,
            extension: Extension::default(),
            open: Vec::new(),
            blocks: 0,
            refusal: String::new(),
            called: false,
        }
    }

    pub(crate) fn event(&mut self, event: Kind, out: &mut Vec<u8>) {
        match event {
            Kind::Started(started) => self.begin(*started, out),
            Kind::Delta(delta) => self.delta(delta, out),
            Kind::Notice(notice) => self.extension.notice(&notice, out),
            Kind::Seam(seam) => self.extension.seam(&seam, out),
            Kind::Finished(finished) => self.finish(&finished, out),
        }
    }

    fn begin(&mut self, started: Started, out: &mut Vec<u8>) {
        self.extension.started(started);
        let mut message = self.message(Vec::new());
        message.insert("stop_reason".to_owned(), Value::Null);
        message.insert("stop_sequence".to_owned(), Value::Null);
        // The counts are known at the end, and come there as totals.
        message.insert("usage".to_owned(), json!({ "input_tokens": 0, "output_tokens": 0 }));
        data(out, "message_start", &json!({ "type": "message_start", "message": message }));
    }

    fn message(&self, content: Vec<Value>) -> Map<String, Value> {
        let mut map = Map::new();
        map.insert("id".to_owned(), format!("msg_{}", self.head.request_id).into());
        map.insert("type".to_owned(), "message".into());
        map.insert("role".to_owned(), "assistant".into());
        map.insert("model".to_owned(), self.extension.model().into());
        map.insert("content".to_owned(), content.into());
        map
    }

    fn delta(&mut self, delta: Delta, out: &mut Vec<u8>) {
        let extra = delta.extra.as_ref();
        match delta.content {
            Some(Content::Text(words)) if typed(&words, extra).is_some() => self.complete(&block(extra), out),
            Some(Content::Text(words)) => {
                self.text(extra, out);
                self.piece(&json!({ "type": "text_delta", "text": words }), out);
            }
            Some(Content::Reasoning(thought)) if thought.text.is_empty() && typed("", extra).is_some() => {
                let mut whole = block(extra);
                whole.insert("data".to_owned(), thought.signature.unwrap_or_default().into());
                self.complete(&whole, out);
            }
            Some(Content::Reasoning(thought)) => {
                self.thinking(extra, out);
                if !thought.text.is_empty() {
                    self.piece(&json!({ "type": "thinking_delta", "thinking": thought.text }), out);
                }
                if let Some(signature) = thought.signature {
                    self.piece(&json!({ "type": "signature_delta", "signature": signature }), out);
                    self.close(out);
                }
            }
            Some(Content::ToolCall(call)) => self.call(delta.index, call, extra, out),
            Some(Content::Refusal(words)) => self.refusal.push_str(&words),
            Some(Content::Citation(source)) => {
                self.text(None, out);
                self.piece(&json!({ "type": "citations_delta", "citation": citation(*source) }), out);
            }
            Some(Content::Media(media)) => self.complete(&super::said::image(&media), out),
            None => {}
        }
    }

    /// Goes on with the text under way, or begins one.
    fn text(&mut self, extra: Option<&Struct>, out: &mut Vec<u8>) {
        if !matches!(self.open.last(), Some(Open { holds: Holds::Text, .. })) {
            let mut block =
                Map::from_iter([("type".to_owned(), "text".into()), ("text".to_owned(), "".into())]);
            extras(&mut block, extra, &["citations"]);
            self.start(Holds::Text, &block, out);
        }
    }

    fn thinking(&mut self, extra: Option<&Struct>, out: &mut Vec<u8>) {
        if !matches!(self.open.last(), Some(Open { holds: Holds::Thinking, .. })) {
            let mut block = Map::from_iter([
                ("type".to_owned(), "thinking".into()),
                ("thinking".to_owned(), "".into()),
                ("signature".to_owned(), "".into()),
            ]);
            extras(&mut block, extra, &[]);
            self.start(Holds::Thinking, &block, out);
        }
    }

    fn call(&mut self, index: u32, call: ToolCallDelta, extra: Option<&Struct>, out: &mut Vec<u8>) {
        self.called = true;
        let fresh = call.id.is_some() && call.name.is_some();
        let is = |open: &Open| matches!(open.holds, Holds::Call(of, _) if of == index);
        if fresh || !self.open.iter().any(is) {
            let id = call.id.filter(|id| !id.is_empty());
            let id = id.unwrap_or_else(|| format!("toolu_{}_{}", self.head.request_id, self.blocks));
            let mut block = Map::from_iter([
                ("type".to_owned(), "tool_use".into()),
                ("id".to_owned(), id.into()),
                ("name".to_owned(), call.name.unwrap_or_default().into()),
                ("input".to_owned(), json!({})),
            ]);
            extras(&mut block, extra, &["arguments"]);
            self.start(Holds::Call(index, Balance::default()), &block, out);
        }
        if call.arguments.is_empty() {
            return;
        }
        let found = self.open.iter_mut().rev().find(|open| is(open));
        if let Some(Open { block, holds: Holds::Call(_, balance) }) = found {
            balance.add(&call.arguments);
            let piece = json!({ "type": "input_json_delta", "partial_json": call.arguments });
            data(
                out,
                "content_block_delta",
                &json!({ "type": "content_block_delta", "index": block, "delta": piece }),
            );
        }
    }

    /// Begins a block, and ends those that are complete.
    fn start(&mut self, holds: Holds, block: &Map<String, Value>, out: &mut Vec<u8>) {
        let open = std::mem::take(&mut self.open);
        for open in open {
            match &open.holds {
                Holds::Call(_, balance) if !balance.is_whole() && matches!(holds, Holds::Call(..)) => {
                    self.open.push(open);
                }
                _ => stop(open.block, out),
            }
        }
        let index = self.blocks;
        self.blocks += 1;
        data(
            out,
            "content_block_start",
            &json!({ "type": "content_block_start", "index": index, "content_block": block }),
        );
        self.open.push(Open { block: index, holds });
    }

    /// Writes a block that is complete as it is.
    fn complete(&mut self, block: &Map<String, Value>, out: &mut Vec<u8>) {
        self.start(Holds::Text, block, out);
        self.close(out);
    }

    /// Adds to the last block.
    fn piece(&self, delta: &Value, out: &mut Vec<u8>) {
        let index = self.open.last().map_or(0, |open| open.block);
        data(
            out,
            "content_block_delta",
            &json!({ "type": "content_block_delta", "index": index, "delta": delta }),
        );
    }

    /// Ends the last block.
    fn close(&mut self, out: &mut Vec<u8>) {
        if let Some(open) = self.open.pop() {
            stop(open.block, out);
        }
    }

    fn finish(&mut self, finished: &Finished, out: &mut Vec<u8>) {
        for open in std::mem::take(&mut self.open) {
            stop(open.block, out);
        }
        let mut last = Map::from_iter([("type".to_owned(), "message_delta".into())]);
        last.insert("delta".to_owned(), end(finished, &self.refusal, self.called).into());
        last.insert("usage".to_owned(), usage(finished).into());
        last.insert(FIELD.to_owned(), self.extension.value(finished));
        data(out, "message_delta", &last);
        data(out, "message_stop", &json!({ "type": "message_stop" }));
    }
}

fn stop(block: u32, out: &mut Vec<u8>) {
    data(out, "content_block_stop", &json!({ "type": "content_block_stop", "index": block }));
}

/// Writes a whole answer.
pub(crate) fn reply(head: Head, mut answer: CompleteResponse) -> Bytes {
    let mut reply = Reply::new(head);
    let citations = std::mem::take(&mut answer.citations);
    let (mut content, mut unread) = (Vec::new(), Vec::new());
    let (mut last, mut said) = (Finished::default(), 0);
    for event in pieces(answer) {
        match event {
            Kind::Delta(Delta { content: Some(Content::Text(words)), extra, .. })
                if typed(&words, extra.as_ref()).is_none() =>
            {
                content.extend(cited(&words, said, &citations));
                said += words.len() as u64;
            }
            Kind::Delta(Delta { content: Some(Content::Refusal(words)), .. }) => {
                reply.refusal.push_str(&words);
            }
            Kind::Delta(Delta { content: Some(piece), extra, .. }) => {
                let at = content.len();
                reply.called |= matches!(piece, Content::ToolCall(_));
                content.push(super::said::whole(piece, extra.as_ref(), &reply.head, at).into());
            }
            Kind::Started(started) => reply.extension.started(*started),
            Kind::Finished(finished) => last = *finished,
            event => reply.event(event, &mut unread),
        }
    }
    let mut message = reply.message(content);
    message.extend(end(&last, &reply.refusal, reply.called));
    message.insert("usage".to_owned(), usage(&last).into());
    message.insert(FIELD.to_owned(), reply.extension.value(&last));
    Bytes::from(Value::Object(message).to_string())
}
