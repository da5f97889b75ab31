//! A `ChatRequest` as a JSON body.

use bytes::Bytes;
use prost_types::Struct;
use serde_json::{Map, Value, json};
use signalbox_proto::common::v1::{
    ChatRequest, Reasoning, ResponseFormat, Sampling, Tool, ToolChoice, response_format, tool_choice,
};

use super::turn;
use crate::RequestError;
use crate::json::{Object, nested, text};

/// Fields that other dialects are known to use, and that Cohere would refuse.
const FOREIGN: [&str; 62] = [
    // OpenAI
    "audio",
    "function_call",
    "functions",
    "include_reasoning",
    "logit_bias",
    "max_completion_tokens",
    "metadata",
    "modalities",
    "n",
    "parallel_tool_calls",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
    "reasoning_effort",
    "safety_identifier",
    "service_tier",
    "stop",
    "store",
    "stream_options",
    "top_logprobs",
    "top_p",
    "top_k",
    "user",
    "verbosity",
    "web_search_options",
    "response_format",
    "usage",
    // Anthropic
    "anthropic_beta",
    "anthropic_version",
    "cache_control",
    "container",
    "context_management",
    "mcp_servers",
    "output_config",
    "output_format",
    "system",
    "betas",
    "inference_geo",
    // Servers of OpenAI's dialect
    "models",
    "provider",
    "plugins",
    "route",
    "transforms",
    "chat_template_kwargs",
    "extra_body",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "ignore_eos",
    "min_p",
    "mirostat",
    "num_ctx",
    "keep_alive",
    "random_seed",
    "repetition_penalty",
    "safe_prompt",
    "search_parameters",
    "grammar",
    "top_a",
    "format",
];

/// Is what the target adds to a request.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The model as the provider calls it.
    pub model: &'a str,
    /// The provider's name; earlier reasoning is sent only to the provider that wrote it.
    pub provider: &'a str,
    /// `stream`. `None`: the field is left out.
    pub stream: Option<bool>,
}

/// Writes a request. The same request gives the same bytes.
///
/// # Errors
///
/// The request holds something that this dialect cannot say; the error names it.
pub fn encode(request: &ChatRequest, options: &Options<'_>) -> Result<Bytes, RequestError> {
    let body = body(request, options)?;
    serde_json::to_vec(&body).map(Bytes::from).map_err(|e| RequestError::new("chat", e.to_string()))
}

fn body(request: &ChatRequest, options: &Options<'_>) -> Result<Map<String, Value>, RequestError> {
    if request.messages.is_empty() {
        return Err(RequestError::new("messages", "add at least one message"));
    }
    let extra = request.extra.as_ref();
    let taken = ["model", "messages", "stream", "prompt", "message", "chat_history", "preamble"];
    if let Some(key) = taken.iter().find(|key| extra.is_some_and(|e| e.fields.contains_key(**key))) {
        return Err(RequestError::new(format!("extra.{key}"), "use the request's own field instead"));
    }
    let mut out = Map::new();
    out.insert("model".to_owned(), Value::from(options.model));
    let mut messages = Vec::with_capacity(request.messages.len());
    for (i, message) in request.messages.iter().enumerate() {
        turn::write(message, i, options.provider, &mut messages)?;
    }
    if messages.is_empty() {
        return Err(RequestError::new("messages", "add at least one message that says something here"));
    }
    out.insert("messages".to_owned(), Value::Array(messages));
    tools(request, &mut out)?;
    if let Some(sampling) = &request.sampling {
        write_sampling(sampling, &mut out);
    }
    if let Some(format) = request.response_format.as_ref().map(format).transpose()?.flatten() {
        out.insert("response_format".to_owned(), format);
    }
    if let Some(thinking) = request.reasoning.as_ref().and_then(thinking) {
        out.insert("thinking".to_owned(), thinking);
    }
    if let Some(stream) = options.stream {
        out.insert("stream".to_owned(), Value::Bool(stream));
    }
    for (key, value) in extra.map(object).transpose()?.unwrap_or_default() {
        if !out.contains_key(&key) && is_ours(&key, &value) {
            out.insert(key, value);
        }
    }
    Ok(out)
}

