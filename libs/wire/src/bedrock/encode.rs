//! A `ChatRequest` as a JSON body.

use bytes::Bytes;
use prost_types::Struct;
use prost_types::value::Kind;
use serde_json::{Map, Value, json};
use signalbox_proto::common::v1::{
    ChatRequest, ResponseFormat, Sampling, Tool, ToolChoice, part, response_format, tool_choice,
};

use super::model;
use super::part::{Blocks, cache_point};
use crate::RequestError;
use crate::json::{Object, nested};

/// The members of a request that Converse knows, besides those made of our own fields.
const KNOWN: [&str; 11] = [
    "additionalModelRequestFields",
    "additionalModelResponseFieldPaths",
    "guardrailConfig",
    "inferenceConfig",
    "outputConfig",
    "performanceConfig",
    "promptVariables",
    "requestMetadata",
    "serviceTier",
    "system",
    "toolConfig",
];

/// Members of Google's requests, which are spelled alike.
const GOOGLES: [&str; 6] = [
    "cachedContent",
    "generationConfig",
    "safetySettings",
    "systemInstruction",
    "modelArmorConfig",
    "sessionId",
];

/// Is what the target adds to a request.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The model's id or ARN. It stands in the path; here it decides how its family's own fields are named.
    pub model: &'a str,
    /// The provider's name; earlier reasoning is sent only to the provider that wrote it.
    pub provider: &'a str,
    /// Whether neighbouring turns of one side are joined and empty ones left out, as most models want it.
    pub alternate: bool,
}

/// Writes a request. The same request gives the same bytes.
///
/// # Errors
///
/// The request holds something that Converse cannot say; the error names it.
pub fn encode(request: &ChatRequest, options: &Options<'_>) -> Result<Bytes, RequestError> {
    let body = body(request, options)?;
    serde_json::to_vec(&body).map(Bytes::from).map_err(|e| RequestError::new("chat", e.to_string()))
}

fn body(request: &ChatRequest, options: &Options<'_>) -> Result<Map<String, Value>, RequestError> {
    if request.messages.is_empty() {
        return Err(RequestError::new("messages", "add at least one message"));
    }
    let extra = request.extra.as_ref();
    check(extra)?;
    let blocks = Blocks::of(request, options)?;
    if blocks.messages.is_empty() {
        return Err(RequestError::new("messages", "add at least one message that says something here"));
    }
    let mut out = Map::new();
    out.insert("messages".to_owned(), Value::Array(blocks.messages));
    if !blocks.system.is_empty() {
        out.insert("system".to_owned(), Value::Array(blocks.system));
    }
    let limits = request.sampling.as_ref().map(inference).unwrap_or_default();
    insert(&mut out, "inferenceConfig", limits, nested(extra, "inferenceConfig"))?;
    let tools = tools(request)?;
    insert(&mut out, "toolConfig", tools, nested(extra, "toolConfig").filter(|config| is_ours(config)))?;
    let own = model_fields(request, options.model);
    insert(&mut out, "additionalModelRequestFields", own, nested(extra, "additionalModelRequestFields"))?;
    let format = request.response_format.as_ref().map(|f| text_format(f, extra)).transpose()?;
    insert(&mut out, "outputConfig", format.unwrap_or_default(), nested(extra, "outputConfig"))?;
    for (key, value) in extra.map(object).transpose()?.unwrap_or_default() {
        if !out.contains_key(&key) && key != "toolConfig" && is_member(&key) {
            out.insert(key, value);
        }
    }
    Ok(out)
}

/// Refuses what would pass by every check made on the request.
fn check(extra: Option<&Struct>) -> Result<(), RequestError> {
    let wrong = |field: &str| RequestError::new(field, "use the request's own field instead");
    let has = |fields: Option<&Struct>, key: &str| fields.is_some_and(|f| f.fields.contains_key(key));
    let system = extra.and_then(|e| e.fields.get("system")).and_then(|v| v.kind.as_ref());
    if matches!(system, Some(Kind::ListValue(list)) if !list.values.is_empty()) {
        return Err(wrong("extra.system"));
    }
    let of_model = nested(extra, "additionalModelRequestFields");
    for key in ["messages", "prompt", "system"] {
        if has(extra, key) && key != "system" {
            return Err(wrong(&format!("extra.{key}")));
        }
        if has(of_model, key) {
            return Err(wrong(&format!("extra.additionalModelRequestFields.{key}")));
        }
    }
    Ok(())
}

