//! A `ChatRequest` as a JSON body.

use bytes::Bytes;
use prost_types::Struct;
use prost_types::value::Kind as Json;
use serde_json::{Map, Value, json};
use signalbox_proto::common::v1::{ChatRequest, Message, Role, Sampling, Tool, part};
use signalbox_proto::common::v1::{response_format, tool_choice};

use super::foreign::{self, is_foreign_tool, object};
use super::style::Style;
use super::write::items;
use crate::RequestError;
use crate::json::{Object, nested, text};

/// Fields that a request's `extra` must not bring in: they would pass by every check made on the request.
const RESERVED: [&str; 5] = ["model", "input", "instructions", "stream", "messages"];

/// Fields of `extra` that tell what is asked without any item.
const CONTINUED: [&str; 3] = ["previous_response_id", "conversation", "prompt"];

/// Is what the target adds to a request.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The model as the provider calls it.
    pub model: &'a str,
    /// The provider's name; earlier reasoning is sent only to the provider that wrote it.
    pub provider: &'a str,
    /// The provider's spelling.
    pub style: Style,
    /// `stream`. `None`: the field is left out.
    pub stream: Option<bool>,
}

/// Writes a request. The same request gives the same bytes. Fields of `extra` that are known to belong to another dialect are left out.
///
/// # Errors
///
/// The request holds something that this dialect cannot say; the error names it.
pub fn encode(request: &ChatRequest, options: &Options<'_>) -> Result<Bytes, RequestError> {
    let extra = request.extra.as_ref();
    check(request, extra, options.style)?;
    let mut body = Map::new();
    body.insert("model".to_owned(), Value::from(options.model));
    let mut messages = &request.messages[..];
    if options.style.instructions
        && let Some((first, rest)) = messages.split_first()
        && let Some(instructions) = plain(first, Role::System)
        && !instructions.is_empty()
    {
        body.insert("instructions".to_owned(), Value::from(instructions));
        messages = rest;
    }
    match messages {
        [only] if options.style.input_as_text && plain(only, Role::User).is_some() => {
            body.insert("input".to_owned(), Value::from(plain(only, Role::User)));
        }
        [] => {}
        messages => {
            let items = items(messages, options)?;
            if items.is_empty() && body.len() == 1 && !CONTINUED.iter().any(|key| given(extra, key)) {
                return Err(RequestError::new("messages", "nothing is left that this provider may see"));
            }
            body.insert("input".to_owned(), Value::Array(items));
        }
    }
    if !request.tools.is_empty() {
        let tools: Result<Vec<Value>, RequestError> =
            request.tools.iter().enumerate().map(|(i, t)| tool(t, i)).collect();
        body.insert("tools".to_owned(), Value::Array(tools?));
    }
    choice(&mut body, request);
    put(&mut body, "parallel_tool_calls", request.parallel_tool_calls);
    put(&mut body, "stream", options.stream);
    if let Some(sampling) = &request.sampling {
        write_sampling(&mut body, sampling, options.style);
    }
    write_text(&mut body, request);
    write_reasoning(&mut body, request, options.style);
    private(&mut body, request, options);
    foreign::request_rest(&mut body, extra, options.style);
    serde_json::to_vec(&body).map(Bytes::from).map_err(|e| RequestError::new("chat", e.to_string()))
}

fn check(request: &ChatRequest, extra: Option<&Struct>, style: Style) -> Result<(), RequestError> {
    if request.messages.is_empty() && !CONTINUED.iter().any(|key| given(extra, key)) {
        return Err(RequestError::new("messages", "add at least one message"));
    }
    if let Some(key) = RESERVED.iter().find(|key| given(extra, key)) {
        return Err(RequestError::new(format!("extra.{key}"), "use the request's own field instead"));
    }
    // A template's id is an object; a text would be a prompt that nobody looked at.
    if text(extra, "prompt").is_some() {
        return Err(RequestError::new("extra.prompt", "use messages instead"));
    }
    if let Some(Json::NumberValue(n)) = extra.and_then(|e| e.fields.get("n")?.kind.as_ref())
        && *n > 1.0
    {
        return Err(RequestError::new("extra.n", "ask for one answer at a time"));
    }
    let sampling = request.sampling.as_ref();
    if style.strict && sampling.is_some_and(|s| !s.stop.is_empty()) {
        let message = "the Responses API has no stop texts; leave them out or use a Chat Completions target";
        return Err(RequestError::new("sampling.stop", message));
    }
    if style.strict && sampling.is_some_and(|s| !s.logit_bias.is_empty()) {
        let message =
            "the Responses API has no token biases; leave them out or use a Chat Completions target";
        return Err(RequestError::new("sampling.logit_bias", message));
    }
    Ok(())
}

