//! An answer put together from `GenerateContentResponse`s.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Map, Value};
use signalbox_proto::common::v1::delta::Content as Out;
use signalbox_proto::common::v1::{
    Citation, Delta, FinishReason, Media, ReasoningText, ToolCallDelta, Usage, UsageSource, media,
};

use crate::openai::body::others;
use crate::openai::embeddings::Vectors;
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
    if !root.contains_key("candidates") && !root.contains_key("promptFeedback") {
        return Err(ProviderError::from_success(body));
    }
    let mut state = State::default();
    state.take(&root)?;
    if state.summary.finish_reason.is_none() {
        return Err(ProviderError::new(ErrorClass::Protocol, "an answer without a finish reason"));
    }
    Ok(Answer { deltas: state.queue.into(), summary: state.summary })
}

/// Reads vectors of `batchEmbedContents`.
///
/// # Errors
///
/// The body holds another number of vectors than was asked for, or none.
pub fn vectors(body: &[u8], count: usize) -> Result<Vectors, ProviderError> {
    let root = serde_json::from_slice::<Value>(body).map_err(|_| ProviderError::from_success(body))?;
    let list = root.get("embeddings").and_then(Value::as_array);
    let list = list.ok_or_else(|| ProviderError::from_success(body))?;
    let vectors: Option<Vec<Vec<f32>>> = list.iter().map(numbers).collect();
    match vectors {
        Some(vectors) if vectors.len() == count => {
            Ok(Vectors { vectors, usage: root.get("usageMetadata").map(usage), model: None })
        }
        _ => {
            let words = format!("{} vectors for {count} texts", list.len());
            Err(ProviderError::new(ErrorClass::Protocol, &words))
        }
    }
}

fn numbers(embedding: &Value) -> Option<Vec<f32>> {
    #[expect(clippy::cast_possible_truncation, reason = "vectors are of single precision")]
    let number = |value: &Value| value.as_f64().map(|n| n as f32);
    embedding.get("values")?.as_array()?.iter().map(number).collect()
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
            Ok(Value::Object(map)) => self.take(&map).map(|()| true),
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
    calls: u32,
}

impl State {
    fn take(&mut self, root: &Map<String, Value>) -> Result<(), ProviderError> {
        if let Some(error) = root.get("error") {
            return Err(ProviderError::from_event(&error.to_string()));
        }
        let word = |key: &str| root.get(key).and_then(Value::as_str).map(str::to_owned);
        self.summary.response_id = self.summary.response_id.take().or_else(|| word("responseId"));
        self.summary.model = self.summary.model.take().or_else(|| word("modelVersion"));
        // Each event counts all so far; at Vertex AI some have no counts at all.
        let counted = |counts: &&Value| {
            let counts = counts.as_object();
            counts.is_some_and(|map| map.iter().any(|(key, n)| key.ends_with("TokenCount") && n.is_u64()))
        };
        if let Some(counts) = root.get("usageMetadata").filter(counted) {
            self.summary.usage = Some(usage(counts));
        }
        let candidates = root.get("candidates").and_then(Value::as_array);
        // We never ask for more than one.
        let first = |candidate: &&Value| candidate.get("index").and_then(Value::as_u64).unwrap_or(0) == 0;
        let candidate = candidates.and_then(|list| list.iter().find(first)).and_then(Value::as_object);
        if let Some(candidate) = candidate {
            self.candidate(candidate)?;
        } else if let Some(reason) = root.get("promptFeedback").and_then(|f| f.get("blockReason")) {
            let words = format!("the prompt was blocked: {}", reason.as_str().unwrap_or("no reason given"));
            return Err(ProviderError::new(ErrorClass::ContentFilter, &words));
        }
        const KNOWN: [&str; 5] = ["candidates", "usageMetadata", "modelVersion", "responseId", "createTime"];
        self.remember(others(root, &KNOWN));
        Ok(())
    }

