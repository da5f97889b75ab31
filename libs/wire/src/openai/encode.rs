//! A `ChatRequest` as a JSON body.

use bytes::Bytes;
use prost_types::Struct;
use prost_types::value::Kind as Json;
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use signalbox_proto::common::v1::{ChatRequest, Reasoning, ResponseFormat, Sampling, Tool, ToolChoice};
use signalbox_proto::common::v1::{part, response_format, tool_choice};

use super::foreign;
use super::part::{Messages, check_part, is_function};
use super::style::{OutputLimit, Style};
use crate::RequestError;
use crate::json::{Any, Object, nested, text};

/// Fields that a request's `extra` must not bring in: they would pass by every check made on the request.
const RESERVED: [&str; 4] = ["model", "messages", "stream", "prompt"];

/// Is what the target adds to a request.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The model as the provider calls it. Empty: it stands in the path only.
    pub model: &'a str,
    /// The provider's name; earlier reasoning is sent only to the provider that wrote it.
    pub provider: &'a str,
    /// The provider's spelling.
    pub style: Style,
    /// `stream`. `None`: the field is left out.
    pub stream: Option<bool>,
    /// `stream_options.include_usage`. `None`: left out.
    pub include_usage: Option<bool>,
}

/// Writes a request. The same request gives the same bytes.
///
/// # Errors
///
/// The request holds something that this dialect cannot say; the error names it.
pub fn encode(request: &ChatRequest, options: &Options<'_>) -> Result<Bytes, RequestError> {
    check(request)?;
    let mut out = Vec::with_capacity(512 + 256 * request.messages.len());
    serde_json::to_writer(&mut out, &Body { request, options })
        .map_err(|e| RequestError::new("chat", e.to_string()))?;
    Ok(Bytes::from(out))
}

fn check(request: &ChatRequest) -> Result<(), RequestError> {
    if request.messages.is_empty() {
        return Err(RequestError::new("messages", "add at least one message"));
    }
    for (i, message) in request.messages.iter().enumerate() {
        for key in ["role", "content", "tool_calls"] {
            let value = message.extra.as_ref().and_then(|extra| extra.fields.get(key));
            let older = key == "role" && is_function(message);
            if value.is_some_and(|value| !is_empty(value)) && !older {
                let field = format!("messages[{i}].extra.{key}");
                return Err(RequestError::new(field, "put this into the message itself"));
            }
        }
        for (j, part) in message.parts.iter().enumerate() {
            let field = || format!("messages[{i}].parts[{j}]");
            check_part(part, &field)?;
            if let Some(part::Kind::ToolResult(result)) = &part.kind {
                for inner in &result.parts {
                    if matches!(inner.kind, Some(part::Kind::ToolCall(_) | part::Kind::ToolResult(_))) {
                        return Err(RequestError::new(
                            field(),
                            "a tool result holds text, images and files only",
                        ));
                    }
                    check_part(inner, &field)?;
                }
            }
        }
    }
    let Some(extra) = &request.extra else { return Ok(()) };
    if let Some(key) = RESERVED.iter().find(|key| extra.fields.contains_key(**key)) {
        return Err(RequestError::new(format!("extra.{key}"), "use the request's own field instead"));
    }
    let given = |key: &&str| extra.fields.get(*key).is_some_and(|value| !is_empty(value));
    if let Some(key) = foreign::STORED.into_iter().find(given) {
        let message = "this dialect's servers store nothing; send the whole conversation";
        return Err(RequestError::new(format!("extra.{key}"), message));
    }
    if let Some(Json::NumberValue(n)) = extra.fields.get("n").and_then(|v| v.kind.as_ref())
        && *n > 1.0
    {
        return Err(RequestError::new("extra.n", "ask for one answer at a time"));
    }
    Ok(())
}

/// Tells whether a value says nothing.
fn is_empty(value: &prost_types::Value) -> bool {
    match &value.kind {
        None | Some(Json::NullValue(_)) => true,
        Some(Json::ListValue(list)) => list.values.is_empty(),
        Some(_) => false,
    }
}

