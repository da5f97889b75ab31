//! The bytes of sound answers.

use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use serde_json::{Value, json};
use signalbox_testkit::provider::{Base, Fault, Model, Provider, Shape};

use crate::client::{ask, ask_whole, chat, get, post, provider, read, send};

fn tool() -> Value {
    json!([{"type": "function", "function": {"name": "get_weather", "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}},
        "required": ["city", "days"]
    }}}])
}

#[tokio::test]
async fn a_stream_is_the_golden_one() {
    let provider = provider().await;
    let mut question = ask("sim-echo", "Grüße, \"<EMAIL_1>\"!\n");
    question["stream_options"] = json!({"include_usage": true});
    let answer = chat(&provider, &question).await;
    assert_eq!(answer.text(), include_str!("golden/stream.txt"));
    question["stream_options"] = json!({"include_obfuscation": false});
    let plain = chat(&provider, &question).await;
    assert_eq!(plain.text(), include_str!("golden/stream_plain.txt"));
    let mut call = ask("sim-small", "weather?");
    call["tools"] = tool();
    call["tool_choice"] = json!("required");
    assert_eq!(chat(&provider, &call).await.text(), include_str!("golden/stream_tool.txt"));
}

#[tokio::test]
async fn a_whole_answer_is_the_golden_one() {
    let provider = provider().await;
    let answer = chat(&provider, &ask_whole("sim-echo", "Grüße, \"<EMAIL_1>\"!\n")).await;
    assert_eq!(answer.text(), include_str!("golden/whole.txt"));
    let mut call = ask_whole("sim-small", "weather?");
    call["tools"] = tool();
    call["tool_choice"] = json!("required");
    assert_eq!(chat(&provider, &call).await.text(), include_str!("golden/whole_tool.txt"));
}

#[tokio::test]
async fn headers_are_the_providers() {
    let provider = provider().await;
    let stream = chat(&provider, &ask("sim-small", "hi")).await;
    assert_eq!(stream.headers["content-type"], "text/event-stream; charset=utf-8");
    assert_eq!(stream.headers["transfer-encoding"], "chunked");
    let whole = chat(&provider, &ask_whole("sim-small", "hi")).await;
    assert_eq!(whole.headers["content-type"], "application/json");
    assert_eq!(whole.headers["content-length"], whole.bytes().len().to_string().as_str());
    for name in [
        "date",
        "openai-processing-ms",
        "openai-version",
        "x-request-id",
        "x-ratelimit-limit-requests",
        "x-ratelimit-limit-tokens",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset-requests",
        "x-ratelimit-reset-tokens",
    ] {
        assert!(stream.headers.contains_key(name) && whole.headers.contains_key(name), "{name}");
    }
    assert_ne!(stream.headers["x-request-id"], whole.headers["x-request-id"]);
}

#[tokio::test]
async fn the_same_seed_and_request_give_the_same_bytes() {
    let (one, two) = (provider().await, provider().await);
    let other =
        Provider::start(signalbox_testkit::provider::Config { seed: 1, ..Default::default() }).await.unwrap();
    let question = ask("sim-large", "Is it deterministic?");
    chat(&one, &ask("sim-small", "something before")).await;
    let answer = chat(&one, &question).await.text();
    assert_eq!(answer, chat(&two, &question).await.text());
    assert_ne!(answer, chat(&other, &question).await.text());
}

#[test]
fn splitting_changes_no_byte() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let provider = runtime.block_on(provider());
    let mut runner = TestRunner::new(Cases::with_cases(48));
    let strategy = ("\\PC{1,80}", 1..400u32, any::<bool>());
    let checked = runner.run(&strategy, |(text, size, streamed)| {
        let split = Model::new(Base::Echo).fault(Fault::Split { bytes: size }).to_string();
        let ask = if streamed { ask } else { ask_whole };
        let (plain, pieces) = runtime.block_on(async {
            (chat(&provider, &ask("sim-echo", &text)).await, chat(&provider, &ask(&split, &text)).await)
        });
        // The answer repeats the name it was asked by.
        let expected = plain.text().replace("sim-echo\"", &format!("{split}\""));
        prop_assert_eq!(pieces.text(), expected);
        prop_assert!(pieces.complete);
        let size = usize::try_from(size).unwrap();
        // Behind a content length the client may join what it reads.
        prop_assert!(!streamed || pieces.frames.iter().all(|frame| frame.len() <= size));
        Ok(())
    });
    checked.unwrap();
}

