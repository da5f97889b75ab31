//! A `ChatRequest` as a JSON body.

use bytes::Bytes;
use prost_types::Struct;
use prost_types::value::Kind;
use serde_json::{Map, Value};
use signalbox_proto::common::v1::{ChatRequest, ResponseFormat, Sampling, response_format};

use super::foreign::{self, json, object};
use super::model::Model;
use super::{thinking, tool, turn};
use crate::RequestError;
use crate::json::{nested, text};

/// Fields that a request's `extra` must not bring in: they would pass by every check made on the request.
const RESERVED: [&str; 4] = ["model", "messages", "stream", "system"];

/// Is what a model without a form for it is told instead of `json_object`.
const JSON_ONLY: &str = "Answer with one JSON object and nothing else.";

/// Is what the target adds to a request.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The model as the provider calls it.
    pub model: &'a str,
    /// The provider's name; earlier thinking is sent only to the provider that wrote it.
    pub provider: &'a str,
    /// `stream`. `None`: the field is left out.
    pub stream: Option<bool>,
    /// `max_tokens` of a request that sets no limit. `None`: the field is left out, as where tokens are only counted.
    pub max_tokens: Option<u32>,
}

/// Writes a request. The same request gives the same bytes.
///
/// What this API has no field for and ignores in its own OpenAI-compatible form is left out: seed, penalties, biases, log
/// probabilities, image detail, names. A temperature above 1 is written as 1.
///
/// # Errors
///
/// The request holds something that this dialect cannot say; the error names it.
pub fn encode(request: &ChatRequest, options: &Options<'_>) -> Result<Bytes, RequestError> {
    check(request)?;
    let model = Model::of(options.model);
    let extra = request.extra.as_ref();
    let sampling = request.sampling.clone().unwrap_or_default();
    let thinking = thinking::write(request, options, model);

    let mut body = Map::new();
    body.insert("model".to_owned(), options.model.into());
    let limit = sampling.max_output_tokens.or_else(|| thinking::room(options.max_tokens?, request));
    put(&mut body, "max_tokens", limit);
    let said = turn::conversation(request, options, model)?;
    if said.messages.is_empty() {
        return Err(RequestError::new("messages", "add at least one message that says something here"));
    }
    let mut system = said.system;
    if wants_any_json(request) {
        system.add(JSON_ONLY);
    }
    put(&mut body, "system", system.value());
    body.insert("messages".to_owned(), Value::Array(said.messages));
    if !request.tools.is_empty() {
        body.insert("tools".to_owned(), Value::Array(tool::tools(&request.tools)?));
    }
    put(&mut body, "tool_choice", tool::choice(request));
    write_sampling(&mut body, &sampling, model);
    put(&mut body, "thinking", thinking);
    put(&mut body, "output_config", output_config(request, model));
    put(&mut body, "stream", options.stream);
    foreign::request_rest(&mut body, extra);
    serde_json::to_vec(&body).map(Bytes::from).map_err(|e| RequestError::new("chat", e.to_string()))
}

/// Writes `key` unless it is absent.
pub(super) fn put(map: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), value.into());
    }
}

fn check(request: &ChatRequest) -> Result<(), RequestError> {
    if request.messages.is_empty() {
        return Err(RequestError::new("messages", "add at least one message"));
    }
    let says = |key: &&&str| {
        let kind = request.extra.as_ref().and_then(|e| e.fields.get(**key)).and_then(|v| v.kind.as_ref());
        match kind {
            None | Some(Kind::NullValue(_)) => false,
            Some(Kind::ListValue(list)) => !list.values.is_empty(),
            Some(_) => true,
        }
    };
    match RESERVED.iter().find(says) {
        Some(key) => Err(RequestError::new(format!("extra.{key}"), "use the request's own field instead")),
        None => Ok(()),
    }
}

fn wants_any_json(request: &ChatRequest) -> bool {
    let kind = request.response_format.as_ref().and_then(|format| format.kind.as_ref());
    matches!(kind, Some(response_format::Kind::JsonObject(_)))
}

fn write_sampling(body: &mut Map<String, Value>, sampling: &Sampling, model: Model) {
    if !sampling.stop.is_empty() {
        body.insert("stop_sequences".to_owned(), sampling.stop.clone().into());
    }
    put(body, "temperature", sampling.temperature.map(|t| t.min(1.0)));
    let only_one = sampling.temperature.is_some() && model.takes_one_of_temperature_and_top_p();
    put(body, "top_p", sampling.top_p.filter(|_| !only_one));
    put(body, "top_k", sampling.top_k);
}

fn output_config(request: &ChatRequest, model: Model) -> Option<Map<String, Value>> {
    let own: Option<&Struct> = nested(request.extra.as_ref(), "output_config");
    let mut map = Map::new();
    let effort = request.reasoning.as_ref().and_then(|r| r.effort.as_deref());
    let effort = match effort.filter(|_| model.takes_effort()) {
        Some("none") | None => None,
        Some("minimal") => Some("low"),
        other => other,
    };
    put(&mut map, "effort", effort);
    put(&mut map, "format", request.response_format.as_ref().and_then(format));
    for (key, value) in own.iter().flat_map(|own| &own.fields) {
        if !map.contains_key(key) {
            map.insert(key.clone(), json(value));
        }
    }
    (!map.is_empty() || own.is_some()).then_some(map)
}

fn format(format: &ResponseFormat) -> Option<Map<String, Value>> {
    let Some(response_format::Kind::JsonSchema(format)) = &format.kind else { return None };
    let mut map = Map::new();
    map.insert("type".to_owned(), "json_schema".into());
    let mut schema = object(format.schema.as_ref()?);
    close(&mut schema);
    map.insert("schema".to_owned(), schema.into());
    Some(map)
}

/// Says of every object in a schema that it has no other fields, unless the schema says something about them: this
/// API takes no other schemas.
fn close(schema: &mut Map<String, Value>) {
    for (key, value) in schema.iter_mut() {
        match value {
            Value::Object(inner) if !matches!(key.as_str(), "const" | "default") => close(inner),
            Value::Array(list) if !matches!(key.as_str(), "enum" | "examples") => {
                list.iter_mut().filter_map(Value::as_object_mut).for_each(close);
            }
            _ => {}
        }
    }
    if schema.get("type").is_some_and(|kind| kind == "object") {
        schema.entry("additionalProperties").or_insert(Value::Bool(false));
    }
}

/// Returns the type that a piece's `extra` names, if the piece is of no kind that our messages have.
pub(super) fn whole<'a>(extra: Option<&'a Struct>, own: &str) -> Option<(&'a str, &'a Struct)> {
    let kind = text(extra, "type").filter(|kind| *kind != own)?;
    Some((kind, extra?))
}

#[cfg(test)]
mod tests;
