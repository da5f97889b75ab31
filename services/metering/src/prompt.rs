//! A chat request as its tokens are counted.

use std::borrow::Cow;

use prost_types::{Struct, value::Kind};
use serde_json::{Map, Number, Value};
use signalbox_catalog::tokens::{Call, Detail, Media, Prompt, Speaker, Tool, Turn};
use signalbox_proto::common::v1::{
    ChatRequest, Media as Shown, Message, Part, Role, media, part, response_format, tool_choice::Mode,
};

/// Results of tools may hold parts, but not results again.
const DEPTH: usize = 4;

/// Reads what is counted of a request.
pub(crate) fn of(chat: &ChatRequest) -> Prompt<'_> {
    let schema = match chat.response_format.as_ref().and_then(|format| format.kind.as_ref()) {
        Some(response_format::Kind::JsonSchema(format)) => format.schema.as_ref().map(value),
        _ => None,
    };
    // A provider's own tool has no name: it stands whole among the fields that are passed through.
    let (named, own): (Vec<_>, Vec<_>) = chat.tools.iter().partition(|tool| !tool.name.is_empty());
    let tools = named.into_iter().map(|tool| Tool {
        name: &tool.name,
        description: tool.description.as_deref().unwrap_or_default(),
        parameters: tool.parameters.as_ref().map_or(Value::Null, value),
    });
    let must_call =
        chat.tool_choice.as_ref().is_some_and(|choice| matches!(choice.mode(), Mode::Required | Mode::Named));
    Prompt {
        turns: chat.messages.iter().map(turn).collect(),
        tools: tools.collect(),
        own_tools: own.len() as u64,
        schema,
        must_call,
        thinks: chat.reasoning.is_some(),
        untold: false,
    }
}

/// Whether something of a request is to be kept in the provider's cache for an hour (`cache_control` of Anthropic's dialect).
pub(crate) fn is_kept_an_hour(chat: &ChatRequest) -> bool {
    let parts = chat.messages.iter().flat_map(|message| &message.parts);
    parts.filter_map(|part| part.extra.as_ref()).chain(&chat.extra).any(|extra| {
        let control = extra.fields.get("cache_control").and_then(|value| match &value.kind {
            Some(Kind::StructValue(control)) => control.fields.get("ttl"),
            _ => None,
        });
        matches!(control.and_then(|ttl| ttl.kind.as_ref()), Some(Kind::StringValue(ttl)) if ttl == "1h")
    })
}

fn turn(message: &Message) -> Turn<'_> {
    let speaker = match message.role() {
        Role::System | Role::Developer => Speaker::System,
        Role::Assistant => Speaker::Assistant,
        Role::Tool => Speaker::Tool,
        Role::User | Role::Unspecified => Speaker::User,
    };
    let mut turn = Turn { speaker, name: message.name.as_deref(), ..Turn::default() };
    add(&message.parts, &mut turn, DEPTH);
    turn
}

fn add<'a>(parts: &'a [Part], turn: &mut Turn<'a>, depth: usize) {
    for part in parts {
        match &part.kind {
            Some(part::Kind::Text(text) | part::Kind::Refusal(text)) => match turn.text.is_empty() {
                true => turn.text = Cow::Borrowed(&text.text),
                false => turn.text.to_mut().push_str(&text.text),
            },
            Some(part::Kind::ToolCall(call)) => {
                turn.calls.push(Call { name: &call.name, arguments: Cow::Borrowed(&call.arguments) });
            }
            Some(part::Kind::ToolResult(result)) if depth > 0 => add(&result.parts, turn, depth - 1),
            Some(part::Kind::Image(image)) => turn.media.push(self::image(image)),
            Some(part::Kind::Audio(_)) => turn.media.push(Media::Audio(None)),
            Some(part::Kind::File(file)) => turn.media.push(Media::Document(bytes(file))),
            // Providers do not show a model what it thought in earlier turns.
            Some(part::Kind::Reasoning(_) | part::Kind::ToolResult(_)) | None => {}
        }
    }
}

fn image(shown: &Shown) -> Media {
    let size = match &shown.content {
        Some(media::Content::Data(data)) => imagesize::blob_size(data).ok(),
        _ => None,
    };
    let pixels = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let detail = match shown.detail.as_deref() {
        Some("low") => Detail::Low,
        Some("high") => Detail::High,
        _ => Detail::Auto,
    };
    Media::Image { size: size.map(|size| (pixels(size.width), pixels(size.height))), detail }
}

fn bytes(shown: &Shown) -> u64 {
    match &shown.content {
        Some(media::Content::Data(data)) => data.len() as u64,
        _ => 0,
    }
}

/// A structure as JSON.
fn value(object: &Struct) -> Value {
    Value::Object(map(object))
}

fn map(object: &Struct) -> Map<String, Value> {
    object.fields.iter().map(|(key, value)| (key.clone(), json(value))).collect()
}

fn json(value: &prost_types::Value) -> Value {
    match &value.kind {
        Some(Kind::StringValue(text)) => Value::String(text.clone()),
        Some(Kind::NumberValue(number)) => self::number(*number),
        Some(Kind::BoolValue(yes)) => Value::Bool(*yes),
        Some(Kind::StructValue(object)) => Value::Object(map(object)),
        Some(Kind::ListValue(list)) => list.values.iter().map(json).collect(),
        Some(Kind::NullValue(_)) | None => Value::Null,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "only whole numbers that a double holds")]
fn number(number: f64) -> Value {
    match number.fract() == 0.0 && number.abs() < 9e15 {
        true => Value::from(number as i64),
        false => Number::from_f64(number).map_or(Value::Null, Value::Number),
    }
}