#[tokio::test]
async fn an_echo_is_exact_and_comes_word_by_word() {
    let provider = provider().await;
    let text = " a  <EMAIL_1>, b@c.de\n\ttäglich ";
    assert_eq!(chat(&provider, &ask("sim-echo", text)).await.chunks().concat(), text);
    assert_eq!(chat(&provider, &ask("sim-echo", "a bc d")).await.chunks(), ["a", " bc", " d"]);
    let given = Model::answering("50% + ü\n").to_string();
    assert_eq!(chat(&provider, &ask(&given, "hi")).await.chunks().concat(), "50% + ü\n");
    let parts = json!([{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "u"}}]}]);
    let body = json!({"model": "sim-echo", "messages": parts});
    let whole = chat(&provider, &body).await.json();
    assert_eq!(whole["choices"][0]["message"]["content"], "x");
    assert_eq!(whole["usage"]["prompt_tokens"], 3 + 3 + 1 + 85);
}

#[tokio::test]
async fn a_generated_answer_is_labelled_and_restates() {
    let provider = provider().await;
    let question = "Please write to <EMAIL_1> and ann@example.com about trains.";
    let small = chat(&provider, &ask("sim-small", question)).await.chunks().concat();
    assert!(small.starts_with("[simulated sim-small] ") && small.contains(question), "{small}");
    assert!(small.contains("It mentions <EMAIL_1>, ann@example.com."), "{small}");
    let large = chat(&provider, &ask("sim-large", question)).await.chunks().concat();
    assert!(large.starts_with("[simulated sim-large] ") && large.len() > small.len());
}

#[tokio::test]
async fn chunks_are_as_many_as_asked_for() {
    let provider = provider().await;
    for base in ["sim-small", "sim-echo", "sim-bench"] {
        for count in [0, 1, 5, 16, 300] {
            let model = format!("{base}+chunks={count}");
            let answer = chat(&provider, &ask(&model, "some words to divide")).await;
            assert_eq!(answer.chunks().len(), count, "{model}");
            assert!(answer.text().ends_with("data: [DONE]\n\n"));
        }
    }
}

#[tokio::test]
async fn limits_and_stops_are_heeded() {
    let provider = provider().await;
    let mut limited = ask_whole("sim-echo", "one, two three");
    limited["max_completion_tokens"] = json!(3);
    let answer = chat(&provider, &limited).await.json();
    assert_eq!(answer["choices"][0]["message"]["content"], "one, two");
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 3);
    limited["max_completion_tokens"] = json!(4);
    assert_eq!(chat(&provider, &limited).await.json()["choices"][0]["finish_reason"], "stop");
    let mut stopped = ask_whole("sim-echo", "one, two three");
    stopped["stop"] = json!(["three", " two"]);
    assert_eq!(chat(&provider, &stopped).await.json()["choices"][0]["message"]["content"], "one,");
}

