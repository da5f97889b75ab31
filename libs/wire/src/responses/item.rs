//! Input items, read into messages.

use serde_json::{Map, Value};
use signalbox_proto::common::v1::{
    Media, Message, Part, ReasoningText, Role, Text, ToolCall, ToolResult, media, part,
};

use crate::openai::body::{Fields, by_reference, canonical, others};
use crate::{RequestError, json};

/// Tells whether a type is that of a message's part; every other is an item's.
pub(super) fn is_part(kind: &str) -> bool {
    kind.starts_with("input_") || kind.starts_with("output_") || matches!(kind, "text" | "refusal")
}

/// Types of items that are neither calls nor their outputs.
const ITEMS: [&str; 8] = [
    "additional_tools",
    "compaction",
    "item_reference",
    "mcp_approval_request",
    "mcp_approval_response",
    "mcp_list_tools",
    "program",
    "reasoning",
];

/// Tells whether a part kept whole is an item of this dialect: mostly, what its server's own tools did. Other dialects leave it out.
pub(crate) fn is_item(kind: &str) -> bool {
    ITEMS.contains(&kind) || kind.ends_with("_call") || kind.ends_with("_output")
}

/// Reads a conversation.
pub(super) fn messages(list: Vec<Value>, provider: Option<&str>) -> Result<Vec<Message>, RequestError> {
    let mut turns = Turns { messages: Vec::with_capacity(list.len()), open: false, spoken: false };
    for (i, value) in list.into_iter().enumerate() {
        let at = format!("input[{i}]");
        match value {
            Value::Object(map) => turns.take(Fields::new(map, at), provider)?,
            _ => return Err(RequestError::new(at, "give an object")),
        }
    }
    Ok(turns.messages)
}

/// Puts items together to turns.
struct Turns {
    messages: Vec<Message>,
    /// The last message is the assistant's, and takes more of its items.
    open: bool,
    /// It holds a message item already.
    spoken: bool,
}

impl Turns {
    /// Returns the assistant's turn under way; `speaks` says that a message item or the reasoning before one is added.
    fn turn(&mut self, speaks: bool) -> &mut Vec<Part> {
        let fresh = !self.open || (speaks && self.spoken) || self.messages.is_empty();
        if fresh {
            self.push(Role::Assistant, Vec::new());
            self.open = true;
            self.spoken = false;
        }
        let last = self.messages.len() - 1;
        &mut self.messages[last].parts
    }

    fn push(&mut self, role: Role, parts: Vec<Part>) {
        self.open = false;
        self.messages.push(Message { role: role.into(), parts, name: None, extra: None });
    }

    fn take(&mut self, mut fields: Fields, provider: Option<&str>) -> Result<(), RequestError> {
        let kind = fields.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        match kind.as_str() {
            "message" => self.message(fields),
            "" if fields.get("role").is_some() => self.message(fields),
            "function_call" => {
                fields.take("type");
                let call = call(&mut fields, "arguments")?;
                let part = Part { kind: Some(call), source: 0, extra: fields.rest()? };
                self.turn(false).push(part);
                Ok(())
            }
            "custom_tool_call" => {
                let call = call(&mut fields, "input")?;
                let part = Part { kind: Some(call), source: 0, extra: fields.rest()? };
                self.turn(false).push(part);
                Ok(())
            }
            "function_call_output" | "custom_tool_call_output" => {
                if kind == "function_call_output" {
                    fields.take("type");
                }
                let part = result(fields)?;
                self.push(Role::Tool, vec![part]);
                Ok(())
            }
            "reasoning" => {
                let parts = reasoning(&fields, provider)?;
                self.turn(true).extend(parts);
                Ok(())
            }
            "" if fields.get("id").is_some() => {
                fields.put("type", Value::from("item_reference"));
                self.unknown(fields, "item_reference")
            }
            "" => Err(RequestError::new(fields.path("type"), "name the item's type")),
            other if is_part(other) => Err(RequestError::new(
                fields.path("type"),
                "this is a message's part; put it into a message's content",
            )),
            other => self.unknown(fields, other),
        }
    }

    /// Keeps an item whole.
    fn unknown(&mut self, fields: Fields, kind: &str) -> Result<(), RequestError> {
        let developer = fields.get("role").and_then(Value::as_str) == Some("developer");
        let part = Part { kind: Some(part::Kind::Text(Text::default())), source: 0, extra: fields.rest()? };
        if developer {
            self.push(Role::Developer, vec![part]);
        } else if kind.ends_with("_output") || kind.ends_with("_response") {
            self.push(Role::Tool, vec![part]);
        } else {
            self.turn(false).push(part);
        }
        Ok(())
    }

