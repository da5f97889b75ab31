//! A chat request as its tokens are counted.

use std::borrow::Cow;

use prost_types::{Struct, value::Kind};
use serde_json::{Map, Number, Value};
use signalbox_catalog::tokens::{Call, Detail, Media, Prompt, Speaker, Tool, Turn};
use signalbox_proto::common::v1::{
    ChatRequest, Media as Shown, Message, Part, Role, Tool as Described, media, part, response_format,
    tool_choice::Mode,
};

/// Results of tools may hold parts, but not results again.
const DEPTH: usize = 4;

/// Reads what is counted of a request.
pub(crate) fn of(chat: &ChatRequest) -> Prompt<'_> {
    let schema = match chat.response_format.as_ref().and_then(|format| format.kind.as_ref()) {
        Some(response_format::Kind::JsonSchema(format)) => format.schema.as_ref().map(value),
        _ => None,
    };
    let described = chat.tools.iter().filter(|tool| own(tool).is_none());
    let tools = described.map(|tool| Tool {
        name: &tool.name,
        description: tool.description.as_deref().unwrap_or_default(),
        parameters: tool.parameters.as_ref().map_or(Value::Null, value),
    });
    // A point of the cache stands among the tools, and is none.
    let mut unseen: Vec<&str> =
        chat.tools.iter().filter_map(own).filter(|kind| *kind != "cachePoint").collect();
    unseen.extend(KEPT.iter().filter(|key| field(chat, key).is_some()));
    let must_call =
        chat.tool_choice.as_ref().is_some_and(|choice| matches!(choice.mode(), Mode::Required | Mode::Named));
    Prompt {
        turns: chat.messages.iter().map(turn).collect(),
        tools: tools.collect(),
        unseen,
        schema,
        must_call,
        thinks: thinks(chat),
        // The model decides.
        untold: thinking(chat) == Some("adaptive"),
    }
}

/// The provider's word for a tool that it brings itself: nothing describes that, and it stands whole among the fields that are passed
/// through, under its type or its kind.
fn own(tool: &Described) -> Option<&str> {
    let fields = &tool.extra.as_ref()?.fields;
    let kind = match fields.get("type").and_then(text) {
        Some(kind) => kind,
        None => fields.get_key_value(tool.name.as_str())?.0,
    };
    let described = tool.description.is_some() || tool.parameters.is_some();
    (!described && !matches!(kind, "function" | "custom")).then_some(kind)
}

/// Fields of requests by which a provider adds what it kept.
const KEPT: [&str; 4] = ["previous_response_id", "conversation", "prompt", "cachedContent"];

/// A field of a request that is passed through, where it says something.
fn field<'a>(chat: &'a ChatRequest, key: &str) -> Option<&'a prost_types::Value> {
    let value = chat.extra.as_ref()?.fields.get(key)?;
    (!matches!(value.kind, None | Some(Kind::NullValue(_)))).then_some(value)
}

fn inside<'a>(value: &'a prost_types::Value, key: &str) -> Option<&'a prost_types::Value> {
    match &value.kind {
        Some(Kind::StructValue(object)) => object.fields.get(key),
        _ => None,
    }
}

fn text(value: &prost_types::Value) -> Option<&str> {
    match &value.kind {
        Some(Kind::StringValue(text)) => Some(text),
        _ => None,
    }
}

/// What is said of thinking in Anthropic's words: `enabled`, `adaptive`.
fn thinking(chat: &ChatRequest) -> Option<&str> {
    let thinking =
        field(chat, "thinking").or_else(|| inside(field(chat, "additionalModelRequestFields")?, "thinking"));
    inside(thinking?, "type").and_then(text)
}

/// Whether thoughts are asked for, in whichever words. Effort alone does not ask for them.
fn thinks(chat: &ChatRequest) -> bool {
    let bounded = chat.reasoning.as_ref().is_some_and(|reasoning| reasoning.max_tokens.is_some());
    let reasons = field(chat, "reasoning")
        .is_some_and(|reasoning| inside(reasoning, "effort").and_then(text) != Some("none"));
    bounded || reasons || thinking(chat) == Some("enabled")
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

#[cfg(test)]
mod tests {
    use prost_types::Value as Field;

    use super::*;

    fn object(fields: &[(&str, Field)]) -> Struct {
        Struct { fields: fields.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect() }
    }

    fn word(text: &str) -> Field {
        Field { kind: Some(Kind::StringValue(text.to_owned())) }
    }

    fn nested(fields: &[(&str, Field)]) -> Field {
        Field { kind: Some(Kind::StructValue(object(fields))) }
    }

    fn chat(extra: &[(&str, Field)]) -> ChatRequest {
        ChatRequest { extra: Some(object(extra)), ..ChatRequest::default() }
    }

    #[test]
    fn a_tool_of_the_providers_own_is_not_shown_but_finds_something() {
        let tool = |name: &str, extra: Struct| Described {
            name: name.to_owned(),
            extra: Some(extra),
            ..Described::default()
        };
        let mut chat = ChatRequest {
            tools: vec![
                tool("web_search", object(&[("type", word("web_search_20250305"))])),
                tool("googleSearch", object(&[("googleSearch", nested(&[]))])),
                tool("cachePoint", object(&[("cachePoint", nested(&[]))])),
                tool("ping", object(&[("cache_control", nested(&[("type", word("ephemeral"))]))])),
                Described { name: "pong".to_owned(), ..Described::default() },
            ],
            ..ChatRequest::default()
        };
        let read = of(&chat);
        assert_eq!(read.unseen, ["web_search_20250305", "googleSearch"]);
        assert_eq!(read.tools.iter().map(|tool| tool.name).collect::<Vec<_>>(), ["ping", "pong"]);
        chat.tools.clear();
        chat.extra = Some(object(&[("previous_response_id", word("resp_1")), ("prompt", Field::default())]));
        assert_eq!(of(&chat).unseen, ["previous_response_id"], "one that says nothing adds nothing");
    }

    #[test]
    fn thoughts_are_asked_for_in_several_words() {
        let of_bedrock = nested(&[("thinking", nested(&[("type", word("enabled"))]))]);
        let asked = |chat: ChatRequest| (of(&chat).thinks, of(&chat).untold);
        assert_eq!(asked(chat(&[("additionalModelRequestFields", of_bedrock)])), (true, false));
        assert_eq!(asked(chat(&[("thinking", nested(&[("type", word("adaptive"))]))])), (false, true));
        assert_eq!(asked(chat(&[("reasoning", nested(&[("effort", word("low"))]))])), (true, false));
        assert_eq!(asked(chat(&[("reasoning", nested(&[("effort", word("none"))]))])), (false, false));
        let mut bounded = chat(&[]);
        bounded.reasoning.get_or_insert_default().effort = Some("low".to_owned());
        assert_eq!(asked(bounded.clone()), (false, false), "effort alone");
        bounded.reasoning.get_or_insert_default().max_tokens = Some(1_024);
        assert_eq!(asked(bounded), (true, false));
    }
}