#[tokio::test]
async fn tools_are_called_where_asked_for() {
    let provider = provider().await;
    let with = async |model: &str, choice: Value| {
        let mut call = ask_whole(model, "weather?");
        call["tools"] = tool();
        call["tool_choice"] = choice;
        chat(&provider, &call).await.json()["choices"][0].take()
    };
    let required = with("sim-small", json!("required")).await;
    let function = &required["message"]["tool_calls"][0]["function"];
    assert_eq!(
        (&function["name"], &required["finish_reason"]),
        (&json!("get_weather"), &json!("tool_calls"))
    );
    let arguments: Value = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments, json!({"city": "simulated", "days": 2}));
    let named = with("sim-small", json!({"type": "function", "function": {"name": "get_weather"}})).await;
    assert_eq!(named["finish_reason"], "stop");
    assert!(with("sim-small", json!("auto")).await["message"]["tool_calls"].is_null());
    assert!(with("sim-small+tools", json!("none")).await["message"]["tool_calls"].is_null());
    assert_eq!(with("sim-small+tools", json!("auto")).await["finish_reason"], "tool_calls");
    let mut after = ask_whole("sim-small+tools", "weather?");
    after["tools"] = tool();
    let called =
        json!({"role": "assistant", "content": null, "tool_calls": required["message"]["tool_calls"]});
    let result = json!({"role": "tool", "tool_call_id": "x", "content": "21 degrees"});
    after["messages"].as_array_mut().unwrap().extend([called, result]);
    let words = chat(&provider, &after).await.json()["choices"][0]["message"]["content"].take();
    assert!(words.as_str().unwrap().contains("The tool answered: 21 degrees."), "{words}");
}

#[tokio::test]
async fn json_is_json() {
    let provider = provider().await;
    let content = async |body: Value| {
        let text = chat(&provider, &body).await.chunks().concat();
        serde_json::from_str::<Value>(&text).unwrap()
    };
    assert_eq!(content(ask("sim-small+json", "hi")).await["answer"], "hi");
    let mut object = ask("sim-small", "hi");
    object["response_format"] = json!({"type": "json_object"});
    assert_eq!(content(object).await["simulated_by"], "sim-small");
    let mut schema = ask("sim-small", "hi");
    schema["response_format"] = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {
        "type": "object", "properties": {"score": {"type": "integer", "minimum": 3}}, "required": ["score"]
    }}});
    assert_eq!(content(schema).await, json!({"score": 3}));
    let shaped = Model::new(Base::Small).shape(Shape::Json).shape(Shape::Chunks(3)).to_string();
    assert_eq!(chat(&provider, &ask(&shaped, "hi")).await.chunks().len(), 3);
}

#[tokio::test]
async fn vectors_are_deterministic_and_of_length_one() {
    let provider = provider().await;
    let embed = async |body: Value| {
        read(send(provider.addr(), post("/v1/embeddings", body.to_string())).await.unwrap()).await
    };
    let body = json!({"model": "sim-embed", "input": ["hello world", "hello there"], "dimensions": 8});
    let answer = embed(body.clone()).await;
    assert_eq!(answer.bytes(), embed(body.clone()).await.bytes());
    let answer = answer.json();
    assert_eq!(answer["usage"], json!({"prompt_tokens": 4, "total_tokens": 4}));
    let vector: Vec<f64> = serde_json::from_value(answer["data"][1]["embedding"].clone()).unwrap();
    assert_eq!(vector.len(), 8);
    assert!((vector.iter().map(|value| value * value).sum::<f64>() - 1.0).abs() < 1e-5);
    let mut compact = body;
    compact["encoding_format"] = json!("base64");
    assert!(embed(compact).await.json()["data"][0]["embedding"].is_string());
    let wrong = embed(json!({"model": "sim-embed", "input": [""]})).await;
    assert_eq!((wrong.status.as_u16(), &wrong.json()["error"]["param"]), (400, &json!("input")));
    assert_eq!(embed(json!({"model": "sim-small", "input": "a"})).await.status, 400);
    assert_eq!(provider.requests()[0].usage_reported.unwrap().prompt_tokens, 4);
}

#[tokio::test]
async fn models_are_listed() {
    let provider = provider().await;
    let list = read(send(provider.addr(), get("/v1/models")).await.unwrap()).await;
    let entries = list.json()["data"].take();
    let names: Vec<&str> =
        entries.as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(names, ["sim-small", "sim-large", "sim-echo", "sim-bench", "sim-embed"]);
}
