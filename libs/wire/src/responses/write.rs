//! Messages as input items.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use signalbox_proto::common::v1::{Media, Message, Part, ReasoningText, Role, ToolCall, ToolResult};
use signalbox_proto::common::v1::{media, part};

use super::encode::Options;
use super::foreign::{self, is_foreign_part, object};
use super::item::is_part;
use crate::RequestError;
use crate::json::text;

/// Writes a conversation.
pub(super) fn items(messages: &[Message], options: &Options<'_>) -> Result<Vec<Value>, RequestError> {
    let mut items = Vec::with_capacity(messages.len());
    for (i, message) in messages.iter().enumerate() {
        let mut turn = Turn {
            items: &mut items,
            message,
            at: format!("messages[{i}]"),
            content: Vec::new(),
            spoken: false,
            bare: message.parts.iter().any(|part| is_foreign_reasoning(part, options)),
        };
        for (j, part) in message.parts.iter().enumerate() {
            turn.part(part, j, options)?;
        }
        if message.parts.is_empty() {
            let given = message.extra.as_ref().and_then(|e| e.fields.get("content")).map(foreign::json);
            turn.message(given.filter(Value::is_array).unwrap_or_else(|| Value::from("")), None);
        }
        turn.speak()?;
    }
    Ok(items)
}

/// Tells whether a part is reasoning that must not be sent to this provider.
fn is_foreign_reasoning(part: &Part, options: &Options<'_>) -> bool {
    match &part.kind {
        Some(part::Kind::Reasoning(reasoning)) => reasoning.provider.as_deref() != Some(options.provider),
        _ => false,
    }
}

/// Is one message on its way to one or more items.
struct Turn<'a> {
    items: &'a mut Vec<Value>,
    message: &'a Message,
    at: String,
    /// Parts of the message item under way.
    content: Vec<(&'a Part, Value)>,
    /// A message item was written; the message's own fields belong to the first one.
    spoken: bool,
    /// Ids are left out, because the reasoning that belongs to them is.
    bare: bool,
}

impl<'a> Turn<'a> {
    fn part(&mut self, part: &'a Part, j: usize, options: &Options<'_>) -> Result<(), RequestError> {
        let at = format!("{}.parts[{j}]", self.at);
        let assistant = self.message.role() == Role::Assistant;
        match &part.kind {
            None => return Err(RequestError::new(at, "give the part a kind")),
            Some(part::Kind::ToolCall(call)) => {
                self.speak()?;
                self.call(part, call);
            }
            Some(part::Kind::ToolResult(result)) => {
                self.speak()?;
                self.result(part, result, &at)?;
            }
            Some(part::Kind::Reasoning(reasoning)) => {
                if !is_foreign_reasoning(part, options) {
                    self.speak()?;
                    self.reasoning(part, reasoning, options);
                }
            }
            Some(part::Kind::Text(words)) => {
                let kind = text(part.extra.as_ref(), "type").filter(|kind| *kind != "text");
                match (kind, &part.extra) {
                    (Some(kind), _) if is_foreign_part(kind) => {
                        // What another provider's own tools did is no loss; what a user sent is.
                        if !assistant {
                            let message = format!("this dialect has no part of type `{kind}`");
                            return Err(RequestError::new(at, message));
                        }
                    }
                    (Some(kind), Some(whole)) if !is_part(kind) && words.text.is_empty() => {
                        self.speak()?;
                        let mut item = object(whole);
                        if self.bare && item.len() > 2 {
                            item.remove("id");
                        }
                        self.items.push(Value::Object(item));
                    }
                    _ => self.content.push((part, piece(part, assistant, &at)?)),
                }
            }
            Some(_) => self.content.push((part, piece(part, assistant, &at)?)),
        }
        Ok(())
    }

    /// Writes the message item under way, if there is one.
    fn speak(&mut self) -> Result<(), RequestError> {
        let content = std::mem::take(&mut self.content);
        if content.is_empty() {
            return Ok(());
        }
        if self.message.role() == Role::Tool {
            return Err(RequestError::new(
                self.at.clone(),
                "a tool's message holds tool results; name the call that is answered",
            ));
        }
        let phase = content.iter().find_map(|(part, _)| text(part.extra.as_ref(), "phase"));
        let content = as_content(content);
        self.message(content, phase);
        Ok(())
    }

