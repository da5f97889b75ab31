//! Messages of a JSON body, read into ours.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost_types::Struct;
use serde_json::{Map, Value};
use signalbox_proto::common::v1::{
    Media, Message, Part, ReasoningText, Role, Text, ToolCall, ToolResult, media, part,
};

use super::parse::reasoning;
use super::style::Style;
use crate::{RequestError, json};

/// Is a JSON object from which known fields are taken; what is left goes into `extra`. Known fields that are `null`
/// or an empty list are left, because that is not what an absent field is to every server.
pub(crate) struct Fields {
    map: Map<String, Value>,
    at: String,
}

impl Fields {
    pub(crate) fn new(map: Map<String, Value>, at: String) -> Self {
        Self { map, at }
    }

    pub(crate) fn path(&self, key: &str) -> String {
        if self.at.is_empty() { key.to_owned() } else { format!("{}.{key}", self.at) }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        let empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        self.map.get(key).filter(|value| !empty(value))
    }

    pub(crate) fn take(&mut self, key: &str) -> Option<Value> {
        self.get(key)?;
        self.map.remove(key)
    }

    pub(crate) fn put(&mut self, key: &str, value: Value) {
        self.map.insert(key.to_owned(), value);
    }

    fn typed<T>(
        &mut self,
        key: &str,
        want: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, RequestError> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => read(&value)
                .map(Some)
                .ok_or_else(|| RequestError::new(self.path(key), format!("give {want}"))),
        }
    }

    pub(crate) fn text(&mut self, key: &str) -> Result<Option<String>, RequestError> {
        self.typed(key, "a text", |v| v.as_str().map(str::to_owned))
    }

    pub(crate) fn boolean(&mut self, key: &str) -> Result<Option<bool>, RequestError> {
        self.typed(key, "true or false", Value::as_bool)
    }

    pub(crate) fn number(&mut self, key: &str) -> Result<Option<f64>, RequestError> {
        self.typed(key, "a number", Value::as_f64)
    }

    pub(crate) fn integer(&mut self, key: &str) -> Result<Option<i64>, RequestError> {
        self.typed(key, "a whole number", Value::as_i64)
    }

    pub(crate) fn small(&mut self, key: &str) -> Result<Option<u32>, RequestError> {
        self.typed(key, "a whole number from 0", |v| u32::try_from(v.as_u64()?).ok())
    }

    pub(crate) fn object(&mut self, key: &str) -> Result<Option<Struct>, RequestError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Object(map)) => match json::fields(map) {
                Ok(fields) => Ok(Some(fields.unwrap_or_default())),
                Err(e) => Err(RequestError::new(self.path(key), e.to_string())),
            },
            Some(_) => Err(RequestError::new(self.path(key), "give an object")),
        }
    }

    /// Returns what was not taken, as `extra`.
    pub(crate) fn rest(self) -> Result<Option<Struct>, RequestError> {
        json::fields(self.map).map_err(|e| RequestError::new(self.at, e.to_string()))
    }

    pub(crate) fn into_map(self) -> Map<String, Value> {
        self.map
    }

    pub(crate) fn as_map(&self) -> &Map<String, Value> {
        &self.map
    }
}

pub(crate) fn messages(
    list: Vec<Value>,
    provider: Option<&str>,
    style: &mut Style,
) -> Result<Vec<Message>, RequestError> {
    list.into_iter()
        .enumerate()
        .map(|(i, value)| {
            let at = format!("messages[{i}]");
            match value {
                Value::Object(map) => message(Fields::new(map, at), provider, style),
                _ => Err(RequestError::new(at, "give an object")),
            }
        })
        .collect()
}

