//! A JSON body as a `ChatRequest`.

use prost_types::Struct;
use serde_json::{Map, Value};
use signalbox_proto::common::v1::{
    ChatRequest, JsonSchemaFormat, Message, Part, ReasoningText, ResponseFormat, Role, Sampling, Text, Tool,
    ToolCall, ToolChoice, ToolResult, part, response_format, tool_choice,
};

use super::media;
use crate::openai::body::{Fields, others};
use crate::{RequestError, json};

/// Is a request as it came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// What is asked.
    pub chat: ChatRequest,
    /// Whether the two sides take turns: see [`super::Options::alternate`].
    pub alternate: bool,
}

/// Reads a request for a model, which stands in the path. `provider` is the provider for which the conversation's
/// reasoning was written, if it is known; without it, reasoning is kept but never sent on.
///
/// # Errors
///
/// The body is no JSON object, or a known field has the wrong form; the error names the field.
pub fn parse(body: &[u8], model: &str, provider: Option<&str>) -> Result<Parsed, RequestError> {
    let root = json::root(body)?;
    let mut fields = Fields::new(root, String::new());
    let mut messages = Vec::new();
    if let Some(system) = fields.take("system") {
        let parts = blocks(system, "system", provider)?;
        messages.push(Message { role: Role::System.into(), parts, ..Default::default() });
    }
    let Some(Value::Array(list)) = fields.take("messages") else {
        return Err(RequestError::new("messages", "give a list of at least one message"));
    };
    for (i, value) in list.into_iter().enumerate() {
        messages.push(message(value, &format!("messages[{i}]"), provider)?);
    }
    let turns = || messages.iter().filter(|m| m.role() != Role::System);
    let assistant = |message: &Message| message.role() == Role::Assistant;
    let alternate = turns().all(|m| !m.parts.is_empty())
        && turns().zip(turns().skip(1)).all(|(a, b)| assistant(a) != assistant(b));
    let sampling = sampling(&mut fields)?;
    let (tools, tool_choice) = tools(&mut fields)?;
    let response_format = response_format(&fields)?;
    let chat = ChatRequest {
        model: model.to_owned(),
        messages,
        tools,
        tool_choice,
        response_format,
        sampling,
        extra: fields.rest()?,
        ..Default::default()
    };
    Ok(Parsed { chat, alternate })
}

fn message(value: Value, at: &str, provider: Option<&str>) -> Result<Message, RequestError> {
    let Value::Object(map) = value else { return Err(RequestError::new(at, "give an object")) };
    let mut fields = Fields::new(map, at.to_owned());
    let role = match fields.text("role")?.as_deref() {
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        _ => return Err(RequestError::new(fields.path("role"), "use user or assistant")),
    };
    let content = fields.take("content").unwrap_or(Value::Array(Vec::new()));
    let parts = blocks(content, &fields.path("content"), provider)?;
    let result = |part: &Part| matches!(part.kind, Some(part::Kind::ToolResult(_)));
    let role =
        if role == Role::User && !parts.is_empty() && parts.iter().all(result) { Role::Tool } else { role };
    Ok(Message { role: role.into(), parts, name: None, extra: fields.rest()? })
}

fn blocks(value: Value, at: &str, provider: Option<&str>) -> Result<Vec<Part>, RequestError> {
    let Value::Array(list) = value else {
        return Err(RequestError::new(at, "give a list of content blocks"));
    };
    let block = |(i, value)| match value {
        Value::Object(map) if !map.is_empty() => block(map, &format!("{at}[{i}]"), provider),
        _ => Err(RequestError::new(format!("{at}[{i}]"), "give an object with one member")),
    };
    list.into_iter().enumerate().map(block).collect()
}

/// Reads one block. Whatever is not fully understood is kept whole in `extra`.
fn block(map: Map<String, Value>, at: &str, provider: Option<&str>) -> Result<Part, RequestError> {
    let single = if map.len() == 1 { map.iter().next() } else { None };
    let plain = map.get("text").and_then(Value::as_str);
    let known = match single {
        _ if let Some(text) = plain => {
            // Marked if it is empty, which elsewhere is nothing at all, or has fields beside it.
            let mut mark = if single.is_some() && !text.is_empty() { Map::new() } else { map.clone() };
            mark.entry("text").and_modify(|text| *text = Value::from(""));
            Some((part::Kind::Text(Text { text: text.to_owned() }), mark))
        }
        Some((key, value)) if key == "json" => {
            // Marked, to be told from a text that happens to be JSON.
            let mark = Map::from_iter([("json".to_owned(), Value::from(""))]);
            Some((part::Kind::Text(Text { text: value.to_string() }), mark))
        }
        Some((key, Value::Object(inner))) => match key.as_str() {
            "image" | "audio" | "document" => media::read(key, inner).map(|(k, rest)| (k, named(key, rest))),
            "toolUse" => tool_use(inner, at)?,
            "toolResult" => tool_result(inner, at, provider)?,
            "reasoningContent" => reasoning(inner, provider),
            "guardContent" => guard_content(inner),
            _ => None,
        },
        _ => None,
    };
    let (kind, extra) = known.unwrap_or((part::Kind::Text(Text::default()), map));
    let extra = json::fields(extra).map_err(|e| RequestError::new(at, e.to_string()))?;
    Ok(Part { kind: Some(kind), source: 0, extra })
}