/// Writes `key` unless it is absent. `extra` may not replace what is written here: see [`rest`].
pub(super) fn optional<M: SerializeMap, T: Serialize>(
    map: &mut M,
    key: &'static str,
    value: Option<T>,
) -> Result<(), M::Error> {
    match value {
        Some(value) => map.serialize_entry(key, &value),
        None => Ok(()),
    }
}

/// Writes the fields of `extra` that were not written before.
pub(super) fn rest<M: SerializeMap>(
    map: &mut M,
    extra: Option<&Struct>,
    written: impl Fn(&str) -> bool,
) -> Result<(), M::Error> {
    for (key, value) in extra.iter().flat_map(|e| &e.fields) {
        if !written(key) {
            map.serialize_entry(key, &Any(value))?;
        }
    }
    Ok(())
}

struct Body<'a> {
    request: &'a ChatRequest,
    options: &'a Options<'a>,
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { request, options } = self;
        let style = options.style;
        let mut map = serializer.serialize_map(None)?;
        optional(&mut map, "model", Some(options.model).filter(|model| !model.is_empty()))?;
        map.serialize_entry("messages", &Messages { messages: &request.messages, options })?;
        let tools = (!request.tools.is_empty()).then_some(Tools(&request.tools, style));
        optional(&mut map, "tools", tools)?;
        let choice = request.tool_choice.as_ref().map(|choice| Choice(choice, style));
        optional(&mut map, "tool_choice", choice)?;
        optional(&mut map, "parallel_tool_calls", request.parallel_tool_calls)?;
        let format = request.response_format.as_ref().filter(|f| f.kind.is_some());
        optional(&mut map, "response_format", format.map(Format))?;
        if let Some(sampling) = &request.sampling {
            write_sampling(&mut map, sampling, style)?;
        }
        if let Some(reasoning) = &request.reasoning {
            write_reasoning(&mut map, reasoning)?;
        }
        optional(&mut map, "stream", options.stream)?;
        let stream_options =
            StreamOptions(options.include_usage, nested(request.extra.as_ref(), "stream_options"));
        let streams = options.include_usage.is_some() && style.stream_options;
        optional(&mut map, "stream_options", streams.then_some(stream_options))?;
        rest(&mut map, request.extra.as_ref(), |key| {
            foreign::of_request(key) || is_written(request, key, streams, style)
        })?;
        map.end()
    }
}

/// Tells whether a typed field has already been written under this key.
fn is_written(request: &ChatRequest, key: &str, stream_options: bool, style: Style) -> bool {
    let default = Sampling::default();
    let s = request.sampling.as_ref().unwrap_or(&default);
    let reasoning = |object: bool| request.reasoning.as_ref().is_some_and(|r| wants_object(r) == object);
    match key {
        "tools" => !request.tools.is_empty(),
        "tool_choice" => request.tool_choice.is_some(),
        "parallel_tool_calls" => request.parallel_tool_calls.is_some(),
        "response_format" => request.response_format.as_ref().is_some_and(|f| f.kind.is_some()),
        "stream_options" => stream_options,
        "temperature" => s.temperature.is_some(),
        "top_p" => s.top_p.is_some(),
        "top_k" => s.top_k.is_some(),
        "max_tokens" => s.max_output_tokens.is_some() && style.output_limit == OutputLimit::MaxTokens,
        "max_completion_tokens" => {
            s.max_output_tokens.is_some() && style.output_limit == OutputLimit::MaxCompletionTokens
        }
        "stop" => !s.stop.is_empty(),
        "seed" => s.seed.is_some() && !style.random_seed,
        "random_seed" => s.seed.is_some() && style.random_seed,
        "presence_penalty" => s.presence_penalty.is_some(),
        "frequency_penalty" => s.frequency_penalty.is_some(),
        "logit_bias" => !s.logit_bias.is_empty(),
        "logprobs" => s.logprobs.is_some(),
        "top_logprobs" => s.top_logprobs.is_some(),
        "reasoning" => reasoning(true),
        "reasoning_effort" => {
            reasoning(false) && request.reasoning.as_ref().is_some_and(|r| r.effort.is_some())
        }
        _ => false,
    }
}

