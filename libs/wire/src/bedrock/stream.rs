//! An answer put together from events.

use std::collections::{BTreeSet, VecDeque};

use aws_smithy_types::event_stream::Message;
use aws_smithy_types::str_bytes::StrBytes;
use bytes::Bytes;
use serde_json::{Map, Value};
use signalbox_proto::common::v1::delta::Content as Out;
use signalbox_proto::common::v1::{Citation, Delta, FinishReason, ReasoningText, ToolCallDelta};

use super::error::exception;
use super::frames::{Frame, Frames};
use super::usage::usage;
use crate::openai::body::others;
use crate::stream::{Failed, unreadable};
use crate::{Answer, ErrorClass, Limits, ProviderError, Summary, json};

/// Decodes a stream of this dialect, bytes in, deltas out.
///
/// A delta's index is that of its content block. A frame that cannot be read is skipped and counted, up to
/// [`Limits::malformed_chunks`]. Blocks of a kind unknown here travel in the `extra` of an empty text, as do tools that
/// the provider runs itself.
#[derive(Debug)]
pub struct Stream {
    frames: Frames,
    limits: Limits,
    state: State,
    failed: Failed,
}

/// Decodes a whole answer, of Converse.
///
/// # Errors
///
/// The body is no answer: an error, a web page, broken JSON, or an answer without a stop reason.
pub fn whole(body: &[u8]) -> Result<Answer, ProviderError> {
    let Ok(Value::Object(root)) = serde_json::from_slice::<Value>(body) else {
        return Err(ProviderError::from_success(body));
    };
    let blocks = root.get("output").and_then(|o| o.get("message")).and_then(|m| m.get("content"));
    let Some(blocks) = blocks.and_then(Value::as_array) else {
        return Err(ProviderError::from_success(body));
    };
    let mut state = State::default();
    for (index, block) in (0u32..).zip(blocks) {
        state.block(index, block);
    }
    match root.get("stopReason").and_then(Value::as_str) {
        Some(word) => state.finish(word)?,
        None => return Err(ProviderError::new(ErrorClass::Protocol, "an answer without a stop reason")),
    }
    state.metadata(&others(&root, &["output", "stopReason"]));
    Ok(Answer { deltas: state.queue.into(), summary: state.summary })
}

