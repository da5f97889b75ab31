use serde_json::Value;
use signalbox_proto::common::v1::{Reasoning, Tool, ToolCall, ToolResult};

use super::super::part::NO_SIGNATURE;
use super::*;

fn body(request: &str, model: &str) -> Value {
    let parsed = crate::openai::parse(request.as_bytes(), Some("openai")).unwrap();
    let options = Options { model, provider: "google", alternate: true };
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
                {"functionCall": {"name": "look"}}]},
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
                kind: Some(part::Kind::ToolResult(ToolResult { call_id: "x".into(), ..Default::default() })),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let error = encode(&chat, &Options { model: "m", provider: "google", alternate: true }).unwrap_err();
    assert_eq!(error.field, "messages[0].parts[0].call_id");
}

fn part(kind: part::Kind, extra: Value) -> Part {
    let extra = match extra {
        Value::Object(map) => crate::json::fields(map).unwrap(),
        _ => None,
    };
    Part { kind: Some(kind), source: 0, extra }
}

fn written(chat: &ChatRequest, model: &str) -> Result<Value, RequestError> {
    let bytes = encode(chat, &Options { model, provider: "google", alternate: true })?;
    Ok(serde_json::from_slice(&bytes).unwrap())
}

fn said(parts: Vec<Part>) -> ChatRequest {
    let message = Message { role: Role::User.into(), parts, ..Default::default() };
    ChatRequest { messages: vec![message], ..Default::default() }
}

fn text(words: &str) -> part::Kind {
    part::Kind::Text(signalbox_proto::common::v1::Text { text: words.to_owned() })
}

fn file(url: &str) -> part::Kind {
    use signalbox_proto::common::v1::{Media, media};
    part::Kind::File(Media { content: Some(media::Content::Url(url.to_owned())), ..Media::default() })
}

#[test]
fn media_by_url_say_what_they_are() {
    for (url, kind) in [
        ("https://x.test/a/B.PDF?sig=1.png", Some("application/pdf")),
        ("gs://bucket/film.mp4", Some("video/mp4")),
        ("https://www.youtube.com/watch?v=1", None),
    ] {
        let got = written(&said(vec![part(file(url), Value::Null)]), "gemini-2.5-flash").unwrap();
        let data = &got["contents"][0]["parts"][0]["fileData"];
        assert_eq!((data["fileUri"].as_str(), data["mimeType"].as_str()), (Some(url), kind));
    }
}

#[test]
fn what_is_googles_goes_on_and_what_is_not_stays_here() {
    let mut chat = said(vec![part(text("hi"), json!({"cache_control": {}, "videoMetadata": {"fps": 1}}))]);
    let extra = json!({
        "generationConfig": {"responseModalities": ["TEXT"], "temperature": 9}, "user": "u", "logit_bias": {},
        "toolConfig": {"retrievalConfig": {"languageCode": "de"}}, "safetySettings": [], "inferenceConfig": {},
    });
    chat.extra = part(text(""), extra).extra;
    chat.sampling = Some(Sampling { temperature: Some(0.5), ..Default::default() });
    let search = part(text(""), json!({"googleSearch": {}})).extra;
    let own = Tool { name: "googleSearch".into(), extra: search, ..Default::default() };
    chat.tools = vec![own, Tool { name: "f".into(), ..Default::default() }];
    let got = written(&chat, "gemini-2.5-flash").unwrap();
    assert_eq!(got["contents"][0]["parts"][0], json!({"text": "hi", "videoMetadata": {"fps": 1}}));
    assert_eq!(got["generationConfig"], json!({"temperature": 0.5, "responseModalities": ["TEXT"]}));
    assert_eq!(got["toolConfig"], json!({"retrievalConfig": {"languageCode": "de"}}));
    assert_eq!(got["tools"], json!([{"functionDeclarations": [{"name": "f"}]}, {"googleSearch": {}}]));
    let keys: Vec<&str> = got.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["contents", "tools", "generationConfig", "safetySettings", "toolConfig"]);
}

#[test]
fn nothing_comes_in_past_the_checks_and_no_tool_of_others() {
    let mut chat = said(vec![part(text("hi"), Value::Null)]);
    for bad in [
        json!({"systemInstruction": {"parts": []}}),
        json!({"google": {"contents": [1]}}),
        json!({"system_instruction": "x"}),
    ] {
        chat.extra = part(text(""), bad).extra;
        assert!(written(&chat, "m").unwrap_err().field.starts_with("extra."));
    }
    chat.extra = None;
    let search = part(text(""), json!({"type": "web_search_preview"})).extra;
    chat.tools = vec![Tool { name: "web_search_preview".into(), extra: search, ..Default::default() }];
    assert_eq!(written(&chat, "m").unwrap_err().field, "tools[0]");
    chat.tools.clear();
    assert_eq!(written(&chat, "claude-opus-4").unwrap_err().field, "model");
}

#[test]
fn ids_that_google_gave_go_back_and_ours_do_not() {
    let call =
        |id: &str| part::Kind::ToolCall(ToolCall { id: id.into(), name: "f".into(), arguments: "{}".into() });
    let result = |id: &str| {
        let parts = vec![part(text("ok"), Value::Null)];
        part(
            part::Kind::ToolResult(ToolResult { call_id: id.into(), parts, is_error: Some(true) }),
            Value::Null,
        )
    };
    let parts = vec![part(call("g"), json!({"functionCall": {"id": "g"}})), part(call("own"), Value::Null)];
    let message = |role: Role, parts| Message { role: role.into(), parts, ..Default::default() };
    let messages =
        vec![message(Role::Assistant, parts), message(Role::Tool, vec![result("g"), result("own")])];
    let got = written(&ChatRequest { messages, ..Default::default() }, "gemini-2.5-pro").unwrap();
    let want = json!([
        {"role": "model", "parts": [{"functionCall": {"id": "g", "name": "f", "args": {}}}, {"functionCall": {"name": "f", "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "id": "g", "response": {"error": "ok"}}},
            {"functionResponse": {"name": "f", "response": {"error": "ok"}}}]},
    ]);
    assert_eq!(got["contents"], want);
}

#[test]
fn thinking_is_asked_for_as_the_model_wants_it() {
    let mut chat = said(vec![part(text("hi"), Value::Null)]);
    chat.reasoning = Some(Reasoning { effort: Some("low".into()), ..Default::default() });
    let got = |chat: &ChatRequest, model| written(chat, model).unwrap()["generationConfig"].clone();
    assert_eq!(got(&chat, "gemini-2.5-pro"), json!({"thinkingConfig": {"thinkingBudget": 1024}}));
    assert_eq!(got(&chat, "gemini-3-pro"), json!({"thinkingConfig": {"thinkingLevel": "low"}}));
    assert_eq!(got(&chat, "gemini-1.5-pro"), Value::Null);
}
