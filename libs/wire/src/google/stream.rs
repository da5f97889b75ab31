//! An answer put together from `GenerateContentResponse`s.

use std::borrow::Cow;
use std::collections::VecDeque;

use serde_json::{Map, Value};
use signalbox_proto::common::v1::delta::Content as Out;
use signalbox_proto::common::v1::{
    Citation, Delta, FinishReason, Media, ReasoningText, ToolCallDelta, Usage, UsageSource, media,
};

use super::arguments::Arguments;
use super::citation::{self, Cited};
use crate::openai::body::others;
use crate::stream::Reading;
use crate::{Answer, ErrorClass, Limits, ProviderError, Summary, json, sse, stream};

/// Decodes a stream of this dialect, bytes in, deltas out.
///
/// The answer's text and reasoning have index 0, the first tool call 1, the next 2, and so on. An event that is not JSON
/// is skipped and counted, up to [`Limits::malformed_chunks`].
pub type Stream = stream::Stream<State>;

/// Decodes a whole answer, or a list of all events of one.
///
/// # Errors
///
/// The body is no answer: an error object, a web page, broken JSON, or an answer without a finish reason.
pub fn whole(body: &[u8]) -> Result<Answer, ProviderError> {
    let events = match serde_json::from_slice::<Value>(body) {
        Ok(Value::Array(list)) => list,
        Ok(one) => vec![one],
        Err(_) => return Err(ProviderError::from_success(body)),
    };
    let mut state = State { most: body.len(), ..State::default() };
    let mut answers = false;
    for event in events {
        let Value::Object(event) = event else { return Err(ProviderError::from_success(body)) };
        answers |= ["candidates", "promptFeedback"].iter().any(|key| event.contains_key(*key));
        if event.contains_key("error") && !answers {
            return Err(ProviderError::from_success(body));
        }
        state.take(event)?;
    }
    if !answers {
        return Err(ProviderError::from_success(body));
    }
    if state.summary.finish_reason.is_none() {
        return Err(ProviderError::new(ErrorClass::Protocol, "an answer without a finish reason"));
    }
    Ok(Answer { deltas: state.queue.into(), summary: state.summary })
}

impl Reading for State {
    const PIECES: &'static str = "events";
    // What comes without `alt=sse`.
    const LISTS: bool = true;

    fn new(limits: Limits) -> Self {
        Self { most: limits.event_bytes, ..Self::default() }
    }

