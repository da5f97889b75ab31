use signalbox_proto::common::v1::{
    JsonSchemaFormat, Media, Part, Reasoning, ReasoningText, ResponseFormat, Text, ToolCall, ToolResult,
    media,
};

use super::*;
use crate::json as wire_json;
use crate::openai;
use crate::responses::parse;

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
    let style = Style { private: false, ..Style::of_provider(provider) };
    let options = Options { model: "m", provider, style, stream: None };
    encode(request, &options).map(|bytes| serde_json::from_slice(&bytes).unwrap())
}

fn extra(value: Value) -> Option<Struct> {
    let Value::Object(map) = value else { unreachable!() };
    wire_json::fields(map).unwrap()
}

fn hello() -> ChatRequest {
    ChatRequest { messages: vec![message(Role::User, vec![text_part("hi")])], ..Default::default() }
}

/// Reads and writes a body of this dialect.
fn again(body: &Value, provider: &str) -> Value {
    let parsed = parse(body.to_string().as_bytes(), Some("openai")).unwrap();
    let options = Options { model: &parsed.chat.model, provider, style: parsed.style, stream: parsed.stream };
    serde_json::from_slice(&encode(&parsed.chat, &options).unwrap()).unwrap()
}

#[test]
fn a_chat_completions_request_is_said_in_this_dialect() {
    let body = json!({
        "model": "m", "max_tokens": 99, "temperature": 0.5, "reasoning_effort": "low", "verbosity": "low", "user": "u",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "text", "text": "What is this?", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}
            ]},
            {"role": "assistant", "content": null, "refusal": null, "reasoning_content": "hm", "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}
            ]},
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "2"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]}
        ],
        "tools": [
            {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": true}},
            {"type": "custom", "custom": {"name": "c", "description": "d"}}
        ],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": true}},
        "stream": true, "stream_options": {"include_usage": true}, "logprobs": true, "top_logprobs": 2, "n": 1, "seed": 4
    });
    let parsed = openai::parse(body.to_string().as_bytes(), Some("deepseek")).unwrap();
    let want = json!({
        "model": "m", "instructions": "Be brief.", "max_output_tokens": 99, "temperature": 0.5, "user": "u",
        "reasoning": {"effort": "low"}, "top_logprobs": 2, "include": ["message.output_text.logprobs"],
        "text": {"verbosity": "low", "format":
            {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": true}},
        "tool_choice": {"type": "function", "name": "f"},
        "tools": [
            {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": true},
            {"type": "custom", "name": "c", "description": "d"}
        ],
        "input": [
            {"role": "user", "content": [
                {"type": "input_text", "text": "What is this?"},
                {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"},
                {"type": "input_file", "file_data": "data:application/pdf;base64,AAAA", "filename": "file.pdf"},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}
            ]},
            {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
            {"type": "function_call", "call_id": "b", "name": "g", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "a", "output": "1"},
            {"type": "function_call_output", "call_id": "b", "output": [{"type": "input_text", "text": "2"}]},
            {"role": "assistant", "content": [
                {"type": "output_text", "text": "One."}, {"type": "output_text", "text": "Two."}
            ]}
        ]
    });
    assert_eq!(write(&parsed.chat, "openai").unwrap(), want);
}

#[test]
fn a_request_of_this_dialect_is_said_in_chat_completions() {
    let body = r#"{
        "model": "m", "instructions": "i", "include": ["x"], "truncation": "auto", "text": {"verbosity": "low"}, "user": "u",
        "tools": [{"type": "function", "name": "f", "parameters": {}, "defer_loading": true}],
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "one"}]},
            {"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "two"}, {"type": "input_image", "image_url": "https://e.com/a", "detail": "low"}
            ]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
            {"type": "web_search_call", "id": "ws_1", "status": "completed"},
            {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "phase": "commentary", "content": [
                {"type": "output_text", "text": "Yes", "annotations": [], "logprobs": []}
            ]},
            {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed"},
            {"type": "function_call_output", "id": "x", "call_id": "c", "output": "r", "status": "completed"},
            {"type": "compaction", "encrypted_content": "c"},
            {"type": "shell_call_output", "call_id": "d", "output": []}
        ]
    }"#;
    let mut parsed = parse(body.as_bytes(), Some("openai")).unwrap().chat;
    let options = openai::Options {
        model: "m",
        provider: "groq",
        style: openai::Style::default(),
        stream: None,
        include_usage: None,
    };
    let want = json!({
        "model": "m", "user": "u",
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "messages": [
            {"role": "system", "content": "i"},
            {"role": "user", "content": [{"type": "text", "text": "one"}]},
            {"role": "user", "content": [
                {"type": "text", "text": "two"},
                {"type": "image_url", "image_url": {"url": "https://e.com/a", "detail": "low"}}
            ]},
            {"role": "assistant", "content": [{"type": "text", "text": "Yes"}], "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ]},
            {"role": "tool", "tool_call_id": "c", "content": "r"}
        ]
    });
    let written: Value = serde_json::from_slice(&openai::encode(&parsed, &options).unwrap()).unwrap();
    assert_eq!(written, want);
    parsed.extra = extra(json!({"previous_response_id": "r"}));
    assert_eq!(openai::encode(&parsed, &options).unwrap_err().field, "extra.previous_response_id");
}