impl Stream {
    /// Makes a decoder.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { frames: Frames::new(limits.event_bytes), limits, state: State::default(), failed: Failed::No }
    }

    /// Takes bytes in.
    pub fn push(&mut self, bytes: &Bytes) {
        self.frames.push(bytes);
    }

    /// Gives the next delta, or `None` until more bytes come.
    ///
    /// # Errors
    ///
    /// The provider sent an exception, or too much that cannot be read. Nothing follows an error.
    pub fn next_delta(&mut self) -> Result<Option<Delta>, ProviderError> {
        loop {
            if let Some(delta) = self.state.queue.pop_front() {
                return Ok(Some(delta));
            }
            if self.failed.is_some() {
                return self.failed.give().map(|()| None);
            }
            let read = match self.frames.next_frame() {
                Ok(None) => return Ok(None),
                Ok(Some(Frame::Message(message))) => self.message(&message),
                Ok(Some(Frame::Malformed)) => self.malformed(),
                Err(why) => Err(ProviderError::new(ErrorClass::Protocol, &why)),
            };
            if let Err(error) = read {
                self.failed = Failed::With(error);
            }
        }
    }

    /// Says that the provider closed the stream, and gives what was still held back. To be called until it gives `None`.
    ///
    /// # Errors
    ///
    /// As [`Stream::next_delta`].
    pub fn end(&mut self) -> Result<Option<Delta>, ProviderError> {
        // Half a frame says nothing; without a stop reason the answer is not complete anyway.
        self.next_delta()
    }

    /// Returns what the provider said about its answer so far.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        &self.state.summary
    }

    /// Returns what the provider said about its answer.
    #[must_use]
    pub fn into_summary(self) -> Summary {
        self.state.summary
    }

    /// Returns the beginning of what came instead of frames, to explain a stream that held no answer.
    #[must_use]
    pub fn stray(&self) -> &[u8] {
        self.frames.stray()
    }

    fn malformed(&mut self) -> Result<(), ProviderError> {
        unreadable(&mut self.state.summary, self.limits, "frames")
    }

    fn message(&mut self, message: &Message) -> Result<(), ProviderError> {
        let header = |name: &str| {
            let found = message.headers().iter().find(|header| header.name().as_str() == name)?;
            found.value().as_string().ok().map(StrBytes::as_str)
        };
        match header(":message-type") {
            Some("exception") => {
                let name = header(":exception-type").unwrap_or("exception");
                return Err(exception(name, message.payload()));
            }
            Some("error") => {
                let words = header(":error-message").unwrap_or_default();
                return Err(exception(header(":error-code").unwrap_or("error"), words.as_bytes()));
            }
            _ => {}
        }
        match (header(":event-type"), serde_json::from_slice::<Value>(message.payload())) {
            (Some(kind), Ok(Value::Object(event))) => self.state.event(kind, &event),
            _ => self.malformed(),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Delta>,
    summary: Summary,
    /// Blocks whose tool the provider runs itself.
    served: BTreeSet<u32>,
    measured: bool,
}

impl State {
    fn event(&mut self, kind: &str, event: &Map<String, Value>) -> Result<(), ProviderError> {
        let index = event.get("contentBlockIndex").and_then(Value::as_u64);
        let index = u32::try_from(index.unwrap_or_default()).unwrap_or(u32::MAX);
        match kind {
            "contentBlockStart" => {
                if let Some(start) = event.get("start") {
                    self.start(index, start);
                }
            }
            "contentBlockDelta" => {
                if let Some(Value::Object(delta)) = event.get("delta") {
                    self.delta(index, delta);
                }
            }
            "messageStop" => {
                if let Some(word) = event.get("stopReason").and_then(Value::as_str) {
                    self.finish(word)?;
                }
                self.remember(others(event, &["stopReason", "p"]));
            }
            "metadata" => self.metadata(event),
            // An exception that came as an event.
            name if name.ends_with("Exception") => {
                return Err(exception(name, Value::Object(event.clone()).to_string().as_bytes()));
            }
            _ => {}
        }
        self.summary.done = self.measured && self.summary.finish_reason.is_some();
        Ok(())
    }

    /// Takes what a block begins with.
    fn start(&mut self, index: u32, start: &Value) {
        let Some(start) = start.as_object() else { return };
        match start.get("toolUse") {
            Some(Value::Object(call)) if is_served(call) => {
                if self.served.len() < 1024 {
                    self.served.insert(index);
                }
                self.unknown(index, start.clone());
            }
            Some(Value::Object(call)) => self.call(index, call, String::new()),
            _ if start.is_empty() => {}
            _ => self.unknown(index, start.clone()),
        }
    }

    fn delta(&mut self, index: u32, delta: &Map<String, Value>) {
        for (key, value) in delta {
            match (key.as_str(), value) {
                ("text", Value::String(text)) => self.text(index, text),
                ("reasoningContent", Value::Object(inner)) => self.reasoning(index, inner),
                ("toolUse", Value::Object(call)) if !self.served.contains(&index) => {
                    let piece = call.get("input").and_then(Value::as_str).unwrap_or_default();
                    if !piece.is_empty() {
                        self.call(index, &Map::new(), piece.to_owned());
                    }
                }
                ("citation", Value::Object(citation)) => self.citation(index, citation),
                ("type" | "p", _) => {}
                _ => self.unknown(index, Map::from_iter([(key.clone(), value.clone())])),
            }
        }
    }

    /// Takes a block of a whole answer.
    fn block(&mut self, index: u32, block: &Value) {
        let Some(block) = block.as_object() else { return };
        for (key, value) in block {
            match (key.as_str(), value) {
                ("text", Value::String(text)) => self.text(index, text),
                ("reasoningContent", Value::Object(inner)) => match inner.get("reasoningText") {
                    Some(Value::Object(text)) => self.reasoning(index, text),
                    _ => self.reasoning(index, inner),
                },
                ("toolUse", Value::Object(call)) if !is_served(call) => {
                    let input = call.get("input").filter(|input| !input.is_null());
                    self.call(index, call, input.map(Value::to_string).unwrap_or_default());
                }
                ("citationsContent", Value::Object(cited)) => {
                    let list = |key| cited.get(key).and_then(Value::as_array).into_iter().flatten();
                    for text in list("content").filter_map(|piece| piece.get("text")?.as_str()) {
                        self.text(index, text);
                    }
                    list("citations").filter_map(Value::as_object).for_each(|c| self.citation(index, c));
                }
                ("type", Value::String(_)) => {}
                _ => self.unknown(index, Map::from_iter([(key.clone(), value.clone())])),
            }
        }
    }

    fn push(&mut self, index: u32, content: Out, extra: Map<String, Value>) {
        let extra = json::fields(extra).ok().flatten();
        self.queue.push_back(Delta { index, content: Some(content), logprobs: None, extra });
    }

    fn unknown(&mut self, index: u32, extra: Map<String, Value>) {
        self.push(index, Out::Text(String::new()), extra);
    }

    fn text(&mut self, index: u32, text: &str) {
        if !text.is_empty() {
            self.push(index, Out::Text(text.to_owned()), Map::new());
        }
    }

    /// Takes readable or hidden reasoning. What is hidden travels as the signature; `extra` says that it is no such.
    fn reasoning(&mut self, index: u32, inner: &Map<String, Value>) {
        let word = |key: &str| inner.get(key).and_then(Value::as_str).filter(|word| !word.is_empty());
        let (text, signature, redacted) = (word("text"), word("signature"), word("redactedContent"));
        let mut extra = Map::new();
        if redacted.is_some() {
            let mark = Map::from_iter([("redactedContent".to_owned(), Value::from(""))]);
            extra.insert("reasoningContent".to_owned(), Value::Object(mark));
        }
        if text.is_some() || signature.is_some() || redacted.is_some() {
            let reasoning = ReasoningText {
                text: text.unwrap_or_default().to_owned(),
                signature: signature.or(redacted).map(str::to_owned),
                provider: None,
            };
            self.push(index, Out::Reasoning(reasoning), extra);
        }
    }

    fn call(&mut self, index: u32, call: &Map<String, Value>, arguments: String) {
        let word = |key: &str| call.get(key).and_then(Value::as_str).map(str::to_owned);
        let mut rest = others(call, &["toolUseId", "name", "input"]);
        if rest.get("type").is_some_and(|kind| kind == "tool_use") {
            rest.remove("type");
        }
        let mut extra = Map::new();
        if !rest.is_empty() {
            extra.insert("toolUse".to_owned(), Value::Object(rest));
        }
        let delta = ToolCallDelta { id: word("toolUseId"), name: word("name"), arguments };
        self.push(index, Out::ToolCall(delta), extra);
    }

    fn citation(&mut self, index: u32, citation: &Map<String, Value>) {
        let location = citation.get("location");
        let url = location.and_then(|l| l.pointer("/web/url")).and_then(Value::as_str);
        let out = Citation {
            url: url.map(str::to_owned),
            title: citation.get("title").and_then(Value::as_str).map(str::to_owned),
            extra: json::fields(citation.clone()).ok().flatten(),
            ..Citation::default()
        };
        self.push(index, Out::Citation(out.into()), Map::new());
    }

    fn finish(&mut self, word: &str) -> Result<(), ProviderError> {
        if let Some(known) = self.summary.provider_finish_reason.as_deref() {
            if known == word {
                return Ok(());
            }
            let message = format!("two stop reasons, `{known}` and `{word}`");
            return Err(ProviderError::new(ErrorClass::Protocol, &message));
        }
        self.summary.finish_reason = Some(match word {
            "end_turn" | "stop_sequence" => FinishReason::Stop,
            "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
            "tool_use" => FinishReason::ToolCalls,
            "guardrail_intervened" | "content_filtered" => FinishReason::ContentFilter,
            "refusal" => FinishReason::Refusal,
            _ => FinishReason::Unspecified,
        });
        self.summary.provider_finish_reason = Some(word.to_owned());
        Ok(())
    }

    /// Takes counts, timings and traces.
    fn metadata(&mut self, event: &Map<String, Value>) {
        self.measured = true;
        let mut rest = others(event, &["usage", "p"]);
        if let Some(Value::Object(counts)) = event.get("usage") {
            self.summary.usage = Some(usage(&Value::Object(counts.clone())));
            let more: Map<String, Value> = others(counts, &[])
                .into_iter()
                .filter(|(_, v)| match v {
                    Value::Object(map) => !map.is_empty(),
                    Value::Array(list) => !list.is_empty(),
                    _ => false,
                })
                .collect();
            if !more.is_empty() {
                rest.insert("usage".to_owned(), Value::Object(more));
            }
        }
        self.remember(rest);
    }

    fn remember(&mut self, rest: Map<String, Value>) {
        let rest = rest.into_iter().filter(|(_, value)| !value.is_null()).collect();
        if let Ok(Some(rest)) = json::fields(rest) {
            self.summary.extra.get_or_insert_default().fields.extend(rest.fields);
        }
    }
}

/// Tells whether the provider runs a tool itself, so that nobody else must.
fn is_served(call: &Map<String, Value>) -> bool {
    call.get("type").is_some_and(|kind| kind == "server_tool_use")
}

#[cfg(test)]
mod tests;