    fn read(&mut self, _: &sse::Event, data: &[u8]) -> Result<bool, ProviderError> {
        if data == b"[DONE]" {
            return Ok(true);
        }
        match serde_json::from_slice(data) {
            Ok(Value::Object(map)) => self.take(map).map(|()| true),
            // An error of a door that answers in lists.
            Ok(Value::Array(list)) if list.len() == 1 && list[0].is_object() => match list.into_iter().next()
            {
                Some(Value::Object(map)) => self.take(map).map(|()| true),
                _ => Ok(false),
            },
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
    /// The call whose arguments come in pieces.
    open: Option<Open>,
    /// How large such arguments may become, in bytes.
    most: usize,
    cited: Cited,
}

/// Is a call whose arguments are not yet complete; they are given in one piece, because they need not come in order.
#[derive(Debug)]
struct Open {
    index: u32,
    arguments: Arguments,
}

impl State {
    fn take(&mut self, mut root: Map<String, Value>) -> Result<(), ProviderError> {
        if let Some(error) = root.get("error").filter(|error| !error.is_null()) {
            return Err(ProviderError::from_event(&error.to_string()));
        }
        let word =
            |key: &str| root.get(key).and_then(Value::as_str).filter(|w| !w.is_empty()).map(str::to_owned);
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
        // We never ask for more than one.
        let first = |candidate: &Value| candidate.get("index").and_then(Value::as_u64).unwrap_or(0) == 0;
        let candidate = match root.remove("candidates") {
            Some(Value::Array(list)) => list.into_iter().find(first),
            _ => None,
        };
        if let Some(Value::Object(candidate)) = candidate {
            self.candidate(candidate)?;
        } else if let Some(reason) = root.get("promptFeedback").and_then(|f| f.get("blockReason")) {
            let words = format!("the prompt was blocked: {}", word_of(reason));
            return Err(ProviderError::new(ErrorClass::ContentFilter, &words));
        }
        const KNOWN: [&str; 4] = ["usageMetadata", "modelVersion", "responseId", "createTime"];
        self.remember(others(&root, &KNOWN));
        Ok(())
    }

    fn candidate(&mut self, mut candidate: Map<String, Value>) -> Result<(), ProviderError> {
        let content = candidate.remove("content");
        let parts = content.as_ref().and_then(|content| content.get("parts")).and_then(Value::as_array);
        let before = self.queue.len();
        for part in parts.into_iter().flatten().filter_map(Value::as_object) {
            self.part(part)?;
        }
        // Log probabilities are of a whole piece.
        if let (Some(Value::Object(logprobs)), Some(delta)) =
            (candidate.get("logprobsResult"), self.queue.get_mut(before))
        {
            delta.logprobs = json::fields(logprobs.clone()).ok().flatten();
        }
        for (key, read) in [
            ("groundingMetadata", citation::of_grounding as fn(&Value) -> Vec<Citation>),
            ("citationMetadata", citation::of_recitation),
        ] {
            for citation in candidate.get(key).map(read).unwrap_or_default() {
                if self.cited.is_new(&citation) {
                    self.push(0, Out::Citation(citation.into()), Map::new());
                }
            }
        }
        let known = ["finishReason", "index", "logprobsResult", "avgLogprobs", "citationMetadata"];
        self.remember(others(&candidate, &known));
        match candidate.get("finishReason").map(word_of) {
            Some(word) if !matches!(&*word, "" | "FINISH_REASON_UNSPECIFIED") => {
                self.close();
                self.finished(&word)
            }
            _ => Ok(()),
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

    fn part(&mut self, part: &Map<String, Value>) -> Result<(), ProviderError> {
        let word = |key: &str| part.get(key).and_then(Value::as_str);
        let thought = part.get("thought").and_then(Value::as_bool).unwrap_or(false);
        if let Some(text) = word("text") {
            if thought {
                let signature = word("thoughtSignature").map(str::to_owned);
                let reasoning = ReasoningText { text: text.to_owned(), signature, provider: None };
                self.push(0, Out::Reasoning(reasoning), Map::new());
                return Ok(());
            }
            let extra = others(part, &["text", "thought"]);
            if !text.is_empty() || !extra.is_empty() {
                self.push(0, Out::Text(text.to_owned()), extra);
            }
        } else if let Some(call) = part.get("functionCall").and_then(Value::as_object) {
            return self.call(call, others(part, &["functionCall"]));
        } else if let Some(media) = part.get("inlineData").and_then(Value::as_object).and_then(inline) {
            self.push(0, Out::Media(media.into()), others(part, &["inlineData"]));
        } else if !part.is_empty() {
            let whole = Map::from_iter([("part".to_owned(), Value::Object(part.clone()))]);
            self.push(0, Out::Text(String::new()), whole);
        }
        Ok(())
    }

    /// Takes a call, or more of one: who asks for it is given arguments in pieces.
    fn call(
        &mut self,
        call: &Map<String, Value>,
        mut extra: Map<String, Value>,
    ) -> Result<(), ProviderError> {
        let word =
            |key: &str| call.get(key).and_then(Value::as_str).filter(|w| !w.is_empty()).map(str::to_owned);
        let more = call.get("willContinue").and_then(Value::as_bool).unwrap_or(false);
        let pieces = call.get("partialArgs").and_then(Value::as_array);
        if let Some(name) = word("name") {
            self.close();
            let number = self.calls;
            self.calls += 1;
            // Results name the call that they answer, so that each needs a name of its own in the conversation.
            let own = || format!("{}_{number}", self.summary.response_id.as_deref().unwrap_or("call"));
            let given = word("id");
            if let Some(id) = &given {
                // Tells that Google knows the id, and wants it back.
                extra.insert("functionCall".to_owned(), serde_json::json!({ "id": id }));
            }
            let partly = more || pieces.is_some();
            let whole = || {
                call.get("args")
                    .filter(|args| !args.is_null())
                    .map_or_else(|| "{}".to_owned(), Value::to_string)
            };
            let arguments = if partly { String::new() } else { whole() };
            let index = number.saturating_add(1);
            let delta = ToolCallDelta { id: Some(given.unwrap_or_else(own)), name: Some(name), arguments };
            self.push(index, Out::ToolCall(delta), extra);
            if partly {
                self.open = Some(Open { index, arguments: Arguments::new(self.most) });
            }
        } else if self.open.is_none() {
            if !call.is_empty() {
                let whole = Map::from_iter([("functionCall".to_owned(), Value::Object(call.clone()))]);
                let whole = Map::from_iter([("part".to_owned(), Value::Object(whole))]);
                self.push(0, Out::Text(String::new()), whole);
            }
            return Ok(());
        }
        if let Some(open) = &mut self.open {
            for piece in pieces.into_iter().flatten() {
                open.arguments.add(piece)?;
            }
        }
        if !more {
            self.close();
        }
        Ok(())
    }

    /// Gives the arguments that came in pieces.
    fn close(&mut self) {
        if let Some(Open { index, arguments }) = self.open.take() {
            let delta = ToolCallDelta { arguments: arguments.text(), ..ToolCallDelta::default() };
            self.push(index, Out::ToolCall(delta), Map::new());
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

/// Reads a finish reason, which is a number where a client asks for enumerations so, as Google's own for Vertex AI does.
fn word_of(reason: &Value) -> Cow<'_, str> {
    const NAMES: [&str; 6] =
        ["FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER"];
    match reason {
        Value::String(word) => Cow::Borrowed(word),
        Value::Number(number) => {
            let name = number.as_u64().and_then(|n| NAMES.get(usize::try_from(n).ok()?));
            name.map_or_else(|| Cow::Owned(number.to_string()), |name| Cow::Borrowed(*name))
        }
        _ => Cow::Borrowed(""),
    }
}

fn inline(inline: &Map<String, Value>) -> Option<Media> {
    let (_, data) = super::media::decode(inline.get("data")?.as_str()?)?;
    let media_type = inline.get("mimeType").and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(Media { content: Some(media::Content::Data(data.into())), media_type, ..Media::default() })
}

/// Converts counts. What tools put into the prompt is input; thoughts are output. Sound that came from the cache is cached input
/// and nothing else.
pub(super) fn usage(counts: &Value) -> Usage {
    let count = |key: &str| counts.get(key).and_then(Value::as_u64).unwrap_or_default();
    let sound = |key: &str| {
        let details = counts.get(key).and_then(Value::as_array).into_iter().flatten();
        let sound = details.filter(|one| one.get("modality").and_then(Value::as_str) == Some("AUDIO"));
        sound.filter_map(|one| one.get("tokenCount")?.as_u64()).fold(0, u64::saturating_add)
    };
    let heard = sound("promptTokensDetails").saturating_add(sound("toolUsePromptTokensDetails"));
    let reasoning_tokens = count("thoughtsTokenCount");
    Usage {
        input_tokens: count("promptTokenCount").saturating_add(count("toolUsePromptTokenCount")),
        output_tokens: count("candidatesTokenCount").saturating_add(reasoning_tokens),
        cached_input_tokens: count("cachedContentTokenCount"),
        reasoning_tokens,
        audio_input_tokens: heard.saturating_sub(sound("cacheTokensDetails")),
        audio_output_tokens: sound("candidatesTokensDetails"),
        source: UsageSource::Reported.into(),
        ..Usage::default()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn sound_is_counted_apart_because_it_costs_more() {
        let counts = serde_json::json!({
            "promptTokenCount": 100, "candidatesTokenCount": 20, "cachedContentTokenCount": 40,
            "promptTokensDetails": [{ "modality": "TEXT", "tokenCount": 70 }, { "modality": "AUDIO", "tokenCount": 30 }],
            "cacheTokensDetails": [{ "modality": "AUDIO", "tokenCount": 10 }, { "modality": "TEXT", "tokenCount": 30 }],
            "candidatesTokensDetails": [{ "modality": "AUDIO", "tokenCount": 5 }, { "modality": "TEXT" }],
        });
        let usage = usage(&counts);
        assert_eq!((usage.audio_input_tokens, usage.audio_output_tokens), (20, 5));
        assert_eq!((usage.input_tokens, usage.cached_input_tokens), (100, 40));
    }

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

    fn read(body: &str, size: usize) -> (Vec<Delta>, Summary) {
        let mut stream = Stream::new(Limits::default());
        let mut deltas = Vec::new();
        for piece in body.as_bytes().chunks(size) {
            stream.push(Bytes::copy_from_slice(piece));
            while let Some(delta) = stream.next_delta().unwrap() {
                deltas.push(delta);
            }
        }
        while let Some(delta) = stream.end().unwrap() {
            deltas.push(delta);
        }
        (deltas, stream.into_summary())
    }

    #[test]
    fn a_list_of_events_is_a_stream_too() {
        let list = "[{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}]}\n,\r\n{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"b]\"}]},\"finishReason\":\"STOP\"}]}\n]";
        for size in [1, 3, 1000] {
            let (deltas, summary) = read(list, size);
            let text: String = deltas
                .iter()
                .map(|d| match &d.content {
                    Some(Out::Text(text)) => text.as_str(),
                    _ => "?",
                })
                .collect();
            assert_eq!((text.as_str(), summary.finish_reason), ("ab]", Some(FinishReason::Stop)));
        }
        assert_eq!(whole(list.as_bytes()).unwrap().deltas.len(), 2);
        let refused = whole(br#"[{"error":{"code":429,"message":"slow down"}}]"#).unwrap_err();
        assert_eq!((refused.class, refused.message.as_str()), (ErrorClass::RateLimited, "slow down"));
    }

    #[test]
    fn arguments_in_pieces_are_one_call() {
        let event =
            |parts: &str| format!("data: {{\"candidates\":[{{\"content\":{{\"parts\":[{parts}]}}}}]}}\n\n");
        let body = [
            event(r#"{"functionCall":{"name":"f","willContinue":true},"thoughtSignature":"s"}"#),
            event(
                r#"{"functionCall":{"partialArgs":[{"jsonPath":"$.a","stringValue":"x","willContinue":true}],"willContinue":true}}"#,
            ),
            event(
                r#"{"functionCall":{"partialArgs":[{"jsonPath":"$.a","stringValue":"y"}],"willContinue":true}}"#,
            ),
            event(r#"{"functionCall":{}}"#),
            event(r#"{"functionCall":{"name":"g"}}"#),
        ];
        let (deltas, _) = read(&body.concat(), 1000);
        let calls: Vec<(u32, String)> = deltas
            .into_iter()
            .filter_map(|d| match d.content {
                Some(Out::ToolCall(call)) => {
                    Some((d.index, format!("{}{}", call.name.unwrap_or_default(), call.arguments)))
                }
                _ => None,
            })
            .collect();
        let want = [(1, "f"), (1, "{\"a\":\"xy\"}"), (2, "g{}")].map(|(at, text)| (at, text.to_owned()));
        assert_eq!(calls, want);
    }

    #[test]
    fn what_came_before_an_error_is_given_and_nothing_after_it() {
        let mut stream = Stream::new(Limits::default());
        let wrong = r#"{"functionCall":{"name":"f","partialArgs":[{"jsonPath":"?"}]}}"#;
        let event = format!(
            r#"data: {{"candidates":[{{"content":{{"parts":[{{"text":"a"}},{wrong},{{"text":"b"}}]}}}}]}}"#
        );
        stream.push(format!("{event}\n\n{event}\n\n").into());
        assert!(
            matches!(stream.next_delta().unwrap().unwrap().content, Some(Out::Text(text)) if text == "a")
        );
        assert!(matches!(stream.next_delta().unwrap().unwrap().content, Some(Out::ToolCall(_))));
        assert!(stream.next_delta().is_err());
        assert_eq!((stream.next_delta().unwrap(), stream.end().unwrap()), (None, None));
    }

    #[test]
    fn a_finish_reason_may_be_a_number() {
        let answer =
            whole(br#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":1}]}"#).unwrap();
        assert_eq!(answer.summary.finish_reason, Some(FinishReason::Stop));
        let none = whole(br#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":0}]}"#);
        assert!(none.is_err());
    }

    #[test]
    fn sources_are_given_once() {
        let event = r#"data: {"candidates":[{"content":{"parts":[{"text":"abc"}]},"citationMetadata":{"citationSources":[{"endIndex":3,"uri":"u","license":"mit"}]}}]}"#;
        let (deltas, _) = read(&format!("{event}\n\n{event}\n\n"), 1000);
        let cited: Vec<_> = deltas
            .iter()
            .filter_map(|d| match &d.content {
                Some(Out::Citation(citation)) => Some(citation),
                _ => None,
            })
            .collect();
        assert_eq!(cited.len(), 1);
        assert_eq!(
            (cited[0].url.as_deref(), cited[0].start_byte, cited[0].end_byte),
            (Some("u"), Some(0), Some(3))
        );
        assert_eq!(json::text(cited[0].extra.as_ref(), "license"), Some("mit"));
    }
}