#[test]
fn what_the_servers_own_reference_names_comes_back_equal() {
    let body = r##"{
        "model": "m", "instructions": "i", "store": true, "include": ["file_search_call.results"], "max_tool_calls": 3,
        "previous_response_id": "resp_1", "metadata": {"a": "b"}, "truncation": "auto", "stream": true,
        "stream_options": {"include_obfuscation": false}, "text": {"verbosity": "low", "format": {"type": "text"}},
        "tool_choice": {"type": "web_search"}, "reasoning": {"effort": "high", "summary": null, "context": "auto"},
        "context_management": [{"type": "compaction"}], "prompt": {"id": "p", "variables": {"x": "y"}},
        "tools": [{"type": "web_search"}, {"type": "function", "name": "f", "description": null, "parameters": {}, "strict": false}],
        "input": [
            {"type": "message", "role": "developer", "content": "d"},
            {"role": "user", "content": [{"type": "input_text", "text": "one"}]},
            {"role": "user", "content": [
                {"type": "input_image", "file_id": "file-1", "image_url": null, "detail": "auto"},
                {"type": "input_image", "image_url": "https://example.com/a.png"},
                {"type": "input_file", "file_url": "https://example.com/a.pdf"},
                {"type": "input_file", "file_data": "not base64", "filename": "x"},
                {"type": "input_video", "video": "odd"}
            ]},
            {"type": "reasoning", "id": "rs_1", "encrypted_content": "gAAA", "status": null,
             "summary": [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}],
             "content": [{"type": "reasoning_text", "text": "c"}]},
            {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "phase": "commentary", "content": [
                {"type": "output_text", "text": "Yes", "annotations": [{"type": "url_citation", "url": "u"}], "logprobs": []},
                {"type": "refusal", "refusal": "no"}
            ]},
            {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}", "status": "completed"},
            {"type": "custom_tool_call", "id": "ct_1", "call_id": "c2", "name": "sql", "input": "SELECT 1"},
            {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "r"}]},
            {"type": "custom_tool_call_output", "call_id": "c2", "output": "rows"},
            {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
            {"type": "message", "id": "msg_2", "role": "assistant", "content": [{"type": "output_text", "text": "z"}]},
            {"type": "message", "id": "msg_3", "role": "assistant", "content": [{"type": "output_text", "text": "y"}]},
            {"type": "item_reference", "id": "msg_9"},
            {"type": "mcp_approval_response", "approval_request_id": "a", "approve": true}
        ]
    }"##;
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(again(&body, "openai"), body);
    let odd = json!({"model": "m", "input": [
        {"type": "reasoning", "id": "rs_1", "summary": null, "content": null, "encrypted_content": null},
        {"type": "reasoning", "id": "rs_2", "summary": [], "content": []},
        {"type": "reasoning", "id": "rs_3", "summary": [{"type": "summary_text", "text": "a", "x": 1}], "encrypted_content": "g"},
        {"type": "reasoning", "id": "rs_4", "summary": [{"type": "summary_text", "text": ""}]},
        {"role": "user", "content": []},
        {"role": "user", "name": "n", "content": "x"}
    ]});
    assert_eq!(again(&odd, "openai"), odd);
    let others = again(&odd, "xai").to_string();
    assert!(!others.contains("rs_") && !others.contains("summary"));
    let least = json!({"model": "m", "input": "hi"});
    assert_eq!(again(&least, "openai"), least);
    let continued = json!({"model": "m", "input": [], "instructions": "", "previous_response_id": "r"});
    assert_eq!(again(&continued, "openai"), continued);
}

