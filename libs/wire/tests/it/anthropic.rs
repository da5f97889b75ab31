//! Recorded exchanges of the Messages dialect.

mod hostile;
mod reading;

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;
use signalbox_proto::common::v1::delta::Content;
use signalbox_proto::common::v1::{Delta, FinishReason, UsageSource};
use signalbox_wire::anthropic::{self, Options};
use signalbox_wire::json::Object;
use signalbox_wire::{Dialect, Limits, ProviderError, Summary, Target, openai};

use self::reading::{Seen, of_message, read};
use super::recordings::{
    REFUSED, SIZES, Table, Verdict, body, difference, events, is_stream, json, refused, same, unmapped,
};

#[test]
fn the_dialect_is_addressed_as_anthropic_wants() {
    let dialect: Dialect = "anthropic".parse().unwrap();
    assert_eq!(dialect.to_string(), "anthropic");
    let body = br#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
    let chat = anthropic::parse(body, None).unwrap().chat;
    let target = Target { provider: "anthropic", model: "claude-sonnet-4-5", streams: true };
    let encoded = dialect.chat(&chat, target).unwrap();
    assert_eq!(encoded.path, "/v1/messages");
    assert_eq!(encoded.headers["anthropic-version"], "2023-06-01");
    let sent: Value = serde_json::from_slice(&encoded.body).unwrap();
    assert_eq!((&sent["stream"], &sent["max_tokens"]), (&true.into(), &32000.into()));
    let (name, value) = dialect.credential("sk-ant-x").unwrap();
    assert!(name == "x-api-key" && value == "sk-ant-x" && value.is_sensitive());
    assert!(!dialect.credential("hunter2\n").unwrap_err().to_string().contains("hunter2"));
    assert_eq!(dialect.embed(&[], None, None, target).unwrap_err().field, "model");
    assert_eq!("anthropology".parse::<Dialect>().unwrap_err().to_string().matches("anthropic").count(), 1);
}

pub(crate) fn request(row: &Value, raw: bool) -> Result<Verdict, String> {
    let recorded = json(&row["request"]);
    if !recorded.is_object() {
        return Ok(Verdict::Aside("no request recorded"));
    }
    if raw {
        return Ok(Verdict::Aside("at Vertex AI, the model in the path"));
    }
    let parsed =
        anthropic::parse(recorded.to_string().as_bytes(), Some("anthropic")).map_err(|e| e.to_string())?;
    let options =
        Options { model: &parsed.chat.model, provider: "anthropic", stream: parsed.stream, max_tokens: None };
    let bytes = anthropic::encode(&parsed.chat, &options).map_err(|e| e.to_string())?;
    if bytes != anthropic::encode(&parsed.chat.clone(), &options).unwrap() {
        return Err("two encodings differ".into());
    }
    let written: Value = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
    if !same(&recorded, &written) {
        return Err(format!("written back differently at {}", difference(&recorded, &written, "")));
    }
    Ok(Verdict::Passed)
}

/// What Anthropic's reference lists, of which a foreign request may use no more.
const FIELDS: [&str; 15] = [
    "model",
    "messages",
    "max_tokens",
    "metadata",
    "output_config",
    "service_tier",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
];

pub(crate) fn from_openai(row: &Value) -> Result<Verdict, String> {
    let recorded = json(&row["request"]);
    if let Some(aside) = unmapped(&recorded) {
        return Ok(Verdict::Aside(aside));
    }
    let parsed = match openai::parse_for(recorded.to_string().as_bytes(), "m", None) {
        Err(_) if refused(row) => return Ok(Verdict::Aside(REFUSED)),
        parsed => parsed.map_err(|e| e.to_string())?,
    };
    let options = Options {
        model: "claude-sonnet-4-5",
        provider: "anthropic",
        stream: Some(true),
        max_tokens: Some(anthropic::default_max_tokens("claude-sonnet-4-5")),
    };
    let bytes = match anthropic::encode(&parsed.chat, &options) {
        Ok(bytes) => bytes,
        Err(e) if e.message.contains("no sound") => return Ok(Verdict::Aside("sound")),
        Err(e) if e.message.contains("no part of the type") => {
            return Ok(Verdict::Aside("a part that Anthropic has not"));
        }
        Err(e) if e.message.contains("another provider's own tool") => {
            return Ok(Verdict::Aside("a tool of the provider's own"));
        }
        Err(e) => return Err(e.to_string()),
    };
    let written: Value = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
    if !written.as_object().unwrap().keys().all(|key| FIELDS.contains(&key.as_str())) {
        // Passed through, because Anthropic may have it by now.
        return Ok(Verdict::Aside("a field that no known dialect has"));
    }
    if written["max_tokens"].as_u64().is_none_or(|n| n == 0) {
        return Err("no max_tokens".into());
    }
    fits(&written)
}