    /// `phase`: an answer's delta carries it, having no message to carry it.
    fn message(&mut self, content: Value, phase: Option<&str>) {
        let mut map = Map::new();
        let role = match self.message.role() {
            Role::System => "system",
            Role::Developer => "developer",
            Role::Assistant => "assistant",
            Role::User | Role::Tool | Role::Unspecified => "user",
        };
        map.insert("role".to_owned(), Value::from(role));
        map.insert("content".to_owned(), content);
        if !self.spoken {
            foreign::message_rest(&mut map, self.message.extra.as_ref());
        }
        if let Some(phase) = phase.filter(|_| self.message.role() == Role::Assistant) {
            map.entry("phase").or_insert_with(|| Value::from(phase));
        }
        self.spoken = true;
        self.push(map);
    }

    fn push(&mut self, mut map: Map<String, Value>) {
        if self.bare {
            map.remove("id");
        }
        self.items.push(Value::Object(map));
    }

    fn call(&mut self, part: &Part, call: &ToolCall) {
        let mut map = Map::new();
        let custom = text(part.extra.as_ref(), "type") == Some("custom_tool_call");
        let (kind, key) = if custom { ("custom_tool_call", "input") } else { ("function_call", "arguments") };
        map.insert("type".to_owned(), Value::from(kind));
        map.insert("call_id".to_owned(), Value::from(call.id.as_str()));
        map.insert("name".to_owned(), Value::from(call.name.as_str()));
        map.insert(key.to_owned(), Value::from(call.arguments.as_str()));
        foreign::rest(&mut map, part.extra.as_ref());
        self.push(map);
    }

    fn result(&mut self, part: &Part, result: &ToolResult, at: &str) -> Result<(), RequestError> {
        let mut map = Map::new();
        let custom = text(part.extra.as_ref(), "type") == Some("custom_tool_call_output");
        let kind = if custom { "custom_tool_call_output" } else { "function_call_output" };
        map.insert("type".to_owned(), Value::from(kind));
        map.insert("call_id".to_owned(), Value::from(result.call_id.as_str()));
        let mut output = Vec::with_capacity(result.parts.len());
        for inner in &result.parts {
            match &inner.kind {
                Some(part::Kind::ToolCall(_) | part::Kind::ToolResult(_) | part::Kind::Reasoning(_)) => {
                    let message = "a tool result holds text, images and files only";
                    return Err(RequestError::new(at, message));
                }
                Some(part::Kind::Refusal(words)) => {
                    output.push((inner, json!({"type": "input_text", "text": words.text})));
                }
                _ => output.push((inner, piece(inner, false, at)?)),
            }
        }
        let output = if output.is_empty() { Value::from("") } else { as_content(output) };
        map.insert("output".to_owned(), output);
        foreign::rest(&mut map, part.extra.as_ref());
        self.push(map);
        Ok(())
    }

    fn reasoning(&mut self, part: &Part, reasoning: &ReasoningText, options: &Options<'_>) {
        let extra = part.extra.as_ref();
        if let (Some(kind), Some(Value::Object(last))) = (text(extra, "continues"), self.items.last_mut())
            && last.get("type").is_some_and(|t| t == "reasoning")
        {
            let key = if kind == "reasoning_text" { "content" } else { "summary" };
            let list = last.entry(key).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = list {
                list.push(json!({"type": kind, "text": reasoning.text}));
            }
            return;
        }
        let has = |key: &str| extra.is_some_and(|e| e.fields.contains_key(key));
        let known = has("id") || has("summary") || reasoning.signature.is_some();
        if !known && (options.style.strict || reasoning.text.is_empty()) {
            // What the server neither signed nor stored it does not take back.
            return;
        }
        let marked = text(extra, "type").filter(|kind| matches!(*kind, "reasoning_text" | "summary_text"));
        let kind = marked.unwrap_or(if known { "summary_text" } else { "reasoning_text" });
        let texts = if reasoning.text.is_empty() && marked.is_none() {
            Vec::new()
        } else {
            vec![json!({"type": kind, "text": reasoning.text})]
        };
        let mut map = Map::new();
        map.insert("type".to_owned(), Value::from("reasoning"));
        if has("summary") && texts.is_empty() {
            // A form of its own, written below as it came.
        } else if kind == "reasoning_text" {
            map.insert("summary".to_owned(), Value::Array(Vec::new()));
            map.insert("content".to_owned(), Value::Array(texts));
        } else {
            map.insert("summary".to_owned(), Value::Array(texts));
        }
        if let Some(signature) = &reasoning.signature {
            map.insert("encrypted_content".to_owned(), Value::from(signature.as_str()));
        }
        foreign::rest(&mut map, extra);
        self.items.push(Value::Object(map));
    }
}

