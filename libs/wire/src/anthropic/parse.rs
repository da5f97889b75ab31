//! A JSON body as a `ChatRequest`: the way in at an Anthropic door, for messages and for the counting of their tokens.

use serde_json::{Map, Value};
use signalbox_proto::common::v1::tool_choice::Mode;
use signalbox_proto::common::v1::{
    ChatRequest, JsonSchemaFormat, Message, Reasoning, ResponseFormat, Role, Sampling, Tool, ToolChoice,
    response_format,
};

use super::body;
use crate::openai::body::Fields;
use crate::{RequestError, json};

/// The name of an answer's form, which has none in this dialect.
const FORM: &str = "answer";

/// Is a request as it came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// What is asked. `model` is as the caller wrote it.
    pub chat: ChatRequest,
    /// `stream`. `None`: not given.
    pub stream: Option<bool>,
}

/// Reads a request. `provider` is the provider for which the conversation's thinking was written, if it is known; without it, thinking
/// is kept but never sent on.
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
    let mut messages = Vec::with_capacity(list.len() + 1);
    if let Some(system) = fields.take("system") {
        let parts = body::content(system, "system".to_owned(), provider)?;
        messages.push(Message { role: Role::System.into(), parts, ..Default::default() });
    }
    for (i, value) in list.into_iter().enumerate() {
        messages.push(body::message(value, format!("messages[{i}]"), provider)?);
    }
    let tools = match fields.take("tools") {
        Some(Value::Array(list)) => {
            list.into_iter().enumerate().map(|(i, value)| tool(value, i)).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(RequestError::new("tools", "give a list of tools")),
        None => Vec::new(),
    };
    let (tool_choice, parallel_tool_calls) = tool_choice(&mut fields)?;
    let (effort, response_format) = output_config(&mut fields)?;
    let reasoning = Reasoning { effort, max_tokens: budget(&mut fields)?, summary: None };
    let sampling = sampling(&mut fields)?;
    let stream = fields.boolean("stream")?;
    let chat = ChatRequest {
        model,
        messages,
        tools,
        tool_choice,
        response_format,
        sampling: (sampling != Sampling::default()).then_some(sampling),
        extra: fields.rest()?,
        parallel_tool_calls,
        reasoning: (reasoning != Reasoning::default()).then_some(reasoning),
    };
    Ok(Parsed { chat, stream })
}

fn sampling(fields: &mut Fields) -> Result<Sampling, RequestError> {
    let stop = match fields.take("stop_sequences") {
        None => Vec::new(),
        Some(list) => serde_json::from_value(list)
            .map_err(|_| RequestError::new("stop_sequences", "give a list of texts"))?,
    };
    Ok(Sampling {
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        top_k: fields.small("top_k")?,
        max_output_tokens: fields.small("max_tokens")?,
        stop,
        ..Default::default()
    })
}

/// Reads a tool. One of the provider's own is kept whole, under its name.
fn tool(value: Value, i: usize) -> Result<Tool, RequestError> {
    let at = format!("tools[{i}]");
    let Value::Object(map) = value else {
        return Err(RequestError::new(at, "give an object"));
    };
    let mut fields = Fields::new(map, at.clone());
    let kind = fields.get("type").and_then(Value::as_str).unwrap_or("custom").to_owned();
    if kind != "custom" {
        let name = fields.get("name").and_then(Value::as_str).unwrap_or(&kind);
        let name =
            name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
        return Ok(Tool { name, extra: fields.rest()?, ..Default::default() });
    }
    Ok(Tool {
        name: fields.text("name")?.ok_or_else(|| RequestError::new(format!("{at}.name"), "name the tool"))?,
        description: fields.text("description")?,
        parameters: fields.object("input_schema")?,
        strict: fields.boolean("strict")?,
        extra: fields.rest()?,
    })
}

/// Reads `tool_choice`. One that says more than our message stays in `extra` as it is.
fn tool_choice(fields: &mut Fields) -> Result<(Option<ToolChoice>, Option<bool>), RequestError> {
    let wrong = || RequestError::new("tool_choice", "give an object with the type auto, any, tool or none");
    let map = match fields.get("tool_choice") {
        None => return Ok((None, None)),
        Some(Value::Object(map)) => map,
        Some(_) => return Err(wrong()),
    };
    let name = map.get("name").and_then(Value::as_str);
    let single = map.get("disable_parallel_tool_use").and_then(Value::as_bool);
    let mode = match map.get("type").and_then(Value::as_str).ok_or_else(wrong)? {
        "auto" => Mode::Auto,
        "any" => Mode::Required,
        "none" if single.is_none() => Mode::None,
        "tool" if name.is_some() => Mode::Named,
        "tool" => return Err(RequestError::new("tool_choice.name", "name the tool")),
        _ => return Ok((None, None)),
    };
    let name = name.filter(|_| mode == Mode::Named).map(str::to_owned);
    if map.len() != 1 + usize::from(name.is_some()) + usize::from(single.is_some()) {
        return Ok((None, None));
    }
    fields.take("tool_choice");
    Ok((Some(ToolChoice { mode: mode.into(), name }), single.map(|single| !single)))
}

