//! Messages and blocks of a JSON body, read into ours.

use bytes::Bytes;
use serde_json::{Map, Value};
use signalbox_proto::common::v1::{
    Media, Message, Part, ReasoningText, Role, Text, ToolCall, ToolResult, media, part,
};

use crate::RequestError;
use crate::openai::body::{Fields, canonical, others};

pub(super) fn message(value: Value, at: String, provider: Option<&str>) -> Result<Message, RequestError> {
    let Value::Object(map) = value else {
        return Err(RequestError::new(at, "give an object"));
    };
    let mut fields = Fields::new(map, at);
    let role = match fields.text("role")?.as_deref() {
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("system") => Role::System,
        Some(other) => {
            let other = crate::redact::bounded(other, 32);
            let words = format!("`{other}` is unknown; use user, assistant or system");
            return Err(RequestError::new(fields.path("role"), words));
        }
        None => return Err(RequestError::new(fields.path("role"), "name the role")),
    };
    let at = fields.path("content");
    let content = fields.take("content");
    let extra = fields.rest()?;
    let parts = match content {
        Some(value) => parts(value, at, Inside::Message(provider))?,
        // An empty list stays in `extra`.
        None if extra.as_ref().is_some_and(|extra| extra.fields.contains_key("content")) => Vec::new(),
        None => return Err(RequestError::new(at, "give a text or a list of blocks")),
    };
    Ok(Message { role: role.into(), parts, name: None, extra })
}

/// Reads what stands in a message or in `system`.
pub(super) fn content(value: Value, at: String, provider: Option<&str>) -> Result<Vec<Part>, RequestError> {
    parts(value, at, Inside::Message(provider))
}

/// Is where blocks stand.
#[derive(Clone, Copy)]
enum Inside<'a> {
    /// In a message; its thinking was written for this provider.
    Message(Option<&'a str>),
    /// In the result of a tool, which holds no calls and no thinking.
    Result,
}

fn parts(value: Value, at: String, inside: Inside<'_>) -> Result<Vec<Part>, RequestError> {
    match value {
        Value::String(text) => {
            Ok(vec![Part { kind: Some(part::Kind::Text(Text { text })), source: 0, extra: None }])
        }
        Value::Array(list) => {
            let single = list.len() == 1;
            let read = |(i, value)| match value {
                Value::Object(map) => block(map, format!("{at}[{i}]"), single, inside),
                _ => Err(RequestError::new(format!("{at}[{i}]"), "give an object")),
            };
            list.into_iter().enumerate().map(read).collect()
        }
        _ => Err(RequestError::new(at, "give a text or a list of blocks")),
    }
}

/// A block that is understood, and what of it has no place in our messages.
type Known = Option<(part::Kind, Map<String, Value>)>;

/// Reads one block. Whatever is not fully understood is kept whole in `extra`, with its `type`.
fn block(
    map: Map<String, Value>,
    at: String,
    single: bool,
    inside: Inside<'_>,
) -> Result<Part, RequestError> {
    let known = match (map.get("type").and_then(Value::as_str), inside) {
        (None, _) => return Err(RequestError::new(format!("{at}.type"), "name the block's type")),
        (Some("text"), _) => match text(&map, single) {
            None => return Err(RequestError::new(format!("{at}.text"), "give the text")),
            known => known,
        },
        (Some("image"), _) => image(&map),
        (Some("document"), _) => document(&map),
        (Some("thinking"), Inside::Message(provider)) => thinking(&map, provider),
        (Some("redacted_thinking"), Inside::Message(provider)) => redacted(&map, provider),
        (Some("tool_use"), Inside::Message(_)) => tool_use(&map),
        (Some("tool_result"), Inside::Message(_)) => tool_result(&map, &at)?,
        (Some(_), _) => None,
    };
    let (kind, rest) = known.unwrap_or_else(|| (part::Kind::Text(Text::default()), map));
    Ok(Part { kind: Some(kind), source: 0, extra: Fields::new(rest, at).rest()? })
}

