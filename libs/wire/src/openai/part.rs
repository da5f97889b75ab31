//! Messages and their parts as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_types::Struct;
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use signalbox_proto::common::v1::{Media, Message, Part, ReasoningText, Role, ToolCall, ToolResult};
use signalbox_proto::common::v1::{media, part};

use super::encode::{Options, optional, rest};
use super::foreign::{self, is_text};
use super::style::{ReasoningField, Style};
use crate::RequestError;
use crate::json::{Object, nested, text};

/// Refuses what a part cannot say in this dialect.
pub(super) fn check_part(part: &Part, field: &dyn Fn() -> String) -> Result<(), RequestError> {
    let media = match &part.kind {
        None => return Err(RequestError::new(field(), "give the part a kind")),
        Some(part::Kind::Image(media)) => {
            if matches!(media.content, Some(media::Content::FileId(_))) {
                return Err(RequestError::new(
                    field(),
                    "this dialect takes images by URL or with their bytes",
                ));
            }
            media
        }
        Some(part::Kind::Audio(media)) => {
            if matches!(media.content, Some(media::Content::FileId(_))) {
                return Err(RequestError::new(field(), "this dialect takes sound with its bytes"));
            }
            media
        }
        Some(part::Kind::File(media)) => media,
        Some(_) => return Ok(()),
    };
    match &media.content {
        None => Err(RequestError::new(field(), "give a url, data or file_id")),
        Some(media::Content::Data(_)) if media.media_type.is_empty() => {
            Err(RequestError::new(field(), "give the media_type of the data"))
        }
        Some(_) => Ok(()),
    }
}

/// Writes a conversation. A tool result is a message of its own in this dialect.
pub(super) struct Messages<'a> {
    pub(super) messages: &'a [Message],
    pub(super) options: &'a Options<'a>,
}

impl Serialize for Messages<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(None)?;
        for message in self.messages {
            let mut only_results = !message.parts.is_empty();
            for part in &message.parts {
                match &part.kind {
                    Some(part::Kind::ToolResult(result)) => {
                        let (extra, style) = (part.extra.as_ref(), self.options.style);
                        seq.serialize_element(&Result_ { message, result, extra, style })?;
                    }
                    _ => only_results &= is_item(part),
                }
            }
            if !only_results {
                seq.serialize_element(&Turn { message, options: self.options })?;
            }
        }
        seq.end()
    }
}

struct Result_<'a> {
    message: &'a Message,
    result: &'a ToolResult,
    extra: Option<&'a Struct>,
    style: Style,
}

impl Serialize for Result_<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { message, result, extra, style } = self;
        let mut map = serializer.serialize_map(None)?;
        let role = if is_function(message) { "function" } else { "tool" };
        map.serialize_entry("role", role)?;
        let call_id = Some(style.call_id(&result.call_id)).filter(|id| !id.is_empty());
        optional(&mut map, "tool_call_id", call_id.as_ref())?;
        optional(&mut map, "name", message.name.as_ref())?;
        match Content::of(&result.parts) {
            Content::Absent => map.serialize_entry("content", "")?,
            content => map.serialize_entry("content", &content)?,
        }
        let written = |key: &str| match key {
            "role" | "content" | "id" | "type" => true,
            "tool_call_id" => call_id.is_some(),
            "name" => message.name.is_some(),
            other => foreign::of_piece(other),
        };
        rest(&mut map, *extra, written)?;
        let of_message = |key: &str| written(key) || extra.is_some_and(|e| e.fields.contains_key(key));
        rest(&mut map, message.extra.as_ref(), of_message)?;
        map.end()
    }
}

/// Tells the older form of a result, which names the function instead of the call.
pub(super) fn is_function(message: &Message) -> bool {
    message.role() == Role::Tool && text(message.extra.as_ref(), "role") == Some("function")
}

struct Turn<'a> {
    message: &'a Message,
    options: &'a Options<'a>,
}

