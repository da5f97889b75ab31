//! A JSON body as a `ChatRequest`.

use serde_json::{Map, Value};
use signalbox_proto::common::v1::{
    ChatRequest, JsonObjectFormat, JsonSchemaFormat, Message, Part, Reasoning, ResponseFormat, Role,
    Sampling, Text, TextFormat, Tool, ToolChoice, part, response_format, tool_choice,
};

use super::item::messages;
use super::style::Style;
use crate::RequestError;
use crate::openai::body::Fields;

/// Is a request as it came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// What is asked. `model` is as the caller wrote it.
    pub chat: ChatRequest,
    /// `stream`. `None`: not given.
    pub stream: Option<bool>,
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
    let root = crate::json::root(body)?;
    let mut fields = Fields::new(root, String::new());
    let mut style = Style { instructions: false, ..Style::default() };
    let model = fields.text("model")?.ok_or_else(|| RequestError::new("model", "name the model"))?;
    let mut chat = ChatRequest { model, ..Default::default() };
    // Empty instructions say nothing; they stay in `extra`.
    if fields.get("instructions").is_some_and(|text| text != "")
        && let Some(text) = fields.text("instructions")?
    {
        style.instructions = true;
        chat.messages.push(plain(Role::System, text));
    }
    match fields.take("input") {
        None => {}
        Some(Value::String(text)) => {
            style.input_as_text = true;
            chat.messages.push(plain(Role::User, text));
        }
        Some(Value::Array(list)) => chat.messages.extend(messages(list, provider)?),
        Some(_) => return Err(RequestError::new("input", "give a text or a list of items")),
    }
    if let Some(value) = fields.take("tools") {
        let Value::Array(list) = value else {
            return Err(RequestError::new("tools", "give a list of tools"));
        };
        for (i, value) in list.into_iter().enumerate() {
            let tool = tool(value, i, &chat.tools)?;
            chat.tools.push(tool);
        }
    }
    chat.tool_choice = tool_choice(&mut fields)?;
    chat.parallel_tool_calls = fields.boolean("parallel_tool_calls")?;
    chat.response_format = format(&mut fields)?;
    chat.sampling = sampling(&mut fields)?;
    chat.reasoning = reasoning(&mut fields)?;
    let stream = fields.boolean("stream")?;
    chat.extra = fields.rest()?;
    Ok(Parsed { chat, stream, style })
}

fn plain(role: Role, text: String) -> Message {
    let part = Part { kind: Some(part::Kind::Text(Text { text })), source: 0, extra: None };
    Message { role: role.into(), parts: vec![part], name: None, extra: None }
}

fn sampling(fields: &mut Fields) -> Result<Option<Sampling>, RequestError> {
    let sampling = Sampling {
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        max_output_tokens: fields.small("max_output_tokens")?,
        top_logprobs: fields.small("top_logprobs")?,
        presence_penalty: fields.number("presence_penalty")?,
        frequency_penalty: fields.number("frequency_penalty")?,
        // Servers other than OpenAI's.
        top_k: fields.small("top_k")?,
        seed: fields.integer("seed")?,
        ..Default::default()
    };
    Ok((sampling != Sampling::default()).then_some(sampling))
}

/// Takes what our message can say; the rest of the object stays in `extra`.
fn reasoning(fields: &mut Fields) -> Result<Option<Reasoning>, RequestError> {
    let Some(value) = fields.take("reasoning") else { return Ok(None) };
    let Value::Object(map) = value else {
        return Err(RequestError::new("reasoning", "give an object"));
    };
    let mut inner = Fields::new(map, "reasoning".to_owned());
    let reasoning = Reasoning {
        effort: inner.text("effort")?,
        summary: inner.text("summary")?,
        max_tokens: inner.small("max_tokens")?,
    };
    let said = reasoning != Reasoning::default();
    let rest = inner.into_map();
    if !rest.is_empty() || !said {
        fields.put("reasoning", Value::Object(rest));
    }
    Ok(said.then_some(reasoning))
}

