//! A `ChatRequest` as a JSON body.

use bytes::Bytes;
use prost_types::Struct;
use serde_json::{Map, Value, json};
use signalbox_proto::common::v1::{
    ChatRequest, Message, Part, ResponseFormat, Role, Sampling, part, response_format,
};

use super::part::Parts;
use super::{model, own, schema, tool};
use crate::RequestError;

/// Is what the target adds to a request.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The model as the provider calls it. It stands in the path; here it decides how thinking is asked for.
    pub model: &'a str,
    /// The provider's name; earlier reasoning is sent only to the provider that wrote it.
    pub provider: &'a str,
    /// Whether neighbouring turns of one side are joined and empty ones left out, as the models want it.
    pub alternate: bool,
}

/// Writes a request. The same request gives the same bytes.
///
/// # Errors
///
/// The request holds something that this dialect cannot say, or the model is another maker's; the error names it.
pub fn encode(request: &ChatRequest, options: &Options<'_>) -> Result<Bytes, RequestError> {
    let body = body(request, options)?;
    serde_json::to_vec(&body).map(Bytes::from).map_err(|e| RequestError::new("chat", e.to_string()))
}

fn body(request: &ChatRequest, options: &Options<'_>) -> Result<Map<String, Value>, RequestError> {
    model::check(options.model)?;
    let extra = request.extra.as_ref();
    let mut over = own::fields(extra)?;
    check(&over)?;
    let mut out = Map::new();
    let mut contents =
        Contents { parts: Parts::new(options), alternate: options.alternate, list: Vec::new() };
    let mut system: Option<(Vec<Value>, Option<&Struct>)> = None;
    for (i, message) in request.messages.iter().enumerate() {
        match message.role() {
            Role::System | Role::Developer => {
                let (parts, _) = system.get_or_insert((Vec::new(), message.extra.as_ref()));
                contents.system(message, i, parts)?;
            }
            _ => contents.add(message, i)?,
        }
    }
    if contents.list.is_empty() {
        return Err(RequestError::new("messages", "add at least one message that is not the system's"));
    }
    if let Some((parts, extra)) = system.filter(|(parts, extra)| !parts.is_empty() || extra.is_some()) {
        out.insert("systemInstruction".to_owned(), content(None, parts, extra)?);
    }
    out.insert("contents".to_owned(), one_or_many(contents.list, over.remove("contents").as_ref()));
    let layout = extra.and_then(|extra| extra.fields.get("tools"));
    if !request.tools.is_empty() {
        out.insert("tools".to_owned(), tool::write(&request.tools, layout)?);
    } else if let Some(prost_types::value::Kind::ListValue(_)) = layout.and_then(|l| l.kind.as_ref()) {
        out.insert("tools".to_owned(), json!([]));
    }
    if let Some(choice) = &request.tool_choice {
        out.insert("toolConfig".to_owned(), Value::Object(tool::choose(choice)));
    }
    let key = own::key_of(&over, "generationConfig").cloned();
    let (mut given, is_object) = match key.and_then(|key| over.get_mut(&key)) {
        Some(Value::Object(given)) => (std::mem::take(given), true),
        _ => (Map::new(), false),
    };
    let settings = settings(request, options.model, &mut given)?;
    let settings = own::lay_over(settings, given);
    if !settings.is_empty() || is_object {
        out.insert("generationConfig".to_owned(), Value::Object(settings));
    }
    Ok(own::lay_over(out, over))
}

/// Refuses what would pass by every check made on the request.
fn check(over: &Map<String, Value>) -> Result<(), RequestError> {
    let says = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    };
    for name in ["contents", "systemInstruction", "tools"] {
        if own::get(over, name).is_some_and(says) {
            return Err(RequestError::new(format!("extra.{name}"), "use the request's own field instead"));
        }
    }
    Ok(())
}

/// Is the conversation.
struct Contents<'a> {
    parts: Parts<'a>,
    alternate: bool,
    list: Vec<Value>,
}