fn message(mut fields: Fields, provider: Option<&str>, style: &mut Style) -> Result<Message, RequestError> {
    let role = match fields.text("role")?.as_deref() {
        Some("system") => Role::System,
        Some("developer") => Role::Developer,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("tool") => Role::Tool,
        // Before there were several calls at once: the result of the only one, told by the function's name.
        Some("function") => {
            fields.put("role", Value::from("function"));
            Role::Tool
        }
        Some(other) => {
            let other = crate::redact::bounded(other, 32);
            return Err(RequestError::new(
                fields.path("role"),
                format!("`{other}` is unknown; use system, developer, user, assistant or tool"),
            ));
        }
        None => return Err(RequestError::new(fields.path("role"), "name the role")),
    };
    let name = fields.text("name")?;
    let mut parts = Vec::new();
    if role == Role::Assistant
        && let Some((text, extra)) = reasoning(&mut fields, style)?
    {
        let text = ReasoningText { text, signature: None, provider: provider.map(str::to_owned) };
        parts.push(Part { kind: Some(part::Kind::Reasoning(text)), source: 0, extra });
    }
    let content = content(&mut fields)?;
    if role == Role::Tool {
        // Some servers do without.
        let call_id = fields.text("tool_call_id")?.unwrap_or_default();
        let result = ToolResult { call_id, parts: content, is_error: None };
        parts.push(Part { kind: Some(part::Kind::ToolResult(result)), source: 0, extra: None });
    } else {
        parts.extend(content);
    }
    if let Some(refusal) = fields.text("refusal")? {
        parts.push(Part { kind: Some(part::Kind::Refusal(Text { text: refusal })), source: 0, extra: None });
    }
    match fields.take("tool_calls") {
        None => {}
        Some(Value::Array(calls)) => {
            for (i, call) in calls.into_iter().enumerate() {
                parts.push(tool_call(call, fields.path(&format!("tool_calls[{i}]")))?);
            }
        }
        Some(_) => return Err(RequestError::new(fields.path("tool_calls"), "give a list")),
    }
    Ok(Message { role: role.into(), parts, name, extra: fields.rest()? })
}

fn tool_call(value: Value, at: String) -> Result<Part, RequestError> {
    let Value::Object(map) = value else {
        return Err(RequestError::new(at, "give an object"));
    };
    let mut fields = Fields::new(map, at);
    let id = fields.text("id")?;
    if id.as_deref() == Some("") {
        // Tells an empty id from none.
        fields.put("id", Value::from(""));
    }
    let id = id.unwrap_or_default();
    if let Some(kind) = fields.text("type")?
        && kind != "function"
    {
        return Err(RequestError::new(fields.path("type"), "only calls of functions are understood"));
    }
    let Some(Value::Object(mut function)) = fields.take("function") else {
        return Err(RequestError::new(fields.path("function"), "name the function and its arguments"));
    };
    let name = match function.remove("name") {
        Some(Value::String(name)) => name,
        _ => return Err(RequestError::new(fields.path("function.name"), "name the function")),
    };
    let arguments = match function.remove("arguments") {
        Some(Value::String(text)) => text,
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    };
    let call = ToolCall { id, name, arguments };
    Ok(Part { kind: Some(part::Kind::ToolCall(call)), source: 0, extra: fields.rest()? })
}

fn content(fields: &mut Fields) -> Result<Vec<Part>, RequestError> {
    match fields.take("content") {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => {
            Ok(vec![Part { kind: Some(part::Kind::Text(Text { text })), source: 0, extra: None }])
        }
        Some(Value::Array(list)) => {
            let single = list.len() == 1;
            list.into_iter()
                .enumerate()
                .map(|(i, value)| {
                    let at = fields.path(&format!("content[{i}]"));
                    match value {
                        Value::Object(map) => piece(Fields::new(map, at), single),
                        _ => Err(RequestError::new(at, "give an object")),
                    }
                })
                .collect()
        }
        Some(_) => Err(RequestError::new(fields.path("content"), "give a text or a list of parts")),
    }
}

/// Reads one part. Whatever is not fully understood is kept whole in `extra`, with its `type`.
fn piece(fields: Fields, single: bool) -> Result<Part, RequestError> {
    let kind = fields.get("type").and_then(Value::as_str).unwrap_or_default();
    let known = match kind {
        "text" => text_piece(&fields, single),
        "refusal" => refusal_piece(&fields),
        "image_url" => image_piece(&fields),
        "input_audio" => audio_piece(&fields),
        "file" => file_piece(&fields),
        "document_url" => document_piece(&fields),
        "" => return Err(RequestError::new(fields.path("type"), "name the part's type")),
        _ => None,
    };
    let (kind, extra) = match known {
        Some((kind, map)) => (kind, Fields::new(map, fields.at).rest()?),
        None => (part::Kind::Text(Text::default()), fields.rest()?),
    };
    Ok(Part { kind: Some(kind), source: 0, extra })
}

