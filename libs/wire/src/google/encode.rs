//! A `ChatRequest` as a JSON body.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost_types::Struct;
use serde_json::{Map, Value, json};
use signalbox_proto::common::v1::{
    ChatRequest, Media, Message, Part, Reasoning, ResponseFormat, Role, Sampling, Tool, ToolCall, ToolChoice,
    ToolResult, media, part, response_format, tool_choice,
};

use crate::RequestError;
use crate::json::{Object, text};

/// Fields of a request that Google knows besides those of our message. It refuses all others.
const OWN: [&str; 5] = ["safetySettings", "cachedContent", "labels", "modelArmorConfig", "serviceTier"];
/// Stands in for the signature of a call that another provider's model made, as Google's documentation of thought signatures
/// says.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// Is what the target adds to a request.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The model as the provider calls it.
    pub model: &'a str,
    /// The provider's name; earlier reasoning is sent only to the provider that wrote it.
    pub provider: &'a str,
}

/// Returns where a model is asked, below the base URL.
#[must_use]
pub fn path(model: &str, method: &str) -> String {
    let model = model.strip_prefix("models/").unwrap_or(model);
    format!("/models/{model}:{method}")
}

/// Writes a request. The same request gives the same bytes.
///
/// # Errors
///
/// The request holds something that this dialect cannot say; the error names it.
pub fn encode(request: &ChatRequest, options: &Options<'_>) -> Result<Bytes, RequestError> {
    let mut out = Map::new();
    let mut system = Vec::new();
    let mut contents = Contents { options, list: Vec::new(), names: HashMap::new() };
    for (i, message) in request.messages.iter().enumerate() {
        match message.role() {
            Role::System | Role::Developer => {
                for (j, part) in message.parts.iter().enumerate() {
                    system.extend(piece(part, &format!("messages[{i}].parts[{j}]"))?);
                }
            }
            _ => contents.add(message, i)?,
        }
    }
    if contents.list.is_empty() {
        return Err(RequestError::new("messages", "add at least one message that is not the system's"));
    }
    if !system.is_empty() {
        out.insert("systemInstruction".to_owned(), json!({ "parts": system }));
    }
    out.insert("contents".to_owned(), Value::Array(contents.list));
    if !request.tools.is_empty() {
        let list: Result<Vec<Value>, RequestError> = request.tools.iter().map(declaration).collect();
        out.insert("tools".to_owned(), json!([{ "functionDeclarations": list? }]));
    }
    if let Some(choice) = &request.tool_choice {
        out.insert("toolConfig".to_owned(), choose(choice));
    }
    let settings = settings(request)?;
    if !settings.is_empty() {
        out.insert("generationConfig".to_owned(), Value::Object(settings));
    }
    for (key, value) in request.extra.as_ref().map(object).transpose()?.unwrap_or_default() {
        if OWN.contains(&key.as_str()) {
            out.insert(key, value);
        }
    }
    write(&Value::Object(out))
}

/// Writes a request for vectors.
///
/// # Errors
///
/// None today; the signature is that of the other dialects.
pub fn embed(model: &str, inputs: &[String], dimensions: Option<u32>) -> Result<Bytes, RequestError> {
    let model = format!("models/{}", model.strip_prefix("models/").unwrap_or(model));
    let one = |input: &String| {
        let mut request = json!({ "model": model, "content": { "parts": [{ "text": input }] } });
        if let (Some(dimensions), Some(map)) = (dimensions, request.as_object_mut()) {
            map.insert("outputDimensionality".to_owned(), Value::from(dimensions));
        }
        request
    };
    write(&json!({ "requests": inputs.iter().map(one).collect::<Vec<_>>() }))
}

fn write(body: &Value) -> Result<Bytes, RequestError> {
    serde_json::to_vec(body).map(Bytes::from).map_err(|e| RequestError::new("chat", e.to_string()))
}

/// Turns a `Struct` into JSON.
fn object(fields: &Struct) -> Result<Map<String, Value>, RequestError> {
    match serde_json::to_value(Object(fields)) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Ok(Map::new()),
        Err(e) => Err(RequestError::new("extra", e.to_string())),
    }
}

/// Is the conversation, in which the roles must take turns.
struct Contents<'a> {
    options: &'a Options<'a>,
    list: Vec<Value>,
    /// The names of the functions called, by the call's id: results name the function.
    names: HashMap<&'a str, &'a str>,
}

