//! An answer put together from chunks.

use std::collections::VecDeque;

use prost_types::Struct;
use serde_json::Value;
use serde_json::value::RawValue;
use signalbox_proto::common::v1::delta::Content as Out;
use signalbox_proto::common::v1::{Citation, Delta, FinishReason, ReasoningText, ToolCallDelta};

use super::alike::Alike;
use super::body::by_reference;
use super::chunk::{Body, Call, Choice, Chunk, Content, Rest};
use super::usage::Reported;
use crate::json::{self, Owned};
use crate::sse;
use crate::stream::{self, Reading};
use crate::{Answer, ErrorClass, Limits, ProviderError, Summary};

/// Decodes a stream of this dialect, bytes in, deltas out.
///
/// The answer's text, reasoning and refusal have index 0, the first tool call 1, the next 2, and so on. A chunk that is
/// not JSON is skipped and counted, up to [`Limits::malformed_chunks`].
pub type Stream = stream::Stream<State>;

/// Decodes a whole answer.
///
/// # Errors
///
/// The body is no answer: an error object, a web page, broken JSON, or an answer without a finish reason.
pub fn whole(body: &[u8]) -> Result<Answer, ProviderError> {
    let mut chunk = Chunk::default();
    if !std::str::from_utf8(body).is_ok_and(|text| chunk.read(text).is_ok()) {
        return Err(ProviderError::from_success(body));
    }
    if chunk.error.is_some() || chunk.choice.is_none() {
        return Err(ProviderError::from_success(body));
    }
    let mut state = State { whole: true, ..State::default() };
    state.take(&mut chunk)?;
    if state.summary.finish_reason.is_none() {
        return Err(ProviderError::new(ErrorClass::Protocol, "an answer without a finish reason"));
    }
    Ok(Answer { deltas: state.queue.into(), summary: state.summary })
}

impl Reading for State {
    const PIECES: &'static str = "chunks";

    fn new(_: Limits) -> Self {
        Self::default()
    }

    fn read(&mut self, event: &sse::Event, data: &[u8]) -> Result<bool, ProviderError> {
        if data == b"[DONE]" {
            self.summary.done = true;
            return Ok(true);
        }
        // Checked once as a whole: else each text in it is checked by itself, at several times the cost.
        let Ok(text) = std::str::from_utf8(data) else { return Ok(false) };
        if event.name != "error"
            && let Some(words) = self.alike.words(text)
        {
            self.text(words);
            return Ok(true);
        }
        let (mut chunk, before) = (Chunk::default(), self.queue.len());
        match chunk.read(text) {
            // Some name the event instead of wrapping the error.
            Ok(()) if event.name == "error" && chunk.error.is_none() => Err(ProviderError::from_event(text)),
            Ok(()) => {
                let tools = self.tools.len();
                self.take(&mut chunk)?;
                if self.tools.len() == tools && self.queue.len() == before + 1 {
                    self.alike.learn(text, &chunk, self.queue.back());
                }
                Ok(true)
            }
            Err(_) => Ok(false),
        }
    }

    fn built(&mut self) -> (&mut VecDeque<Delta>, &mut Summary) {
        (&mut self.queue, &mut self.summary)
    }

    fn summary(&self) -> &Summary {
        &self.summary
    }
}

/// Is what was read so far.
#[derive(Debug, Default)]
pub struct State {
    queue: VecDeque<Delta>,
    summary: Summary,
    tools: Vec<Slot>,
    alike: Alike,
    refused: bool,
    /// Whether the answer came in one piece: offsets in it can then be converted.
    whole: bool,
}

/// Is a tool call under way; its place in the list is its index less one.
#[derive(Debug)]
struct Slot {
    wire_index: Option<u64>,
    id: String,
    named: bool,
}

impl State {
    fn take(&mut self, chunk: &mut Chunk<'_>) -> Result<(), ProviderError> {
        if let Some(error) = chunk.error {
            return Err(ProviderError::from_event(error.get()));
        }
        if self.summary.response_id.is_none() {
            self.summary.response_id = chunk.id.some().map(str::to_owned);
        }
        if self.summary.model.is_none() {
            self.summary.model = chunk.model.some().map(str::to_owned);
        }
        let mut last = chunk.usage.is_some() || chunk.choice.is_none();
        if let Some(usage) = chunk.usage {
            self.summary.usage = Some(usage.usage());
        }
        if let Some(choice) = &mut chunk.choice {
            last |= self.choice(choice)?;
        }
        if last {
            self.remember(&chunk.rest);
            self.groq_usage(&chunk.rest);
        }
        Ok(())
    }

