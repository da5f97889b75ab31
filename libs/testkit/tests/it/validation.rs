//! Bad requests get the provider's own answers.

use serde_json::{Value, json};
use signalbox_testkit::provider::{Config, Key, Provider};

use crate::client::{ask, chat, get, post, provider, read, send};

#[tokio::test]
async fn a_wrong_parameter_is_named() {
    let provider = provider().await;
    let question = ask("sim-small", "hi");
    for (name, value, param, code) in [
        ("messages", json!([]), "messages", "invalid_value"),
        ("messages", json!("hi"), "messages", "invalid_type"),
        ("messages", json!([{"content": "hi"}]), "messages[0].role", "missing_required_parameter"),
        ("messages", json!([{"role": "king", "content": "hi"}]), "messages[0].role", "invalid_value"),
        ("messages", json!([{"role": "user"}]), "messages[0].content", "missing_required_parameter"),
        (
            "messages",
            json!([{"role": "user", "content": [{"type": "song"}]}]),
            "messages[0].content[0].type",
            "invalid_value",
        ),
        ("n", json!(2), "n", "invalid_value"),
        ("temperature", json!(3), "temperature", "invalid_value"),
        ("top_p", json!("high"), "top_p", "invalid_type"),
        ("stream", json!("yes"), "stream", "invalid_type"),
        ("max_tokens", json!(0), "max_tokens", "invalid_value"),
        ("max_completion_tokens", json!(-1), "max_completion_tokens", "invalid_type"),
        ("stop", json!(["a", "b", "c", "d", "e"]), "stop", "invalid_value"),
        ("response_format", json!({"type": "yaml"}), "response_format.type", "invalid_value"),
        ("tools", json!([{"type": "function"}]), "tools[0].function", "missing_required_parameter"),
    ] {
        let mut wrong = question.clone();
        wrong[name] = value;
        let answer = chat(&provider, &wrong).await;
        assert_eq!(answer.status, 400, "{wrong}");
        let error = answer.json()["error"].take();
        assert_eq!((error["param"].as_str(), error["code"].as_str()), (Some(param), Some(code)), "{wrong}");
        assert_eq!(error["type"], "invalid_request_error");
        assert!(error["message"].as_str().unwrap().contains(param), "{error}");
    }
    assert_eq!(provider.totals().actual.total_tokens(), 0);
}

#[tokio::test]
async fn what_depends_on_something_else_is_refused_without_it() {
    let provider = provider().await;
    for (body, param) in [
        (json!({"stream_options": {"include_usage": true}, "stream": false}), "stream_options"),
        (json!({"tool_choice": "required"}), "tool_choice"),
        (json!({"max_tokens": 1, "max_completion_tokens": 1}), "max_tokens"),
        (json!({"messages": [{"role": "tool", "content": "4", "tool_call_id": "x"}]}), "messages[0].role"),
    ] {
        let mut wrong = ask("sim-small", "hi");
        wrong.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let answer = chat(&provider, &wrong).await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()["error"]["param"].as_str()),
            (400, Some(param)),
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let provider = provider().await;
    let broken =
        read(send(provider.addr(), post("/v1/chat/completions", "{\"model\":")).await.unwrap()).await;
    assert_eq!(broken.status, 400);
    assert!(
        broken.json()["error"]["message"].as_str().unwrap().starts_with("We could not parse the JSON body")
    );
    assert_eq!(provider.requests()[0].body, Value::from("{\"model\":"));
    let missing = chat(&provider, &json!({"model": "sim-small"})).await;
    assert_eq!(missing.json()["error"]["message"], "Missing required parameter: 'messages'.");
    let no_model = chat(&provider, &json!({"messages": []})).await;
    assert_eq!(no_model.json()["error"]["message"], "you must provide a model parameter");
    for (request, status) in [
        (get("/v1/chat/completions"), 405),
        (post("/v1/models", "{}"), 405),
        (post("/v1/nothing", "{}"), 404),
        (get("/v1/models/sim-echo+cut=1"), 200),
        (get("/v1/models/gpt-9"), 404),
    ] {
        let path = request.uri().to_string();
        assert_eq!(
            read(send(provider.addr(), request).await.unwrap()).await.status.as_u16(),
            status,
            "{path}"
        );
    }
}

#[tokio::test]
async fn an_unknown_model_says_what_there_is() {
    let provider =
        Provider::start(Config { models: vec!["gpt-x".to_owned()], ..Config::default() }).await.unwrap();
    let unknown = chat(&provider, &ask("gpt-y", "hi")).await;
    assert_eq!(unknown.status, 404);
    let error = unknown.json()["error"].take();
    assert_eq!(error["code"], "model_not_found");
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("The model `gpt-y` does not exist or you do not have access to it."));
    assert!(message.contains("sim-echo") && message.contains("gpt-x"), "{message}");
    let option = chat(&provider, &ask("sim-small+bogus", "hi")).await.json()["error"]["message"].take();
    let option = option.as_str().unwrap();
    assert!(option.contains("unknown option `+bogus`") && option.contains("+cut=N"), "{option}");
    assert_eq!(chat(&provider, &ask("gpt-x+chunks=2", "hi")).await.chunks().len(), 2);
}

#[tokio::test]
async fn a_required_key_is_required() {
    let key = Key::from("sk-right".to_owned());
    let provider = Provider::start(Config { require_key: Some(key), ..Config::default() }).await.unwrap();
    for (header, code) in [(None, Value::Null), (Some("Bearer sk-wrong"), json!("invalid_api_key"))] {
        let mut request = post("/v1/chat/completions", ask("sim-bench", "hi").to_string());
        request.headers_mut().remove("authorization");
        if let Some(header) = header {
            request.headers_mut().insert("authorization", header.parse().unwrap());
        }
        let answer = read(send(provider.addr(), request).await.unwrap()).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["error"]["code"]), (401, &code));
        assert!(!answer.text().contains("sk-wrong"));
    }
    let mut request = post("/v1/chat/completions", ask("sim-bench", "hi").to_string());
    request.headers_mut().insert("authorization", "Bearer sk-right".parse().unwrap());
    assert_eq!(read(send(provider.addr(), request).await.unwrap()).await.status, 200);
    assert!(!provider.requests()[0].authorization_present);
}