/// Tells whether a field is there and says something.
fn given(extra: Option<&Struct>, key: &str) -> bool {
    extra.and_then(|e| e.fields.get(key)).is_some_and(|value| !is_empty(value))
}

/// Tells whether a value says nothing.
fn is_empty(value: &prost_types::Value) -> bool {
    match &value.kind {
        None | Some(Json::NullValue(_)) => true,
        Some(Json::ListValue(list)) => list.values.is_empty(),
        Some(Json::StringValue(text)) => text.is_empty(),
        Some(_) => false,
    }
}

/// Returns a message's text, if the message is nothing but that.
fn plain(message: &Message, role: Role) -> Option<&str> {
    let bare = |extra: Option<&Struct>| extra.is_none_or(|e| e.fields.is_empty());
    match &message.parts[..] {
        [part] if message.role() == role && bare(message.extra.as_ref()) => match &part.kind {
            Some(part::Kind::Text(text)) if bare(part.extra.as_ref()) => Some(&text.text),
            _ => None,
        },
        _ => None,
    }
}

fn put<T: Into<Value>>(map: &mut Map<String, Value>, key: &str, value: Option<T>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), value.into());
    }
}

fn schema(fields: &Struct) -> Value {
    serde_json::to_value(Object(fields)).unwrap_or_default()
}

fn tool(tool: &Tool, i: usize) -> Result<Value, RequestError> {
    let extra = tool.extra.as_ref();
    if let (Some(kind), Some(whole)) = (text(extra, "type").filter(|kind| *kind != "function"), extra) {
        if is_foreign_tool(kind) {
            let message = format!("`{kind}` is another provider's tool");
            return Err(RequestError::new(format!("tools[{i}]"), message));
        }
        let mut map = object(whole);
        // Chat Completions nests what belongs to a custom tool.
        if let Some(Value::Object(inner)) = map.remove("custom") {
            map.extend(inner);
        }
        return Ok(Value::Object(map));
    }
    let mut map = Map::new();
    map.insert("type".to_owned(), Value::from("function"));
    map.insert("name".to_owned(), Value::from(tool.name.as_str()));
    put(&mut map, "description", tool.description.as_deref());
    put(&mut map, "parameters", tool.parameters.as_ref().map(schema));
    put(&mut map, "strict", tool.strict);
    foreign::rest(&mut map, extra);
    Ok(Value::Object(map))
}

fn choice(body: &mut Map<String, Value>, request: &ChatRequest) {
    use tool_choice::Mode;
    let Some(choice) = &request.tool_choice else { return };
    let value = match choice.mode() {
        Mode::Unspecified | Mode::Auto => Value::from("auto"),
        Mode::None => Value::from("none"),
        Mode::Required => Value::from("required"),
        Mode::Named => json!({"type": "function", "name": choice.name()}),
    };
    body.insert("tool_choice".to_owned(), value);
}

fn write_sampling(body: &mut Map<String, Value>, s: &Sampling, style: Style) {
    put(body, "temperature", s.temperature.map(whole));
    put(body, "top_p", s.top_p.map(whole));
    put(body, "max_output_tokens", s.max_output_tokens);
    put(body, "top_logprobs", s.top_logprobs);
    put(body, "presence_penalty", s.presence_penalty.map(whole));
    put(body, "frequency_penalty", s.frequency_penalty.map(whole));
    if !style.strict {
        put(body, "top_k", s.top_k);
        put(body, "seed", s.seed);
        put(body, "stop", (!s.stop.is_empty()).then(|| s.stop.clone()));
        if !s.logit_bias.is_empty() {
            let biases = s.logit_bias.iter().map(|(k, v)| (k.clone(), whole(*v))).collect();
            body.insert("logit_bias".to_owned(), Value::Object(biases));
        }
    }
}