    /// Takes a choice; says whether it was the last one.
    fn choice(&mut self, choice: &mut Choice<'_>) -> Result<bool, ProviderError> {
        let before = self.queue.len();
        let Choice { delta, message, .. } = choice;
        let (first, second) = if self.whole { (message, delta) } else { (delta, message) };
        if let Some(body) = first.as_mut().or(second.as_mut()) {
            self.body(body);
        }
        let finish =
            choice.finish_reason.as_ref().map(|word| &*word.0).filter(|word| self.whole || !word.is_empty());
        if let Some(first) = self.queue.get_mut(before) {
            if let Some(raw) = choice.logprobs.filter(|raw| raw.get().contains('[')) {
                first.logprobs = object(raw);
            }
            if finish.is_none() {
                merge(&mut first.extra, &choice.rest);
            }
        }
        match finish {
            None => Ok(false),
            Some(word) => {
                self.remember(&choice.rest);
                self.finish(word).map(|()| true)
            }
        }
    }

    fn finish(&mut self, word: &str) -> Result<(), ProviderError> {
        if let Some(known) = self.summary.provider_finish_reason.as_deref() {
            if known == word {
                return Ok(());
            }
            let message = format!("two finish reasons, `{known}` and `{word}`");
            return Err(ProviderError::new(ErrorClass::Protocol, &message));
        }
        let reason = match word {
            "stop" | "eos" | "end_turn" | "stop_sequence" if self.refused => FinishReason::Refusal,
            "stop" | "eos" | "end_turn" | "stop_sequence" => FinishReason::Stop,
            "length" | "model_length" | "max_tokens" => FinishReason::Length,
            "tool_calls" | "function_call" | "tool_use" => FinishReason::ToolCalls,
            "content_filter" | "sensitive" => FinishReason::ContentFilter,
            // The provider broke off (OpenRouter, Mistral, DeepSeek, Zhipu): that is no finished answer.
            "error" | "insufficient_system_resource" | "network_error" => {
                let message = format!("the provider ended the answer with `{word}`");
                return Err(ProviderError::new(ErrorClass::Overloaded, &message));
            }
            _ => FinishReason::Unspecified,
        };
        self.summary.finish_reason = Some(reason);
        self.summary.provider_finish_reason = Some(word.to_owned());
        Ok(())
    }

    fn body(&mut self, body: &mut Body<'_>) {
        let before = self.queue.len();
        // Servers that send both send the same text twice.
        if let Some(text) = body.reasoning_content.some().or(body.reasoning.some()) {
            self.reasoning(text);
        }
        let mut cited = "";
        match &body.content {
            Content::Text(text) => {
                cited = text;
                self.text(text);
            }
            Content::Json(json) => self.pieces(json),
        }
        if let Some(text) = body.refusal.some() {
            self.refused = true;
            self.push(0, Out::Refusal(text.to_owned()));
        }
        for call in body.tool_calls.drain(..) {
            self.call(call);
        }
        if let Some(raw) = body.annotations {
            self.annotations(raw, if self.whole { cited } else { "" });
        }
        if let Some(raw) = body.images {
            self.images(raw);
        }
        if !body.rest.is_empty() {
            if self.queue.len() == before {
                self.push(0, Out::Text(String::new()));
            }
            if let Some(first) = self.queue.get_mut(before) {
                merge(&mut first.extra, &body.rest);
            }
        }
    }

    fn push(&mut self, index: u32, content: Out) {
        self.queue.push_back(Delta { index, content: Some(content), logprobs: None, extra: None });
    }

    fn text(&mut self, text: &str) {
        if !text.is_empty() {
            self.push(0, Out::Text(text.to_owned()));
        }
    }

    fn reasoning(&mut self, text: &str) {
        self.push(
            0,
            Out::Reasoning(ReasoningText { text: text.to_owned(), signature: None, provider: None }),
        );
    }

    /// Takes content that is a list of parts (Mistral).
    fn pieces(&mut self, json: &Value) {
        for piece in json.as_array().into_iter().flatten() {
            let kind = piece.get("type").and_then(|t| t.as_str()).unwrap_or_default();
            match (kind, piece.get("text").and_then(|t| t.as_str()), piece.get("thinking")) {
                ("text", Some(text), _) => self.text(text),
                ("thinking", _, Some(Value::String(text))) => self.reasoning(text),
                ("thinking", _, Some(Value::Array(inner))) => {
                    let text: String = inner.iter().filter_map(|p| p.get("text")?.as_str()).collect();
                    if !text.is_empty() {
                        self.reasoning(&text);
                    }
                }
                _ => {
                    self.push(0, Out::Text(String::new()));
                    if let (Some(last), Ok(value)) = (self.queue.back_mut(), json::value(piece.clone())) {
                        last.extra.get_or_insert_default().fields.insert("content".to_owned(), value);
                    }
                }
            }
        }
    }