    fn candidate(&mut self, candidate: &Map<String, Value>) -> Result<(), ProviderError> {
        let parts =
            candidate.get("content").and_then(|content| content.get("parts")).and_then(Value::as_array);
        let before = self.queue.len();
        for part in parts.into_iter().flatten().filter_map(Value::as_object) {
            self.part(part);
        }
        // Log probabilities are of a whole piece.
        if let (Some(Value::Object(logprobs)), Some(delta)) =
            (candidate.get("logprobsResult"), self.queue.get_mut(before))
        {
            delta.logprobs = json::fields(logprobs.clone()).ok().flatten();
        }
        if let Some(grounding) = candidate.get("groundingMetadata") {
            self.citations(grounding);
        }
        let known = ["content", "finishReason", "index", "logprobsResult", "avgLogprobs", "citationMetadata"];
        self.remember(others(candidate, &known));
        match candidate.get("finishReason").and_then(Value::as_str) {
            Some(word) => self.finished(word),
            None => Ok(()),
        }
    }

    fn finished(&mut self, word: &str) -> Result<(), ProviderError> {
        if let Some(known) = self.summary.provider_finish_reason.as_deref()
            && known != word
        {
            let message = format!("two finish reasons, `{known}` and `{word}`");
            return Err(ProviderError::new(ErrorClass::Protocol, &message));
        }
        let reason = match word {
            "STOP" if self.calls > 0 => FinishReason::ToolCalls,
            "STOP" => FinishReason::Stop,
            "MAX_TOKENS" => FinishReason::Length,
            "SAFETY"
            | "RECITATION"
            | "BLOCKLIST"
            | "PROHIBITED_CONTENT"
            | "SPII"
            | "MODEL_ARMOR"
            | "IMAGE_SAFETY"
            | "IMAGE_PROHIBITED_CONTENT"
            | "IMAGE_RECITATION" => FinishReason::ContentFilter,
            _ => FinishReason::Unspecified,
        };
        self.summary.finish_reason = Some(reason);
        self.summary.provider_finish_reason = Some(word.to_owned());
        Ok(())
    }

    fn push(&mut self, index: u32, content: Out, extra: Map<String, Value>) {
        let extra = json::fields(extra).ok().flatten();
        self.queue.push_back(Delta { index, content: Some(content), logprobs: None, extra });
    }

    fn part(&mut self, part: &Map<String, Value>) {
        let word = |key: &str| part.get(key).and_then(Value::as_str);
        let signature = word("thoughtSignature");
        let thought = part.get("thought").and_then(Value::as_bool).unwrap_or(false);
        if let Some(text) = word("text") {
            if thought {
                let signature = signature.map(str::to_owned);
                let reasoning = ReasoningText { text: text.to_owned(), signature, provider: None };
                return self.push(0, Out::Reasoning(reasoning), Map::new());
            }
            let extra = others(part, &["text", "thought"]);
            if !text.is_empty() || !extra.is_empty() {
                self.push(0, Out::Text(text.to_owned()), extra);
            }
        } else if let Some(call) = part.get("functionCall").and_then(Value::as_object)
            && call.contains_key("name")
            && !call.contains_key("partialArgs")
        {
            // Arguments come in pieces only to who asks for it, which we do not.
            self.call(call, others(part, &["functionCall"]));
        } else if let Some(media) = part.get("inlineData").and_then(Value::as_object).and_then(media) {
            self.push(0, Out::Media(media), others(part, &["inlineData"]));
        } else if !part.is_empty() {
            let whole = Map::from_iter([("part".to_owned(), Value::Object(part.clone()))]);
            self.push(0, Out::Text(String::new()), whole);
        }
    }

    fn call(&mut self, call: &Map<String, Value>, extra: Map<String, Value>) {
        let word = |key: &str| call.get(key).and_then(Value::as_str).map(str::to_owned);
        let number = self.calls;
        self.calls += 1;
        // Results name the call that they answer, so that each needs a name of its own in the conversation.
        let own = || format!("{}_{number}", self.summary.response_id.as_deref().unwrap_or("call"));
        let delta = ToolCallDelta {
            id: Some(word("id").filter(|id| !id.is_empty()).unwrap_or_else(own)),
            name: word("name"),
            arguments: call.get("args").map_or_else(|| "{}".to_owned(), Value::to_string),
        };
        self.push(number.saturating_add(1), Out::ToolCall(delta), extra);
    }