#[test]
fn reasoning_of_another_provider_is_left_out_with_the_ids_that_hang_on_it() {
    let body = json!({"model": "m", "input": [
        {"role": "user", "content": "hi"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "secret"},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "r"}
    ]});
    let want = json!({"model": "m", "input": [
        {"role": "user", "content": "hi"},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "r"}
    ]});
    assert_eq!(again(&body, "openai"), body);
    assert_eq!(again(&body, "xai"), want);
}

#[test]
fn an_answers_deltas_can_be_handed_back() {
    let thought =
        ReasoningText { text: "hm".into(), signature: Some("gAAA".into()), provider: Some("openai".into()) };
    let unsigned = ReasoningText { signature: None, ..thought.clone() };
    let with = |kind, fields| Part { kind: Some(kind), source: 0, extra: extra(fields) };
    let request = ChatRequest {
        messages: vec![message(
            Role::Assistant,
            vec![
                with(part::Kind::Reasoning(thought), json!({"id": "rs_1"})),
                part(part::Kind::Reasoning(unsigned)),
                with(part::Kind::Text(Text { text: "a".into() }), json!({"phase": "final_answer"})),
            ],
        )],
        ..Default::default()
    };
    let want = json!([
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "gAAA"},
        {"role": "assistant", "content": "a", "phase": "final_answer"}
    ]);
    assert_eq!(write(&request, "openai").unwrap()["input"], want);
}

#[test]
fn nothing_is_stored_unless_the_caller_speaks_of_it() {
    let send = |request: &ChatRequest, provider: &str, model: &str| -> Value {
        let options = Options { model, provider, style: Style::of_provider(provider), stream: Some(true) };
        serde_json::from_slice(&encode(request, &options).unwrap()).unwrap()
    };
    let sent = send(&hello(), "openai", "gpt-5.2");
    assert_eq!((&sent["store"], &sent["include"]), (&json!(false), &json!(["reasoning.encrypted_content"])));
    let sent = send(&hello(), "openai", "gpt-4o");
    assert_eq!((&sent["store"], sent.get("include")), (&json!(false), None));
    assert_eq!(send(&hello(), "vllm", "m").get("store"), None);
    for key in ["store", "previous_response_id", "conversation", "background"] {
        let mut request = hello();
        request.extra = extra(json!({key: "x"}));
        assert_eq!(send(&request, "openai", "gpt-5").get("include"), None, "{key}");
    }
    assert!(["o3-mini", "openai/gpt-5-nano", "gpt-6"].into_iter().all(reasons));
    assert!(!["gpt-4.1", "gpt-5-chat-latest", "ollama", "opus"].into_iter().any(reasons));
}

#[test]
fn extra_adds_but_never_replaces_or_smuggles() {
    let mut request = hello();
    request.sampling = Some(Sampling { temperature: Some(0.5), ..Default::default() });
    request.extra = extra(
        json!({"temperature": 2, "service_tier": "flex", "min_p": 0.1, "thinking": {}, "max_tokens": 3}),
    );
    let own = json!({"model": "m", "input": [{"role": "user", "content": "hi"}], "temperature": 0.5, "service_tier": "flex"});
    assert_eq!(write(&request, "openai").unwrap(), own);
    assert_eq!(write(&request, "vllm").unwrap()["min_p"], 0.1);
    for bad in [
        json!({"input": "x"}),
        json!({"model": "dear"}),
        json!({"stream": false}),
        json!({"instructions": "x"}),
        json!({"prompt": "x"}),
        json!({"n": 3}),
    ] {
        request.extra = extra(bad);
        assert!(write(&request, "openai").unwrap_err().field.starts_with("extra."));
    }
}