    /// Takes a tool call, or more of one.
    ///
    /// Servers leave the index out, or give the same one to all parallel calls: then a new id begins a new call.
    fn call(&mut self, call: Call<'_>) {
        let id = call.id.some();
        let same_id = |slot: &Slot| id.is_none_or(|id| slot.id.is_empty() || slot.id == id);
        let found = match call.index {
            Some(index) => self.tools.iter().rposition(|s| s.wire_index == Some(index) && same_id(s)),
            None if self.whole => None,
            None => match id {
                Some(id) => self.tools.iter().rposition(|slot| slot.id == id),
                None if call.function.name.some().is_some() => {
                    self.tools.iter().rposition(|slot| !slot.named)
                }
                None => self.tools.len().checked_sub(1),
            },
        };
        let slot = found.unwrap_or_else(|| {
            self.tools.push(Slot { wire_index: call.index, id: String::new(), named: false });
            self.tools.len() - 1
        });
        let Some(tool) = self.tools.get_mut(slot) else { return };
        let mut delta = ToolCallDelta::default();
        if let Some(id) = id.filter(|_| tool.id.is_empty()) {
            id.clone_into(&mut tool.id);
            delta.id = Some(id.to_owned());
        }
        if let Some(name) = call.function.name.some().filter(|_| !tool.named) {
            tool.named = true;
            delta.name = Some(name.to_owned());
        }
        delta.arguments = match call.function.arguments {
            Content::Text(text) => text.into_owned(),
            Content::Json(json) => json.to_string(),
        };
        if delta.id.is_none() && delta.name.is_none() && delta.arguments.is_empty() && call.rest.is_empty() {
            return;
        }
        self.push(u32::try_from(slot + 1).unwrap_or(u32::MAX), Out::ToolCall(delta));
        if let Some(last) = self.queue.back_mut() {
            merge(&mut last.extra, &call.rest);
        }
    }

    fn annotations(&mut self, raw: &RawValue, text: &str) {
        let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) else { return };
        for raw in list {
            let Some(extra) = object(raw) else { continue };
            let found = json::nested(Some(&extra), "url_citation");
            let place = |key: &str| byte_of(text, found?.fields.get(key)?);
            let (start, end) = (place("start_index"), place("end_index"));
            let cites = start.zip(end).is_some_and(|(start, end)| start < end);
            let citation = Citation {
                url: json::text(found, "url").map(str::to_owned),
                title: json::text(found, "title").map(str::to_owned),
                start_byte: start.filter(|_| cites),
                end_byte: end.filter(|_| cites),
                extra: Some(extra.clone()),
            };
            self.push(0, Out::Citation(citation.into()));
        }
    }

    fn images(&mut self, raw: &RawValue) {
        let Ok(Value::Array(list)) = serde_json::from_str(raw.get()) else { return };
        for image in list {
            let url = image.get("image_url").and_then(|i| i.get("url")).and_then(|u| u.as_str());
            if let Some(url) = url {
                self.push(0, Out::Media(by_reference(url).into()));
            }
        }
    }

    fn remember(&mut self, rest: &Rest<'_>) {
        merge(&mut self.summary.extra, rest);
    }

    /// Groq's streams of older models report usage there only.
    fn groq_usage(&mut self, rest: &Rest<'_>) {
        #[derive(serde::Deserialize)]
        struct Groq {
            usage: Option<Reported>,
        }
        if self.summary.usage.is_some() {
            return;
        }
        let found = rest.iter().find(|(key, _)| key == "x_groq");
        let groq = found.and_then(|(_, raw)| serde_json::from_str::<Groq>(raw.get()).ok());
        self.summary.usage = groq.and_then(|g| g.usage).map(Reported::usage);
    }
}

/// Converts a provider's offset, which counts characters, to bytes of `text`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bounded by the text's length in the lookup"
)]
fn byte_of(text: &str, value: &prost_types::Value) -> Option<u64> {
    let Some(prost_types::value::Kind::NumberValue(n)) = value.kind else { return None };
    if text.is_empty() || n < 0.0 {
        return None;
    }
    let mut ends = text.char_indices().map(|(at, _)| at).chain(std::iter::once(text.len()));
    ends.nth(n as usize).map(|at| at as u64)
}

fn object(raw: &RawValue) -> Option<Struct> {
    match serde_json::from_str::<Owned>(raw.get()).ok()?.0.kind {
        Some(prost_types::value::Kind::StructValue(fields)) => Some(fields),
        _ => None,
    }
}

/// Takes over unknown fields. One that is nested too deep for a `Struct` is left out.
fn merge(extra: &mut Option<Struct>, rest: &Rest<'_>) {
    for (key, raw) in rest {
        if let Ok(Owned(value)) = serde_json::from_str(raw.get()) {
            extra.get_or_insert_default().fields.insert(key.clone().into_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests;