/// Checks what the API requires of a conversation.
fn fits(written: &Value) -> Result<Verdict, String> {
    let mut calls: Vec<&str> = Vec::new();
    let messages = written["messages"].as_array().unwrap();
    if messages.first().is_none_or(|first| first["role"] == "system") {
        return Err("nobody asks".into());
    }
    for message in messages {
        let role = message["role"].as_str().unwrap();
        if message.as_object().unwrap().len() != 2 || !matches!(role, "user" | "assistant") {
            return Err(format!("a message {:?} of {role}", message.as_object().unwrap().keys()));
        }
        let blocks = match &message["content"] {
            Value::String(text) if !text.is_empty() => continue,
            Value::Array(blocks) if !blocks.is_empty() => blocks,
            _ => return Ok(Verdict::Aside("a message that says nothing")),
        };
        for block in blocks {
            match block["type"].as_str().unwrap() {
                "text" if block["text"] != "" => {}
                "image" | "document" => {}
                "tool_use" if block["input"].is_object() => calls.push(block["id"].as_str().unwrap()),
                "tool_result" if calls.contains(&block["tool_use_id"].as_str().unwrap()) => {}
                known @ ("text" | "tool_use" | "tool_result" | "image_url" | "input_audio" | "file") => {
                    return Err(format!("a block {known}"));
                }
                // Passed through, because Anthropic may have it by now.
                _ => return Ok(Verdict::Aside("a part that no known dialect has")),
            }
        }
    }
    Ok(Verdict::Passed)
}

pub(crate) fn answer(row: &Value, counts: bool) -> Result<Verdict, String> {
    let body = body(row);
    if counts {
        return Ok(Verdict::Aside("a count of tokens"));
    }
    if !is_stream(&body) {
        return if body.is_empty() { Ok(Verdict::Aside("recorded without a body")) } else { whole(&body) };
    }
    let (payloads, broken) = events(&body);
    let want = read(&payloads);
    for size in SIZES {
        compare(&decode(body.as_bytes(), size.min(body.len()), broken), &want)?;
    }
    match (&want.error, want.finish.is_empty()) {
        (None, true) => Ok(Verdict::Aside("streamed without a stop reason")),
        _ => Ok(Verdict::Passed),
    }
}

fn whole(body: &str) -> Result<Verdict, String> {
    let parsed: Value = serde_json::from_str(body).map_err(|e| e.to_string())?;
    let want = match parsed["error"]["message"].as_str() {
        Some(words) => Seen { error: Some(words.to_owned()), ..Seen::default() },
        None => of_message(&parsed, true),
    };
    match anthropic::whole(body.as_bytes()) {
        Ok(answer) => {
            let known = [
                "end_turn",
                "stop_sequence",
                "max_tokens",
                "tool_use",
                "refusal",
                "model_context_window_exceeded",
            ];
            let reason = answer.summary.finish_reason.unwrap_or_default();
            if (reason != FinishReason::Unspecified) != known.contains(&&*want.finish) {
                return Err(format!("{reason:?} for {}", want.finish));
            }
            compare(&summarise(&answer.deltas, &answer.summary, None), &want)
        }
        Err(error) => compare(&summarise(&[], &Summary::default(), Some(&error)), &want),
    }
}

