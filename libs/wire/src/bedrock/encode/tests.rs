use serde_json::{Value, json};

use super::*;
use crate::openai;

/// What a caller of OpenAI's dialect sends, written for Bedrock.
fn from_openai(body: &Value) -> Result<Value, RequestError> {
    let chat = openai::parse(body.to_string().as_bytes(), Some("openai")).unwrap().chat;
    written(&chat)
}

fn written(chat: &ChatRequest) -> Result<Value, RequestError> {
    let options = Options { model: "us.anthropic.claude-sonnet-4-6", provider: "bedrock", alternate: true };
    encode(chat, &options).map(|bytes| serde_json::from_slice(&bytes).unwrap())
}

#[test]
fn an_openai_conversation_becomes_a_bedrock_one() {
    let got = from_openai(&json!({
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "text", "text": "Weather?", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,AAAA", "detail": "low"}}]},
            {"role": "assistant", "content": "", "reasoning_content": "foreign thoughts", "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "w", "arguments": "{\"c\":1}"}},
                {"id": "b", "type": "function", "function": {"name": "w", "arguments": "{broken"}}]},
            {"role": "tool", "tool_call_id": "a", "content": "sun"},
            {"role": "tool", "tool_call_id": "b", "content": "rain"},
            {"role": "user", "content": "And?"}],
        "tools": [{"type": "function", "function": {"name": "w"}}],
        "tool_choice": "required", "stop": "END", "max_tokens": 9, "seed": 4, "store": true, "user": "me",
        "reasoning_effort": "high"
    }));
    let want = json!({
        "messages": [
            {"role": "user", "content": [
                {"text": "Weather?"}, {"cachePoint": {"type": "default"}},
                {"image": {"format": "jpeg", "source": {"bytes": "AAAA"}}}]},
            {"role": "assistant", "content": [
                {"toolUse": {"toolUseId": "a", "name": "w", "input": {"c": 1}}},
                {"toolUse": {"toolUseId": "b", "name": "w", "input": {"invalid_json": "{broken"}}}]},
            {"role": "user", "content": [
                {"toolResult": {"toolUseId": "a", "content": [{"text": "sun"}]}},
                {"toolResult": {"toolUseId": "b", "content": [{"text": "rain"}]}},
                {"text": "And?"}]}],
        "system": [{"text": "Be brief."}],
        "inferenceConfig": {"maxTokens": 9, "stopSequences": ["END"]},
        "toolConfig": {
            "tools": [{"toolSpec": {"name": "w", "inputSchema": {"json": {"type": "object", "properties": {}}}}}],
            "toolChoice": {"any": {}}},
        "additionalModelRequestFields": {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}
    });
    assert_eq!(got.unwrap(), want);
}

#[test]
fn a_schema_is_sent_as_a_text() {
    let user = json!({"role": "user", "content": "x"});
    let got = from_openai(&json!({"model": "m", "messages": [user], "response_format": {
        "type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}}));
    let inner = json!({"schema": "{\"type\":\"object\"}", "name": "n"});
    let want = json!({"textFormat": {"type": "json_schema", "structure": {"jsonSchema": inner}}});
    assert_eq!(got.unwrap()["outputConfig"], want);
}

#[test]
fn what_cannot_be_said_is_named() {
    let field = |extra: Value| {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        from_openai(&body).unwrap_err().field
    };
    assert_eq!(field(json!({"response_format": {"type": "json_object"}})), "response_format");
    assert_eq!(field(json!({"system": [{"text": "obey"}]})), "extra.system");
    let hidden = json!({"additionalModelRequestFields": {"system": "obey"}});
    assert_eq!(field(hidden), "extra.additionalModelRequestFields.system");
    assert_eq!(field(json!({"tools": [{"type": "web_search"}]})), "tools[0]");
    let image = json!({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}});
    let asked = json!({"messages": [{"role": "user", "content": [image]}]});
    assert_eq!(field(asked), "messages[0].parts[0]");
}

#[test]
fn own_fields_pass_and_foreign_ones_do_not() {
    let body = json!({
        "messages": [{"role": "user", "content": [{"text": "x"}, {"newBlock": {"a": 1}}]}],
        "guardrailConfig": {"guardrailIdentifier": "g"}, "somethingNew": 3, "system": [],
    });
    let mut chat = super::super::parse(body.to_string().as_bytes(), "m", None).unwrap().chat;
    assert_eq!(written(&chat).unwrap(), body);
    let extra = chat.extra.get_or_insert_default();
    for foreign in ["store", "stream_options", "safetySettings", "user", "anthropic_version"] {
        extra.fields.insert(foreign.to_owned(), crate::json::string("x"));
    }
    assert_eq!(written(&chat).unwrap(), body);
}

#[test]
fn turns_that_do_not_alternate_are_known_as_such() {
    let turn = |role: &str| json!({"role": role, "content": [{"text": "x"}]});
    let empty = json!({"role": "assistant", "content": []});
    for (messages, alternate) in [
        (vec![turn("user"), turn("assistant"), turn("user")], true),
        (vec![turn("user"), turn("user")], false),
        (vec![turn("user"), empty, turn("user")], false),
    ] {
        let body = json!({ "messages": messages });
        let parsed = super::super::parse(body.to_string().as_bytes(), "m", None).unwrap();
        assert_eq!(parsed.alternate, alternate);
        let options = Options { model: "m", provider: "bedrock", alternate };
        let bytes = encode(&parsed.chat, &options).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), body);
    }
}

#[test]
fn blocks_of_every_kind_go_there_and_back() {
    let body = json!({
        "system": [{"text": "s"}, {"cachePoint": {"type": "default", "ttl": "1h"}}],
        "messages": [
            {"role": "user", "content": [
                {"text": ""}, {"type": "text", "text": "old"},
                {"guardContent": {"text": {"text": "judge me", "qualifiers": ["query"]}}},
                {"video": {"format": "mp4", "source": {"bytes": "AA=="}}},
                {"audio": {"format": "wav", "source": {"bytes": "AA=="}}},
                {"document": {"format": "pdf", "name": "a", "source": {"bytes": "AA=="}, "citations": {"enabled": true}}},
                {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/k", "bucketOwner": "1"}}}}]},
            {"role": "assistant", "content": [
                {"reasoningContent": {"reasoningText": {"text": "", "signature": "sig"}}},
                {"reasoningContent": {"redactedContent": "aGlkZGVu"}},
                {"toolUse": {"toolUseId": "t", "name": "n", "input": {"x": [1, 2.5]}, "type": "server_tool_use"}},
                {"toolResult": {"toolUseId": "t", "content": [{"json": {"a": null}}], "status": "error", "type": "r"}},
                {"citationsContent": {"content": [{"text": "c"}], "citations": []}}]}],
        "toolConfig": {"tools": [{"systemTool": {"name": "grounding"}}, {"cachePoint": {"type": "default"}}]},
        "inferenceConfig": {}
    });
    let chat = super::super::parse(body.to_string().as_bytes(), "m", Some("bedrock")).unwrap().chat;
    assert_eq!(written(&chat).unwrap(), body);
}

#[test]
fn a_conversation_that_says_nothing_here_is_named() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "x"}}]}]});
    assert_eq!(from_openai(&body).unwrap_err().field, "messages");
}
