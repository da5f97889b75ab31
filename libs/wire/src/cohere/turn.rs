//! Messages and their parts as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_types::Struct;
use serde_json::{Map, Value, json};
use signalbox_proto::common::v1::{Media, Message, Part, Role, ToolResult, media, part};

use super::encode::object;
use crate::RequestError;
use crate::json::{nested, text};

/// Fields of messages that other dialects are known to use.
const FOREIGN: [&str; 8] = [
    "annotations",
    "audio",
    "cache_control",
    "function_call",
    "name",
    "reasoning_details",
    "refusal",
    "prefix",
];

/// Writes a message; its tool results are messages of their own.
pub(super) fn write(
    message: &Message,
    i: usize,
    provider: &str,
    out: &mut Vec<Value>,
) -> Result<(), RequestError> {
    let mut turn = Map::new();
    let role = match message.role() {
        Role::System | Role::Developer => "system",
        Role::Assistant => "assistant",
        Role::User | Role::Tool | Role::Unspecified => "user",
    };
    turn.insert("role".to_owned(), Value::from(role));
    let (mut content, mut calls, mut plan) = (Vec::new(), Vec::new(), None::<String>);
    let mut results = false;
    for (j, part) in message.parts.iter().enumerate() {
        let field = format!("messages[{i}].parts[{j}]");
        let extra = part.extra.as_ref();
        match &part.kind {
            None => return Err(RequestError::new(field, "give the part a kind")),
            Some(part::Kind::ToolResult(result)) => {
                results = true;
                out.push(answer(result, extra, message, &field)?);
            }
            Some(part::Kind::ToolCall(call)) => {
                let function = json!({ "name": call.name, "arguments": call.arguments });
                calls.push(json!({ "id": call.id, "type": "function", "function": function }));
            }
            Some(part::Kind::Reasoning(reasoning)) => {
                if reasoning.provider.as_deref() != Some(provider) {
                    continue;
                }
                if text(extra, "type") == Some("tool_plan") {
                    plan.get_or_insert_default().push_str(&reasoning.text);
                } else {
                    content.push(json!({ "type": "thinking", "thinking": reasoning.text }));
                }
            }
            Some(_) => content.extend(piece(part, &field)?),
        }
    }
    if results && content.is_empty() && calls.is_empty() {
        return Ok(());
    }
    let extra = message.extra.as_ref().map(object).transpose()?.unwrap_or_default();
    let silent = calls.is_empty() && plan.is_none() && !extra.contains_key("content");
    if !content.is_empty() || silent {
        turn.insert("content".to_owned(), shortened(content, &message.parts));
    }
    if let Some(plan) = plan {
        turn.insert("tool_plan".to_owned(), Value::from(plan));
    }
    if !calls.is_empty() {
        turn.insert("tool_calls".to_owned(), Value::Array(calls));
    }
    beside(&mut turn, extra);
    out.push(Value::Object(turn));
    Ok(())
}

fn beside(turn: &mut Map<String, Value>, extra: Map<String, Value>) {
    for (key, value) in extra {
        if !FOREIGN.contains(&key.as_str()) {
            turn.entry(key).or_insert(value);
        }
    }
}

/// A single text is written as such, unless it is marked as a list of one.
fn shortened(mut content: Vec<Value>, parts: &[Part]) -> Value {
    let marked = parts.iter().any(|part| text(part.extra.as_ref(), "type") == Some("text"));
    match content.as_slice() {
        [] => Value::from(""),
        [Value::Object(one)] if !marked && one.len() == 2 && one.get("type").is_some_and(|t| t == "text") => {
            content.swap_remove(0).get_mut("text").map(Value::take).unwrap_or_default()
        }
        _ => Value::Array(content),
    }
}

fn answer(
    result: &ToolResult,
    extra: Option<&Struct>,
    message: &Message,
    field: &str,
) -> Result<Value, RequestError> {
    let mut content = Vec::with_capacity(result.parts.len());
    for part in &result.parts {
        if !matches!(part.kind, Some(part::Kind::Text(_))) {
            return Err(RequestError::new(field, "this provider takes text as a tool's result"));
        }
        content.extend(piece(part, field)?);
    }
    let mut turn = Map::new();
    turn.insert("role".to_owned(), Value::from("tool"));
    turn.insert("tool_call_id".to_owned(), Value::from(result.call_id.as_str()));
    turn.insert("content".to_owned(), shortened(content, &result.parts));
    for extra in [extra, message.extra.as_ref()].into_iter().flatten() {
        beside(&mut turn, object(extra)?);
    }
    Ok(Value::Object(turn))
}

/// Writes a part that stands in a message's content. A block that is unknown here: `extra` is the whole of it.
fn piece(part: &Part, field: &str) -> Result<Option<Value>, RequestError> {
    let extra = part.extra.as_ref();
    let wrong = |message: &str| RequestError::new(field, message);
    Ok(Some(match &part.kind {
        Some(part::Kind::Text(words)) => match (text(extra, "type"), extra) {
            (Some("document"), Some(whole)) if !words.text.is_empty() => document(&words.text, whole)?,
            (Some(kind), Some(whole)) if kind != "text" && words.text.is_empty() => {
                Value::Object(object(whole)?)
            }
            _ => json!({ "type": "text", "text": words.text }),
        },
        Some(part::Kind::Refusal(words)) => json!({ "type": "text", "text": words.text }),
        Some(part::Kind::Image(image)) => {
            let mut inner = Map::new();
            inner.insert(
                "url".to_owned(),
                Value::from(url(image).ok_or_else(|| {
                    wrong("this provider takes images by URL, or their bytes with a media_type")
                })?),
            );
            if let Some(detail) = &image.detail {
                inner.insert("detail".to_owned(), Value::from(detail.as_str()));
            }
            for (key, value) in nested(extra, "image_url").map(object).transpose()?.unwrap_or_default() {
                inner.entry(key).or_insert(value);
            }
            json!({ "type": "image_url", "image_url": inner })
        }
        _ => return Err(wrong("this provider takes text and images; give documents in `extra.documents`")),
    }))
}

fn url(image: &Media) -> Option<String> {
    match &image.content {
        Some(media::Content::Url(url)) => Some(url.clone()),
        Some(media::Content::Data(data)) if !image.media_type.is_empty() => {
            Some(format!("data:{};base64,{}", image.media_type, STANDARD.encode(data)))
        }
        _ => None,
    }
}

/// Puts a document's text back where it was: `data` is a text, or an object.
fn document(words: &str, whole: &Struct) -> Result<Value, RequestError> {
    let mut whole = object(whole)?;
    if let Some(Value::Object(inner)) = whole.get_mut("document") {
        let parsed = serde_json::from_str::<Value>(words).ok().filter(Value::is_object);
        let is_object = inner.get("data").is_some_and(Value::is_object);
        let data = parsed.filter(|_| is_object).unwrap_or_else(|| Value::from(words));
        inner.insert("data".to_owned(), data);
    }
    Ok(Value::Object(whole))
}
