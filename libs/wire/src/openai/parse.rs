//! A JSON body as a `ChatRequest`: the way in at an OpenAI-compatible door.

use prost_types::Struct;
use serde_json::{Map, Value};
use signalbox_proto::common::v1::{
    ChatRequest, JsonObjectFormat, JsonSchemaFormat, Reasoning, ResponseFormat, Sampling, TextFormat, Tool,
    ToolChoice, response_format, tool_choice,
};

use super::body::{Fields, messages};
use super::style::{OutputLimit, ReasoningField, Style};
use crate::{RequestError, json};

/// Is a request as it came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// What is asked. `model` is as the caller wrote it.
    pub chat: ChatRequest,
    /// `stream`. `None`: not given.
    pub stream: Option<bool>,
    /// `stream_options.include_usage`. `None`: not given.
    pub include_usage: Option<bool>,
    /// How the caller spells the dialect.
    pub style: Style,
}

/// Reads a request. `provider` is the provider for which the conversation's reasoning was written, if it is known;
/// without it, reasoning is kept but never sent on.
///
/// # Errors
///
/// The body is no JSON object, or a known field has the wrong form; the error names the field.
pub fn parse(body: &[u8], provider: Option<&str>) -> Result<Parsed, RequestError> {
    read(body, None, provider)
}

/// Reads a request as [`parse`] does, for a door where the model stands in the path, as at Azure: the body need not name it.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_for(body: &[u8], model: &str, provider: Option<&str>) -> Result<Parsed, RequestError> {
    read(body, Some(model), provider)
}

fn read(body: &[u8], in_path: Option<&str>, provider: Option<&str>) -> Result<Parsed, RequestError> {
    let root = json::root(body)?;
    let mut style = Style::default();
    let mut fields = Fields::new(root, String::new());
    let model = fields.text("model")?.or_else(|| in_path.map(str::to_owned));
    let model = model.ok_or_else(|| RequestError::new("model", "name the model"))?;
    let Some(Value::Array(list)) = fields.take("messages") else {
        return Err(RequestError::new("messages", "give a list of at least one message"));
    };
    let messages = messages(list, provider, &mut style)?;
    if fields.get("n").and_then(Value::as_u64).is_some_and(|n| n > 1) {
        return Err(RequestError::new("n", "ask for one answer at a time"));
    }
    let tools = match fields.take("tools") {
        Some(Value::Array(list)) => tools(list, &mut style)?,
        Some(_) => return Err(RequestError::new("tools", "give a list of tools")),
        None => Vec::new(),
    };
    let tool_choice = fields.take("tool_choice").map(|value| tool_choice(&value, &mut style)).transpose()?;
    let response_format = response_format(&mut fields)?;
    let sampling = sampling(&mut fields, &mut style)?;
    let reasoning = fields
        .text("reasoning_effort")?
        .map(|effort| Reasoning { effort: Some(effort), ..Default::default() });
    let stream = fields.boolean("stream")?;
    let include_usage = stream_options(&mut fields)?;
    let parallel_tool_calls = fields.boolean("parallel_tool_calls")?;
    let chat = ChatRequest {
        model,
        messages,
        tools,
        tool_choice,
        response_format,
        sampling,
        extra: fields.rest()?,
        parallel_tool_calls,
        reasoning,
    };
    Ok(Parsed { chat, stream, include_usage, style })
}

fn stream_options(fields: &mut Fields) -> Result<Option<bool>, RequestError> {
    let Some(Value::Object(options)) = fields.take("stream_options") else { return Ok(None) };
    let mut options = Fields::new(options, "stream_options".into());
    let include = options.boolean("include_usage")?;
    let others = options.into_map();
    if !others.is_empty() {
        fields.put("stream_options", Value::Object(others));
    }
    Ok(include)
}