/// Writes a whole number without a fraction.
fn whole(n: f64) -> Value {
    foreign::json(&crate::json::number(n))
}

/// Writes `text`: the answer's form, and what else `extra` has there.
fn write_text(body: &mut Map<String, Value>, request: &ChatRequest) {
    use response_format::Kind;
    let extra = request.extra.as_ref();
    let mut map = Map::new();
    let format = match request.response_format.as_ref().and_then(|f| f.kind.as_ref()) {
        None => None,
        Some(Kind::Text(_)) => Some(json!({"type": "text"})),
        Some(Kind::JsonObject(_)) => Some(json!({"type": "json_object"})),
        Some(Kind::JsonSchema(format)) => {
            let mut out = Map::new();
            out.insert("type".to_owned(), Value::from("json_schema"));
            out.insert("name".to_owned(), Value::from(format.name.as_str()));
            put(&mut out, "description", format.description.as_deref());
            put(&mut out, "schema", format.schema.as_ref().map(schema));
            put(&mut out, "strict", format.strict);
            Some(Value::Object(out))
        }
    };
    put(&mut map, "format", format);
    // Chat Completions has this beside the format.
    put(&mut map, "verbosity", text(extra, "verbosity"));
    for (key, value) in nested(extra, "text").into_iter().flat_map(|fields| &fields.fields) {
        if !map.contains_key(key) || key == "verbosity" {
            map.insert(key.clone(), foreign::json(value));
        }
    }
    if !map.is_empty() {
        body.insert("text".to_owned(), Value::Object(map));
    }
}

fn write_reasoning(body: &mut Map<String, Value>, request: &ChatRequest, style: Style) {
    let mut map = Map::new();
    if let Some(reasoning) = &request.reasoning {
        put(&mut map, "effort", reasoning.effort.as_deref());
        put(&mut map, "summary", reasoning.summary.as_deref());
        if !style.strict {
            put(&mut map, "max_tokens", reasoning.max_tokens);
        }
    }
    let rest = nested(request.extra.as_ref(), "reasoning");
    for (key, value) in rest.into_iter().flat_map(|fields| &fields.fields) {
        if !map.contains_key(key) {
            map.insert(key.clone(), foreign::json(value));
        }
    }
    if !map.is_empty() || rest.is_some() {
        body.insert("reasoning".to_owned(), Value::Object(map));
    }
}

/// Asks that nothing be stored and that reasoning be handed out instead, and for log probabilities where they are wanted.
fn private(body: &mut Map<String, Value>, request: &ChatRequest, options: &Options<'_>) {
    let extra = request.extra.as_ref();
    let mut include = Vec::new();
    if request.sampling.as_ref().and_then(|s| s.logprobs) == Some(true) {
        include.push("message.output_text.logprobs");
    }
    if options.style.private && !["store", "background"].iter().chain(&CONTINUED).any(|key| given(extra, key))
    {
        body.insert("store".to_owned(), Value::from(false));
        if request.reasoning.is_some() || reasons(options.model) {
            include.push("reasoning.encrypted_content");
        }
    }
    if include.is_empty() {
        return;
    }
    let mut list = match extra.and_then(|e| e.fields.get("include")).map(foreign::json) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    for name in include {
        if !list.iter().any(|known| known == name) {
            list.push(Value::from(name));
        }
    }
    body.insert("include".to_owned(), Value::Array(list));
}

/// Tells whether a model of OpenAI's reasons: others refuse to hand out encrypted reasoning.
fn reasons(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    let digit = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    let series = name.strip_prefix('o').is_some_and(digit);
    let gpt = name.strip_prefix("gpt-").is_some_and(|rest| rest.starts_with(['5', '6', '7', '8', '9']));
    series || (gpt && !name.contains("chat"))
}

#[cfg(test)]
mod tests;
