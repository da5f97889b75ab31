use proptest::prelude::*;
use serde_json::json;

use super::*;

const MODEL: &str = "gemini-3-flash";

fn read(raw: &Value) -> Result<Parsed, RequestError> {
    parse(raw.to_string().as_bytes(), MODEL, Some("google"))
}

fn again(parsed: &Parsed) -> Value {
    let options = Options { model: MODEL, provider: "google", alternate: parsed.alternate };
    serde_json::from_slice(&encode::encode(&parsed.chat, &options).unwrap()).unwrap()
}

fn texts(chat: &ChatRequest) -> Vec<&str> {
    let of = |part: &'_ Part| match &part.kind {
        Some(part::Kind::Text(text)) => Some(text.text.clone().leak() as &str),
        _ => None,
    };
    chat.messages.iter().flat_map(|m| &m.parts).filter_map(of).collect()
}

#[test]
fn what_is_spelled_in_any_way_is_understood_and_comes_back() {
    let raw = json!({
        "system_instruction": {"parts": {"text": "Be brief."}, "role": "user"},
        "contents": [
            {"role": "user", "parts": [{"text": "What?"}, {"inline_data": {"mimeType": "image/png", "data": "_-8="}},
                {"fileData": {"file_uri": "https://x.test/a.pdf"}, "videoMetadata": {"fps": 2}}, {"text": ""}]},
            {"role": "model", "parts": [{"thought": true, "text": "hm"}, {"text": "x", "thought_signature": "s"},
                {"function_call": {"name": "f", "args": {"n": 1.5}, "id": "1"}}, {"functionCall": {"name": "g"}}]},
            {"parts": [{"functionResponse": {"name": "g", "response": {"output": "ok"}}},
                {"function_response": {"id": "1", "name": "f", "response": {"result": [1]}}}]},
            {"role": "user", "parts": [{"executableCode": {"code": "1"}}]},
        ],
        "tools": {"google_search": {}, "function_declarations": [{"name": "f", "parameters": {"type": "OBJECT", "properties": {}}},
            {"name": "g", "parameters_json_schema": {"type": "object"}, "behavior": "BLOCKING"}]},
        "toolConfig": {"function_calling_config": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
        "generationConfig": {"max_output_tokens": 7, "topP": 0.5, "responseMimeType": "application/json",
            "response_schema": {"type": "STRING"}, "thinkingConfig": {"thinking_level": "low"}, "candidateCount": 1},
        "safetySettings": [{"category": "x"}], "new_field": true,
    });
    let parsed = read(&raw).unwrap();
    let chat = &parsed.chat;
    assert_eq!(texts(chat), ["Be brief.", "What?", "", "x", ""]);
    assert_eq!(chat.tools.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["f", "g", "google_search"]);
    assert_eq!(json::text(chat.tools[0].parameters.as_ref(), "type"), Some("object"), "plain JSON Schema");
    assert_eq!(chat.sampling.as_ref().unwrap().max_output_tokens, Some(7));
    assert_eq!(chat.reasoning.as_ref().unwrap().effort(), "low");
    assert_eq!(chat.tool_choice.as_ref().unwrap().name(), "f");
    let Some(part::Kind::Image(image)) = &chat.messages[1].parts[1].kind else { panic!("no image") };
    assert_eq!(
        image.content,
        Some(signalbox_proto::common::v1::media::Content::Data(vec![0xff, 0xef].into()))
    );
    let written = again(&parsed);
    assert!(own::same(&written, &raw), "{written:#}");
}

#[test]
fn results_find_their_calls_by_name_where_there_are_no_ids() {
    let raw = json!({"contents": [
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}, {"functionCall": {"name": "f", "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"a": 1}}}, {"functionResponse": {"name": "f", "response": {"a": 2}}},
            {"functionResponse": {"name": "other", "response": {}}}]},
    ]});
    let parsed = read(&raw).unwrap();
    let ids = |m: &Message| -> Vec<String> {
        let id = |p: &Part| match &p.kind {
            Some(part::Kind::ToolCall(call)) => call.id.clone(),
            Some(part::Kind::ToolResult(result)) => result.call_id.clone(),
            _ => String::new(),
        };
        m.parts.iter().map(id).collect()
    };
    assert_eq!(ids(&parsed.chat.messages[0]), ids(&parsed.chat.messages[1])[..2]);
    assert_eq!(parsed.chat.messages[1].role(), Role::Tool);
    assert!(own::same(&again(&parsed), &raw));
}

#[test]
fn what_is_no_request_is_named() {
    let field = |raw: Value| read(&raw).unwrap_err().field;
    assert_eq!(field(json!([])), "body");
    assert_eq!(field(json!({})), "contents");
    assert_eq!(field(json!({"contents": [1]})), "contents[0]");
    assert_eq!(field(json!({"contents": [{"parts": "x"}]})), "contents[0].parts");
    let with = |key: &str, value: Value| field(json!({"contents": [{"parts": []}], key: value}));
    assert_eq!(with("tools", json!([1])), "tools[0]");
    assert_eq!(
        with("tools", json!([{"functionDeclarations": [{}]}])),
        "tools[0].functionDeclarations[0].name"
    );
    assert_eq!(with("generationConfig", json!({"temperature": "hot"})), "generationConfig.temperature");
}

/// JSON of any shape, made mostly of the names that the dialect knows.
fn json_of_names() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "text",
        "thought",
        "thoughtSignature",
        "inline_data",
        "inlineData",
        "mimeType",
        "data",
        "fileData",
        "fileUri",
        "functionCall",
        "function_response",
        "name",
        "args",
        "id",
        "response",
        "output",
        "error",
        "parts",
        "x",
        "new_one",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i16>().prop_map(Value::from),
        prop::sample::select(vec!["", "a", "image/png", "AAAA", "_-8=", "{\"a\":1}"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..5).prop_map(|fields| Value::Object(
                fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
            )),
        ]
    })
}

proptest! {
    #[test]
    fn every_turn_that_is_understood_comes_back(parts in prop::collection::vec(json_of_names(), 1..4), beside in json_of_names(), model in any::<bool>()) {
        let parts: Vec<Value> = parts.into_iter().filter(Value::is_object).collect();
        let raw = json!({"contents": [{"role": if model { "model" } else { "user" }, "parts": parts}], "generationConfig": beside, "labels": beside});
        if let Ok(parsed) = read(&raw) {
            let written = again(&parsed);
            prop_assert!(own::same(&written, &raw), "{} became {}", raw, written);
        }
    }
}