/// Tells a member of a Converse request, known or new, from a field of another dialect.
fn is_member(key: &str) -> bool {
    let camel = key.bytes().any(|b| b.is_ascii_uppercase())
        && key.bytes().all(|b| b.is_ascii_alphanumeric())
        && key.starts_with(|c: char| c.is_ascii_lowercase());
    KNOWN.contains(&key) || (camel && !GOOGLES.contains(&key))
}

/// Tells our `toolConfig` from Google's.
fn is_ours(config: &Struct) -> bool {
    !config.fields.contains_key("functionCallingConfig") && !config.fields.contains_key("retrievalConfig")
}

/// Writes an object of ours together with the fields of `extra` beside it.
fn insert(
    out: &mut Map<String, Value>,
    key: &str,
    mut own: Map<String, Value>,
    extra: Option<&Struct>,
) -> Result<(), RequestError> {
    if let Some(extra) = extra {
        merge(&mut own, object(extra)?);
    }
    if extra.is_some() || !own.is_empty() {
        out.insert(key.to_owned(), Value::Object(own));
    }
    Ok(())
}

/// Adds what is not there yet, at every depth.
fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (None, value) => {
                into.insert(key, value);
            }
            (Some(Value::Object(inner)), Value::Object(value)) => merge(inner, value),
            _ => {}
        }
    }
}

/// Turns a `Struct` into JSON.
pub(super) fn object(fields: &Struct) -> Result<Map<String, Value>, RequestError> {
    match serde_json::to_value(Object(fields)) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Ok(Map::new()),
        Err(e) => Err(RequestError::new("extra", e.to_string())),
    }
}

fn inference(sampling: &Sampling) -> Map<String, Value> {
    let mut out = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            out.insert(key.to_owned(), value);
        }
    };
    put("maxTokens", sampling.max_output_tokens.map(Value::from));
    put("temperature", sampling.temperature.map(Value::from));
    put("topP", sampling.top_p.map(Value::from));
    put("stopSequences", (!sampling.stop.is_empty()).then(|| Value::from(sampling.stop.clone())));
    out
}

fn model_fields(request: &ChatRequest, model: &str) -> Map<String, Value> {
    let mut out = Map::new();
    if let Some(k) = request.sampling.as_ref().and_then(|s| s.top_k) {
        out = model::top_k(model, k);
    }
    if let Some(reasoning) = &request.reasoning {
        merge(&mut out, model::reasoning(model, reasoning));
    }
    out
}

fn tools(request: &ChatRequest) -> Result<Map<String, Value>, RequestError> {
    let mut out = Map::new();
    let unused = request.tool_choice.as_ref().is_some_and(|c| c.mode() == tool_choice::Mode::None);
    if unused {
        let spoken = |kind: &Option<part::Kind>| {
            matches!(kind, Some(part::Kind::ToolCall(_) | part::Kind::ToolResult(_)))
        };
        if request.messages.iter().flat_map(|m| &m.parts).any(|part| spoken(&part.kind)) {
            let message = "this provider wants tools once some were called, and cannot be told to call none";
            return Err(RequestError::new("tool_choice", message));
        }
        return Ok(out);
    }
    let mut list = Vec::with_capacity(request.tools.len());
    for (i, tool) in request.tools.iter().enumerate() {
        list.push(spec(tool, i)?);
        list.extend(cache_point(tool.extra.as_ref()));
    }
    if !list.is_empty() {
        out.insert("tools".to_owned(), Value::Array(list));
        if let Some(choice) = &request.tool_choice {
            out.insert("toolChoice".to_owned(), choice_of(choice));
        }
    }
    Ok(out)
}