impl Serialize for Turn<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { message, options } = self;
        let parts = || message.parts.iter().filter_map(|part| Some((part, part.kind.as_ref()?)));
        let calls: Vec<(&Part, &ToolCall)> = parts()
            .filter_map(|(part, kind)| match kind {
                part::Kind::ToolCall(call) => Some((part, call)),
                _ => None,
            })
            .collect();
        let refusal = parts().find_map(|(part, kind)| match kind {
            part::Kind::Refusal(refusal) if !in_content(part) => Some(refusal.text.as_str()),
            _ => None,
        });
        let reasoning = parts().find_map(|(part, kind)| match kind {
            part::Kind::Reasoning(reasoning) if reasoning.provider.as_deref() == Some(options.provider) => {
                Some((part, reasoning))
            }
            _ => None,
        });
        let extra = message.extra.as_ref();

        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("role", role(message.role()))?;
        let content = Content::of(&message.parts);
        let in_content = options.style.reasoning == ReasoningField::Thinking;
        let thought = reasoning.map(|(_, thought)| thought.text.as_str()).filter(|_| in_content);
        let thought = thought.filter(|text| !text.is_empty());
        let has_content = !matches!(content, Content::Absent) || thought.is_some();
        if let Some(thought) = thought {
            map.serialize_entry("content", &WithThought(thought, content))?;
        } else if has_content {
            map.serialize_entry("content", &content)?;
        } else if calls.is_empty()
            && refusal.is_none()
            && !extra.is_some_and(|e| e.fields.contains_key("content"))
        {
            map.serialize_entry("content", "")?;
        }
        optional(&mut map, "name", message.name.as_ref())?;
        optional(&mut map, "refusal", refusal)?;
        if !calls.is_empty() {
            map.serialize_entry("tool_calls", &Calls(&calls, options.style))?;
        }
        if let Some((part, reasoning)) = reasoning.filter(|_| !in_content) {
            write_reasoning(&mut map, part, reasoning, options.style.reasoning)?;
        }
        rest(&mut map, extra, |key| match key {
            "role" => true,
            "content" => has_content,
            "name" => message.name.is_some(),
            "refusal" => refusal.is_some(),
            "tool_calls" => !calls.is_empty(),
            // A message of the Responses dialect is an item, which has a type and an id.
            "type" => true,
            "id" => text(extra, "type") == Some("message"),
            other => foreign::of_piece(other),
        })?;
        map.end()
    }
}

fn write_reasoning<M: SerializeMap>(
    map: &mut M,
    part: &Part,
    reasoning: &ReasoningText,
    field: ReasoningField,
) -> Result<(), M::Error> {
    let key = match field {
        ReasoningField::ReasoningContent => "reasoning_content",
        ReasoningField::Reasoning | ReasoningField::Thinking => "reasoning",
    };
    if !reasoning.text.is_empty() {
        map.serialize_entry(key, &reasoning.text)?;
    }
    rest(map, part.extra.as_ref(), |other| {
        matches!(other, "id" | "type")
            || foreign::of_piece(other)
            || (other == key && !reasoning.text.is_empty())
    })
}

pub(super) fn role(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::Developer => "developer",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
        Role::User | Role::Unspecified => "user",
    }
}

struct Calls<'a>(&'a [(&'a Part, &'a ToolCall)], Style);

impl Serialize for Calls<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        for (part, call) in self.0 {
            seq.serialize_element(&Call(part, call, self.1))?;
        }
        seq.end()
    }
}

struct Call<'a>(&'a Part, &'a ToolCall, Style);

impl Serialize for Call<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Function<'a> {
            name: &'a str,
            arguments: &'a str,
        }
        let Self(part, call, style) = self;
        let mut map = serializer.serialize_map(None)?;
        let empty = text(part.extra.as_ref(), "id") == Some("");
        optional(&mut map, "id", Some(style.call_id(&call.id)).filter(|id| empty || !id.is_empty()))?;
        map.serialize_entry("type", "function")?;
        map.serialize_entry("function", &Function { name: &call.name, arguments: &call.arguments })?;
        rest(&mut map, part.extra.as_ref(), |key| {
            matches!(key, "id" | "type" | "function") || foreign::of_piece(key)
        })?;
        map.end()
    }
}

/// Tells whether a part is an item of the Responses dialect kept whole, which cannot be said here.
fn is_item(part: &Part) -> bool {
    matches!(part.kind, Some(part::Kind::Text(_)))
        && text(part.extra.as_ref(), "type").is_some_and(crate::responses::is_item)
}

/// Tells whether a part stands in the message's `content`.
fn in_content(part: &Part) -> bool {
    match &part.kind {
        None | Some(part::Kind::ToolCall(_) | part::Kind::ToolResult(_) | part::Kind::Reasoning(_)) => false,
        Some(part::Kind::Refusal(_)) => text(part.extra.as_ref(), "type") == Some("refusal"),
        Some(part::Kind::Text(words)) => !words.text.is_empty() || !is_item(part),
        Some(_) => true,
    }
}

/// Is a message's `content`: plain text if it is nothing else, because not every server takes a list.
enum Content<'a> {
    Absent,
    Text(&'a str),
    List(&'a [Part]),
}

impl<'a> Content<'a> {
    fn of(parts: &'a [Part]) -> Self {
        let mut found = parts.iter().filter(|part| in_content(part));
        match (found.next(), found.next()) {
            (None, _) => Self::Absent,
            (Some(Part { kind: Some(part::Kind::Text(words)), extra, .. }), None)
                if extra.as_ref().is_none_or(|e| e.fields.is_empty())
                    || text(extra.as_ref(), "type").is_some_and(is_text) =>
            {
                Self::Text(&words.text)
            }
            _ => Self::List(parts),
        }
    }
}

impl Serialize for Content<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Absent => serializer.serialize_unit(),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(parts) => {
                let mut seq = serializer.serialize_seq(None)?;
                for part in parts.iter().filter(|part| in_content(part)) {
                    seq.serialize_element(&Piece(part))?;
                }
                seq.end()
            }
        }
    }
}

