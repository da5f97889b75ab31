//! Parts of messages as blocks of JSON.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_types::Struct;
use serde_json::{Map, Value, json};
use signalbox_proto::common::v1::{Media, Part, ReasoningText, Text, ToolCall, ToolResult, media, part};

use super::encode::{put, whole};
use super::foreign::{self, is_foreign_type, object};
use crate::RequestError;
use crate::json::{nested, text};

/// Writes the parts of one message.
pub(super) struct Writer<'a> {
    /// Whom the request goes to.
    pub(super) provider: &'a str,
    /// The message's name in errors.
    pub(super) at: String,
}

/// Tells whether a part is a text and nothing else, to be written without a list where it is alone.
pub(super) fn is_plain(part: &Part) -> bool {
    matches!(part.kind, Some(part::Kind::Text(_))) && part.extra.as_ref().is_none_or(|e| e.fields.is_empty())
}

/// Tells whether thinking may go back: to whom wrote it, with what proves it.
pub(super) fn signed(part: &Part, thought: &ReasoningText, provider: &str) -> bool {
    thought.provider.as_deref() == Some(provider)
        && (thought.signature.is_some() || text(part.extra.as_ref(), "type") == Some("thinking"))
}

impl Writer<'_> {
    /// Writes a message's or a result's content. `None`: there is none.
    pub(super) fn content(&self, parts: &[Part]) -> Result<Option<Value>, RequestError> {
        if let [Part { kind: Some(part::Kind::Text(text)), .. }] = parts
            && is_plain(&parts[0])
        {
            return Ok(Some(text.text.as_str().into()));
        }
        let mut blocks = Vec::with_capacity(parts.len());
        for (i, part) in parts.iter().enumerate() {
            blocks.extend(self.block(part, i)?);
        }
        Ok((!blocks.is_empty()).then_some(Value::Array(blocks)))
    }

    /// Writes a part. `None`: it says nothing that may go to this provider.
    fn block(&self, part: &Part, i: usize) -> Result<Option<Value>, RequestError> {
        let extra = part.extra.as_ref();
        let fault = |words: &str| RequestError::new(format!("{}.parts[{i}]", self.at), words);
        let mut map = match &part.kind {
            None => return Err(fault("give the part a kind")),
            Some(part::Kind::Text(text)) => match whole(extra, "text") {
                // Another dialect's thinking, or a broken one: nobody says who wrote it.
                Some(("thinking" | "redacted_thinking", _)) => return Ok(None),
                Some((kind, _)) if is_foreign_type(kind) => {
                    return Err(fault(&format!("Anthropic's messages have no part of the type `{kind}`")));
                }
                Some((_, all)) => return Ok(Some(object(all).into())),
                // The API refuses an empty text.
                None if text.text.is_empty() && is_plain(part) => return Ok(None),
                None => say(text),
            },
            Some(part::Kind::Refusal(text)) if text.text.is_empty() => return Ok(None),
            Some(part::Kind::Refusal(text)) => say(text),
            Some(part::Kind::Image(media)) => {
                let source = source(media, extra).ok_or_else(|| fault(MEDIA))?;
                piece("image", "source", source.into())
            }
            Some(part::Kind::File(media)) => document(media, extra).ok_or_else(|| fault(MEDIA))?,
            Some(part::Kind::Audio(_)) => return Err(fault("Anthropic's messages take no sound")),
            Some(part::Kind::ToolCall(call)) => tool_use(call),
            Some(part::Kind::ToolResult(result)) => self.tool_result(result)?,
            Some(part::Kind::Reasoning(thought)) => {
                if !signed(part, thought, self.provider) {
                    return Ok(None);
                }
                think(thought, extra)
            }
        };
        foreign::rest(&mut map, extra);
        Ok(Some(map.into()))
    }

    fn tool_result(&self, result: &ToolResult) -> Result<Map<String, Value>, RequestError> {
        let nests =
            |part: &&Part| matches!(part.kind, Some(part::Kind::ToolCall(_) | part::Kind::ToolResult(_)));
        if result.parts.iter().any(|part| nests(&part)) {
            return Err(RequestError::new(&*self.at, "a tool result holds text, images and files only"));
        }
        let mut map = piece("tool_result", "tool_use_id", id(&result.call_id).into());
        put(&mut map, "content", self.content(&result.parts)?);
        put(&mut map, "is_error", result.is_error);
        Ok(map)
    }
}

/// What to do about media that cannot be sent.
const MEDIA: &str = "give a url, data with its media_type, or a file_id";

fn piece(kind: &str, key: &str, value: Value) -> Map<String, Value> {
    Map::from_iter([("type".to_owned(), kind.into()), (key.to_owned(), value)])
}

fn say(text: &Text) -> Map<String, Value> {
    piece("text", "text", text.text.as_str().into())
}

fn think(thought: &ReasoningText, extra: Option<&Struct>) -> Map<String, Value> {
    let signature = thought.signature.as_deref();
    if text(extra, "type") == Some("redacted_thinking") {
        return piece("redacted_thinking", "data", signature.into());
    }
    let mut map = piece("thinking", "thinking", thought.text.as_str().into());
    put(&mut map, "signature", signature);
    map
}

/// Arguments that are no JSON object are shown to the model as what they are: the API takes an object only, and the conversation has to go on.
fn tool_use(call: &ToolCall) -> Map<String, Value> {
    let mut map = piece("tool_use", "id", id(&call.id).into());
    map.insert("name".to_owned(), call.name.as_str().into());
    let input = match serde_json::from_str(&call.arguments) {
        Ok(Value::Object(input)) => input.into(),
        Ok(Value::Null) => json!({}),
        _ if call.arguments.trim().is_empty() => json!({}),
        _ => json!({"invalid_arguments": call.arguments}),
    };
    map.insert("input".to_owned(), input);
    map
}

/// Returns a call's id in the alphabet that the API takes.
fn id(id: &str) -> Cow<'_, str> {
    let taken = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if id.chars().all(taken) {
        id.into()
    } else {
        id.chars().map(|c| if taken(c) { c } else { '_' }).collect()
    }
}

fn source(media: &Media, extra: Option<&Struct>) -> Option<Map<String, Value>> {
    let mut map = match media.content.as_ref()? {
        media::Content::Url(url) => piece("url", "url", url.as_str().into()),
        media::Content::FileId(id) => piece("file", "file_id", id.as_str().into()),
        media::Content::Data(_) if media.media_type.is_empty() => return None,
        media::Content::Data(data) => {
            let mut map = piece("base64", "media_type", media.media_type.as_str().into());
            map.insert("data".to_owned(), STANDARD.encode(data).into());
            map
        }
    };
    foreign::rest(&mut map, nested(extra, "source"));
    Some(map)
}

fn document(media: &Media, extra: Option<&Struct>) -> Option<Map<String, Value>> {
    let image = media.media_type.starts_with("image/");
    let plain = match &media.content {
        // The API takes text only as such, and PDF only in base64.
        Some(media::Content::Data(data)) if media.media_type.starts_with("text/") => {
            std::str::from_utf8(data).ok().filter(|_| text(nested(extra, "source"), "type") != Some("base64"))
        }
        _ => None,
    };
    let source = match plain {
        None => source(media, extra)?,
        Some(plain) => {
            let mut map = piece("text", "media_type", "text/plain".into());
            map.insert("data".to_owned(), plain.into());
            foreign::rest(&mut map, nested(extra, "source"));
            map
        }
    };
    let mut map = piece(if image { "image" } else { "document" }, "source", source.into());
    put(&mut map, "title", media.name.as_deref().filter(|_| !image));
    Some(map)
}
