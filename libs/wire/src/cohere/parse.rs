//! A JSON body as a `ChatRequest`.

use serde_json::{Map, Value};
use signalbox_proto::common::v1::{
    ChatRequest, JsonObjectFormat, JsonSchemaFormat, Message, Part, Reasoning, ReasoningText, ResponseFormat,
    Role, Sampling, Source, TextFormat, Tool, ToolChoice, part, response_format, tool_choice,
};

use crate::RequestError;
use crate::json::{self, text};
use crate::openai::body::{Fields, messages, others};
use crate::openai::style::Style;

/// Is a request as it came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// What is asked. `model` is as the caller wrote it.
    pub chat: ChatRequest,
    /// `stream`. `None`: not given.
    pub stream: Option<bool>,
}

/// Reads a request. `provider` is the provider for which the conversation's reasoning was written, if it is known;
/// without it, reasoning is kept but never sent on.
///
/// # Errors
///
/// The body is no JSON object, or a known field has the wrong form; the error names the field.
pub fn parse(body: &[u8], provider: Option<&str>) -> Result<Parsed, RequestError> {
    let root = json::root(body)?;
    let mut fields = Fields::new(root, String::new());
    let model = fields.text("model")?.ok_or_else(|| RequestError::new("model", "name the model"))?;
    let Some(Value::Array(list)) = fields.take("messages") else {
        return Err(RequestError::new("messages", "give a list of at least one message"));
    };
    let mut conversation = messages(list, provider, &mut Style::default())?;
    for message in &mut conversation {
        own(message, provider)?;
    }
    let tools = match fields.take("tools") {
        Some(Value::Array(list)) => list.into_iter().enumerate().map(tool).collect::<Result<Vec<_>, _>>()?,
        Some(_) => return Err(RequestError::new("tools", "give a list of tools")),
        None => Vec::new(),
    };
    let mode = match fields.text("tool_choice")?.as_deref() {
        None => None,
        Some("REQUIRED") => Some(tool_choice::Mode::Required),
        Some("NONE") => Some(tool_choice::Mode::None),
        Some(_) => return Err(RequestError::new("tool_choice", "use REQUIRED or NONE")),
    };
    let stop = fields.take("stop_sequences").map(serde_json::from_value).transpose();
    let sampling = Sampling {
        temperature: fields.number("temperature")?,
        top_p: fields.number("p")?,
        top_k: fields.small("k")?,
        max_output_tokens: fields.small("max_tokens")?,
        stop: stop
            .map_err(|_| RequestError::new("stop_sequences", "give a list of texts"))?
            .unwrap_or_default(),
        seed: fields.integer("seed")?,
        presence_penalty: fields.number("presence_penalty")?,
        frequency_penalty: fields.number("frequency_penalty")?,
        logprobs: fields.boolean("logprobs")?,
        ..Default::default()
    };
    let response_format = response_format(&mut fields)?;
    let reasoning = thinking(&mut fields);
    let stream = fields.boolean("stream")?;
    let chat = ChatRequest {
        model,
        messages: conversation,
        tools,
        tool_choice: mode.map(|mode| ToolChoice { mode: mode.into(), name: None }),
        response_format,
        sampling: (sampling != Sampling::default()).then_some(sampling),
        extra: fields.rest()?,
        parallel_tool_calls: None,
        reasoning,
    };
    Ok(Parsed { chat, stream })
}

/// Turns what only this dialect has into our own: a plan, thinking, documents.
fn own(message: &mut Message, provider: Option<&str>) -> Result<(), RequestError> {
    for part in &mut message.parts {
        match &mut part.kind {
            Some(part::Kind::ToolResult(result)) => {
                result.parts.iter_mut().try_for_each(|part| piece(part, provider))?;
            }
            _ => piece(part, provider)?,
        }
    }
    let plan = message.extra.as_ref().and_then(|extra| text(Some(extra), "tool_plan"));
    if message.role() == Role::Assistant
        && let Some(plan) = plan.map(str::to_owned)
    {
        let text = ReasoningText { text: plan, signature: None, provider: provider.map(str::to_owned) };
        let mark = Map::from_iter([("type".to_owned(), Value::from("tool_plan"))]);
        let extra = json::fields(mark).map_err(|e| RequestError::new("messages", e.to_string()))?;
        message.parts.insert(0, Part { kind: Some(part::Kind::Reasoning(text)), source: 0, extra });
        if let Some(extra) = &mut message.extra {
            extra.fields.remove("tool_plan");
        }
        message.extra.take_if(|extra| extra.fields.is_empty());
    }
    Ok(())
}