type Known = Option<(part::Kind, Map<String, Value>)>;

/// Copies an object without some of its keys.
pub(crate) fn others(map: &Map<String, Value>, taken: &[&str]) -> Map<String, Value> {
    map.iter()
        .filter(|(key, _)| !taken.contains(&key.as_str()))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

fn text_piece(fields: &Fields, single: bool) -> Known {
    let text = fields.get("text")?.as_str()?.to_owned();
    let mut rest = others(&fields.map, &["type", "text"]);
    if single && rest.is_empty() {
        // Tells a list of one text from a plain text.
        rest.insert("type".to_owned(), Value::from("text"));
    }
    Some((part::Kind::Text(Text { text }), rest))
}

fn refusal_piece(fields: &Fields) -> Known {
    let text = fields.get("refusal")?.as_str()?.to_owned();
    Some((part::Kind::Refusal(Text { text }), others(&fields.map, &["refusal"])))
}

fn image_piece(fields: &Fields) -> Known {
    let value = fields.get("image_url")?;
    let mut rest = others(&fields.map, &["type", "image_url"]);
    if let Some(url) = value.as_str() {
        // Tells a bare URL from an object with one; the URL itself is in the part.
        rest.insert("image_url".to_owned(), Value::from(""));
        return Some((part::Kind::Image(by_reference(url)), rest));
    }
    let inner = value.as_object()?;
    let mut media = by_reference(inner.get("url")?.as_str()?);
    media.detail = inner.get("detail").and_then(Value::as_str).map(str::to_owned);
    keep(&mut rest, "image_url", others(inner, &["url", if media.detail.is_some() { "detail" } else { "" }]));
    Some((part::Kind::Image(media), rest))
}

fn audio_piece(fields: &Fields) -> Known {
    let inner = fields.get("input_audio")?.as_object()?;
    let format = inner.get("format")?.as_str()?;
    let media_type = if format == "mp3" { "audio/mpeg".to_owned() } else { format!("audio/{format}") };
    let content = media::Content::Data(canonical(inner.get("data")?.as_str()?)?);
    let media = Media { content: Some(content), media_type, ..Default::default() };
    let mut rest = others(&fields.map, &["type", "input_audio"]);
    keep(&mut rest, "input_audio", others(inner, &["data", "format"]));
    Some((part::Kind::Audio(media), rest))
}

fn file_piece(fields: &Fields) -> Known {
    let inner = fields.get("file")?.as_object()?;
    let mut media = match (inner.get("file_data"), inner.get("file_id")) {
        (Some(Value::String(data)), None) => by_reference(data),
        (None, Some(Value::String(id))) => {
            Media { content: Some(media::Content::FileId(id.clone())), ..Default::default() }
        }
        _ => return None,
    };
    media.name = inner.get("filename").and_then(Value::as_str).map(str::to_owned);
    let name = if media.name.is_some() { "filename" } else { "" };
    let mut rest = others(&fields.map, &["type", "file"]);
    keep(&mut rest, "file", others(inner, &["file_data", "file_id", name]));
    Some((part::Kind::File(media), rest))
}

fn document_piece(fields: &Fields) -> Known {
    let media = by_reference(fields.get("document_url")?.as_str()?);
    Some((part::Kind::File(media), others(&fields.map, &["document_url"])))
}

fn keep(rest: &mut Map<String, Value>, key: &str, inner: Map<String, Value>) {
    if !inner.is_empty() {
        rest.insert(key.to_owned(), Value::Object(inner));
    }
}

/// Takes the bytes out of a `data:` URL, if writing them back would give the same text.
pub(crate) fn by_reference(url: &str) -> Media {
    let inline = || {
        let (media_type, data) = url.strip_prefix("data:")?.split_once(";base64,")?;
        Some((media_type, canonical(data)?)).filter(|(media_type, _)| !media_type.is_empty())
    };
    match inline() {
        Some((media_type, data)) => Media {
            content: Some(media::Content::Data(data)),
            media_type: media_type.to_owned(),
            ..Default::default()
        },
        None => Media { content: Some(media::Content::Url(url.to_owned())), ..Default::default() },
    }
}

pub(crate) fn canonical(base64: &str) -> Option<Bytes> {
    STANDARD.decode(base64).ok().filter(|bytes| STANDARD.encode(bytes) == base64).map(Bytes::from)
}
