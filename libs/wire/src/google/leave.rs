//! A request without what is Google's, for everybody else: a conversation may have begun there.

use std::borrow::Cow;

use prost_types::Struct;
use prost_types::value::Kind;
use signalbox_proto::common::v1::{ChatRequest, Message, Part, Tool, part};

use super::own::camel;
use crate::RequestError;
use crate::json::nested;

/// Fields of requests.
const REQUEST: [&str; 8] = [
    "cachedContent",
    "generationConfig",
    "google",
    "labels",
    "modelArmorConfig",
    "safetySettings",
    "systemInstruction",
    "toolConfig",
];

/// Fields of turns and parts.
const PIECE: [&str; 11] = [
    "fileData",
    "functionCall",
    "functionResponse",
    "google",
    "inlineData",
    "mediaResolution",
    "partMetadata",
    "parts",
    "thought",
    "thoughtSignature",
    "videoMetadata",
];

/// Tools that Google runs itself.
const TOOLS: [&str; 10] = [
    "codeExecution",
    "computerUse",
    "enterpriseWebSearch",
    "fileSearch",
    "googleMaps",
    "googleSearch",
    "googleSearchRetrieval",
    "mcpServers",
    "retrieval",
    "urlContext",
];

/// Returns the request as another dialect may write it; a copy only if something of Google's is in it.
///
/// # Errors
///
/// The request holds one of Google's own tools.
pub(crate) fn leave(request: &ChatRequest) -> Result<Cow<'_, ChatRequest>, RequestError> {
    if let Some(i) = request.tools.iter().position(is_own_tool) {
        let message = "one of Google's own tools; describe a function, or leave it out";
        return Err(RequestError::new(format!("tools[{i}]"), message));
    }
    let parts = || request.messages.iter().flat_map(|message| &message.parts);
    let clean = !has(request.extra.as_ref(), of_request)
        && !request.messages.iter().any(|message| has(message.extra.as_ref(), turn(message)))
        && !parts().any(|part| has(part.extra.as_ref(), of_piece) || is_whole(part))
        && !request.tools.iter().any(|tool| has(tool.extra.as_ref(), of_tool));
    if clean {
        return Ok(Cow::Borrowed(request));
    }
    let mut copy = request.clone();
    strip(&mut copy.extra, of_request);
    for message in &mut copy.messages {
        let of_turn = turn(message);
        strip(&mut message.extra, of_turn);
        message.parts.retain(|part| !is_whole(part));
        for part in &mut message.parts {
            strip(&mut part.extra, of_piece);
            if let Some(part::Kind::ToolResult(result)) = &mut part.kind {
                result.parts.retain(|part| !is_whole(part));
                result.parts.iter_mut().for_each(|part| strip(&mut part.extra, of_piece));
            }
        }
    }
    copy.tools.iter_mut().for_each(|tool| strip(&mut tool.extra, of_tool));
    Ok(Cow::Owned(copy))
}

fn is_own_tool(tool: &Tool) -> bool {
    let named = TOOLS.contains(&camel(&tool.name).as_str());
    let only = |extra: &Struct| extra.fields.len() == 1 && extra.fields.contains_key(&tool.name);
    named && tool.parameters.is_none() && tool.extra.as_ref().is_some_and(only)
}

/// Tells a part of Google's that has no place of its own.
fn is_whole(part: &Part) -> bool {
    matches!(&part.kind, Some(part::Kind::Text(words)) if words.text.is_empty())
        && nested(part.extra.as_ref(), "part").is_some()
}

type Field<'a> = (&'a str, &'a prost_types::Value);

fn of_request((key, value): Field<'_>) -> bool {
    let of_bedrock =
        |config: &Struct| ["toolChoice", "tools"].iter().any(|key| config.fields.contains_key(*key));
    match (camel(key).as_str(), &value.kind) {
        // Bedrock's is spelled alike.
        ("toolConfig", Some(Kind::StructValue(config))) => !of_bedrock(config),
        (name, _) => REQUEST.contains(&name),
    }
}

/// A turn's own word for its role is a mark of Google's, but for OpenAI's older results, which have a name.
fn turn(message: &Message) -> fn(Field<'_>) -> bool {
    if message.name.is_some() { |field| field.0 != "role" && of_turn(field) } else { of_turn }
}

fn of_turn((key, _): Field<'_>) -> bool {
    matches!(key, "google" | "parts" | "role")
}

fn of_piece((key, _): Field<'_>) -> bool {
    PIECE.contains(&camel(key).as_str())
}

fn of_tool((key, _): Field<'_>) -> bool {
    matches!(key, "functionDeclaration" | "google")
}

fn has(extra: Option<&Struct>, of_google: fn(Field<'_>) -> bool) -> bool {
    extra.is_some_and(|extra| extra.fields.iter().any(|(key, value)| of_google((key, value))))
}

fn strip(extra: &mut Option<Struct>, of_google: fn(Field<'_>) -> bool) {
    if let Some(fields) = extra {
        fields.fields.retain(|key, value| !of_google((key, value)));
        if fields.fields.is_empty() {
            *extra = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{Dialect, Target};

    #[test]
    fn a_conversation_that_began_at_google_goes_on_anywhere() {
        let raw = json!({
            "system_instruction": {"parts": [{"text": "s"}], "role": "user"},
            "contents": [
                {"parts": {"text": "a"}},
                {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}, "id": "1"}, "thoughtSignature": "x"},
                    {"executableCode": {"code": "1"}}]},
                {"role": "function", "parts": [{"function_response": {"name": "f", "response": {"a": 1}, "id": "1"}}]},
                {"role": "user", "parts": [{"inline_data": {"mime_type": "image/png", "data": "__-_"}, "videoMetadata": {}}]},
            ],
            "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT", "properties": {}}}]}],
            "generationConfig": {"candidateCount": 1}, "safetySettings": [{}], "toolConfig": {"retrievalConfig": {"a": 1}},
        });
        let chat =
            crate::google::parse(raw.to_string().as_bytes(), "gemini-3-pro", Some("google")).unwrap().chat;
        let names = "fileData|functionCall|functionResponse|functionDeclaration|inlineData|inline_data|thoughtSignature|videoMetadata|executableCode|generationConfig|safetySettings|retrievalConfig|system_instruction|OBJECT|google";
        let dialects =
            [Dialect::OpenAi, Dialect::Responses, Dialect::Anthropic, Dialect::Bedrock, Dialect::Cohere];
        for dialect in dialects {
            let mut chat = chat.clone();
            if dialect == Dialect::Cohere {
                // It takes no images from this model.
                chat.messages.pop();
            }
            let body = dialect.chat(&chat, Target { provider: "p", model: "m", streams: true }).unwrap().body;
            let body = std::str::from_utf8(&body).unwrap();
            assert!(names.split('|').all(|name| !body.contains(name)), "{dialect}: {body}");
        }
        let mut chat = chat;
        let own = json!({"contents": [{"parts": []}], "tools": [{"googleSearch": {}}]});
        chat.tools = crate::google::parse(own.to_string().as_bytes(), "m", None).unwrap().chat.tools;
        let error =
            Dialect::OpenAi.chat(&chat, Target { provider: "p", model: "m", streams: true }).unwrap_err();
        assert_eq!(error.field, "tools[0]");
    }
}