fn sampling(fields: &mut Fields, style: &mut Style) -> Result<Option<Sampling>, RequestError> {
    let mut max_output_tokens = fields.small("max_completion_tokens")?;
    if max_output_tokens.is_some() {
        style.output_limit = OutputLimit::MaxCompletionTokens;
    } else {
        max_output_tokens = fields.small("max_tokens")?;
    }
    let stop = match fields.take("stop") {
        None => Vec::new(),
        Some(Value::String(one)) => {
            style.stop_as_text = true;
            vec![one]
        }
        Some(list) => serde_json::from_value(list)
            .map_err(|_| RequestError::new("stop", "give a text or a list of texts"))?,
    };
    let logit_bias = match fields.take("logit_bias") {
        None => Default::default(),
        Some(map) => serde_json::from_value(map)
            .map_err(|_| RequestError::new("logit_bias", "give an object of token ids and numbers"))?,
    };
    let sampling = Sampling {
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        top_k: fields.small("top_k")?,
        max_output_tokens,
        stop,
        seed: match fields.integer("seed")? {
            None if fields.get("random_seed").is_some_and(Value::is_i64) => {
                style.random_seed = true;
                fields.integer("random_seed")?
            }
            seed => seed,
        },
        presence_penalty: fields.number("presence_penalty")?,
        frequency_penalty: fields.number("frequency_penalty")?,
        logit_bias,
        logprobs: fields.boolean("logprobs")?,
        top_logprobs: fields.small("top_logprobs")?,
    };
    Ok((sampling != Sampling::default()).then_some(sampling))
}

fn tools(list: Vec<Value>, style: &mut Style) -> Result<Vec<Tool>, RequestError> {
    list.into_iter().enumerate().map(|(i, value)| tool(value, i, style)).collect()
}

fn tool(value: Value, i: usize, style: &mut Style) -> Result<Tool, RequestError> {
    let at = format!("tools[{i}]");
    let Value::Object(map) = value else {
        return Err(RequestError::new(at, "give an object"));
    };
    let mut fields = Fields::new(map, at.clone());
    let kind = fields.text("type")?;
    if let Some(kind) = kind.as_deref().filter(|k| *k != "function") {
        // A tool of the provider's own: kept whole, named after its type so that names stay valid.
        let name =
            kind.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
        fields.put("type", Value::String(kind.to_owned()));
        return Ok(Tool { name, extra: fields.rest()?, ..Default::default() });
    }
    style.tool_type = kind.is_some();
    let Some(Value::Object(function)) = fields.take("function") else {
        return Err(RequestError::new(format!("{at}.function"), "describe the function"));
    };
    let mut function = Fields::new(function, format!("{at}.function"));
    let name = function
        .text("name")?
        .ok_or_else(|| RequestError::new(format!("{at}.function.name"), "name the function"))?;
    let tool = Tool {
        name,
        description: function.text("description")?,
        parameters: function.object("parameters")?,
        strict: function.boolean("strict")?,
        extra: None,
    };
    let inner = function.into_map();
    if !inner.is_empty() {
        fields.put("function", Value::Object(inner));
    }
    Ok(Tool { extra: fields.rest()?, ..tool })
}

fn tool_choice(value: &Value, style: &mut Style) -> Result<ToolChoice, RequestError> {
    use tool_choice::Mode;
    let wrong = || {
        RequestError::new(
            "tool_choice",
            "use auto, none, required, or {\"type\": \"function\", \"function\": {\"name\": …}}",
        )
    };
    let (mode, name) = match value {
        Value::String(word) => match word.as_str() {
            "auto" => (Mode::Auto, None),
            "none" => (Mode::None, None),
            "required" => (Mode::Required, None),
            "any" => {
                style.any_for_required = true;
                (Mode::Required, None)
            }
            _ => return Err(wrong()),
        },
        Value::Object(map) => {
            let name =
                map.get("function").and_then(|f| f.get("name")).and_then(Value::as_str).ok_or_else(wrong)?;
            style.choice_type = map.contains_key("type");
            (Mode::Named, Some(name.to_owned()))
        }
        _ => return Err(wrong()),
    };
    Ok(ToolChoice { mode: mode.into(), name })
}