type Known = Option<(part::Kind, Map<String, Value>)>;

/// Puts the other fields of a block under the block's name.
fn named(key: &str, rest: Map<String, Value>) -> Map<String, Value> {
    if rest.is_empty() { rest } else { Map::from_iter([(key.to_owned(), Value::Object(rest))]) }
}

fn tool_use(inner: &Map<String, Value>, at: &str) -> Result<Known, RequestError> {
    let mut fields = Fields::new(inner.clone(), format!("{at}.toolUse"));
    let id = fields.text("toolUseId")?.unwrap_or_default();
    let name = fields.text("name")?.ok_or_else(|| RequestError::new(fields.path("name"), "name the tool"))?;
    let arguments = match inner.get("input") {
        Some(input @ Value::Object(_)) => input.to_string(),
        _ => return Ok(None),
    };
    let rest = others(&fields.into_map(), &["input"]);
    Ok(Some((part::Kind::ToolCall(ToolCall { id, name, arguments }), named("toolUse", rest))))
}

fn tool_result(inner: &Map<String, Value>, at: &str, provider: Option<&str>) -> Result<Known, RequestError> {
    let mut fields = Fields::new(inner.clone(), format!("{at}.toolResult"));
    let call_id = fields
        .text("toolUseId")?
        .ok_or_else(|| RequestError::new(fields.path("toolUseId"), "name the call that is answered"))?;
    let content = inner.get("content").cloned().unwrap_or(Value::Array(Vec::new()));
    let parts = blocks(content, &fields.path("content"), provider)?;
    let is_error = match inner.get("status").and_then(Value::as_str) {
        Some("success") => Some(false),
        Some("error") => Some(true),
        _ => None,
    };
    let status = if is_error.is_some() { "status" } else { "" };
    let rest = others(&fields.into_map(), &["content", status]);
    let result = ToolResult { call_id, parts, is_error };
    Ok(Some((part::Kind::ToolResult(result), named("toolResult", rest))))
}

fn reasoning(inner: &Map<String, Value>, provider: Option<&str>) -> Known {
    if inner.len() != 1 {
        return None;
    }
    let mut mark = Map::new();
    let (text, signature) = if let Some(hidden) = inner.get("redactedContent") {
        mark.insert("redactedContent".to_owned(), Value::from(""));
        (String::new(), Some(hidden.as_str()?.to_owned()))
    } else {
        let inner = inner.get("reasoningText")?.as_object()?;
        if inner.keys().any(|key| !matches!(key.as_str(), "text" | "signature")) {
            return None;
        }
        let signature = match inner.get("signature") {
            Some(signature) => Some(signature.as_str()?.to_owned()),
            None => None,
        };
        (inner.get("text")?.as_str()?.to_owned(), signature)
    };
    let reasoning = ReasoningText { text, signature, provider: provider.map(str::to_owned) };
    Some((part::Kind::Reasoning(reasoning), named("reasoningContent", mark)))
}

/// Text that a guardrail is to judge is text like any other; how it is to be judged stays in `extra`.
fn guard_content(inner: &Map<String, Value>) -> Known {
    let text = inner.get("text")?.as_object()?;
    let words = text.get("text")?.as_str().filter(|words| !words.is_empty())?.to_owned();
    let mut rest = inner.clone();
    rest.insert("text".to_owned(), Value::Object(others(text, &["text"])));
    let extra = Map::from_iter([("guardContent".to_owned(), Value::Object(rest))]);
    Some((part::Kind::Text(Text { text: words }), extra))
}

fn sampling(fields: &mut Fields) -> Result<Option<Sampling>, RequestError> {
    let Some(Value::Object(map)) = fields.get("inferenceConfig").cloned() else { return Ok(None) };
    let empty = map.is_empty();
    let mut config = Fields::new(map, "inferenceConfig".to_owned());
    let stop = config.take("stopSequences").map(serde_json::from_value).transpose();
    let sampling = Sampling {
        temperature: config.number("temperature")?,
        top_p: config.number("topP")?,
        max_output_tokens: config.small("maxTokens")?,
        stop: stop
            .map_err(|_| RequestError::new("inferenceConfig.stopSequences", "give a list of texts"))?
            .unwrap_or_default(),
        ..Default::default()
    };
    keep(fields, "inferenceConfig", config.into_map(), empty);
    Ok((sampling != Sampling::default()).then_some(sampling))
}

