//! The simulator's bytes against recordings of the real provider.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::client::{ask, ask_whole, chat, post, provider, read, send};

/// Recorded chat completions of the provider; `None`, said visibly, where the data is not there.
#[expect(clippy::print_stdout, reason = "a skipped test must be visible")]
fn recordings() -> Option<Vec<Value>> {
    let folder = std::env::var_os("SIGNALBOX_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")),
        PathBuf::from,
    );
    let mut rows = Vec::new();
    for file in ["openinference.jsonl", "pydantic_ai.jsonl"] {
        let Ok(text) = std::fs::read_to_string(folder.join("wire").join(file)) else {
            println!("SKIPPED: no recordings; set SIGNALBOX_DATA to the folder that has wire/{file}");
            return None;
        };
        let parsed = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        rows.extend(
            parsed.filter(|row| row["provider"] == "openai" && row["path"] == "/v1/chat/completions"),
        );
    }
    Some(rows)
}

/// Writes the keys of a value in their order, and the kinds of its leaves. A text or null where either is usual
/// is the same.
fn shape(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| match name.as_str() {
                "system_fingerprint" => format!("{name}:?"),
                _ => format!("{name}:{}", shape(value)),
            });
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(shape).collect::<Vec<_>>().join(",")),
        Value::String(_) => "s".to_owned(),
        Value::Number(_) => "n".to_owned(),
        other => other.to_string(),
    }
}

fn events(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n\n").filter(|event| !event.is_empty())
}

fn tools() -> Value {
    let parameters =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    json!([{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}])
}

#[tokio::test]
async fn every_event_has_the_shape_of_a_recorded_one() {
    let Some(rows) = recordings() else { return };
    let streams = rows.iter().filter(|row| row["format"] == "sse").filter_map(|row| row["response"].as_str());
    let data = |event: &str| shape(&serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap());
    let recorded: BTreeSet<String> = streams
        .flat_map(|text| events(text).filter(|event| *event != "data: [DONE]").map(data).collect::<Vec<_>>())
        .collect();
    assert!(recorded.len() > 10, "too few recorded shapes: {recorded:?}");
    let provider = provider().await;
    for include_usage in [false, true] {
        for tool_choice in ["none", "required"] {
            let mut question = ask("sim-small", "What is the weather in Paris?");
            question["stream_options"] = json!({"include_usage": include_usage});
            question["tools"] = tools();
            question["tool_choice"] = json!(tool_choice);
            let text = chat(&provider, &question).await.text();
            assert!(text.ends_with("\n\ndata: [DONE]\n\n"));
            for event in events(&text).filter(|event| *event != "data: [DONE]") {
                assert!(recorded.contains(&data(event)), "never recorded: {event}");
            }
        }
    }
}

#[tokio::test]
async fn a_whole_answer_has_the_shape_and_the_spaces_of_a_recorded_one() {
    let Some(rows) = recordings() else { return };
    // Where the recording kept the text as it came, it is indented.
    let texts: Vec<&str> = rows
        .iter()
        .filter(|row| row["format"] == "json" && row["status"] == 200)
        .filter_map(|row| row["response"].as_str())
        .filter(|text| text.starts_with("{\n"))
        .collect();
    let pretty = |text: &str| {
        let value: Value = serde_json::from_str(text).unwrap();
        let spaced = format!("{}\n", serde_json::to_string_pretty(&value).unwrap());
        (shape(&value), spaced.trim_end() == text.trim_end(), text.ends_with("}\n"))
    };
    let recorded: BTreeSet<_> = texts.iter().map(|text| pretty(text)).collect();
    assert!(!recorded.is_empty());
    let provider = provider().await;
    let mut call = ask_whole("sim-small", "What is the weather in Paris?");
    call["tools"] = tools();
    call["tool_choice"] = json!("required");
    for question in [ask_whole("sim-small", "What is the capital of France?"), call] {
        let text = chat(&provider, &question).await.text();
        assert!(recorded.contains(&pretty(&text)), "never recorded: {text}");
    }
}

#[tokio::test]
async fn a_wrong_key_gets_the_recorded_bytes() {
    let Some(rows) = recordings() else { return };
    let recorded = rows.iter().filter(|row| row["status"] == 401).filter_map(|row| row["response"].as_str());
    let masked: BTreeSet<String> = recorded
        .map(|text| {
            let (before, rest) = text.split_once("provided: ").unwrap();
            let (_, after) = rest.split_once(". You").unwrap();
            format!("{before}provided: sk-***. You{after}")
        })
        .collect();
    let config = signalbox_testkit::provider::Config {
        require_key: Some("right".to_owned().into()),
        ..Default::default()
    };
    let provider = signalbox_testkit::provider::Provider::start(config).await.unwrap();
    let request = post("/v1/chat/completions", ask("sim-small", "hi").to_string());
    let answer = read(send(provider.addr(), request).await.unwrap()).await;
    assert_eq!(masked, BTreeSet::from([answer.text()]));
}
