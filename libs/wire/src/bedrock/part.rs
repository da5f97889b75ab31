//! Messages and their parts as content blocks.

use prost_types::Struct;
use serde_json::{Map, Value, json};
use signalbox_proto::common::v1::{ChatRequest, Message, Part, ReasoningText, Role, ToolCall, part};

use super::encode::{Options, is_union_member, object};
use super::media;
use crate::RequestError;
use crate::json::nested;

/// Are a conversation's turns and, apart from them, its instructions.
pub(super) struct Blocks {
    pub(super) system: Vec<Value>,
    pub(super) messages: Vec<Value>,
}

impl Blocks {
    pub(super) fn of(request: &ChatRequest, options: &Options<'_>) -> Result<Self, RequestError> {
        let mut writer = Writer { provider: options.provider, documents: 0 };
        let mut system = Vec::new();
        let mut turns: Vec<(&str, Vec<Value>)> = Vec::new();
        for (i, message) in request.messages.iter().enumerate() {
            let role = match message.role() {
                Role::System | Role::Developer => {
                    writer.instructions(message, i, &mut system)?;
                    continue;
                }
                Role::Assistant => "assistant",
                Role::User | Role::Tool | Role::Unspecified => "user",
            };
            let mut content = Vec::with_capacity(message.parts.len());
            for (j, part) in message.parts.iter().enumerate() {
                writer.part(part, &format!("messages[{i}].parts[{j}]"), &mut content)?;
            }
            match turns.last_mut() {
                _ if options.alternate && content.is_empty() => {}
                Some((last, before)) if options.alternate && *last == role => before.append(&mut content),
                _ => turns.push((role, content)),
            }
        }
        let turn = |(role, content)| json!({ "role": role, "content": content });
        Ok(Self { system, messages: turns.into_iter().map(turn).collect() })
    }
}

/// Makes a cache point of Anthropic's mark for the same thing.
pub(super) fn cache_point(extra: Option<&Struct>) -> Option<Value> {
    let control = nested(extra, "cache_control")?;
    let mut point = json!({ "type": "default" });
    if let Some(ttl) = crate::json::text(Some(control), "ttl") {
        point["ttl"] = Value::from(ttl);
    }
    Some(json!({ "cachePoint": point }))
}

struct Writer<'a> {
    provider: &'a str,
    documents: usize,
}