impl Contents<'_> {
    fn system(&mut self, message: &Message, i: usize, out: &mut Vec<Value>) -> Result<(), RequestError> {
        for (j, part) in message.parts.iter().enumerate() {
            let field = format!("messages[{i}].parts[{j}]");
            if matches!(part.kind, Some(part::Kind::ToolCall(_) | part::Kind::ToolResult(_))) {
                let message = "this provider takes text, images, sound and files here";
                return Err(RequestError::new(field, message));
            }
            out.extend(self.parts.write(part, false, &field)?);
        }
        Ok(())
    }

    fn add(&mut self, message: &Message, i: usize) -> Result<(), RequestError> {
        let role = if message.role() == Role::Assistant { "model" } else { "user" };
        let mut parts = Vec::with_capacity(message.parts.len());
        let mut called = false;
        for (j, part) in message.parts.iter().enumerate() {
            parts.extend(self.parts.write(part, !called, &format!("messages[{i}].parts[{j}]"))?);
            called |= is_call(part);
        }
        let extra = message.extra.as_ref();
        if self.alternate && parts.is_empty() {
            return Ok(());
        }
        if self.alternate
            && let Some(last) =
                self.list.last_mut().filter(|last| last.get("role").is_some_and(|r| r == role))
            && let Some(Value::Array(before)) = last.get_mut("parts")
        {
            before.append(&mut parts);
            return Ok(());
        }
        self.list.push(content(Some(role), parts, extra)?);
        Ok(())
    }
}

fn is_call(part: &Part) -> bool {
    matches!(part.kind, Some(part::Kind::ToolCall(_)))
}

/// Writes a turn. `false` in the place of a field says that the caller had none.
fn content(role: Option<&str>, parts: Vec<Value>, extra: Option<&Struct>) -> Result<Value, RequestError> {
    let mut over = own::fields(extra)?;
    let marked = |key: &str| extra.and_then(|extra| extra.fields.get(key));
    let absent = |key: &str| {
        matches!(
            marked(key).and_then(|mark| mark.kind.as_ref()),
            Some(prost_types::value::Kind::BoolValue(false))
        )
    };
    let mut out = Map::new();
    match over.remove("role") {
        Some(Value::Bool(_)) => {}
        Some(given) => {
            out.insert("role".to_owned(), given);
        }
        None => {
            if let Some(role) = role {
                out.insert("role".to_owned(), Value::from(role));
            }
        }
    }
    let shape = marked("parts").and_then(|mark| serde_json::to_value(crate::json::Any(mark)).ok());
    if !(absent("parts") && parts.is_empty()) {
        out.insert("parts".to_owned(), one_or_many(parts, shape.as_ref()));
    }
    over.remove("parts");
    Ok(Value::Object(own::lay_over(out, over)))
}

/// Writes a list, or its only member where the caller had written just that.
fn one_or_many(mut list: Vec<Value>, shape: Option<&Value>) -> Value {
    match (shape, list.len()) {
        (Some(Value::Object(_)), 1) => list.remove(0),
        _ => Value::Array(list),
    }
}

pub(super) fn settings(
    request: &ChatRequest,
    model: &str,
    given: &mut Map<String, Value>,
) -> Result<Map<String, Value>, RequestError> {
    let mut out = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            out.insert(key.to_owned(), value);
        }
    };
    if let Some(sampling) = &request.sampling {
        let Sampling { stop, logprobs, .. } = sampling;
        put("temperature", sampling.temperature.map(Value::from));
        put("topP", sampling.top_p.map(Value::from));
        put("topK", sampling.top_k.map(Value::from));
        put("maxOutputTokens", sampling.max_output_tokens.map(Value::from));
        put("stopSequences", (!stop.is_empty()).then(|| Value::from(stop.clone())));
        put("seed", sampling.seed.map(Value::from));
        put("presencePenalty", sampling.presence_penalty.map(Value::from));
        put("frequencyPenalty", sampling.frequency_penalty.map(Value::from));
        put("responseLogprobs", logprobs.map(Value::from));
        put("logprobs", sampling.top_logprobs.map(Value::from));
    }
    match request.response_format.as_ref().and_then(|ResponseFormat { kind }| kind.as_ref()) {
        Some(response_format::Kind::JsonObject(_)) => {
            put("responseMimeType", Some(Value::from("application/json")));
        }
        Some(response_format::Kind::JsonSchema(format)) => {
            put("responseMimeType", Some(Value::from("application/json")));
            if let Some(fields) = &format.schema {
                schema::write(&mut out, given, "responseSchema", "responseJsonSchema", own::object(fields)?);
            }
        }
        Some(response_format::Kind::Text(_)) | None => {}
    }
    let thinking = request.reasoning.as_ref().map(|reasoning| model::thinking(reasoning, model));
    if let Some(thinking) = thinking.filter(|thinking| !thinking.is_empty()) {
        out.insert("thinkingConfig".to_owned(), Value::Object(thinking));
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