/// Takes a budget of thinking tokens; any other way to think stays in `extra`.
fn budget(fields: &mut Fields) -> Result<Option<u32>, RequestError> {
    let is_budget = |map: &Map<String, Value>| {
        map.get("type").is_some_and(|kind| kind == "enabled") && map.contains_key("budget_tokens")
    };
    if !fields.get("thinking").and_then(Value::as_object).is_some_and(is_budget) {
        return Ok(None);
    }
    let mut map = object(fields, "thinking");
    let budget = map.remove("budget_tokens").and_then(|n| u32::try_from(n.as_u64()?).ok());
    map.remove("type");
    if !map.is_empty() {
        fields.put("thinking", Value::Object(map));
    }
    budget.map(Some).ok_or_else(|| RequestError::new("thinking.budget_tokens", "give a whole number"))
}

/// Takes the effort and the answer's form; the rest stays in `extra`.
fn output_config(fields: &mut Fields) -> Result<(Option<String>, Option<ResponseFormat>), RequestError> {
    let mut map = object(fields, "output_config");
    let was_empty = map.is_empty();
    let effort = match map.get("effort") {
        None | Some(Value::Null) => None,
        Some(Value::String(word)) => Some(word.clone()),
        Some(_) => return Err(RequestError::new("output_config.effort", "give a word")),
    };
    if effort.is_some() {
        map.remove("effort");
    }
    let format = map.get("format").and_then(Value::as_object).filter(|format| {
        format.len() == 2
            && format.get("type").is_some_and(|kind| kind == "json_schema")
            && format.get("schema").is_some_and(Value::is_object)
    });
    let schema = format.and_then(|format| format["schema"].as_object()).cloned();
    let response_format = match schema {
        None => None,
        Some(schema) => {
            map.remove("format");
            let schema = json::fields(schema)
                .map_err(|e| RequestError::new("output_config.format.schema", e.to_string()))?;
            let format = JsonSchemaFormat {
                name: FORM.to_owned(),
                schema: Some(schema.unwrap_or_default()),
                ..Default::default()
            };
            Some(ResponseFormat { kind: Some(response_format::Kind::JsonSchema(format)) })
        }
    };
    if !map.is_empty() && !was_empty {
        fields.put("output_config", Value::Object(map));
    }
    Ok((effort, response_format))
}

/// Takes an object; anything else stays where it is.
fn object(fields: &mut Fields, key: &str) -> Map<String, Value> {
    match fields.get(key) {
        Some(Value::Object(map)) if !map.is_empty() => {}
        _ => return Map::new(),
    }
    match fields.take(key) {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(body: &str) -> String {
        parse(body.as_bytes(), None).unwrap_err().field
    }

    #[test]
    fn errors_name_the_field() {
        assert_eq!(field("[]"), "body");
        assert_eq!(field("{"), "body");
        assert_eq!(field(r#"{"messages":[{"role":"user","content":"a"}]}"#), "model");
        assert_eq!(field(r#"{"model":"m","messages":[]}"#), "messages");
        assert_eq!(field(r#"{"model":"m","messages":[{"role":"tool","content":"a"}]}"#), "messages[0].role");
        assert_eq!(field(r#"{"model":"m","messages":[{"role":"user"}]}"#), "messages[0].content");
        assert_eq!(
            field(r#"{"model":"m","messages":[{"role":"user","content":[{}]}]}"#),
            "messages[0].content[0].type"
        );
        assert_eq!(
            field(r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text"}]}]}"#),
            "messages[0].content[0].text"
        );
        let with = |rest: &str| {
            field(&format!(r#"{{"model":"m","messages":[{{"role":"user","content":"a"}}],{rest}}}"#))
        };
        assert_eq!(with(r#""temperature":"hot""#), "temperature");
        assert_eq!(with(r#""max_tokens":-1"#), "max_tokens");
        assert_eq!(with(r#""stop_sequences":"x""#), "stop_sequences");
        assert_eq!(with(r#""tools":[{"description":"x"}]"#), "tools[0].name");
        assert_eq!(with(r#""tool_choice":"auto""#), "tool_choice");
        assert_eq!(with(r#""tool_choice":{"type":"tool"}"#), "tool_choice.name");
        assert_eq!(with(r#""thinking":{"type":"enabled","budget_tokens":"much"}"#), "thinking.budget_tokens");
        assert_eq!(with(r#""system":7"#), "system");
    }

    #[test]
    fn deep_json_is_refused_before_it_reaches_protobuf() {
        let deep = format!("{}1{}", "[".repeat(60), "]".repeat(60));
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"a"}}],"x":{deep}}}"#);
        assert!(parse(body.as_bytes(), None).unwrap_err().message.contains("deep"));
        let mut block = r#"{"type":"text","text":"a"}"#.to_owned();
        for _ in 0..30 {
            block = format!(r#"{{"type":"tool_result","tool_use_id":"i","content":[{block}]}}"#);
        }
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{block}]}}]}}"#);
        assert!(parse(body.as_bytes(), None).unwrap_err().message.contains("deep"));
    }
}