fn string(map: &Map<String, Value>, key: &str) -> Option<String> {
    map.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn text(map: &Map<String, Value>, single: bool) -> Known {
    let text = string(map, "text")?;
    let mut rest = others(map, &["type", "text"]);
    if (single || text.is_empty()) && rest.is_empty() {
        // Tells a list of one text from a plain text, and an empty text that was sent from one that fills a gap.
        rest.insert("type".to_owned(), "text".into());
    }
    Some((part::Kind::Text(Text { text }), rest))
}

fn thinking(map: &Map<String, Value>, provider: Option<&str>) -> Known {
    let text = string(map, "thinking")?;
    let signature = string(map, "signature");
    let mut rest = others(map, &["type", "thinking", if signature.is_some() { "signature" } else { "" }]);
    if signature.is_none() {
        // Tells thinking that was sent so from thinking that lost its signature.
        rest.insert("type".to_owned(), "thinking".into());
    }
    let thought = ReasoningText { text, signature, provider: provider.map(str::to_owned) };
    Some((part::Kind::Reasoning(thought), rest))
}

fn redacted(map: &Map<String, Value>, provider: Option<&str>) -> Known {
    let signature = Some(string(map, "data")?);
    let thought = ReasoningText { text: String::new(), signature, provider: provider.map(str::to_owned) };
    Some((part::Kind::Reasoning(thought), others(map, &["data"])))
}

fn tool_use(map: &Map<String, Value>) -> Known {
    let input = map.get("input").filter(|input| input.is_object())?;
    let call = ToolCall { id: string(map, "id")?, name: string(map, "name")?, arguments: input.to_string() };
    Some((part::Kind::ToolCall(call), others(map, &["type", "id", "name", "input"])))
}

fn tool_result(map: &Map<String, Value>, at: &str) -> Result<Known, RequestError> {
    let Some(call_id) = string(map, "tool_use_id") else { return Ok(None) };
    let mut taken = vec!["type", "tool_use_id"];
    let is_error = map.get("is_error").and_then(Value::as_bool);
    taken.extend(is_error.map(|_| "is_error"));
    let content = map.get("content").filter(|c| c.is_string() || c.as_array().is_some_and(|l| !l.is_empty()));
    let parts = match content {
        None => Vec::new(),
        Some(content) => {
            taken.push("content");
            parts(content.clone(), format!("{at}.content"), Inside::Result)?
        }
    };
    let result = ToolResult { call_id, parts, is_error };
    Ok(Some((part::Kind::ToolResult(result), others(map, &taken))))
}

fn image(map: &Map<String, Value>) -> Known {
    let (media, source) = source(map)?;
    Some((part::Kind::Image(media), beside(map, &["type", "source"], source)))
}

fn document(map: &Map<String, Value>) -> Known {
    let (mut media, source) = source(map)?;
    if media.media_type.starts_with("image/") {
        return None;
    }
    media.name = string(map, "title");
    let title = if media.name.is_some() { "title" } else { "" };
    Some((part::Kind::File(media), beside(map, &["type", "source", title], source)))
}

fn beside(map: &Map<String, Value>, taken: &[&str], source: Map<String, Value>) -> Map<String, Value> {
    let mut rest = others(map, taken);
    if !source.is_empty() {
        rest.insert("source".to_owned(), source.into());
    }
    rest
}

fn source(map: &Map<String, Value>) -> Option<(Media, Map<String, Value>)> {
    let source = map.get("source")?.as_object()?;
    let media_type = string(source, "media_type").filter(|kind| !kind.is_empty());
    let mut mark = None;
    let (content, taken) = match source.get("type")?.as_str()? {
        "base64" => {
            if media_type.as_ref()?.starts_with("text/") {
                // Tells it from a text that stands there as such.
                mark = Some("base64");
            }
            (
                media::Content::Data(canonical(source.get("data")?.as_str()?)?),
                &["type", "media_type", "data"][..],
            )
        }
        "text" if media_type.as_deref() == Some("text/plain") => {
            let data = Bytes::from(string(source, "data")?);
            (media::Content::Data(data), &["type", "media_type", "data"][..])
        }
        "url" => (media::Content::Url(string(source, "url")?), &["type", "url"][..]),
        "file" => (media::Content::FileId(string(source, "file_id")?), &["type", "file_id"][..]),
        _ => return None,
    };
    let mut rest = others(source, taken);
    if let Some(mark) = mark {
        rest.insert("type".to_owned(), mark.into());
    }
    let media_type = if taken.contains(&"media_type") { media_type } else { None };
    let media_type = media_type.unwrap_or_default();
    Some((Media { content: Some(content), media_type, name: None, detail: None }, rest))
}