/// Writes parts as plain text if they are nothing else.
fn as_content(parts: Vec<(&Part, Value)>) -> Value {
    if let [(Part { kind: Some(part::Kind::Text(words)), extra, .. }, Value::Object(map))] = &parts[..]
        && map.len() == 2
        && text(extra.as_ref(), "type").is_none()
    {
        return Value::from(words.text.as_str());
    }
    Value::Array(parts.into_iter().map(|(_, value)| value).collect())
}

fn piece(part: &Part, assistant: bool, at: &str) -> Result<Value, RequestError> {
    let extra = part.extra.as_ref();
    let mut map = Map::new();
    match &part.kind {
        Some(part::Kind::Text(words)) => {
            let implied = if assistant { "output_text" } else { "input_text" };
            let kind = text(extra, "type").filter(|kind| *kind != "text").unwrap_or(implied);
            if let Some(whole) = extra
                && (!matches!(kind, "input_text" | "output_text") || whole.fields.contains_key("text"))
            {
                return Ok(Value::Object(object(whole)));
            }
            map.insert("type".to_owned(), Value::from(kind));
            map.insert("text".to_owned(), Value::from(words.text.as_str()));
        }
        Some(part::Kind::Refusal(words)) => {
            map.insert("type".to_owned(), Value::from("refusal"));
            map.insert("refusal".to_owned(), Value::from(words.text.as_str()));
        }
        Some(part::Kind::Image(media)) => {
            map.insert("type".to_owned(), Value::from("input_image"));
            let key = if matches!(media.content, Some(media::Content::FileId(_))) {
                "file_id"
            } else {
                "image_url"
            };
            map.insert(key.to_owned(), Value::from(reference(media, at)?));
            if let Some(detail) = &media.detail {
                map.insert("detail".to_owned(), Value::from(detail.as_str()));
            }
        }
        Some(part::Kind::File(media)) => file(&mut map, part, media, at)?,
        Some(part::Kind::Audio(media)) => {
            let Some(media::Content::Data(data)) = &media.content else {
                return Err(RequestError::new(at, "this dialect takes sound with its bytes"));
            };
            let format = match media.media_type.as_str() {
                "audio/mpeg" => "mp3",
                other => other.strip_prefix("audio/").unwrap_or(other),
            };
            map.insert("type".to_owned(), Value::from("input_audio"));
            let audio = json!({"data": STANDARD.encode(data), "format": format});
            map.insert("input_audio".to_owned(), audio);
        }
        _ => return Err(RequestError::new(at, "give the part a kind")),
    }
    foreign::rest(&mut map, extra);
    Ok(Value::Object(map))
}

fn file(map: &mut Map<String, Value>, part: &Part, media: &Media, at: &str) -> Result<(), RequestError> {
    let extra = part.extra.as_ref();
    map.insert("type".to_owned(), Value::from("input_file"));
    let key = match &media.content {
        Some(media::Content::FileId(_)) => "file_id",
        Some(media::Content::Url(_)) => "file_url",
        _ => "file_data",
    };
    map.insert(key.to_owned(), Value::from(reference(media, at)?));
    let own = text(extra, "type") == Some("input_file");
    let name = match &media.name {
        Some(name) => Some(name.clone()),
        // Bytes without a name are refused.
        None if key == "file_data" && !own => {
            let kind = media.media_type.rsplit(['/', '.', '+']).next().unwrap_or_default();
            Some(format!("file.{}", if kind == "plain" { "txt" } else { kind }))
        }
        None => None,
    };
    if let Some(name) = name {
        map.insert("filename".to_owned(), Value::from(name));
    }
    Ok(())
}

/// Returns media as one text: the URL, the file's id, or a `data:` URL.
fn reference(media: &Media, at: &str) -> Result<String, RequestError> {
    match &media.content {
        Some(media::Content::Url(url)) => Ok(url.clone()),
        Some(media::Content::FileId(id)) => Ok(id.clone()),
        Some(media::Content::Data(_)) if media.media_type.is_empty() => {
            Err(RequestError::new(at, "give the media_type of the data"))
        }
        Some(media::Content::Data(data)) => {
            Ok(format!("data:{};base64,{}", media.media_type, STANDARD.encode(data)))
        }
        None => Err(RequestError::new(at, "give a url, data or file_id")),
    }
}
