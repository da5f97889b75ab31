use serde_json::json;
use signalbox_proto::common::v1::tool_choice::Mode;
use signalbox_proto::common::v1::{
    JsonObjectFormat, JsonSchemaFormat, Media, Message, Part, Reasoning, ReasoningText, Role, Text, Tool,
    ToolCall, ToolChoice, ToolResult, media, part,
};

use super::*;
use crate::anthropic::{default_max_tokens, headers, parse};
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

fn said(role: Role, text: &str) -> Message {
    message(role, vec![text_part(text)])
}

fn call(id: &str, arguments: &str) -> Part {
    part(part::Kind::ToolCall(ToolCall { id: id.into(), name: "f".into(), arguments: arguments.into() }))
}

fn result(id: &str) -> Part {
    part(part::Kind::ToolResult(ToolResult {
        call_id: id.into(),
        parts: vec![text_part("ok")],
        is_error: None,
    }))
}

fn extra(value: Value) -> Option<Struct> {
    let Value::Object(map) = value else { unreachable!() };
    wire_json::fields(map).unwrap()
}

fn chat(messages: Vec<Message>) -> ChatRequest {
    ChatRequest { messages, ..Default::default() }
}

fn hello() -> ChatRequest {
    chat(vec![said(Role::User, "hi")])
}

fn write_for(request: &ChatRequest, model: &str) -> Result<Value, RequestError> {
    let max_tokens = Some(default_max_tokens(model));
    let options = Options { model, provider: "anthropic", stream: Some(true), max_tokens };
    encode(request, &options).map(|bytes| serde_json::from_slice(&bytes).unwrap())
}

fn write(request: &ChatRequest) -> Value {
    write_for(request, "claude-sonnet-4-5").unwrap()
}