/// Reads a block that [`messages`] kept whole.
fn piece(part: &mut Part, provider: Option<&str>) -> Result<(), RequestError> {
    let Some(extra) = part.extra.as_ref() else { return Ok(()) };
    match text(Some(extra), "type") {
        Some("thinking") if extra.fields.len() == 2 => {
            if let Some(thought) = text(Some(extra), "thinking") {
                let reasoning = ReasoningText {
                    text: thought.to_owned(),
                    signature: None,
                    provider: provider.map(str::to_owned),
                };
                *part = Part { kind: Some(part::Kind::Reasoning(reasoning)), source: 0, extra: None };
            }
        }
        Some("document") => {
            let whole = super::encode::object(extra)?;
            let Some(data) = whole.get("document").and_then(|d| d.get("data")) else { return Ok(()) };
            let (words, mark) = match data {
                Value::String(words) if !words.is_empty() => (words.clone(), Value::from("")),
                Value::Object(_) => (data.to_string(), Value::Object(Map::new())),
                _ => return Ok(()),
            };
            let mut whole = whole.clone();
            if let Some(Value::Object(inner)) = whole.get_mut("document") {
                inner.insert("data".to_owned(), mark);
            }
            part.kind = Some(part::Kind::Text(signalbox_proto::common::v1::Text { text: words }));
            part.source = Source::Retrieval.into();
            part.extra = json::fields(whole).map_err(|e| RequestError::new("messages", e.to_string()))?;
        }
        _ => {}
    }
    Ok(())
}

fn tool((i, value): (usize, Value)) -> Result<Tool, RequestError> {
    let at = format!("tools[{i}]");
    let Some(function) = value.get("function").and_then(Value::as_object) else {
        return Err(RequestError::new(format!("{at}.function"), "describe the function"));
    };
    let mut fields = Fields::new(function.clone(), format!("{at}.function"));
    let name =
        fields.text("name")?.ok_or_else(|| RequestError::new(fields.path("name"), "name the function"))?;
    let description = fields.text("description")?;
    let parameters = fields.object("parameters")?;
    let mut rest = Map::new();
    let inner = fields.into_map();
    if !inner.is_empty() {
        rest.insert("function".to_owned(), Value::Object(inner));
    }
    let extra = json::fields(rest).map_err(|e| RequestError::new(at, e.to_string()))?;
    Ok(Tool { name, description, parameters, strict: None, extra })
}

/// Takes a format that says nothing beyond our message; any other stays in `extra` as it is. The schema has no name here.
fn response_format(fields: &mut Fields) -> Result<Option<ResponseFormat>, RequestError> {
    use response_format::Kind;
    let Some(Value::Object(map)) = fields.get("response_format") else { return Ok(None) };
    let rest = others(map, &["type", "json_schema"]);
    let kind = match (map.get("type").and_then(Value::as_str), map.get("json_schema"), rest.is_empty()) {
        (Some("text"), None, true) => Kind::Text(TextFormat {}),
        (Some("json_object"), None, true) => Kind::JsonObject(JsonObjectFormat {}),
        (Some("json_object"), Some(Value::Object(schema)), true) => {
            let schema = json::fields(schema.clone());
            let schema = schema.map_err(|e| RequestError::new("response_format", e.to_string()))?;
            Kind::JsonSchema(JsonSchemaFormat {
                name: "answer".to_owned(),
                schema: Some(schema.unwrap_or_default()),
                ..Default::default()
            })
        }
        _ => return Ok(None),
    };
    fields.take("response_format");
    Ok(Some(ResponseFormat { kind: Some(kind) }))
}

fn thinking(fields: &mut Fields) -> Option<Reasoning> {
    let map = fields.get("thinking")?.as_object()?;
    let budget = map.get("token_budget").and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
    let reasoning = match (map.get("type").and_then(Value::as_str), budget, map.len()) {
        (Some("disabled"), None, 1) => Reasoning { effort: Some("none".to_owned()), ..Default::default() },
        (Some("enabled"), Some(budget), 2) => Reasoning { max_tokens: Some(budget), ..Default::default() },
        _ => return None,
    };
    fields.take("thinking");
    Some(reasoning)
}