/// Tells a field of Cohere's, known or new, from one of another dialect.
fn is_ours(key: &str, value: &Value) -> bool {
    match key {
        // Anthropic's has a budget of another name.
        "thinking" => {
            value.get("budget_tokens").is_none() && value.get("type").is_none_or(|t| t != "adaptive")
        }
        "response_format" => {
            value.is_null() || value.get("type").is_some_and(|t| t == "json_object" || t == "text")
        }
        "tool_choice" => value.is_null(),
        "stop_sequences" | "tools" => value.is_null() || value.as_array().is_some_and(Vec::is_empty),
        key => !FOREIGN.contains(&key) && !key.bytes().any(|b| b.is_ascii_uppercase()),
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

fn tools(request: &ChatRequest, out: &mut Map<String, Value>) -> Result<(), RequestError> {
    let choice = request.tool_choice.as_ref();
    let named = choice.filter(|c| c.mode() == tool_choice::Mode::Named).map(ToolChoice::name);
    let mut list = Vec::with_capacity(request.tools.len());
    for (i, tool) in request.tools.iter().enumerate() {
        if named.is_none_or(|name| name == tool.name) {
            list.push(function(tool, i)?);
        }
    }
    if let Some(name) = named
        && list.is_empty()
    {
        let message = format!("no tool is called `{}`", crate::redact::bounded(name, 64));
        return Err(RequestError::new("tool_choice.name", message));
    }
    if !list.is_empty() {
        out.insert("tools".to_owned(), Value::Array(list));
    }
    let word = match choice.map(ToolChoice::mode) {
        Some(tool_choice::Mode::None) => "NONE",
        Some(tool_choice::Mode::Required | tool_choice::Mode::Named) => "REQUIRED",
        _ => return Ok(()),
    };
    out.insert("tool_choice".to_owned(), Value::from(word));
    Ok(())
}

fn function(tool: &Tool, i: usize) -> Result<Value, RequestError> {
    let extra = tool.extra.as_ref();
    if text(extra, "type").is_some_and(|kind| kind != "function" && kind != "custom") {
        let message = "this provider knows functions only; describe one, or leave the tool out";
        return Err(RequestError::new(format!("tools[{i}]"), message));
    }
    let mut inner = Map::new();
    inner.insert("name".to_owned(), Value::from(tool.name.as_str()));
    if let Some(description) = &tool.description {
        inner.insert("description".to_owned(), Value::from(description.as_str()));
    }
    if let Some(parameters) = &tool.parameters {
        inner.insert("parameters".to_owned(), Value::Object(object(parameters)?));
    }
    for (key, value) in nested(extra, "function").map(object).transpose()?.unwrap_or_default() {
        inner.entry(key).or_insert(value);
    }
    Ok(json!({ "type": "function", "function": inner }))
}

fn write_sampling(sampling: &Sampling, out: &mut Map<String, Value>) {
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            out.insert(key.to_owned(), value);
        }
    };
    put("temperature", sampling.temperature.map(Value::from));
    put("p", sampling.top_p.map(Value::from));
    put("k", sampling.top_k.map(Value::from));
    put("max_tokens", sampling.max_output_tokens.map(Value::from));
    put("stop_sequences", (!sampling.stop.is_empty()).then(|| Value::from(sampling.stop.clone())));
    put("seed", sampling.seed.map(Value::from));
    put("presence_penalty", sampling.presence_penalty.map(Value::from));
    put("frequency_penalty", sampling.frequency_penalty.map(Value::from));
    put("logprobs", sampling.logprobs.map(Value::from));
}

fn format(format: &ResponseFormat) -> Result<Option<Value>, RequestError> {
    Ok(match &format.kind {
        None => None,
        Some(response_format::Kind::Text(_)) => Some(json!({ "type": "text" })),
        Some(response_format::Kind::JsonObject(_)) => Some(json!({ "type": "json_object" })),
        Some(response_format::Kind::JsonSchema(format)) => {
            let schema = format.schema.as_ref().map(object).transpose()?.unwrap_or_default();
            Some(json!({ "type": "json_object", "json_schema": schema }))
        }
    })
}

fn thinking(reasoning: &Reasoning) -> Option<Value> {
    match (reasoning.effort.as_deref(), reasoning.max_tokens) {
        (Some("none"), None) => Some(json!({ "type": "disabled" })),
        (_, Some(budget)) => Some(json!({ "type": "enabled", "token_budget": budget })),
        (Some(_), None) => Some(json!({ "type": "enabled" })),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests;