/// Takes a format that says nothing beyond our message; any other stays in `extra` as it is.
fn response_format(fields: &mut Fields) -> Result<Option<ResponseFormat>, RequestError> {
    use response_format::Kind;
    let Some(Value::Object(map)) = fields.get("response_format") else { return Ok(None) };
    let kind = match (map.get("type").and_then(Value::as_str), map.len()) {
        (Some("text"), 1) => Kind::Text(TextFormat {}),
        (Some("json_object"), 1) => Kind::JsonObject(JsonObjectFormat {}),
        (Some("json_schema"), 2) => match map.get("json_schema") {
            Some(Value::Object(schema)) => match json_schema(schema)? {
                Some(format) => Kind::JsonSchema(format),
                None => return Ok(None),
            },
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    fields.take("response_format");
    Ok(Some(ResponseFormat { kind: Some(kind) }))
}

fn json_schema(map: &Map<String, Value>) -> Result<Option<JsonSchemaFormat>, RequestError> {
    let mut fields = Fields::new(map.clone(), "response_format.json_schema".into());
    let format = JsonSchemaFormat {
        name: fields.text("name")?.unwrap_or_default(),
        schema: fields.object("schema")?,
        strict: fields.boolean("strict")?,
        description: fields.text("description")?,
    };
    Ok((fields.into_map().is_empty() && !format.name.is_empty()).then_some(format))
}

/// Takes the reasoning of an earlier turn out of a message, with the fields that belong to it.
pub(super) fn reasoning(
    fields: &mut Fields,
    style: &mut Style,
) -> Result<Option<(String, Option<Struct>)>, RequestError> {
    let mut beside = Map::new();
    let mut text = None;
    for (key, field) in
        [("reasoning_content", ReasoningField::ReasoningContent), ("reasoning", ReasoningField::Reasoning)]
    {
        if !fields.get(key).is_some_and(Value::is_string) {
            continue;
        }
        let found = fields.text(key)?.unwrap_or_default();
        if text.is_none() && !found.is_empty() {
            style.reasoning = field;
            text = Some(found);
        } else {
            beside.insert(key.to_owned(), Value::String(found));
        }
    }
    if let Some(details) = fields.take("reasoning_details") {
        beside.insert("reasoning_details".to_owned(), details);
    }
    if text.is_none() && beside.is_empty() {
        return Ok(None);
    }
    let extra = json::fields(beside).map_err(|e| RequestError::new("messages", e.to_string()))?;
    Ok(Some((text.unwrap_or_default(), extra)))
}

#[cfg(test)]
mod tests {
    use signalbox_proto::common::v1::Role;

    use super::super::{Options, encode};
    use super::*;

    fn field(body: &str) -> String {
        parse(body.as_bytes(), None).unwrap_err().field
    }

    #[test]
    fn errors_name_the_field() {
        assert_eq!(field("[]"), "body");
        assert_eq!(field("{"), "body");
        assert_eq!(field(r#"{"messages":[{"role":"user","content":"a"}]}"#), "model");
        assert_eq!(field(r#"{"model":"m"}"#), "messages");
        assert_eq!(field(r#"{"model":"m","messages":[{"role":"boss"}]}"#), "messages[0].role");
        assert_eq!(
            field(r#"{"model":"m","messages":[{"role":"user","content":[{}]}]}"#),
            "messages[0].content[0].type"
        );
        let with = |rest: &str| {
            field(&format!(r#"{{"model":"m","messages":[{{"role":"user","content":"a"}}],{rest}}}"#))
        };
        assert_eq!(with(r#""temperature":"hot""#), "temperature");
        assert_eq!(with(r#""n":2"#), "n");
        assert_eq!(with(r#""tools":[{"type":"function"}]"#), "tools[0].function");
        assert_eq!(with(r#""tool_choice":"sometimes""#), "tool_choice");
    }

    #[test]
    fn results_may_name_their_function_or_nothing_and_come_back_so() {
        let body = r#"{"model":"m","messages":[
            {"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{}"}},
            {"role":"assistant","content":null,"tool_calls":[{"type":"function","function":{"name":"f","arguments":"{}"}},
                {"id":"","type":"function","function":{"name":"f","arguments":"{}"}}]},
            {"role":"function","name":"f","content":"ok"},{"role":"tool","tool_call_id":null,"content":"ok"}]}"#;
        let parsed = parse(body.as_bytes(), Some("p")).unwrap();
        assert!(parsed.chat.messages[2..].iter().all(|message| message.role() == Role::Tool));
        let options =
            Options { model: "m", provider: "p", style: parsed.style, stream: None, include_usage: None };
        let written: Value = serde_json::from_slice(&encode(&parsed.chat, &options).unwrap()).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(body).unwrap());
    }

    #[test]
    fn deep_json_is_refused_before_it_reaches_protobuf() {
        let deep = format!("{}1{}", "[".repeat(60), "]".repeat(60));
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"a"}}],"x":{deep}}}"#);
        assert!(parse(body.as_bytes(), None).unwrap_err().message.contains("deep"));
    }
}