impl<'a> Contents<'a> {
    fn add(&mut self, message: &'a Message, i: usize) -> Result<(), RequestError> {
        let role = if message.role() == Role::Assistant { "model" } else { "user" };
        let mut parts = Vec::with_capacity(message.parts.len());
        let mut called = false;
        for (j, part) in message.parts.iter().enumerate() {
            let field = format!("messages[{i}].parts[{j}]");
            match &part.kind {
                None => return Err(RequestError::new(field, "give the part a kind")),
                Some(part::Kind::ToolCall(call)) => {
                    self.names.insert(call.id.as_str(), call.name.as_str());
                    parts.push(self.call(call, part.extra.as_ref(), !called));
                    called = true;
                }
                Some(part::Kind::ToolResult(result)) => parts.extend(self.result(result, &field)?),
                Some(part::Kind::Reasoning(reasoning)) => {
                    // Thoughts are not sent back, only the signatures that stand beside calls and texts.
                    let own = reasoning.provider.as_deref() == Some(self.options.provider);
                    if let (true, Some(signature)) = (own, &reasoning.signature) {
                        parts.push(json!({ "text": "", "thoughtSignature": signature }));
                    }
                }
                Some(_) => parts.extend(piece(part, &field)?),
            }
        }
        if parts.is_empty() {
            return Ok(());
        }
        if let Some(last) = self.list.last_mut().filter(|last| last.get("role").is_some_and(|r| r == role))
            && let Some(Value::Array(before)) = last.get_mut("parts")
        {
            before.append(&mut parts);
            return Ok(());
        }
        self.list.push(json!({ "role": role, "parts": parts }));
        Ok(())
    }

    fn call(&self, call: &ToolCall, extra: Option<&Struct>, first: bool) -> Value {
        let args = match serde_json::from_str::<Value>(&call.arguments) {
            Ok(Value::Object(args)) => args,
            // What is no JSON object cannot be said; the model may still see what it wrote.
            _ if call.arguments.trim().is_empty() => Map::new(),
            _ => Map::from_iter([("invalid_json".to_owned(), Value::from(call.arguments.as_str()))]),
        };
        let mut part = Map::new();
        part.insert("functionCall".to_owned(), json!({ "name": call.name, "args": args }));
        let signature = text(extra, "thoughtSignature");
        // Gemini 3 refuses a first call without one.
        let stand_in = || (first && self.options.model.contains("gemini-3")).then_some(NO_SIGNATURE);
        if let Some(signature) = signature.or_else(stand_in) {
            part.insert("thoughtSignature".to_owned(), Value::from(signature));
        }
        Value::Object(part)
    }

    fn result(&self, result: &ToolResult, field: &str) -> Result<Vec<Value>, RequestError> {
        let name = self.names.get(result.call_id.as_str()).ok_or_else(|| {
            RequestError::new(
                format!("{field}.call_id"),
                "no earlier message holds the call that is answered",
            )
        })?;
        let (mut words, mut beside) = (String::new(), Vec::new());
        for part in &result.parts {
            match &part.kind {
                Some(part::Kind::Text(text)) => words.push_str(&text.text),
                _ => beside.extend(piece(part, field)?),
            }
        }
        let response = match serde_json::from_str::<Value>(&words) {
            Ok(Value::Object(map)) => map,
            _ => {
                let key = if result.is_error() { "error" } else { "output" };
                Map::from_iter([(key.to_owned(), Value::from(words))])
            }
        };
        let mut parts = vec![json!({ "functionResponse": { "name": name, "response": response } })];
        parts.append(&mut beside);
        Ok(parts)
    }
}

/// Writes a part that is neither call, result nor reasoning.
fn piece(part: &Part, field: &str) -> Result<Option<Value>, RequestError> {
    let extra = part.extra.as_ref();
    Ok(Some(match &part.kind {
        Some(part::Kind::Text(words) | part::Kind::Refusal(words)) => {
            // A part of this dialect's that has no place of its own is in `extra`, whole.
            if let (true, Some(extra)) = (words.text.is_empty(), extra) {
                return Ok(object(extra)?.remove("part"));
            }
            let mut out = Map::from_iter([("text".to_owned(), Value::from(words.text.as_str()))]);
            if let Some(signature) = text(extra, "thoughtSignature") {
                out.insert("thoughtSignature".to_owned(), Value::from(signature));
            }
            Value::Object(out)
        }
        Some(part::Kind::Image(media) | part::Kind::Audio(media) | part::Kind::File(media)) => {
            inline(media, field)?
        }
        _ => return Err(RequestError::new(field, "this provider takes text, images, sound and files here")),
    }))
}

fn inline(media: &Media, field: &str) -> Result<Value, RequestError> {
    let mut inner = Map::new();
    if !media.media_type.is_empty() {
        inner.insert("mimeType".to_owned(), Value::from(media.media_type.as_str()));
    }
    let (kind, key, value) = match &media.content {
        Some(media::Content::Data(data)) if !media.media_type.is_empty() => {
            ("inlineData", "data", STANDARD.encode(data))
        }
        Some(media::Content::Data(_)) => {
            return Err(RequestError::new(format!("{field}.media_type"), "name the media type"));
        }
        Some(media::Content::Url(url)) => ("fileData", "fileUri", url.clone()),
        Some(media::Content::FileId(id)) => ("fileData", "fileUri", id.clone()),
        None => return Err(RequestError::new(field, "give its URL, its bytes or a file's id")),
    };
    inner.insert(key.to_owned(), Value::from(value));
    Ok(Value::Object(Map::from_iter([(kind.to_owned(), Value::Object(inner))])))
}

