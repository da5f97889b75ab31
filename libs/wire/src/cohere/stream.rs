//! An answer put together from events.

use std::collections::VecDeque;

use serde_json::{Map, Value};
use signalbox_proto::common::v1::delta::Content as Out;
use signalbox_proto::common::v1::{
    Citation, Delta, FinishReason, ReasoningText, ToolCallDelta, Usage, UsageSource,
};

use crate::openai::body::others;
use crate::stream::Reading;
use crate::{Answer, ErrorClass, Limits, ProviderError, Summary, json, sse, stream};

/// Decodes a stream of this dialect, bytes in, deltas out.
///
/// The answer's text and reasoning have index 0, the first tool call 1, the next 2, and so on. An event that is not JSON
/// is skipped and counted, up to [`Limits::malformed_chunks`].
pub type Stream = stream::Stream<State>;

/// Decodes a whole answer.
///
/// # Errors
///
/// The body is no answer: an error object, a web page, broken JSON, or an answer without a finish reason.
pub fn whole(body: &[u8]) -> Result<Answer, ProviderError> {
    let Ok(Value::Object(root)) = serde_json::from_slice::<Value>(body) else {
        return Err(ProviderError::from_success(body));
    };
    let Some(Value::Object(message)) = root.get("message") else {
        return Err(ProviderError::from_success(body));
    };
    let mut state = State::default();
    state.summary.response_id = root.get("id").and_then(Value::as_str).map(str::to_owned);
    state.message(message);
    state.ended(&root)?;
    if state.summary.finish_reason.is_none() {
        return Err(ProviderError::new(ErrorClass::Protocol, "an answer without a finish reason"));
    }
    state.remember(others(&root, &["id", "message", "finish_reason", "usage"]));
    Ok(Answer { deltas: state.queue.into(), summary: state.summary })
}

impl Reading for State {
    const PIECES: &'static str = "events";

    fn new(_: Limits) -> Self {
        Self::default()
    }