/// Leaves what was not understood of an object, or all of it if it was empty.
fn keep(fields: &mut Fields, key: &str, rest: Map<String, Value>, empty: bool) {
    if rest.is_empty() && !empty {
        fields.take(key);
    } else {
        fields.put(key, Value::Object(rest));
    }
}

fn tools(fields: &mut Fields) -> Result<(Vec<Tool>, Option<ToolChoice>), RequestError> {
    let Some(Value::Object(map)) = fields.get("toolConfig").cloned() else { return Ok((Vec::new(), None)) };
    let empty = map.is_empty();
    let mut config = Fields::new(map, "toolConfig".to_owned());
    let tools = match config.take("tools") {
        Some(Value::Array(list)) => list.into_iter().enumerate().map(tool).collect::<Result<Vec<_>, _>>()?,
        Some(_) => return Err(RequestError::new("toolConfig.tools", "give a list of tools")),
        None => Vec::new(),
    };
    let known = config.get("toolChoice").and_then(choice).filter(|_| !tools.is_empty());
    if known.is_some() {
        config.take("toolChoice");
    }
    keep(fields, "toolConfig", config.into_map(), empty);
    Ok((tools, known))
}

/// Reads a choice; one that says more stays in `extra`.
fn choice(value: &Value) -> Option<ToolChoice> {
    let map = value.as_object().filter(|map| map.len() == 1)?;
    let (key, inner) = map.iter().next()?;
    let inner = inner.as_object()?;
    let (mode, name) = match (key.as_str(), inner.len()) {
        ("auto", 0) => (tool_choice::Mode::Auto, None),
        ("any", 0) => (tool_choice::Mode::Required, None),
        ("tool", 1) => (tool_choice::Mode::Named, Some(inner.get("name")?.as_str()?.to_owned())),
        _ => return None,
    };
    Some(ToolChoice { mode: mode.into(), name })
}

fn tool((i, value): (usize, Value)) -> Result<Tool, RequestError> {
    let at = format!("toolConfig.tools[{i}]");
    let Value::Object(mut map) = value else { return Err(RequestError::new(at, "give an object")) };
    let Some(Value::Object(spec)) = map.remove("toolSpec") else {
        // A tool of the provider's own, or a cache point: kept whole, named after its kind.
        let name = map.keys().next().cloned().unwrap_or_default();
        let extra = json::fields(map).map_err(|e| RequestError::new(at, e.to_string()))?;
        return Ok(Tool { name, extra, ..Default::default() });
    };
    let mut fields = Fields::new(spec, format!("{at}.toolSpec"));
    let name = fields.text("name")?.ok_or_else(|| RequestError::new(fields.path("name"), "name the tool"))?;
    let description = fields.get("description").and_then(Value::as_str).filter(|d| !d.is_empty());
    let description = description.map(str::to_owned);
    if description.is_some() {
        fields.take("description");
    }
    let strict = fields.boolean("strict")?;
    let schema = fields.get("inputSchema").and_then(Value::as_object).filter(|schema| schema.len() == 1);
    let parameters = match schema.and_then(|schema| schema.get("json")?.as_object()) {
        Some(schema) => json::fields(schema.clone())
            .map(|fields| Some(fields.unwrap_or_default()))
            .map_err(|e| RequestError::new(fields.path("inputSchema"), e.to_string()))?,
        None => None,
    };
    if parameters.is_some() {
        fields.take("inputSchema");
    }
    let rest = named("toolSpec", fields.into_map());
    let extra: Option<Struct> = json::fields(rest).map_err(|e| RequestError::new(at, e.to_string()))?;
    Ok(Tool { name, description, parameters, strict, extra })
}

/// Reads a schema; its text stays in `extra` too, so that it is sent as it was spelled.
fn response_format(fields: &Fields) -> Result<Option<ResponseFormat>, RequestError> {
    let format = fields.get("outputConfig").and_then(|config| config.get("textFormat"));
    let Some(format) = format.filter(|f| f.get("type").is_some_and(|t| t == "json_schema")) else {
        return Ok(None);
    };
    let Some(inner) = format.pointer("/structure/jsonSchema") else { return Ok(None) };
    let word = |key: &str| inner.get(key).and_then(Value::as_str).map(str::to_owned);
    let text = word("schema").unwrap_or_default();
    let Ok(Value::Object(schema)) = serde_json::from_str(&text) else {
        let at = "outputConfig.textFormat.structure.jsonSchema.schema";
        return Err(RequestError::new(at, "give a JSON Schema as a text"));
    };
    let schema = json::fields(schema).map_err(|e| RequestError::new("outputConfig", e.to_string()))?;
    let format = JsonSchemaFormat {
        name: word("name").unwrap_or_default(),
        schema: Some(schema.unwrap_or_default()),
        strict: None,
        description: word("description"),
    };
    Ok(Some(ResponseFormat { kind: Some(response_format::Kind::JsonSchema(format)) }))
}