    fn message(&mut self, mut fields: Fields) -> Result<(), RequestError> {
        let role = match fields.text("role")?.as_deref() {
            Some("system") => Role::System,
            Some("developer") => Role::Developer,
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            Some(other) => {
                let other = crate::redact::bounded(other, 32);
                let message = format!("`{other}` is unknown; use system, developer, user or assistant");
                return Err(RequestError::new(fields.path("role"), message));
            }
            None => return Err(RequestError::new(fields.path("role"), "name the role")),
        };
        let at = fields.path("content");
        let parts = match fields.take("content") {
            None => Vec::new(),
            Some(Value::String(text)) => vec![text_part(text)],
            Some(Value::Array(list)) => pieces(list, &at, role == Role::Assistant)?,
            Some(_) => return Err(RequestError::new(at, "give a text or a list of parts")),
        };
        let extra = fields.rest()?;
        if role == Role::Assistant {
            self.turn(true).extend(parts);
            self.spoken = true;
            if let Some(last) = self.messages.last_mut() {
                last.extra = extra;
            }
        } else {
            self.push(role, parts);
            if let Some(last) = self.messages.last_mut() {
                last.extra = extra;
            }
        }
        Ok(())
    }
}

fn text_part(text: String) -> Part {
    Part { kind: Some(part::Kind::Text(Text { text })), source: 0, extra: None }
}

fn call(fields: &mut Fields, key: &str) -> Result<part::Kind, RequestError> {
    let id = fields
        .text("call_id")?
        .ok_or_else(|| RequestError::new(fields.path("call_id"), "give the call's id"))?;
    let name =
        fields.text("name")?.ok_or_else(|| RequestError::new(fields.path("name"), "name the function"))?;
    let arguments = match fields.take(key) {
        Some(Value::String(text)) => text,
        None => String::new(),
        Some(other) => other.to_string(),
    };
    Ok(part::Kind::ToolCall(ToolCall { id, name, arguments }))
}

fn result(mut fields: Fields) -> Result<Part, RequestError> {
    let call_id = fields
        .text("call_id")?
        .ok_or_else(|| RequestError::new(fields.path("call_id"), "name the call that is answered"))?;
    let at = fields.path("output");
    let parts = match fields.take("output") {
        None => Vec::new(),
        Some(Value::String(text)) => vec![text_part(text)],
        Some(Value::Array(list)) => pieces(list, &at, false)?,
        Some(other) => vec![text_part(other.to_string())],
    };
    let result = ToolResult { call_id, parts, is_error: None };
    Ok(Part { kind: Some(part::Kind::ToolResult(result)), source: 0, extra: fields.rest()? })
}

/// Reads a reasoning item: each of its texts is a part, the first one carries what belongs to the item. Texts of another form
/// stay in `extra`, as they are.
fn reasoning(fields: &Fields, provider: Option<&str>) -> Result<Vec<Part>, RequestError> {
    let mut rest = others(fields.as_map(), &["type"]);
    let signature = match fields.get("encrypted_content") {
        Some(Value::String(text)) => {
            rest.remove("encrypted_content");
            Some(text.clone())
        }
        _ => None,
    };
    let texts = thoughts(fields).unwrap_or_default();
    // An empty summary is always written.
    if !texts.is_empty()
        || fields.as_map().get("summary").is_some_and(|list| list == &Value::Array(Vec::new()))
    {
        rest.remove("summary");
    }
    let (kind, first) = texts.first().copied().unwrap_or(("summary_text", ""));
    if texts.iter().any(|(kind, _)| *kind == "reasoning_text") {
        rest.remove("content");
    }
    // A text in `summary` is what an unmarked part means, and an empty one means that there is none.
    if kind == "reasoning_text" || (first.is_empty() && !texts.is_empty()) {
        rest.insert("type".to_owned(), Value::from(kind));
    }
    let part = |text: &str, signature, rest| {
        let text = ReasoningText { text: text.to_owned(), signature, provider: provider.map(str::to_owned) };
        let extra =
            json::fields(rest).map_err(|e| RequestError::new(fields.path("summary"), e.to_string()))?;
        Ok(Part { kind: Some(part::Kind::Reasoning(text)), source: 0, extra })
    };
    let mut parts = vec![part(first, signature, rest)?];
    for (kind, text) in texts.iter().skip(1) {
        let continues = Map::from_iter([("continues".to_owned(), Value::from(*kind))]);
        parts.push(part(text, None, continues)?);
    }
    Ok(parts)
}

/// Returns the texts of a reasoning item, unless one has another form than the usual.
fn thoughts(fields: &Fields) -> Option<Vec<(&'static str, &str)>> {
    let mut texts = Vec::new();
    for (key, kind) in [("summary", "summary_text"), ("content", "reasoning_text")] {
        match fields.get(key) {
            None => {}
            Some(Value::Array(list)) => {
                for piece in list {
                    match (piece["type"].as_str(), piece["text"].as_str(), piece.as_object().map(Map::len)) {
                        (Some(found), Some(text), Some(2)) if found == kind => texts.push((kind, text)),
                        _ => return None,
                    }
                }
            }
            Some(_) => return None,
        }
    }
    Some(texts)
}