/// Is content with the thought before it.
struct WithThought<'a>(&'a str, Content<'a>);

impl Serialize for WithThought<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = |text: &str| serde_json::json!({ "type": "text", "text": text });
        let mut seq = serializer.serialize_seq(None)?;
        seq.serialize_element(&serde_json::json!({ "type": "thinking", "thinking": [text(self.0)] }))?;
        match self.1 {
            Content::Absent | Content::Text("") => {}
            Content::Text(words) => seq.serialize_element(&text(words))?,
            Content::List(parts) => {
                for part in parts.iter().filter(|part| in_content(part)) {
                    seq.serialize_element(&Piece(part))?;
                }
            }
        }
        seq.end()
    }
}

struct Piece<'a>(&'a Part);

impl Serialize for Piece<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let extra = self.0.extra.as_ref();
        let named = text(extra, "type");
        match &self.0.kind {
            // A piece that is unknown here: `extra` is the whole of it.
            Some(part::Kind::Text(text)) => match (named, extra) {
                (Some(kind), _) if is_text(kind) => simple(serializer, "text", "text", &text.text, None),
                (Some(kind), Some(whole)) if kind != "text" => Object(whole).serialize(serializer),
                _ => simple(serializer, "text", "text", &text.text, extra),
            },
            Some(part::Kind::Refusal(text)) => simple(serializer, "refusal", "refusal", &text.text, extra),
            Some(part::Kind::Image(media)) => {
                let url = reference(media);
                if text(extra, "image_url").is_some() {
                    return simple(serializer, "image_url", "image_url", &url, extra);
                }
                let detail = media.detail.as_deref().map(|d| ("detail", d));
                inner(serializer, "image_url", &[Some(("url", &url)), detail], extra)
            }
            Some(part::Kind::Audio(media)) => {
                let data = match &media.content {
                    Some(media::Content::Data(data)) => STANDARD.encode(data),
                    _ => reference(media),
                };
                let format = audio_format(&media.media_type);
                let format = (!format.is_empty()).then_some(("format", format));
                inner(serializer, "input_audio", &[Some(("data", &data)), format], extra)
            }
            Some(part::Kind::File(media)) => {
                if named == Some("document_url") {
                    return simple(serializer, "document_url", "document_url", &reference(media), extra);
                }
                let name = media.name.as_deref().map(|n| ("filename", n));
                let content = reference(media);
                let key = if matches!(media.content, Some(media::Content::FileId(_))) {
                    "file_id"
                } else {
                    "file_data"
                };
                inner(serializer, "file", &[name, Some((key, &content))], extra)
            }
            _ => Err(serde::ser::Error::custom("a part that is no content")),
        }
    }
}

fn simple<S: Serializer>(
    serializer: S,
    kind: &'static str,
    key: &'static str,
    value: &str,
    extra: Option<&Struct>,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("type", kind)?;
    map.serialize_entry(key, value)?;
    let own = |other: &str| other == "type" || other == key;
    rest(&mut map, extra, |other| own(other) || foreign::of_piece(other) || foreign::of_text(other))?;
    map.end()
}

/// Writes `{"type": kind, kind: {fields…}}`; fields of `extra[kind]` go inside, others beside.
fn inner<S: Serializer>(
    serializer: S,
    kind: &'static str,
    fields: &[Option<(&'static str, &str)>],
    extra: Option<&Struct>,
) -> Result<S::Ok, S::Error> {
    struct Inner<'a>(&'a [Option<(&'static str, &'a str)>], Option<&'a Struct>);
    impl Serialize for Inner<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            for (key, value) in self.0.iter().flatten() {
                map.serialize_entry(key, value)?;
            }
            rest(&mut map, self.1, |key| self.0.iter().flatten().any(|(written, _)| *written == key))?;
            map.end()
        }
    }
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("type", kind)?;
    map.serialize_entry(kind, &Inner(fields, nested(extra, kind)))?;
    rest(&mut map, extra, |other| other == "type" || other == kind)?;
    map.end()
}

/// Returns media as one text: the URL, the file's id, or a `data:` URL.
fn reference(media: &Media) -> String {
    match &media.content {
        Some(media::Content::Url(url)) => url.clone(),
        Some(media::Content::FileId(id)) => id.clone(),
        Some(media::Content::Data(data)) => {
            format!("data:{};base64,{}", media.media_type, STANDARD.encode(data))
        }
        None => String::new(),
    }
}

fn audio_format(media_type: &str) -> &str {
    match media_type {
        "audio/mpeg" => "mp3",
        other => other.strip_prefix("audio/").unwrap_or(other),
    }
}