#[test]
fn the_least_request_is_small() {
    let want = json!({"model": "claude-sonnet-4-5", "max_tokens": 32000, "stream": true,
        "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(write(&hello()), want);
    assert_eq!(write_for(&hello(), "claude-3-haiku-20240307").unwrap()["max_tokens"], 4096);
}

#[test]
fn instructions_go_where_the_model_wants_them() {
    let one = chat(vec![said(Role::System, "be brief"), said(Role::User, "hi")]);
    assert_eq!(write(&one)["system"], "be brief");
    let late = chat(vec![
        said(Role::System, "a"),
        said(Role::Developer, "b"),
        said(Role::User, "hi"),
        said(Role::System, "c"),
        said(Role::User, "ho"),
    ]);
    let block = |text: &str| json!({"type": "text", "text": text});
    let old = write(&late);
    assert_eq!(old["system"], json!([block("a"), block("b"), block("c")]));
    assert_eq!(old["messages"].as_array().unwrap().len(), 2);
    let new = write_for(&late, "claude-opus-4-8").unwrap();
    assert_eq!(new["system"], json!([block("a"), block("b")]));
    assert_eq!(new["messages"][1], json!({"role": "system", "content": "c"}));
    let only = write(&chat(vec![said(Role::System, "a"), said(Role::System, "b")]));
    assert_eq!(
        (&only["system"], &only["messages"]),
        (&json!("a"), &json!([{"role": "user", "content": "b"}]))
    );
}

#[test]
fn results_of_parallel_calls_come_together() {
    let request = chat(vec![
        message(Role::Assistant, vec![text_part(""), call("a.1:2", "{\"x\":1}"), call("b", "")]),
        message(Role::Tool, vec![result("a.1:2")]),
        message(Role::Tool, vec![result("b")]),
        said(Role::User, "go on"),
    ]);
    let tool_use =
        |id: &str, input: Value| json!({"type": "tool_use", "id": id, "name": "f", "input": input});
    let answer = |id: &str| json!({"type": "tool_result", "tool_use_id": id, "content": "ok"});
    let want = json!([
        {"role": "assistant", "content": [tool_use("a_1_2", json!({"x": 1})), tool_use("b", json!({}))]},
        {"role": "user", "content": [answer("a_1_2"), answer("b")]},
        {"role": "user", "content": "go on"}
    ]);
    assert_eq!(write(&request)["messages"], want);
    let broken = chat(vec![message(Role::Assistant, vec![call("a", "{oops")])]);
    assert_eq!(write(&broken)["messages"][0]["content"][0]["input"], json!({"invalid_arguments": "{oops"}));
}

#[test]
fn thinking_goes_back_to_its_own_provider_only_and_signed() {
    let thought = |provider: Option<&str>, signature: Option<&str>| {
        part(part::Kind::Reasoning(ReasoningText {
            text: "hm".into(),
            signature: signature.map(str::to_owned),
            provider: provider.map(str::to_owned),
        }))
    };
    for (provider, signature, sent) in [
        (Some("anthropic"), Some("s"), true),
        (Some("anthropic"), None, false),
        (Some("openai"), Some("s"), false),
        (None, Some("s"), false),
    ] {
        let parts = vec![thought(provider, signature), text_part("yes")];
        let request = chat(vec![said(Role::User, "?"), message(Role::Assistant, parts)]);
        assert_eq!(write(&request).to_string().contains("hm"), sent, "{provider:?} {signature:?}");
    }
    let smuggled = Part { extra: extra(json!({"type": "thinking", "thinking": "hm"})), ..text_part("") };
    let request =
        chat(vec![said(Role::User, "?"), message(Role::Assistant, vec![smuggled, text_part("yes")])]);
    assert!(!write(&request).to_string().contains("hm"));
    let empty = chat(vec![
        said(Role::User, "?"),
        message(Role::Assistant, vec![thought(Some("openai"), Some("s"))]),
        said(Role::User, "!"),
    ]);
    assert_eq!(
        write(&empty)["messages"].as_array().unwrap().len(),
        2,
        "a turn that says nothing is left out"
    );
}

#[test]
fn media_take_the_form_of_their_kind() {
    let media = |content: media::Content, media_type: &str| Media {
        content: Some(content),
        media_type: media_type.into(),
        name: Some("n".into()),
        detail: Some("low".into()),
    };
    let data = || media::Content::Data(Bytes::from_static(b"abc"));
    let parts = vec![
        part(part::Kind::Image(media(data(), "image/png"))),
        part(part::Kind::Image(media(media::Content::Url("https://x/y".into()), ""))),
        part(part::Kind::File(media(data(), "application/pdf"))),
        part(part::Kind::File(media(data(), "text/csv"))),
        part(part::Kind::File(media(media::Content::FileId("file_1".into()), ""))),
    ];
    let request = chat(vec![message(Role::User, parts)]);
    let want = json!([
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "YWJj"}},
        {"type": "image", "source": {"type": "url", "url": "https://x/y"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "YWJj"}, "title": "n"},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "abc"}, "title": "n"},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}, "title": "n"}
    ]);
    assert_eq!(write(&request)["messages"][0]["content"], want);
    assert_eq!(headers(&request).unwrap()["anthropic-beta"], "files-api-2025-04-14");
    assert!(!headers(&hello()).unwrap().contains_key("anthropic-beta"));
}

#[test]
fn tools_choice_and_form_are_translated() {
    let tool = Tool {
        name: "f".into(),
        extra: extra(json!({"function": {"x": 1}, "cache_control": {"type": "ephemeral"}})),
        ..Default::default()
    };
    let format = JsonSchemaFormat {
        name: "n".into(),
        schema: extra(
            json!({"type": "object", "properties": {"type": {"anyOf": [{"type": "object"}, {"enum": [{"type": "object"}]}]}}}),
        ),
        strict: Some(true),
        description: None,
    };
    let mut request = ChatRequest {
        tools: vec![tool],
        tool_choice: Some(ToolChoice { mode: Mode::Named.into(), name: Some("f".into()) }),
        parallel_tool_calls: Some(false),
        response_format: Some(ResponseFormat { kind: Some(response_format::Kind::JsonSchema(format)) }),
        ..hello()
    };
    let written = write(&request);
    assert_eq!(
        written["tools"],
        json!([{"name": "f", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}])
    );
    assert_eq!(
        written["tool_choice"],
        json!({"type": "tool", "name": "f", "disable_parallel_tool_use": true})
    );
    assert_eq!(
        written["output_config"],
        json!({"format": {"type": "json_schema", "schema": {"type": "object", "additionalProperties": false, "properties":
            {"type": {"anyOf": [{"type": "object", "additionalProperties": false}, {"enum": [{"type": "object"}]}]}}}}})
    );
    request.tool_choice = None;
    request.response_format =
        Some(ResponseFormat { kind: Some(response_format::Kind::JsonObject(JsonObjectFormat {})) });
    let written = write(&request);
    assert_eq!(written["tool_choice"], json!({"type": "auto", "disable_parallel_tool_use": true}));
    assert_eq!(written["system"], JSON_ONLY);
}