fn pieces(list: Vec<Value>, at: &str, assistant: bool) -> Result<Vec<Part>, RequestError> {
    let single = list.len() == 1;
    list.into_iter()
        .enumerate()
        .map(|(i, value)| {
            let at = format!("{at}[{i}]");
            match value {
                Value::Object(map) => piece(Fields::new(map, at), single, assistant),
                _ => Err(RequestError::new(at, "give an object")),
            }
        })
        .collect()
}

/// Reads one part. Whatever is not fully understood is kept whole in `extra`, with its `type`.
fn piece(fields: Fields, single: bool, assistant: bool) -> Result<Part, RequestError> {
    let kind = fields.get("type").and_then(Value::as_str).unwrap_or_default();
    let known = match kind {
        "input_text" | "output_text" | "text" => text_piece(&fields, kind, single, assistant),
        "refusal" => refusal_piece(&fields),
        "input_image" => image_piece(&fields),
        "input_file" => file_piece(&fields),
        "input_audio" => audio_piece(&fields),
        "" => return Err(RequestError::new(fields.path("type"), "name the part's type")),
        _ => None,
    };
    let (kind, extra) = match known {
        Some((kind, map)) => {
            (kind, json::fields(map).map_err(|e| RequestError::new(fields.path("type"), e.to_string()))?)
        }
        None => (part::Kind::Text(Text::default()), fields.rest()?),
    };
    Ok(Part { kind: Some(kind), source: 0, extra })
}

type Known = Option<(part::Kind, Map<String, Value>)>;

fn text_piece(fields: &Fields, kind: &str, single: bool, assistant: bool) -> Known {
    let text = fields.get("text")?.as_str()?.to_owned();
    let mut rest = others(fields.as_map(), &["type", "text"]);
    let implied = if assistant { "output_text" } else { "input_text" };
    if kind != implied && kind != "text" {
        rest.insert("type".to_owned(), Value::from(kind));
    } else if single && rest.is_empty() {
        // Tells a list of one text from a plain text, in the way that every dialect here does.
        rest.insert("type".to_owned(), Value::from("text"));
    }
    Some((part::Kind::Text(Text { text }), rest))
}

fn refusal_piece(fields: &Fields) -> Known {
    let text = fields.get("refusal")?.as_str()?.to_owned();
    Some((part::Kind::Refusal(Text { text }), others(fields.as_map(), &["type", "refusal"])))
}

fn image_piece(fields: &Fields) -> Known {
    let (key, mut media) = match (fields.get("image_url"), fields.get("file_id")) {
        (Some(Value::String(url)), None) => ("image_url", by_reference(url)),
        (None, Some(Value::String(id))) => ("file_id", file_id(id)),
        _ => return None,
    };
    media.detail = fields.get("detail").and_then(Value::as_str).map(str::to_owned);
    let detail = if media.detail.is_some() { "detail" } else { "" };
    Some((part::Kind::Image(media), others(fields.as_map(), &["type", key, detail])))
}

fn file_piece(fields: &Fields) -> Known {
    let (key, mut media) = match (fields.get("file_data"), fields.get("file_url"), fields.get("file_id")) {
        (Some(Value::String(data)), None, None) => ("file_data", by_reference(data)),
        (None, Some(Value::String(url)), None) => {
            let content = Some(media::Content::Url(url.clone()));
            ("file_url", Media { content, ..Default::default() })
        }
        (None, None, Some(Value::String(id))) => ("file_id", file_id(id)),
        _ => return None,
    };
    if key == "file_data" && !matches!(media.content, Some(media::Content::Data(_))) {
        return None;
    }
    media.name = fields.get("filename").and_then(Value::as_str).map(str::to_owned);
    let name = if media.name.is_some() { "filename" } else { "" };
    let mut rest = others(fields.as_map(), &["type", key, name]);
    if key == "file_data" && media.name.is_none() {
        // Tells a file that was sent without a name from one that comes from another dialect.
        rest.insert("type".to_owned(), Value::from("input_file"));
    }
    Some((part::Kind::File(media), rest))
}

fn audio_piece(fields: &Fields) -> Known {
    let inner = fields.get("input_audio")?.as_object()?;
    let format = inner.get("format")?.as_str()?;
    let media_type = if format == "mp3" { "audio/mpeg".to_owned() } else { format!("audio/{format}") };
    let content = media::Content::Data(canonical(inner.get("data")?.as_str()?)?);
    if inner.len() != 2 {
        return None;
    }
    let media = Media { content: Some(content), media_type, ..Default::default() };
    Some((part::Kind::Audio(media), others(fields.as_map(), &["type", "input_audio"])))
}

fn file_id(id: &str) -> Media {
    Media { content: Some(media::Content::FileId(id.to_owned())), ..Default::default() }
}