#[test]
fn what_cannot_be_said_is_named() {
    let field = |request: &ChatRequest| write(request, "openai").unwrap_err().field;
    assert_eq!(field(&ChatRequest::default()), "messages");
    let stop = Sampling { stop: vec!["END".into()], ..Default::default() };
    assert_eq!(field(&ChatRequest { sampling: Some(stop.clone()), ..hello() }), "sampling.stop");
    let lenient = write(&ChatRequest { sampling: Some(stop), ..hello() }, "vllm").unwrap();
    assert_eq!(lenient["stop"], json!(["END"]));
    let of = |role, part| ChatRequest { messages: vec![message(role, vec![part])], ..Default::default() };
    assert_eq!(field(&of(Role::User, Part::default())), "messages[0].parts[0]");
    assert_eq!(field(&of(Role::Tool, text_part("x"))), "messages[0]");
    let nameless = Media { content: Some(media::Content::Data("a".into())), ..Default::default() };
    assert_eq!(field(&of(Role::User, part(part::Kind::Image(nameless)))), "messages[0].parts[0]");
    let sound = Media { content: Some(media::Content::Url("u".into())), ..Default::default() };
    assert_eq!(field(&of(Role::User, part(part::Kind::Audio(sound)))), "messages[0].parts[0]");
    let video = Part { extra: extra(json!({"type": "video_url", "video_url": {}})), ..text_part("") };
    assert_eq!(field(&of(Role::User, video)), "messages[0].parts[0]");
    let call = part(part::Kind::ToolCall(ToolCall::default()));
    let nested = ToolResult { call_id: "a".into(), parts: vec![call], is_error: None };
    assert_eq!(field(&of(Role::Tool, part(part::Kind::ToolResult(nested)))), "messages[0].parts[0]");
    let bash =
        Tool { name: "bash".into(), extra: extra(json!({"type": "bash_20250124"})), ..Default::default() };
    assert_eq!(field(&ChatRequest { tools: vec![bash], ..hello() }), "tools[0]");
}

#[test]
fn forms_and_reasoning_are_objects_of_their_own() {
    let schema =
        JsonSchemaFormat { name: "n".into(), schema: extra(json!({"type": "object"})), ..Default::default() };
    let request = ChatRequest {
        response_format: Some(ResponseFormat { kind: Some(response_format::Kind::JsonSchema(schema)) }),
        reasoning: Some(Reasoning {
            effort: Some("high".into()),
            max_tokens: Some(9),
            summary: Some("auto".into()),
        }),
        ..hello()
    };
    let written = write(&request, "openai").unwrap();
    assert_eq!(
        written["text"]["format"],
        json!({"type": "json_schema", "name": "n", "schema": {"type": "object"}})
    );
    assert_eq!(written["reasoning"], json!({"effort": "high", "summary": "auto"}));
    assert_eq!(write(&request, "openrouter").unwrap()["reasoning"]["max_tokens"], 9);
}

fn any_json() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let name = prop::sample::select(vec![
        "type",
        "role",
        "content",
        "text",
        "id",
        "call_id",
        "name",
        "arguments",
        "output",
        "summary",
        "encrypted_content",
        "image_url",
        "file_data",
        "filename",
        "detail",
        "status",
        "phase",
        "x",
    ]);
    let word = prop::sample::select(vec![
        "message",
        "user",
        "assistant",
        "input_text",
        "output_text",
        "text",
        "refusal",
        "reasoning",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "summary_text",
        "input_image",
        "input_file",
        "web_search_call",
        "data:a/b;base64,AAAA",
        "é",
        "",
    ]);
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<i16>().prop_map(|n| n.to_string()),
        word.prop_map(|w| format!("\"{w}\"")),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|list| format!("[{}]", list.join(","))),
            prop::collection::btree_map(name.clone(), inner, 1..7).prop_map(|fields| {
                let fields: Vec<String> = fields.into_iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

proptest::proptest! {
    #[test]
    fn what_is_written_is_read_and_written_the_same(
        items in proptest::collection::vec(any_json(), 0..5), tools in any_json(), extra in any_json(),
    ) {
        let body = format!(
            r#"{{"model":"m","input":[{}],"tools":{tools},"reasoning":{extra},"text":{extra},"x":{extra}}}"#,
            items.join(",")
        );
        for body in [body, format!(r#"{{"model":"m","input":[{}]}}"#, items.join(","))] {
            let Ok(parsed) = parse(body.as_bytes(), Some("p")) else { continue };
            let options = Options { model: "m", provider: "p", style: parsed.style, stream: parsed.stream };
            let Ok(written) = encode(&parsed.chat, &options) else { continue };
            let again = parse(&written, Some("p")).unwrap();
            proptest::prop_assert_eq!(encode(&again.chat, &options).unwrap(), written);
        }
    }
}