impl Writer<'_> {
    fn instructions(
        &mut self,
        message: &Message,
        i: usize,
        system: &mut Vec<Value>,
    ) -> Result<(), RequestError> {
        for (j, part) in message.parts.iter().enumerate() {
            let field = format!("messages[{i}].parts[{j}]");
            if !matches!(part.kind, Some(part::Kind::Text(_))) {
                return Err(RequestError::new(field, "instructions are text here"));
            }
            self.part(part, &field, system)?;
        }
        Ok(())
    }

    /// Writes a part, and a cache point behind it if it is marked so.
    fn part(&mut self, part: &Part, field: &str, out: &mut Vec<Value>) -> Result<(), RequestError> {
        let extra = part.extra.as_ref();
        let block = match &part.kind {
            None => return Err(RequestError::new(field, "give the part a kind")),
            Some(part::Kind::Text(text)) => self::text(&text.text, extra)?,
            Some(part::Kind::Refusal(text)) => self::text(&text.text, None)?,
            Some(part::Kind::Image(image)) => Some(self.media("image", image, extra, field)?),
            Some(part::Kind::Audio(sound)) => Some(self.media("audio", sound, extra, field)?),
            Some(part::Kind::File(file)) => Some(self.media("document", file, extra, field)?),
            Some(part::Kind::Reasoning(reasoning)) => self.reasoning(reasoning, extra),
            Some(part::Kind::ToolCall(call)) => Some(tool_use(call, extra)?),
            Some(part::Kind::ToolResult(result)) => {
                let mut content = Vec::with_capacity(result.parts.len());
                for inner in &result.parts {
                    if matches!(inner.kind, Some(part::Kind::ToolCall(_) | part::Kind::ToolResult(_))) {
                        let message = "a tool result holds text, images and files only";
                        return Err(RequestError::new(field, message));
                    }
                    self.part(inner, field, &mut content)?;
                }
                let mut block = Map::new();
                block.insert("toolUseId".to_owned(), Value::from(result.call_id.as_str()));
                block.insert("content".to_owned(), Value::Array(content));
                if let Some(failed) = result.is_error {
                    block.insert("status".to_owned(), Value::from(if failed { "error" } else { "success" }));
                }
                Some(json!({ "toolResult": beside(block, nested(extra, "toolResult"))? }))
            }
        };
        if let Some(block) = block {
            out.push(block);
            out.extend(cache_point(extra));
        }
        Ok(())
    }

    fn media(
        &mut self,
        block: &str,
        media: &signalbox_proto::common::v1::Media,
        extra: Option<&Struct>,
        field: &str,
    ) -> Result<Value, RequestError> {
        if block == "document" {
            self.documents += 1;
        }
        let inner = media::write(block, media, nested(extra, block), self.documents, field)?;
        Ok(Value::Object(Map::from_iter([(block.to_owned(), inner)])))
    }

    fn reasoning(&self, reasoning: &ReasoningText, extra: Option<&Struct>) -> Option<Value> {
        if reasoning.provider.as_deref() != Some(self.provider) {
            return None;
        }
        let hidden =
            nested(extra, "reasoningContent").is_some_and(|r| r.fields.contains_key("redactedContent"));
        if let (true, Some(signature)) = (hidden, &reasoning.signature) {
            return Some(json!({ "reasoningContent": { "redactedContent": signature } }));
        }
        let mut inner = Map::new();
        inner.insert("text".to_owned(), Value::from(reasoning.text.as_str()));
        if let Some(signature) = &reasoning.signature {
            inner.insert("signature".to_owned(), Value::from(signature.as_str()));
        }
        Some(json!({ "reasoningContent": { "reasoningText": inner } }))
    }
}

/// Adds the fields of `extra` that are not written yet.
fn beside(mut block: Map<String, Value>, extra: Option<&Struct>) -> Result<Map<String, Value>, RequestError> {
    for (key, value) in extra.map(object).transpose()?.unwrap_or_default() {
        block.entry(key).or_insert(value);
    }
    Ok(block)
}

/// Writes a text; an empty one stands for a block of another kind in `extra`, or for nothing, because Converse refuses it.
fn text(text: &str, extra: Option<&Struct>) -> Result<Option<Value>, RequestError> {
    let own = extra.into_iter().flat_map(|e| &e.fields).find(|(key, _)| is_union_member(key));
    let (Some((key, _)), Some(extra)) = (own, extra) else {
        return Ok((!text.is_empty()).then(|| json!({ "text": text })));
    };
    let mut whole = object(extra)?;
    whole.remove("cache_control");
    Ok(Some(match key.as_str() {
        "text" => {
            whole.insert("text".to_owned(), Value::from(text));
            Value::Object(whole)
        }
        "json" => match serde_json::from_str::<Value>(text) {
            Ok(value) => json!({ "json": value }),
            Err(_) => json!({ "text": text }),
        },
        "guardContent" if !text.is_empty() => {
            if let Some(Value::Object(inner)) = whole.get_mut("guardContent").and_then(|g| g.get_mut("text"))
            {
                inner.insert("text".to_owned(), Value::from(text));
            }
            Value::Object(whole)
        }
        _ if text.is_empty() => Value::Object(whole),
        _ => json!({ "text": text }),
    }))
}

fn tool_use(call: &ToolCall, extra: Option<&Struct>) -> Result<Value, RequestError> {
    let input = match serde_json::from_str::<Value>(&call.arguments) {
        Ok(Value::Object(map)) => Value::Object(map),
        Ok(Value::Null) => json!({}),
        Err(_) if call.arguments.trim().is_empty() => json!({}),
        _ => json!({ "invalid_json": call.arguments }),
    };
    let mut block = Map::new();
    block.insert("toolUseId".to_owned(), Value::from(call.id.as_str()));
    block.insert("name".to_owned(), Value::from(call.name.as_str()));
    block.insert("input".to_owned(), input);
    Ok(json!({ "toolUse": beside(block, nested(extra, "toolUse"))? }))
}
