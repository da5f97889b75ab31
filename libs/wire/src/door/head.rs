//! What all writers share.

use prost_types::Struct;
use serde::Serialize;
use serde_json::{Map, Value};
use signalbox_proto::common::v1::{Delta, ToolCallDelta, delta::Content, generate_event::Kind, part};
use signalbox_proto::gateway::v1::CompleteResponse;

use crate::json::{Any, text};
use crate::responses::Echo;

/// Is what is known of an answer before it begins.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// The mesh's id of the request; the answer's own id is made from it.
    pub request_id: String,
    /// Unix time in seconds.
    pub created: i64,
    /// Whether a chat's stream ends with the usage.
    pub include_usage: bool,
    /// What a Responses answer repeats of its request.
    pub echo: Echo,
}

/// Appends an event.
pub(crate) fn data(out: &mut Vec<u8>, name: &str, value: &impl Serialize) {
    if !name.is_empty() {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    json(out, value);
    out.extend_from_slice(b"\n\n");
}

fn json(out: &mut Vec<u8>, value: &impl Serialize) {
    let before = out.len();
    // Writing into memory fails for no value that is written here; if it did, half of one must not stay.
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(before);
        out.extend_from_slice(b"null");
    }
}

/// Adds fields that have no place of their own, without replacing any.
pub(crate) fn extras(map: &mut Map<String, Value>, extra: Option<&Struct>, taken: &[&str]) {
    for (key, value) in extra.into_iter().flat_map(|extra| &extra.fields) {
        if key != super::FIELD && !taken.contains(&key.as_str()) && !map.contains_key(key) {
            map.insert(key.clone(), serde_json::to_value(Any(value)).unwrap_or_default());
        }
    }
}

/// The type of a block or an item that travels whole in `extra`.
pub(crate) fn typed<'a>(said: &str, extra: Option<&'a Struct>) -> Option<(&'a str, &'a Struct)> {
    text(extra, "type").zip(extra).filter(|_| said.is_empty())
}

/// Converts a byte of `text` to its offset in characters.
pub(crate) fn offset(text: &str, byte: u64) -> Option<usize> {
    let byte = usize::try_from(byte).ok()?;
    text.get(..byte).map(|before| before.chars().count())
}

/// Takes a whole answer apart into the events that it could have come in.
pub(crate) fn pieces(answer: CompleteResponse) -> Vec<Kind> {
    let mut events: Vec<Kind> = answer.started.map(Kind::Started).into_iter().collect();
    events.extend(answer.notices.into_iter().map(Kind::Notice));
    events.extend(answer.seams.into_iter().map(Kind::Seam));
    let parts = answer.message.map(|message| message.parts).unwrap_or_default();
    let mut logprobs = answer.logprobs.into_iter().peekable();
    let mut citations = answer.citations.into_iter().peekable();
    let mut said = 0u64;
    let mut index = 0;
    for part in parts {
        let content = match part.kind {
            Some(part::Kind::Text(text)) => Content::Text(text.text),
            Some(part::Kind::Refusal(text)) => Content::Refusal(text.text),
            Some(part::Kind::Reasoning(thought)) => Content::Reasoning(thought),
            Some(part::Kind::ToolCall(call)) => Content::ToolCall(ToolCallDelta {
                id: Some(call.id),
                name: Some(call.name),
                arguments: call.arguments,
            }),
            Some(part::Kind::Image(media) | part::Kind::Audio(media) | part::Kind::File(media)) => {
                Content::Media(media.into())
            }
            Some(part::Kind::ToolResult(_)) | None => continue,
        };
        let spoken = match &content {
            Content::Text(text) => text.len() as u64,
            _ => 0,
        };
        let logprobs = if spoken > 0 { joined(&mut logprobs) } else { None };
        events.push(Kind::Delta(Delta { index, content: Some(content), logprobs, extra: part.extra }));
        said += spoken;
        while spoken > 0
            && let Some(citation) =
                citations.next_if(|citation| citation.end_byte.is_none_or(|end| end <= said))
        {
            events.push(Kind::Delta(Delta {
                index,
                content: Some(Content::Citation(citation.into())),
                ..Delta::default()
            }));
        }
        index += 1;
    }
    for citation in citations {
        events.push(Kind::Delta(Delta {
            index: 0,
            content: Some(Content::Citation(citation.into())),
            ..Delta::default()
        }));
    }
    events.extend(answer.finished.map(Kind::Finished));
    events
}

/// Puts the lists of log probabilities of many pieces together.
fn joined(pieces: &mut impl Iterator<Item = Struct>) -> Option<Struct> {
    use prost_types::value::Kind::ListValue;
    let mut all = pieces.next()?;
    for piece in pieces {
        for (key, value) in piece.fields {
            match (all.fields.get_mut(&key).map(|known| &mut known.kind), value.kind) {
                (Some(Some(ListValue(known))), Some(ListValue(more))) => known.values.extend(more.values),
                (Some(Some(ListValue(_))), _) => {}
                (_, kind) => {
                    all.fields.insert(key, prost_types::Value { kind });
                }
            }
        }
    }
    Some(all)
}