/// Takes a format that says nothing beyond our message; any other stays in `extra`, as `verbosity` does.
fn format(fields: &mut Fields) -> Result<Option<ResponseFormat>, RequestError> {
    use response_format::Kind;
    let Some(Value::Object(text)) = fields.get("text") else { return Ok(None) };
    let Some(Value::Object(map)) = text.get("format") else { return Ok(None) };
    let kind = match (map.get("type").and_then(Value::as_str), map.len()) {
        (Some("text"), 1) => Kind::Text(TextFormat {}),
        (Some("json_object"), 1) => Kind::JsonObject(JsonObjectFormat {}),
        (Some("json_schema"), _) => match schema(map)? {
            Some(format) => Kind::JsonSchema(format),
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    if let Some(Value::Object(mut text)) = fields.take("text") {
        text.remove("format");
        if !text.is_empty() {
            fields.put("text", Value::Object(text));
        }
    }
    Ok(Some(ResponseFormat { kind: Some(kind) }))
}

fn schema(map: &Map<String, Value>) -> Result<Option<JsonSchemaFormat>, RequestError> {
    let mut fields = Fields::new(map.clone(), "text.format".to_owned());
    fields.text("type")?;
    let format = JsonSchemaFormat {
        name: fields.text("name")?.unwrap_or_default(),
        schema: fields.object("schema")?,
        strict: fields.boolean("strict")?,
        description: fields.text("description")?,
    };
    Ok((fields.into_map().is_empty() && !format.name.is_empty()).then_some(format))
}

/// Takes a choice that our message can express; a choice of built-in tools or of several stays in `extra`.
fn tool_choice(fields: &mut Fields) -> Result<Option<ToolChoice>, RequestError> {
    use tool_choice::Mode;
    let (mode, name) = match fields.get("tool_choice") {
        None => return Ok(None),
        Some(Value::String(word)) => match word.as_str() {
            "auto" => (Mode::Auto, None),
            "none" => (Mode::None, None),
            "required" => (Mode::Required, None),
            _ => return Err(RequestError::new("tool_choice", "use auto, none, required, or an object")),
        },
        Some(Value::Object(map)) => {
            match (map.get("type").and_then(Value::as_str), map.get("name"), map.len()) {
                (Some("function"), Some(Value::String(name)), 2) => (Mode::Named, Some(name.clone())),
                _ => return Ok(None),
            }
        }
        Some(_) => return Err(RequestError::new("tool_choice", "use auto, none, required, or an object")),
    };
    fields.take("tool_choice");
    Ok(Some(ToolChoice { mode: mode.into(), name }))
}

fn tool(value: Value, i: usize, before: &[Tool]) -> Result<Tool, RequestError> {
    let at = format!("tools[{i}]");
    let Value::Object(map) = value else {
        return Err(RequestError::new(at, "give an object"));
    };
    let mut fields = Fields::new(map, at);
    let kind = fields.text("type")?.ok_or_else(|| RequestError::new(fields.path("type"), "name the type"))?;
    if kind == "function" {
        let name = fields
            .text("name")?
            .ok_or_else(|| RequestError::new(fields.path("name"), "name the function"))?;
        return Ok(Tool {
            name,
            description: fields.text("description")?,
            parameters: fields.object("parameters")?,
            strict: fields.boolean("strict")?,
            extra: fields.rest()?,
        });
    }
    // A tool of the provider's own: kept whole, named after its type and what tells it from others of the type.
    let label = ["name", "server_label"].iter().find_map(|key| fields.get(key)?.as_str());
    let full = label.map_or_else(|| kind.clone(), |label| format!("{kind}_{label}"));
    let mut name: String =
        full.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).take(120).collect();
    if before.iter().any(|tool| tool.name == name) {
        name.push_str(&format!("_{i}"));
    }
    fields.put("type", Value::String(kind));
    Ok(Tool { name, extra: fields.rest()?, ..Default::default() })
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
        assert_eq!(field(r#"{"input":"a"}"#), "model");
        let with = |rest: &str| field(&format!(r#"{{"model":"m",{rest}}}"#));
        assert_eq!(with(r#""input":7"#), "input");
        assert_eq!(with(r#""input":[7]"#), "input[0]");
        assert_eq!(with(r#""input":[{"role":"boss","content":"a"}]"#), "input[0].role");
        assert_eq!(with(r#""input":[{"role":"user","content":[{}]}]"#), "input[0].content[0].type");
        assert_eq!(with(r#""input":"a","temperature":"hot""#), "temperature");
        assert_eq!(with(r#""input":"a","reasoning":3"#), "reasoning");
        assert_eq!(with(r#""input":"a","tool_choice":"sometimes""#), "tool_choice");
        assert_eq!(with(r#""input":"a","tools":[{"type":"function"}]"#), "tools[0].name");
    }

    #[test]
    fn two_tools_of_one_kind_have_two_names() {
        let body = r#"{"model":"m","input":"a","tools":[{"type":"mcp","server_label":"a b"},{"type":"mcp","server_label":"c"},{"type":"mcp","server_label":"c"}]}"#;
        let tools = parse(body.as_bytes(), None).unwrap().chat.tools;
        assert_eq!(tools.iter().map(|t| &*t.name).collect::<Vec<_>>(), ["mcp_a_b", "mcp_c", "mcp_c_2"]);
    }
}