    fn citations(&mut self, grounding: &Value) {
        let chunks = grounding.get("groundingChunks").and_then(Value::as_array);
        let Some(chunks) = chunks else { return };
        let source = |chunk: &Value| {
            let inner = ["web", "retrievedContext", "maps"].iter().find_map(|kind| chunk.get(kind));
            let word = |key: &str| inner.and_then(|i| i.get(key)).and_then(Value::as_str).map(str::to_owned);
            Citation { url: word("uri"), title: word("title"), ..Citation::default() }
        };
        let mut cited = vec![false; chunks.len()];
        let supports = grounding.get("groundingSupports").and_then(Value::as_array);
        for support in supports.into_iter().flatten() {
            let place = |key: &str| support.pointer(&format!("/segment/{key}")).and_then(Value::as_u64);
            let indices = support.get("groundingChunkIndices").and_then(Value::as_array);
            for index in indices.into_iter().flatten().filter_map(Value::as_u64) {
                let Some(at) = usize::try_from(index).ok().filter(|at| *at < chunks.len()) else { continue };
                cited[at] = true;
                // Google counts bytes too, and leaves a 0 out.
                let end_byte = place("endIndex");
                let start_byte = end_byte.map(|_| place("startIndex").unwrap_or(0));
                let citation = Citation { start_byte, end_byte, ..source(&chunks[at]) };
                self.push(0, Out::Citation(citation), Map::new());
            }
        }
        for (chunk, _) in chunks.iter().zip(cited).filter(|(_, cited)| !cited) {
            self.push(0, Out::Citation(source(chunk)), Map::new());
        }
    }

    fn remember(&mut self, rest: Map<String, Value>) {
        let empty = |value: &Value| value.is_null() || value.as_object().is_some_and(Map::is_empty);
        let rest = rest.into_iter().filter(|(_, value)| !empty(value)).collect();
        if let Ok(Some(rest)) = json::fields(rest) {
            self.summary.extra.get_or_insert_default().fields.extend(rest.fields);
        }
    }
}

fn media(inline: &Map<String, Value>) -> Option<Media> {
    let data = inline.get("data")?.as_str()?;
    let data = STANDARD.decode(data).or_else(|_| URL_SAFE.decode(data)).ok()?;
    let media_type = inline.get("mimeType").and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(Media { content: Some(media::Content::Data(data.into())), media_type, ..Media::default() })
}

/// Converts counts. What tools put into the prompt is input; thoughts are output.
fn usage(counts: &Value) -> Usage {
    let count = |key: &str| counts.get(key).and_then(Value::as_u64).unwrap_or_default();
    let reasoning_tokens = count("thoughtsTokenCount");
    Usage {
        input_tokens: count("promptTokenCount") + count("toolUsePromptTokenCount"),
        output_tokens: count("candidatesTokenCount") + reasoning_tokens,
        cached_input_tokens: count("cachedContentTokenCount"),
        reasoning_tokens,
        source: UsageSource::Reported.into(),
        ..Usage::default()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn counts_outlive_an_event_that_has_none() {
        let mut stream = Stream::new(Limits::default());
        stream.push(Bytes::from_static(
            b"data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}],\"usageMetadata\":{\"promptTokenCount\":9,\"candidatesTokenCount\":1}}\n\n\
              data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"b\"}]}}],\"usageMetadata\":{\"trafficType\":\"ON_DEMAND\"}}\n\n",
        ));
        while stream.next_delta().unwrap().is_some() {}
        let usage = stream.summary().usage.unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens), (9, 1), "a cut stream is billed");
        assert_eq!(stream.summary().finish_reason, None);
    }

    #[test]
    fn an_event_without_counts_reports_none() {
        let mut stream = Stream::new(Limits::default());
        stream.push(Bytes::from_static(
            b"data: {\"candidates\":[],\"usageMetadata\":{\"trafficType\":\"ON_DEMAND\"}}\n\n",
        ));
        assert!(stream.next_delta().unwrap().is_none());
        assert_eq!(stream.summary().usage, None, "none came, so they are counted by the mesh");
    }
}