fn spec(tool: &Tool, i: usize) -> Result<Value, RequestError> {
    let extra = tool.extra.as_ref();
    if let Some(extra) = extra {
        // A tool that is unknown here: `extra` is the whole of it.
        let whole = tool.parameters.is_none() && !extra.fields.contains_key("toolSpec");
        if whole && extra.fields.len() == 1 && extra.fields.keys().all(|key| is_union_member(key)) {
            return object(extra).map(Value::Object);
        }
        if crate::json::text(Some(extra), "type").is_some_and(|t| !matches!(t, "function" | "custom")) {
            let message = "a built-in tool of another provider; describe a function, or leave it out";
            return Err(RequestError::new(format!("tools[{i}]"), message));
        }
    }
    let mut out = Map::new();
    out.insert("name".to_owned(), Value::from(tool.name.as_str()));
    if let Some(description) = tool.description.as_deref().filter(|d| !d.is_empty()) {
        out.insert("description".to_owned(), Value::from(description));
    }
    let schema = match &tool.parameters {
        Some(parameters) => Value::Object(object(parameters)?),
        None => json!({ "type": "object", "properties": {} }),
    };
    out.insert("inputSchema".to_owned(), json!({ "json": schema }));
    if let Some(strict) = tool.strict {
        out.insert("strict".to_owned(), Value::Bool(strict));
    }
    if let Some(rest) = nested(extra, "toolSpec") {
        merge(&mut out, object(rest)?);
    }
    Ok(json!({ "toolSpec": out }))
}

/// Tells the name of one of Converse's blocks from a field of another dialect: all of theirs hold a small object under a
/// name in camel case, or stand in this list.
pub(super) fn is_union_member(key: &str) -> bool {
    matches!(key, "audio" | "document" | "image" | "json" | "text" | "video")
        || (is_member(key) && !matches!(key, "thoughtSignature" | "inlineData" | "fileData" | "functionCall"))
}

fn choice_of(choice: &ToolChoice) -> Value {
    match choice.mode() {
        tool_choice::Mode::Unspecified | tool_choice::Mode::Auto | tool_choice::Mode::None => {
            json!({ "auto": {} })
        }
        tool_choice::Mode::Required => json!({ "any": {} }),
        tool_choice::Mode::Named => json!({ "tool": { "name": choice.name() } }),
    }
}

/// The schema is a text here; one that `extra` has in the caller's own spelling is kept if it says the same.
fn text_format(format: &ResponseFormat, extra: Option<&Struct>) -> Result<Map<String, Value>, RequestError> {
    let mut out = Map::new();
    match &format.kind {
        None | Some(response_format::Kind::Text(_)) => {}
        Some(response_format::Kind::JsonObject(_)) => {
            let message = "this provider takes a JSON schema or free text; give a schema";
            return Err(RequestError::new("response_format", message));
        }
        Some(response_format::Kind::JsonSchema(format)) => {
            let schema = format.schema.as_ref().map(object).transpose()?.unwrap_or_default();
            let text_in = |extra: Option<&Struct>| {
                let format = nested(nested(extra, "outputConfig"), "textFormat");
                let schema = nested(nested(format, "structure"), "jsonSchema");
                crate::json::text(schema, "schema").map(str::to_owned)
            };
            let schema = Value::Object(schema);
            let as_written = text_in(extra).filter(|text| same_schema(text, &schema));
            let mut inner = Map::new();
            inner.insert("schema".to_owned(), Value::from(as_written.unwrap_or_else(|| schema.to_string())));
            if !format.name.is_empty() {
                inner.insert("name".to_owned(), Value::from(format.name.as_str()));
            }
            if let Some(description) = format.description.as_deref().filter(|d| !d.is_empty()) {
                inner.insert("description".to_owned(), Value::from(description));
            }
            let text = json!({ "type": "json_schema", "structure": { "jsonSchema": inner } });
            out.insert("textFormat".to_owned(), text);
        }
    }
    Ok(out)
}

/// Compares through a `Struct`, which knows one kind of number only.
fn same_schema(text: &str, schema: &Value) -> bool {
    let Ok(parsed) = serde_json::from_str::<Value>(text) else { return false };
    match (crate::json::value(parsed), crate::json::value(schema.clone())) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