/// Chunks without their framing: framed here, then read like any stream.
pub(crate) fn fixture(row: &Value, name: &str, table: &mut Table) -> bool {
    let payloads: Vec<Value> = match row["chunks"].as_array() {
        Some(list) => list.iter().map(json).collect(),
        None => vec![json(&row["response"])],
    };
    let ours = payloads.iter().any(|p| p["type"] == "message_start" && p["message"].is_object())
        || (payloads[0]["type"] == "message" && payloads[0]["content"].is_array());
    if !ours {
        return false;
    }
    let verdict = if row["format"] == "chunks" {
        let frame = |p: &Value| format!("event: {}\ndata: {p}\n\n", p["type"].as_str().unwrap_or_default());
        let body: String = payloads.iter().map(frame).collect();
        compare(&decode(body.as_bytes(), 64, 0), &read(&payloads))
    } else {
        whole(&payloads[0].to_string())
    };
    table.add("anthropic fixtures", name, verdict);
    true
}

/// Decodes a stream cut into pieces of `size` bytes.
fn decode(body: &[u8], size: usize, broken: u32) -> Seen {
    let mut stream = anthropic::Stream::new(Limits::default());
    let mut deltas = Vec::new();
    for piece in body.chunks(size) {
        stream.push(Bytes::copy_from_slice(piece));
        loop {
            match stream.next_delta() {
                Ok(Some(delta)) => deltas.push(delta),
                Ok(None) => break,
                Err(error) => return summarise(&deltas, stream.summary(), Some(&error)),
            }
        }
    }
    loop {
        match stream.end() {
            Ok(Some(delta)) => deltas.push(delta),
            Ok(None) => break,
            Err(error) => return summarise(&deltas, stream.summary(), Some(&error)),
        }
    }
    assert_eq!(stream.summary().malformed, broken);
    summarise(&deltas, stream.summary(), None)
}

/// What the crate under test read, in the form of the second reading.
fn summarise(deltas: &[Delta], summary: &Summary, error: Option<&ProviderError>) -> Seen {
    let mut out = Seen {
        finish: summary.provider_finish_reason.clone().unwrap_or_default(),
        id: summary.response_id.clone().unwrap_or_default(),
        model: summary.model.clone().unwrap_or_default(),
        error: error.map(|e| e.message.clone()),
        ..Seen::default()
    };
    out.usage = summary.usage.as_ref().map(|u| {
        assert_eq!(u.source(), UsageSource::Reported);
        [u.input_tokens, u.output_tokens, u.cached_input_tokens, u.cache_write_tokens, u.reasoning_tokens]
    });
    let mut places = BTreeMap::new();
    for delta in deltas {
        match delta.content.as_ref().unwrap() {
            Content::Text(text) if text.is_empty() => {
                out.others.push(serde_json::to_value(Object(delta.extra.as_ref().unwrap())).unwrap());
            }
            Content::Text(text) => out.text.push_str(text),
            Content::Reasoning(reasoning) => {
                out.thinking.push_str(&reasoning.text);
                out.signatures.extend(reasoning.signature.clone());
            }
            Content::Refusal(text) => out.refusal.push_str(text),
            Content::ToolCall(call) => {
                let next = places.len();
                let at = *places.entry(delta.index).or_insert(next);
                if at == out.tools.len() {
                    out.tools.push(Default::default());
                }
                let tool = &mut out.tools[at];
                tool.0.push_str(call.id.as_deref().unwrap_or_default());
                tool.1.push_str(call.name.as_deref().unwrap_or_default());
                tool.2.push_str(&call.arguments);
            }
            Content::Citation(citation) => out.citations.push((
                citation.url.clone().unwrap_or_default(),
                citation.title.clone().unwrap_or_default(),
                citation.start_byte.zip(citation.end_byte),
            )),
            Content::Media(_) => {}
        }
    }
    out
}

fn compare(got: &Seen, want: &Seen) -> Result<Verdict, String> {
    let mut want = want.clone();
    if got.error.is_some() {
        let words = want.error.clone().unwrap_or_else(|| "no error".to_owned());
        if !got.error.as_deref().unwrap_or_default().starts_with(&words[..words.len().min(40)]) {
            return Err(format!("error {:?} instead of {words:?}", got.error));
        }
        want.error.clone_from(&got.error);
    }
    let others = |seen: &Seen| Value::Array(seen.others.clone());
    if !same(&others(got), &others(&want)) {
        return Err(format!("other blocks differ at {}", difference(&others(&want), &others(got), "")));
    }
    want.others.clone_from(&got.others);
    if *got != want {
        return Err(format!("read\n  {got:?}\ninstead of\n  {want:?}"));
    }
    Ok(Verdict::Passed)
}