fn write_sampling<M: SerializeMap>(map: &mut M, s: &Sampling, style: Style) -> Result<(), M::Error> {
    optional(map, "temperature", s.temperature)?;
    optional(map, "top_p", s.top_p)?;
    optional(map, "top_k", s.top_k)?;
    let limit = match style.output_limit {
        OutputLimit::MaxTokens => "max_tokens",
        OutputLimit::MaxCompletionTokens => "max_completion_tokens",
    };
    optional(map, limit, s.max_output_tokens)?;
    match &s.stop[..] {
        [] => {}
        [one] if style.stop_as_text => map.serialize_entry("stop", one)?,
        many => map.serialize_entry("stop", many)?,
    }
    optional(map, if style.random_seed { "random_seed" } else { "seed" }, s.seed)?;
    optional(map, "presence_penalty", s.presence_penalty)?;
    optional(map, "frequency_penalty", s.frequency_penalty)?;
    if !s.logit_bias.is_empty() {
        // Sorted: a hash map's order differs from run to run.
        let sorted: std::collections::BTreeMap<_, _> = s.logit_bias.iter().collect();
        map.serialize_entry("logit_bias", &sorted)?;
    }
    optional(map, "logprobs", s.logprobs)?;
    optional(map, "top_logprobs", s.top_logprobs)
}

/// `reasoning_effort` is known everywhere; the object, OpenRouter's, is the only form that can say more.
fn wants_object(reasoning: &Reasoning) -> bool {
    reasoning.max_tokens.is_some() || reasoning.summary.is_some()
}

fn write_reasoning<M: SerializeMap>(map: &mut M, reasoning: &Reasoning) -> Result<(), M::Error> {
    #[derive(Serialize)]
    struct Form<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        effort: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        max_tokens: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        summary: Option<&'a str>,
    }
    let effort = reasoning.effort.as_deref();
    if wants_object(reasoning) {
        let summary = reasoning.summary.as_deref();
        map.serialize_entry("reasoning", &Form { effort, max_tokens: reasoning.max_tokens, summary })
    } else {
        optional(map, "reasoning_effort", effort)
    }
}

struct StreamOptions<'a>(Option<bool>, Option<&'a Struct>);

impl Serialize for StreamOptions<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        optional(&mut map, "include_usage", self.0)?;
        rest(&mut map, self.1, |key| key == "include_usage")?;
        map.end()
    }
}

struct Tools<'a>(&'a [Tool], Style);

impl Serialize for Tools<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        for tool in self.0 {
            match &tool.extra {
                Some(whole) if text(Some(whole), "type").is_some_and(|t| t != "function") => {
                    seq.serialize_element(&Object(whole))?;
                }
                _ => seq.serialize_element(&Function(tool, self.1))?,
            }
        }
        seq.end()
    }
}

struct Function<'a>(&'a Tool, Style);

impl Serialize for Function<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(tool, style) = self;
        let mut map = serializer.serialize_map(None)?;
        if style.tool_type {
            map.serialize_entry("type", "function")?;
        }
        map.serialize_entry("function", &Signature(tool))?;
        rest(&mut map, tool.extra.as_ref(), |key| matches!(key, "type" | "function" | "defer_loading"))?;
        map.end()
    }
}

struct Signature<'a>(&'a Tool);

impl Serialize for Signature<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(tool) = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &tool.name)?;
        optional(&mut map, "description", tool.description.as_ref())?;
        optional(&mut map, "parameters", tool.parameters.as_ref().map(Object))?;
        optional(&mut map, "strict", tool.strict)?;
        rest(&mut map, nested(tool.extra.as_ref(), "function"), |key| match key {
            "name" => true,
            "description" => tool.description.is_some(),
            "parameters" => tool.parameters.is_some(),
            "strict" => tool.strict.is_some(),
            _ => false,
        })?;
        map.end()
    }
}

struct Choice<'a>(&'a ToolChoice, Style);