    fn read(&mut self, _: &sse::Event, data: &[u8]) -> Result<bool, ProviderError> {
        if data == b"[DONE]" {
            return Ok(true);
        }
        match serde_json::from_slice(data) {
            Ok(Value::Object(map)) => self.event(&map).map(|()| true),
            _ => Ok(false),
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
}

impl State {
    fn event(&mut self, event: &Map<String, Value>) -> Result<(), ProviderError> {
        let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
        let index = event.get("index").and_then(Value::as_u64).unwrap_or_default();
        let delta = event.get("delta").and_then(Value::as_object);
        match kind {
            "message-start" => {
                self.summary.response_id = event.get("id").and_then(Value::as_str).map(str::to_owned);
            }
            "message-end" => {
                if let Some(delta) = delta {
                    self.ended(delta)?;
                    self.remember(others(delta, &["finish_reason", "usage", "error"]));
                }
                self.summary.done = true;
            }
            // An error that came where an event should be.
            "error" | "stream-error" => return Err(failed(event)),
            "" if event.contains_key("message") || event.contains_key("error") => return Err(failed(event)),
            _ => {
                let first = self.queue.len();
                if let Some(Value::Object(message)) = delta.and_then(|delta| delta.get("message")) {
                    self.pieces(message, index);
                }
                // Log probabilities stand beside the text that they are of.
                if let (Some(Value::Object(logprobs)), Some(delta)) =
                    (event.get("logprobs"), self.queue.get_mut(first))
                {
                    delta.logprobs = json::fields(logprobs.clone()).ok().flatten();
                }
            }
        }
        Ok(())
    }

    /// Takes a piece of a message as events bring it: one block, one call, one citation.
    fn pieces(&mut self, message: &Map<String, Value>, index: u64) {
        for (key, value) in message {
            match (key.as_str(), value) {
                ("content", Value::Object(block)) => self.block(block),
                ("tool_plan", Value::String(plan)) => self.plan(plan),
                ("tool_calls", Value::Object(call)) => self.call(call, index),
                ("citations", Value::Object(citation)) => self.citation(citation, ""),
                _ => self.several(key, value),
            }
        }
    }

    /// Takes a whole message. The text comes before the citations that point into it.
    fn message(&mut self, message: &Map<String, Value>) {
        let mut blocks = Vec::new();
        match message.get("content") {
            Some(Value::String(text)) => {
                self.text(text);
                blocks.push(text.as_str());
            }
            Some(Value::Array(list)) => {
                for block in list.iter().filter_map(Value::as_object) {
                    self.block(block);
                    blocks.push(block.get("text").and_then(Value::as_str).unwrap_or_default());
                }
            }
            _ => {}
        }
        if let Some(plan) = message.get("tool_plan").and_then(Value::as_str) {
            self.plan(plan);
        }
        let list = |key| message.get(key).and_then(Value::as_array).into_iter().flatten();
        for (index, call) in (0..).zip(list("tool_calls").filter_map(Value::as_object)) {
            self.call(call, index);
        }
        let first_text = blocks.iter().find(|text| !text.is_empty()).copied().unwrap_or_default();
        for citation in list("citations").filter_map(Value::as_object) {
            let at =
                citation.get("content_index").and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
            let cited = at.and_then(|at| blocks.get(at).copied()).filter(|text| !text.is_empty());
            // Offsets count within a block; ours count from the answer's beginning, the same if there is one text.
            let only = blocks.iter().filter(|text| !text.is_empty()).count() == 1;
            self.citation(citation, if only { cited.unwrap_or(first_text) } else { "" });
        }
    }

    /// Takes lists, which events do not have today.
    fn several(&mut self, key: &str, value: &Value) {
        let Value::Array(list) = value else { return };
        for (index, item) in (0..).zip(list.iter().filter_map(Value::as_object)) {
            match key {
                "content" => self.block(item),
                "tool_calls" => self.call(item, index),
                "citations" => self.citation(item, ""),
                _ => {}
            }
        }
    }

    fn push(&mut self, index: u32, content: Out, extra: Map<String, Value>) {
        let extra = json::fields(extra).ok().flatten();
        self.queue.push_back(Delta { index, content: Some(content), logprobs: None, extra });
    }

    fn text(&mut self, text: &str) {
        if !text.is_empty() {
            self.push(0, Out::Text(text.to_owned()), Map::new());
        }
    }

    fn thought(&mut self, text: &str, extra: Map<String, Value>) {
        if !text.is_empty() {
            let reasoning = ReasoningText { text: text.to_owned(), signature: None, provider: None };
            self.push(0, Out::Reasoning(reasoning), extra);
        }
    }

    fn plan(&mut self, plan: &str) {
        self.thought(plan, Map::from_iter([("type".to_owned(), Value::from("tool_plan"))]));
    }

    fn block(&mut self, block: &Map<String, Value>) {
        let word = |key: &str| block.get(key).and_then(Value::as_str);
        match (word("type"), word("text"), word("thinking")) {
            (_, Some(text), _) => self.text(text),
            (_, _, Some(thought)) => self.thought(thought, Map::new()),
            (Some(_), None, None) => {
                let extra = Map::from_iter([("content".to_owned(), Value::Object(block.clone()))]);
                self.push(0, Out::Text(String::new()), extra);
            }
            (None, None, None) => {}
        }
    }

    fn call(&mut self, call: &Map<String, Value>, index: u64) {
        let of = |map: Option<&Value>, key: &str| {
            map.and_then(|m| m.get(key)).and_then(Value::as_str).map(str::to_owned)
        };
        let function = call.get("function");
        let delta = ToolCallDelta {
            id: call.get("id").and_then(Value::as_str).map(str::to_owned),
            name: of(function, "name"),
            arguments: of(function, "arguments").unwrap_or_default(),
        };
        if delta != ToolCallDelta::default() {
            let index = u32::try_from(index.saturating_add(1)).unwrap_or(u32::MAX);
            self.push(index, Out::ToolCall(delta), Map::new());
        }
    }

    fn citation(&mut self, citation: &Map<String, Value>, text: &str) {
        let place = |key: &str| {
            let nth = usize::try_from(citation.get(key)?.as_u64()?).ok()?;
            let mut ends = text.char_indices().map(|(at, _)| at).chain(std::iter::once(text.len()));
            ends.nth(nth).map(|at| at as u64)
        };
        let (start, end) = (place("start"), place("end"));
        let cites = start.zip(end).is_some_and(|(start, end)| start < end);
        let source = citation.get("sources").and_then(|sources| sources.get(0)?.get("document"));
        let word = |key: &str| source.and_then(|s| s.get(key)).and_then(Value::as_str).map(str::to_owned);
        let out = Citation {
            url: word("url"),
            title: word("title"),
            start_byte: start.filter(|_| cites),
            end_byte: end.filter(|_| cites),
            extra: json::fields(citation.clone()).ok().flatten(),
        };
        self.push(0, Out::Citation(out.into()), Map::new());
    }

    /// Takes why an answer ended, and what it used.
    fn ended(&mut self, end: &Map<String, Value>) -> Result<(), ProviderError> {
        if let Some(Value::Object(counts)) = end.get("usage") {
            self.summary.usage = Some(usage(end.get("usage")));
            let rest = others(counts, &["tokens", "cached_tokens"]);
            self.remember(Map::from_iter([("usage".to_owned(), Value::Object(rest))]));
        }
        let Some(word) = end.get("finish_reason").and_then(Value::as_str) else { return Ok(()) };
        if let Some(known) = self.summary.provider_finish_reason.as_deref()
            && known != word
        {
            let message = format!("two finish reasons, `{known}` and `{word}`");
            return Err(ProviderError::new(ErrorClass::Protocol, &message));
        }
        let reason = match word {
            "COMPLETE" | "STOP_SEQUENCE" => FinishReason::Stop,
            "MAX_TOKENS" | "ERROR_LIMIT" => FinishReason::Length,
            "TOOL_CALL" => FinishReason::ToolCalls,
            "ERROR_TOXIC" => FinishReason::ContentFilter,
            // The provider broke off: that is no finished answer.
            "ERROR" | "TIMEOUT" | "USER_CANCEL" => {
                let said = end.get("error").and_then(Value::as_str);
                let message = match said {
                    Some(said) => format!("the provider ended the answer with `{word}`: {said}"),
                    None => format!("the provider ended the answer with `{word}`"),
                };
                return Err(ProviderError::new(ErrorClass::Overloaded, &message));
            }
            _ => FinishReason::Unspecified,
        };
        self.summary.finish_reason = Some(reason);
        self.summary.provider_finish_reason = Some(word.to_owned());
        Ok(())
    }

    fn remember(&mut self, rest: Map<String, Value>) {
        let empty = |value: &Value| value.is_null() || value.as_object().is_some_and(Map::is_empty);
        let rest = rest.into_iter().filter(|(_, value)| !empty(value)).collect();
        if let Ok(Some(rest)) = json::fields(rest) {
            self.summary.extra.get_or_insert_default().fields.extend(rest.fields);
        }
    }
}

fn failed(event: &Map<String, Value>) -> ProviderError {
    ProviderError::from_event(&Value::Object(event.clone()).to_string())
}

/// Converts counts. What was billed stands in for what was not counted.
fn usage(value: Option<&Value>) -> Usage {
    let count = |path: &str| value.and_then(|v| v.pointer(path)).and_then(Value::as_f64);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and counts are small"
    )]
    let count = |path: &str| count(path).map(|n| n.max(0.0) as u64);
    // Cohere adds a preamble of its own, which it counts and does not bill.
    let both = |key: &str| {
        let (counted, billed) = (count(&format!("/tokens/{key}")), count(&format!("/billed_units/{key}")));
        let all = counted.or(billed).unwrap_or_default();
        (all, billed.map_or(0, |billed| all.saturating_sub(billed)))
    };
    let (input_tokens, unbilled_input_tokens) = both("input_tokens");
    let (output_tokens, unbilled_output_tokens) = both("output_tokens");
    Usage {
        input_tokens,
        output_tokens,
        cached_input_tokens: count("/cached_tokens").unwrap_or_default(),
        unbilled_input_tokens,
        unbilled_output_tokens,
        source: UsageSource::Reported.into(),
        ..Usage::default()
    }
}

#[cfg(test)]
mod tests;
