//! As much of a request to Gemini as its tokens depend on.

use prost_types::{ListValue, Struct, Value as Proto, value::Kind};
use serde_json::Value;
use signalbox_proto::common::v1::{
    ChatRequest, JsonSchemaFormat, Media, Message, Part, Reasoning, ResponseFormat, Role, Text, Tool,
    ToolCall, media, part, response_format,
};

/// Reads a request; `None`: it has no contents.
pub(super) fn chat(body: &Value) -> Option<ChatRequest> {
    let body = body.get("generateContentRequest").unwrap_or(body);
    let mut messages = Vec::new();
    if let Some(system) = field(body, ["systemInstruction", "system_instruction"]) {
        messages.push(message(system, Role::System));
    }
    for content in body.get("contents")?.as_array()? {
        let role = if content["role"] == "model" { Role::Assistant } else { Role::User };
        messages.push(message(content, role));
    }
    let config = field(body, ["generationConfig", "generation_config"]).unwrap_or(&Value::Null);
    let schema = field(config, ["responseSchema", "responseJsonSchema"]).and_then(structure);
    let format =
        schema.map(|schema| JsonSchemaFormat { schema: Some(schema), ..JsonSchemaFormat::default() });
    Some(ChatRequest {
        messages,
        tools: tools(body),
        response_format: format
            .map(|format| ResponseFormat { kind: Some(response_format::Kind::JsonSchema(format)) }),
        reasoning: config.get("thinkingConfig").map(|_| Reasoning::default()),
        ..ChatRequest::default()
    })
}

fn field<'a>(object: &'a Value, names: [&str; 2]) -> Option<&'a Value> {
    names.iter().find_map(|name| object.get(*name)).filter(|value| !value.is_null())
}

fn tools(body: &Value) -> Vec<Tool> {
    let groups = match body.get("tools") {
        Some(Value::Array(groups)) => groups.iter().collect(),
        Some(group) => vec![group],
        None => Vec::new(),
    };
    let declared = groups
        .into_iter()
        .filter_map(|group| field(group, ["functionDeclarations", "function_declarations"])?.as_array())
        .flatten();
    let tool = |function: &Value| Tool {
        name: function["name"].as_str().unwrap_or_default().to_owned(),
        description: function["description"].as_str().map(str::to_owned),
        parameters: field(function, ["parameters", "parametersJsonSchema"]).and_then(structure),
        ..Tool::default()
    };
    declared.map(tool).collect()
}

fn message(content: &Value, role: Role) -> Message {
    let parts = match &content["parts"] {
        Value::Array(parts) => parts.iter().filter_map(part).collect(),
        one => part(one).into_iter().collect(),
    };
    Message { role: role.into(), parts, ..Message::default() }
}

fn part(part: &Value) -> Option<Part> {
    // What the model thought is not read again.
    if part["thought"] == true {
        return None;
    }
    let kind = match part {
        Value::Object(fields) if fields.contains_key("text") => {
            part::Kind::Text(Text { text: part["text"].as_str()?.to_owned() })
        }
        Value::Object(_) => match field(part, ["functionCall", "functionResponse"]) {
            Some(call) => part::Kind::ToolCall(ToolCall {
                name: call["name"].as_str().unwrap_or_default().to_owned(),
                arguments: field(call, ["args", "response"]).map(Value::to_string).unwrap_or_default(),
                ..ToolCall::default()
            }),
            None => shown(field(part, ["inlineData", "fileData"])?),
        },
        _ => return None,
    };
    Some(Part { kind: Some(kind), ..Part::default() })
}

fn shown(data: &Value) -> part::Kind {
    let content = data["fileUri"].as_str().map(|uri| media::Content::Url(uri.to_owned()));
    let media_type = data["mimeType"].as_str().unwrap_or_default().to_owned();
    let media = Media { content, media_type, ..Media::default() };
    match media.media_type.split('/').next() {
        Some("image") => part::Kind::Image(media),
        Some("audio" | "video") => part::Kind::Audio(media),
        _ => part::Kind::File(media),
    }
}

fn structure(value: &Value) -> Option<Struct> {
    let Value::Object(fields) = value else { return None };
    Some(Struct { fields: fields.iter().map(|(key, value)| (key.clone(), proto(value))).collect() })
}

fn proto(value: &Value) -> Proto {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(yes) => Kind::BoolValue(*yes),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(0.0)),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(items) => Kind::ListValue(ListValue { values: items.iter().map(proto).collect() }),
        Value::Object(_) => Kind::StructValue(structure(value).unwrap_or_default()),
    };
    Proto { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_what_tokens_depend_on() {
        let chat = chat(&json!({
            "systemInstruction": { "parts": [{ "text": "Be brief" }] },
            "contents": [
                { "role": "user", "parts": [{ "text": "Hi" }, { "inlineData": { "mimeType": "image/png", "data": "" } }] },
                { "role": "model", "parts": [{ "text": "secret", "thought": true }, { "functionCall": { "name": "f", "args": { "a": 1 } } }] },
            ],
            "tools": [{ "functionDeclarations": [{ "name": "f", "description": "d", "parameters": { "type": "OBJECT" } }] }],
            "generationConfig": { "responseSchema": { "type": "OBJECT" } },
        }))
        .unwrap();
        let roles: Vec<Role> = chat.messages.iter().map(Message::role).collect();
        assert_eq!(roles, [Role::System, Role::User, Role::Assistant]);
        assert_eq!((chat.messages[1].parts.len(), chat.messages[2].parts.len()), (2, 1));
        assert_eq!((chat.tools.len(), chat.response_format.is_some()), (1, true));
        assert!(super::chat(&json!({})).is_none());
    }
}
