//! Blocks, counts and ends of an answer as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_types::Struct;
use serde_json::{Map, Value, json};
use signalbox_proto::common::v1::delta::Content;
use signalbox_proto::common::v1::{Citation, FinishReason, Finished, Media, media};

use super::foreign::object;
use crate::door::{FIELD, Head, extras};
use crate::json::{nested, text};

/// Returns a block that travelled whole.
pub(super) fn block(extra: Option<&Struct>) -> Map<String, Value> {
    extra.map(object).unwrap_or_default()
}

/// Writes any piece but text and refusals as a block; `at` tells calls without an id apart.
pub(super) fn whole(piece: Content, extra: Option<&Struct>, head: &Head, at: usize) -> Map<String, Value> {
    let mut map = Map::new();
    match piece {
        Content::Reasoning(thought) if thought.text.is_empty() && text(extra, "type").is_some() => {
            map = block(extra);
            map.insert("data".to_owned(), thought.signature.unwrap_or_default().into());
        }
        Content::Reasoning(thought) => {
            map.insert("type".to_owned(), "thinking".into());
            map.insert("thinking".to_owned(), thought.text.into());
            map.insert("signature".to_owned(), thought.signature.unwrap_or_default().into());
        }
        Content::ToolCall(call) => {
            let id = call.id.filter(|id| !id.is_empty());
            let id = id.unwrap_or_else(|| format!("toolu_{}_{at}", head.request_id));
            map.insert("type".to_owned(), "tool_use".into());
            map.insert("id".to_owned(), id.into());
            map.insert("name".to_owned(), call.name.unwrap_or_default().into());
            map.insert("input".to_owned(), input(call.arguments));
            extras(&mut map, extra, &["arguments"]);
        }
        Content::Media(media) => map = image(&media),
        Content::Text(_) | Content::Refusal(_) | Content::Citation(_) => map = block(extra),
    }
    map
}

/// Reads arguments. Those that are no JSON stay the text that the model wrote.
fn input(arguments: String) -> Value {
    if arguments.trim().is_empty() {
        return json!({});
    }
    serde_json::from_str(&arguments).unwrap_or(Value::String(arguments))
}

pub(super) fn image(media: &Media) -> Map<String, Value> {
    let source = match &media.content {
        Some(media::Content::Url(url)) => json!({ "type": "url", "url": url }),
        Some(media::Content::Data(bytes)) => {
            json!({ "type": "base64", "media_type": media.media_type, "data": STANDARD.encode(bytes) })
        }
        Some(media::Content::FileId(id)) => json!({ "type": "file", "file_id": id }),
        None => Value::Null,
    };
    Map::from_iter([("type".to_owned(), "image".into()), ("source".to_owned(), source)])
}

/// Writes a citation: as Anthropic wrote it, or as one of a web search.
pub(super) fn citation(citation: Citation) -> Value {
    if let Some(own) = citation.extra.as_ref().filter(|own| own.fields.contains_key("cited_text")) {
        return object(own).into();
    }
    json!({
        "type": "web_search_result_location", "url": citation.url.unwrap_or_default(),
        "title": citation.title, "cited_text": "", "encrypted_index": "",
    })
}

/// Writes a text that begins at byte `start` of the answer, in blocks: one for each stretch that is cited.
pub(super) fn cited(words: &str, start: u64, citations: &[Citation]) -> Vec<Value> {
    let length = words.len();
    let place = |byte: u64| {
        let at = usize::try_from(byte.checked_sub(start)?).ok()?;
        (at <= length && words.is_char_boundary(at)).then_some(at)
    };
    let stretch = |citation: &Citation| match (citation.start_byte, citation.end_byte) {
        (Some(from), Some(to)) => place(from).zip(place(to)).filter(|(from, to)| from < to),
        // The whole, once.
        _ => (start == 0 && length > 0).then_some((0, length)),
    };
    let mut spans: Vec<_> =
        citations.iter().filter_map(|one| stretch(one).map(|span| (span, one.clone()))).collect();
    spans.sort_by_key(|(span, _)| *span);
    let mut blocks: Vec<Value> = Vec::new();
    let mut written: usize = 0;
    let mut last = None;
    for (span, one) in spans {
        if last != Some(span) {
            if span.0 < written {
                // Stretches that overlap: it goes with the one before.
                add(blocks.last_mut(), one);
                continue;
            }
            blocks.extend(plain(&words[written..span.0]));
            blocks.push(json!({ "type": "text", "text": words[span.0..span.1], "citations": [] }));
            (written, last) = (span.1, Some(span));
        }
        add(blocks.last_mut(), one);
    }
    blocks.extend(plain(&words[written..]));
    blocks
}

fn add(block: Option<&mut Value>, one: Citation) {
    if let Some(Value::Array(list)) = block.and_then(|block| block.get_mut("citations")) {
        list.push(citation(one));
    }
}

fn plain(words: &str) -> Option<Value> {
    (!words.is_empty()).then(|| json!({ "type": "text", "text": words }))
}

/// Writes how an answer ended: in the provider's word if it is one of this dialect's for the same thing.
pub(super) fn end(finished: &Finished, refusal: &str, called: bool) -> Map<String, Value> {
    let own = finished.provider_finish_reason.as_deref().unwrap_or_default();
    let reason = match (finished.finish_reason(), own) {
        (FinishReason::Stop, "stop_sequence")
        | (FinishReason::Length, "model_context_window_exceeded")
        | (FinishReason::Unspecified, "pause_turn" | "compaction") => own,
        (FinishReason::Unspecified, _) if called => "tool_use",
        (FinishReason::Stop | FinishReason::Unspecified, _) => "end_turn",
        (FinishReason::Length | FinishReason::Budget, _) => "max_tokens",
        (FinishReason::ToolCalls, _) => "tool_use",
        (FinishReason::ContentFilter | FinishReason::Guard | FinishReason::Refusal, _) => "refusal",
    };
    let mut map = Map::from_iter([("stop_reason".to_owned(), reason.into())]);
    let extra = finished.extra.as_ref();
    map.insert("stop_sequence".to_owned(), text(extra, "stop_sequence").into());
    if !refusal.is_empty() && reason == "refusal" {
        let mut details = nested(extra, "stop_details").map(object).unwrap_or_default();
        details.entry("type").or_insert_with(|| "refusal".into());
        details.insert("explanation".to_owned(), refusal.into());
        map.insert("stop_details".to_owned(), details.into());
    }
    extras(&mut map, extra, &["usage", "id", "type", "role", "model", "content", "choices", "object", FIELD]);
    map
}

/// Writes the counts; input that was read from or written to the provider's cache is counted apart.
pub(super) fn usage(finished: &Finished) -> Map<String, Value> {
    let usage = finished.usage.unwrap_or_default();
    // Some servers count the same tokens as read and as written.
    let unread = usage.input_tokens.saturating_sub(usage.cached_input_tokens);
    let written = usage.cache_write_tokens.min(unread);
    let mut map = Map::new();
    map.insert("input_tokens".to_owned(), (unread - written).into());
    map.insert("cache_creation_input_tokens".to_owned(), written.into());
    map.insert("cache_read_input_tokens".to_owned(), usage.cached_input_tokens.into());
    map.insert("output_tokens".to_owned(), usage.output_tokens.into());
    if usage.reasoning_tokens > 0 {
        map.insert("output_tokens_details".to_owned(), json!({ "thinking_tokens": usage.reasoning_tokens }));
    }
    // Those of a compaction are in the sums already.
    extras(&mut map, nested(finished.extra.as_ref(), "usage"), &["iterations"]);
    map
}
