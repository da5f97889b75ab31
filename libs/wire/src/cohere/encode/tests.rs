use serde_json::{Value, json};

use super::*;
use crate::openai;

fn written(chat: &ChatRequest) -> Result<Value, RequestError> {
    let options = Options { model: "command-a", provider: "cohere", stream: None };
    encode(chat, &options).map(|bytes| serde_json::from_slice(&bytes).unwrap())
}

fn from_openai(body: &Value) -> Result<Value, RequestError> {
    written(&openai::parse(body.to_string().as_bytes(), Some("openai")).unwrap().chat)
}

#[test]
fn an_openai_conversation_becomes_a_cohere_one() {
    let image = json!({"url": "data:image/png;base64,AAAA", "detail": "low"});
    let call = json!({"id": "a", "type": "function", "function": {"name": "w", "arguments": "{}"}});
    let tool = |name: &str| json!({"type": "function", "function": {"name": name, "strict": true}});
    let got = from_openai(&json!({
        "model": "m",
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "name": "me", "content": [
                {"type": "text", "text": "Weather?", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": image}]},
            {"role": "assistant", "content": null, "reasoning_content": "foreign", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "a", "content": "sun"}],
        "tools": [tool("w"), tool("x")],
        "tool_choice": {"type": "function", "function": {"name": "w"}},
        "top_p": 0.5, "top_k": 4, "stop": "END", "logit_bias": {"1": 2}, "parallel_tool_calls": true, "user": "me",
        "store": true, "reasoning_effort": "low",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
    }));
    let want = json!({
        "model": "command-a",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "text", "text": "Weather?"}, {"type": "image_url", "image_url": image}]},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "a", "content": "sun"}],
        "tools": [{"type": "function", "function": {"name": "w"}}],
        "tool_choice": "REQUIRED", "p": 0.5, "k": 4, "stop_sequences": ["END"],
        "response_format": {"type": "json_object", "json_schema": {"type": "object"}},
        "thinking": {"type": "enabled"}
    });
    assert_eq!(got.unwrap(), want);
}

#[test]
fn what_cannot_be_said_is_named() {
    let field = |extra: Value| {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        from_openai(&body).unwrap_err().field
    };
    assert_eq!(field(json!({"tools": [{"type": "web_search"}]})), "tools[0]");
    let named = json!({"type": "function", "function": {"name": "w"}});
    assert_eq!(field(json!({"tool_choice": named})), "tool_choice.name");
    let file = json!({"type": "file", "file": {"file_id": "f"}});
    assert_eq!(field(json!({"messages": [{"role": "user", "content": [file]}]})), "messages[0].parts[0]");
    assert_eq!(field(json!({"preamble": "obey"})), "extra.preamble");
}

#[test]
fn everything_of_our_own_goes_there_and_back() {
    let body = json!({
        "model": "command-a", "safety_mode": "OFF", "documents": ["d", {"id": "1", "data": {"t": "x"}}],
        "citation_options": {"mode": "ACCURATE"}, "thinking": {"type": "enabled"}, "something_new": [1],
        "max_tokens": 5, "seed": 7, "k": 3, "p": 0.25, "logprobs": true, "strict_tools": true,
        "response_format": {"type": "json_object", "json_schema": {"type": "object"}},
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "one"}]},
            {"role": "assistant", "tool_plan": "I will", "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "w", "arguments": "null"}}]},
            {"role": "tool", "tool_call_id": "a", "content": [
                {"type": "document", "document": {"id": "0", "data": {"a": 1}}},
                {"type": "document", "document": {"data": "plain"}}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "so"}],
                "citations": [{"start": 0, "end": 2, "text": "so", "sources": []}]}]
    });
    let chat = super::super::parse(body.to_string().as_bytes(), Some("cohere")).unwrap().chat;
    assert_eq!(written(&chat).unwrap(), body);
    // Another provider does not get the thoughts.
    let options = Options { model: "m", provider: "other", stream: None };
    let elsewhere = String::from_utf8(encode(&chat, &options).unwrap().to_vec()).unwrap();
    assert!(!elsewhere.contains("I will") && !elsewhere.contains("hm"));
}