#[test]
fn effort_becomes_what_the_model_understands() {
    let with = |effort: &str, model: &str| {
        let reasoning = Some(Reasoning { effort: Some(effort.into()), ..Default::default() });
        let written = write_for(&ChatRequest { reasoning, ..hello() }, model).unwrap();
        (written["output_config"]["effort"].clone(), written["thinking"]["budget_tokens"].clone())
    };
    assert_eq!(with("high", "claude-opus-4-6"), (json!("high"), Value::Null));
    assert_eq!(with("minimal", "claude-opus-4-6"), (json!("low"), Value::Null));
    assert_eq!(with("none", "claude-opus-4-6"), (Value::Null, Value::Null));
    assert_eq!(with("high", "claude-sonnet-4-5"), (Value::Null, json!(16384)));
    assert_eq!(with("high", "claude-3-5-haiku-20241022"), (Value::Null, Value::Null));
    let reasoning = Some(Reasoning { effort: Some("high".into()), ..Default::default() });
    let short = Sampling { max_output_tokens: Some(2000), ..Default::default() };
    let mut request = ChatRequest { reasoning, sampling: Some(short), ..hello() };
    assert_eq!(write(&request)["thinking"]["budget_tokens"], 1999);
    request.tool_choice = Some(ToolChoice { mode: Mode::Required.into(), name: None });
    assert_eq!(write(&request)["thinking"], Value::Null);
    let budget = Some(Reasoning { max_tokens: Some(40_000), ..Default::default() });
    let written = write(&ChatRequest { reasoning: budget, ..hello() });
    assert_eq!(
        (&written["thinking"]["budget_tokens"], &written["max_tokens"]),
        (&json!(40_000), &json!(44_096))
    );
}