impl Serialize for Choice<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use tool_choice::Mode;
        let Self(choice, style) = self;
        match choice.mode() {
            Mode::Unspecified | Mode::Auto => serializer.serialize_str("auto"),
            Mode::None => serializer.serialize_str("none"),
            Mode::Required => {
                serializer.serialize_str(if style.any_for_required { "any" } else { "required" })
            }
            Mode::Named => {
                #[derive(Serialize)]
                struct Name<'a> {
                    name: &'a str,
                }
                let mut map = serializer.serialize_map(None)?;
                if style.choice_type {
                    map.serialize_entry("type", "function")?;
                }
                map.serialize_entry("function", &Name { name: choice.name() })?;
                map.end()
            }
        }
    }
}

struct Format<'a>(&'a ResponseFormat);

impl Serialize for Format<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Schema<'a> {
            name: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            description: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            schema: Option<Object<'a>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            strict: Option<bool>,
        }
        let mut map = serializer.serialize_map(None)?;
        match &self.0.kind {
            None | Some(response_format::Kind::Text(_)) => map.serialize_entry("type", "text")?,
            Some(response_format::Kind::JsonObject(_)) => map.serialize_entry("type", "json_object")?,
            Some(response_format::Kind::JsonSchema(format)) => {
                map.serialize_entry("type", "json_schema")?;
                let schema = Schema {
                    name: &format.name,
                    description: format.description.as_deref(),
                    schema: format.schema.as_ref().map(Object),
                    strict: format.strict,
                };
                map.serialize_entry("json_schema", &schema)?;
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use signalbox_proto::common::v1::{Message, Part, ReasoningText, Role, Text, ToolCall, ToolResult};

    use super::*;
    use crate::json as wire_json;

    fn part(kind: part::Kind) -> Part {
        Part { kind: Some(kind), ..Default::default() }
    }

    fn text_part(text: &str) -> Part {
        part(part::Kind::Text(Text { text: text.into() }))
    }

    fn message(role: Role, parts: Vec<Part>) -> Message {
        Message { role: role.into(), parts, ..Default::default() }
    }

    fn write(request: &ChatRequest, provider: &str) -> Result<Value, RequestError> {
        let style = Style::of_provider(provider);
        let options = Options { model: "m", provider, style, stream: Some(true), include_usage: Some(true) };
        encode(request, &options).map(|bytes| serde_json::from_slice(&bytes).unwrap())
    }

    fn extra(value: Value) -> Option<Struct> {
        let Value::Object(map) = value else { unreachable!() };
        wire_json::fields(map).unwrap()
    }

    fn hello() -> ChatRequest {
        ChatRequest { messages: vec![message(Role::User, vec![text_part("hi")])], ..Default::default() }
    }

    #[test]
    fn the_least_request_is_small() {
        let want = json!({
            "model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": true,
            "stream_options": {"include_usage": true}
        });
        assert_eq!(write(&hello(), "x").unwrap(), want);
    }

    #[test]
    fn the_limit_is_spelt_as_the_provider_wants() {
        let sampling = Sampling { max_output_tokens: Some(7), ..Default::default() };
        let request = ChatRequest { sampling: Some(sampling), ..hello() };
        assert_eq!(write(&request, "openai").unwrap()["max_completion_tokens"], 7);
        assert_eq!(write(&request, "vllm").unwrap()["max_tokens"], 7);
    }

    #[test]
    fn every_tool_result_becomes_a_message() {
        let result = |id: &str| {
            part(part::Kind::ToolResult(ToolResult {
                call_id: id.into(),
                parts: vec![text_part(id)],
                is_error: None,
            }))
        };
        let call = ToolCall { id: "a".into(), name: "f".into(), arguments: "{}".into() };
        let request = ChatRequest {
            messages: vec![
                message(Role::Assistant, vec![part(part::Kind::ToolCall(call))]),
                message(Role::User, vec![result("a"), result("b"), text_part("go on")]),
            ],
            ..Default::default()
        };
        let want = json!([
            {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "a", "content": "a"},
            {"role": "tool", "tool_call_id": "b", "content": "b"},
            {"role": "user", "content": "go on"}
        ]);
        assert_eq!(write(&request, "x").unwrap()["messages"], want);
    }

    #[test]
    fn reasoning_goes_back_to_its_own_provider_only() {
        let thought = |provider: Option<&str>| ReasoningText {
            text: "hm".into(),
            signature: None,
            provider: provider.map(str::to_owned),
        };
        for (from, to, sent) in
            [(Some("deepseek"), "deepseek", true), (Some("deepseek"), "openai", false), (None, "x", false)]
        {
            let parts = vec![part(part::Kind::Reasoning(thought(from))), text_part("yes")];
            let request =
                ChatRequest { messages: vec![message(Role::Assistant, parts)], ..Default::default() };
            assert_eq!(write(&request, to).unwrap().to_string().contains("hm"), sent);
        }
    }

    #[test]
    fn extra_adds_but_never_replaces_or_smuggles() {
        let mut request = hello();
        request.sampling = Some(Sampling { temperature: Some(0.5), ..Default::default() });
        request.extra = extra(json!({"temperature": 2, "min_p": 0.1, "n": 1}));
        let written = write(&request, "x").unwrap();
        assert_eq!((&written["temperature"], &written["min_p"]), (&json!(0.5), &json!(0.1)));
        for bad in
            [json!({"messages": []}), json!({"model": "dear"}), json!({"stream": false}), json!({"n": 3})]
        {
            request.extra = extra(bad);
            assert!(write(&request, "x").unwrap_err().field.starts_with("extra."));
        }
        request.extra = None;
        request.messages[0].extra = extra(json!({"content": "other"}));
        assert_eq!(write(&request, "x").unwrap_err().field, "messages[0].extra.content");
    }

    #[test]
    fn mistral_has_its_own_spelling() {
        let call = |id: &str| {
            part(part::Kind::ToolCall(ToolCall { id: id.into(), name: "f".into(), arguments: "{}".into() }))
        };
        let thought = |provider: &str| {
            let thought =
                ReasoningText { text: "hm".into(), provider: Some(provider.into()), signature: None };
            part(part::Kind::Reasoning(thought))
        };
        let result = |id: &str| {
            let result = ToolResult { call_id: id.into(), parts: vec![text_part("ok")], is_error: None };
            part(part::Kind::ToolResult(result))
        };
        let request = ChatRequest {
            messages: vec![
                message(
                    Role::Assistant,
                    vec![thought("mistral"), text_part("x"), call("call_0123456789"), call("abcdefgh1")],
                ),
                message(Role::Tool, vec![result("call_0123456789"), result("abcdefgh1")]),
                message(Role::Assistant, vec![thought("openai"), text_part("y")]),
            ],
            sampling: Some(Sampling { seed: Some(7), ..Default::default() }),
            ..Default::default()
        };
        let target = crate::Target { provider: "mistral", model: "m", streams: true };
        let body = crate::Dialect::OpenAi.chat(&request, target).unwrap().body;
        let written: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (&written["random_seed"], written.get("seed"), written.get("stream_options")),
            (&json!(7), None, None)
        );
        let [asks, one, two, says] = written["messages"].as_array().unwrap().as_slice() else {
            panic!("{written}")
        };
        let id = asks["tool_calls"][0]["id"].as_str().unwrap();
        assert!(
            id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric()) && one["tool_call_id"] == id,
            "{written}"
        );
        assert_eq!(
            (&asks["tool_calls"][1]["id"], &two["tool_call_id"]),
            (&json!("abcdefgh1"), &json!("abcdefgh1"))
        );
        let thinking = json!([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "x"}]);
        assert_eq!((&asks["content"], &says["content"]), (&thinking, &json!("y")));
    }

    #[test]
    fn what_cannot_be_said_is_named() {
        assert_eq!(write(&ChatRequest::default(), "x").unwrap_err().field, "messages");
        let empty =
            ChatRequest { messages: vec![message(Role::User, vec![Part::default()])], ..Default::default() };
        assert_eq!(write(&empty, "x").unwrap_err().field, "messages[0].parts[0]");
    }
}