fn declaration(tool: &Tool) -> Result<Value, RequestError> {
    let mut out = Map::from_iter([("name".to_owned(), Value::from(tool.name.as_str()))]);
    if let Some(description) = &tool.description {
        out.insert("description".to_owned(), Value::from(description.as_str()));
    }
    if let Some(parameters) = &tool.parameters {
        // The field that takes JSON Schema as it is; `parameters` takes a dialect of it.
        out.insert("parametersJsonSchema".to_owned(), Value::Object(object(parameters)?));
    }
    Ok(Value::Object(out))
}

fn choose(choice: &ToolChoice) -> Value {
    let mode = match choice.mode() {
        tool_choice::Mode::None => "NONE",
        tool_choice::Mode::Required | tool_choice::Mode::Named => "ANY",
        tool_choice::Mode::Auto | tool_choice::Mode::Unspecified => "AUTO",
    };
    let mut config = Map::from_iter([("mode".to_owned(), Value::from(mode))]);
    if let (tool_choice::Mode::Named, Some(name)) = (choice.mode(), &choice.name) {
        config.insert("allowedFunctionNames".to_owned(), json!([name]));
    }
    json!({ "functionCallingConfig": config })
}

fn settings(request: &ChatRequest) -> Result<Map<String, Value>, RequestError> {
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
            let schema = format.schema.as_ref().map(object).transpose()?;
            put("responseJsonSchema", schema.map(Value::Object));
        }
        Some(response_format::Kind::Text(_)) | None => {}
    }
    put("thinkingConfig", request.reasoning.as_ref().map(thinking));
    Ok(out)
}

fn thinking(reasoning: &Reasoning) -> Value {
    let mut out = Map::from_iter([("includeThoughts".to_owned(), Value::Bool(true))]);
    match (reasoning.max_tokens, reasoning.effort.as_deref()) {
        (Some(most), _) => out.insert("thinkingBudget".to_owned(), Value::from(most)),
        (None, Some("none")) => out.insert("thinkingBudget".to_owned(), Value::from(0)),
        (None, Some(effort)) => out.insert("thinkingLevel".to_owned(), Value::from(effort)),
        (None, None) => None,
    };
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(request: &str, model: &str) -> Value {
        let parsed = crate::openai::parse(request.as_bytes(), Some("openai")).unwrap();
        let options = Options { model, provider: "google" };
        let bytes = encode(&parsed.chat, &options).unwrap();
        assert_eq!(bytes, encode(&parsed.chat, &options).unwrap(), "the same bytes");
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn a_conversation_of_another_dialect_is_said_in_this_one() {
        let request = json!({
            "model": "m", "temperature": 0.5, "max_tokens": 7, "logit_bias": {"1": 2}, "user": "u",
            "stop": ["END"], "tool_choice": {"type": "function", "function": {"name": "look"}},
            "tools": [{"type": "function", "function": {"name": "look", "description": "d",
                "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}}],
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "What is it?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "look", "arguments": "{\"at\":\"x\"}"}},
                    {"id": "b", "type": "function", "function": {"name": "look", "arguments": ""}}]},
                {"role": "tool", "tool_call_id": "a", "content": "{\"seen\":1}"},
                {"role": "tool", "tool_call_id": "b", "content": "nothing"},
            ],
        });
        let want = json!({
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "contents": [
                {"role": "user", "parts": [{"text": "What is it?"},
                    {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]},
                {"role": "model", "parts": [
                    {"functionCall": {"name": "look", "args": {"at": "x"}}, "thoughtSignature": NO_SIGNATURE},
                    {"functionCall": {"name": "look", "args": {}}}]},
                {"role": "user", "parts": [
                    {"functionResponse": {"name": "look", "response": {"seen": 1}}},
                    {"functionResponse": {"name": "look", "response": {"output": "nothing"}}}]},
            ],
            "tools": [{"functionDeclarations": [{"name": "look", "description": "d",
                "parametersJsonSchema": {"type": "object", "properties": {"at": {"type": "string"}}}}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["look"]}},
            "generationConfig": {"temperature": 0.5, "maxOutputTokens": 7, "stopSequences": ["END"]},
        });
        let got = body(&request.to_string(), "gemini-3-pro");
        let number = |value: &Value, path: &str| value.pointer(path).and_then(Value::as_f64);
        assert_eq!(number(&got, "/contents/2/parts/0/functionResponse/response/seen"), Some(1.0));
        for key in ["systemInstruction", "tools", "toolConfig", "generationConfig"] {
            assert_eq!(got[key], want[key], "{key}");
        }
        assert_eq!(got["contents"][0], want["contents"][0]);
        assert_eq!(got["contents"][1], want["contents"][1]);
        assert_eq!(got["contents"][2]["parts"][1], want["contents"][2]["parts"][1]);
        assert_eq!(got.as_object().unwrap().len(), 5, "nothing that Google would refuse: {got}");
    }

    #[test]
    fn a_result_without_its_call_is_named() {
        let chat = ChatRequest {
            messages: vec![Message {
                role: Role::Tool.into(),
                parts: vec![Part {
                    kind: Some(part::Kind::ToolResult(ToolResult {
                        call_id: "x".into(),
                        ..Default::default()
                    })),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let error = encode(&chat, &Options { model: "m", provider: "google" }).unwrap_err();
        assert_eq!(error.field, "messages[0].parts[0].call_id");
    }
}