#[test]
fn other_dialects_fields_stay_behind_and_unknown_ones_pass() {
    let mut request = hello();
    request.sampling =
        Some(Sampling { temperature: Some(1.5), top_p: Some(0.5), seed: Some(1), ..Default::default() });
    request.extra =
        extra(json!({"n": 1, "user": "u", "stream_options": {}, "metadata": {"trace": "x"}, "min_p": 0.1,
        "service_tier": "flex", "container": "c", "brand_new": true, "temperature": 7, "betas": ["b"]}));
    request.messages[0].name = Some("ann".into());
    request.messages[0].extra = extra(json!({"annotations": []}));
    request.messages[0].parts[0].extra =
        extra(json!({"type": "text", "cache_control": {"type": "ephemeral"}, "index": 0}));
    let want = json!({"model": "claude-sonnet-4-5", "max_tokens": 32000, "stream": true, "temperature": 1.0,
        "container": "c", "brand_new": true, "messages": [{"role": "user",
        "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]}]});
    assert_eq!(write(&request), want);
    assert_eq!(headers(&request).unwrap()["anthropic-beta"], "b");
    request.extra = extra(json!({"betas": ["a\nb"]}));
    assert_eq!(headers(&request).unwrap_err().field, "extra.betas");
    for key in ["model", "messages", "stream", "system"] {
        request.extra = extra(json!({key: "x"}));
        assert_eq!(write_for(&request, "m").unwrap_err().field, format!("extra.{key}"));
    }
}

#[test]
fn what_cannot_be_said_is_named() {
    let field = |request: &ChatRequest| write_for(request, "claude-sonnet-4-5").unwrap_err().field;
    assert_eq!(field(&ChatRequest::default()), "messages");
    let with = |part: Part| chat(vec![message(Role::User, vec![text_part("a"), part])]);
    assert_eq!(field(&with(Part::default())), "messages[0].parts[1]");
    assert_eq!(field(&with(part(part::Kind::Audio(Media::default())))), "messages[0].parts[1]");
    assert_eq!(field(&with(part(part::Kind::Image(Media::default())))), "messages[0].parts[1]");
    let foreign = Part { extra: extra(json!({"type": "video_url"})), ..text_part("") };
    assert_eq!(field(&with(foreign)), "messages[0].parts[1]");
    let tool = Tool { name: "x".into(), extra: extra(json!({"type": "file_search"})), ..Default::default() };
    assert_eq!(field(&ChatRequest { tools: vec![tool], ..hello() }), "tools[0]");
    let system = chat(vec![message(Role::System, vec![call("a", "")]), said(Role::User, "hi")]);
    assert_eq!(field(&system), "messages[0].parts[0]");
}

#[test]
fn a_request_read_and_written_again_is_equal() {
    let text = |t: &str| json!({"type": "text", "text": t});
    let body = json!({
        "model": "claude-opus-4-8", "max_tokens": 9, "stream": false, "system": [text("one")],
        "temperature": 0.5, "top_k": 3, "stop_sequences": ["END"], "service_tier": "standard_only", "metadata": {"user_id": "u"},
        "thinking": {"type": "enabled", "budget_tokens": 2000, "display": "omitted"},
        "output_config": {"effort": "max", "format": {"type": "json_schema", "schema": {}}, "task_budget": {"total": 1}},
        "tool_choice": {"type": "any", "disable_parallel_tool_use": false},
        "tools": [
            {"type": "custom", "name": "f", "input_schema": {"type": "object"}, "defer_loading": true, "strict": true},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
            {"type": "mcp_toolset", "mcp_server_name": "x"}
        ],
        "messages": [
            {"role": "user", "content": [text("only")]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "thinking", "thinking": "unsigned"},
                {"type": "redacted_thinking", "data": "d"}, text(""),
                {"type": "tool_use", "id": "a", "name": "f", "input": {"z": 1, "a": [null, 1.5]}, "caller": {"type": "direct"}},
                {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}}
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": [text("x")], "is_error": false, "cache_control": {"type": "ephemeral"}},
                {"type": "tool_result", "tool_use_id": "b", "content": []}, {"type": "tool_result", "tool_use_id": "c"},
                {"type": "tool_result", "tool_use_id": "d", "content": [{"type": "tool_reference", "tool_name": "f"},
                    {"type": "image", "source": {"type": "url", "url": "u"}}]},
                {"type": "document", "title": "t", "context": "c", "citations": {"enabled": true},
                    "source": {"type": "text", "media_type": "text/plain", "data": "plain"}},
                {"type": "document", "source": {"type": "base64", "media_type": "text/plain", "data": "YWJj"}, "title": null},
                {"type": "document", "source": {"type": "content", "content": "custom"}},
                {"type": "search_result", "source": "u", "title": "t", "content": [text("found")]},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "not base64"}},
                {"type": "container_upload", "file_id": "file_1"}
            ]},
            {"role": "system", "content": [{"type": "tool_addition", "tool": {"name": "g"}}]},
            {"role": "assistant", "content": []}
        ]
    });
    let parsed = parse(body.to_string().as_bytes(), Some("anthropic")).unwrap();
    let options =
        Options { model: &parsed.chat.model, provider: "anthropic", stream: parsed.stream, max_tokens: None };
    let written: Value = serde_json::from_slice(&encode(&parsed.chat, &options).unwrap()).unwrap();
    assert_eq!(written, body);
}
