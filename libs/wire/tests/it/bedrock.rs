//! Bedrock's recordings, with a second reading of them that shares nothing with the crate under test.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;
use signalbox_wire::Limits;
use signalbox_wire::bedrock::{self, Options};

use super::hostile::json as json_text;
use super::reading::Reading;
use super::recordings::{SIZES, Table, Verdict, body, compare, difference, json, same, summarise};

pub(crate) fn request(row: &Value, model: &str) -> Result<Verdict, String> {
    let recorded = json(&row["request"]);
    if !recorded.is_object() {
        return Ok(Verdict::Aside("recorded request is no JSON"));
    }
    if recorded.get("messages").is_none() {
        return Ok(Verdict::Aside("a stored prompt instead of messages"));
    }
    let parsed = bedrock::parse(recorded.to_string().as_bytes(), model, Some("bedrock"));
    let bedrock::Parsed { chat, alternate } = parsed.map_err(|e| e.to_string())?;
    let options = Options { model, provider: "bedrock", alternate };
    let bytes = bedrock::encode(&chat, &options).map_err(|e| e.to_string())?;
    if bytes != bedrock::encode(&chat.clone(), &options).unwrap() {
        return Err("two encodings differ".into());
    }
    let written: Value = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
    if !same(&recorded, &written) {
        return Err(format!("written back differently at {}", difference(&recorded, &written, "")));
    }
    let url = row["url"].as_str().unwrap_or_default();
    let wanted = bedrock::path(model, if url.ends_with("-stream") { "converse-stream" } else { "converse" });
    if url.contains('%') && !url.ends_with(&wanted) {
        return Err(format!("path {wanted} instead of {url}"));
    }
    Ok(Verdict::Passed)
}

fn usage(value: &Value) -> [u64; 4] {
    let count = |key: &str| value[key].as_u64().unwrap_or_default();
    let input = count("inputTokens") + count("cacheReadInputTokens") + count("cacheWriteInputTokens");
    [input, count("outputTokens"), count("cacheReadInputTokens"), 0]
}

/// Reads a whole answer.
fn read_whole(value: &Value) -> Reading {
    let mut out = Reading { finish: value["stopReason"].as_str().unwrap().to_owned(), ..Reading::default() };
    out.usage = value.get("usage").map(usage);
    for block in value["output"]["message"]["content"].as_array().unwrap() {
        let text =
            |pointer: &str| block.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        out.text += &text("/text");
        for piece in
            block.pointer("/citationsContent/content").and_then(Value::as_array).into_iter().flatten()
        {
            out.text += piece["text"].as_str().unwrap();
        }
        out.reasoning += &text("/reasoningContent/reasoningText/text");
        if block.get("toolUse").is_some_and(|call| call["type"] != "server_tool_use") {
            let input = block["toolUse"]["input"].to_string();
            out.tools.push((text("/toolUse/toolUseId"), text("/toolUse/name"), input));
        }
    }
    out
}

/// Reads the events of a stream: their names and payloads.
fn read_events(events: &[(String, Value)]) -> Reading {
    let mut out = Reading::default();
    let mut open: Vec<(u64, usize)> = Vec::new();
    for (name, event) in events {
        let block = event["contentBlockIndex"].as_u64().unwrap_or_default();
        match name.as_str() {
            "contentBlockStart" => {
                let call = &event["start"]["toolUse"];
                if call.is_object() && call["type"] != "server_tool_use" {
                    open.push((block, out.tools.len()));
                    let word = |key: &str| call[key].as_str().unwrap().to_owned();
                    out.tools.push((word("toolUseId"), word("name"), String::new()));
                }
            }
            "contentBlockDelta" => {
                let delta = &event["delta"];
                out.text += delta["text"].as_str().unwrap_or_default();
                out.reasoning += delta["reasoningContent"]["text"].as_str().unwrap_or_default();
                if let Some((_, at)) = open.iter().find(|(open, _)| *open == block) {
                    out.tools[*at].2 += delta["toolUse"]["input"].as_str().unwrap_or_default();
                }
            }
            "messageStop" => out.finish = event["stopReason"].as_str().unwrap().to_owned(),
            "metadata" => out.usage = event.get("usage").map(usage),
            "exception" => {
                out.error = Some(event["message"].as_str().unwrap_or_default().to_owned());
                break;
            }
            _ => {}
        }
    }
    out
}

/// Takes frames apart by their lengths: total, headers, prelude's checksum; every header here is a text.
fn frames(mut bytes: &[u8]) -> Vec<(String, Value)> {
    let number = |bytes: &[u8], at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let (total, headers) = (number(bytes, 0), number(bytes, 4));
        let (mut rest, mut name) = (&bytes[12..12 + headers], String::new());
        while !rest.is_empty() {
            let key = usize::from(rest[0]);
            assert_eq!(rest[1 + key], 7);
            let length = usize::from(u16::from_be_bytes([rest[2 + key], rest[3 + key]]));
            if &rest[1..=key] == b":event-type" {
                name = String::from_utf8(rest[4 + key..4 + key + length].to_vec()).unwrap();
            } else if &rest[1..=key] == b":exception-type" {
                "exception".clone_into(&mut name);
            }
            rest = &rest[4 + key + length..];
        }
        out.push((name, serde_json::from_slice(&bytes[12 + headers..total - 4]).unwrap()));
        bytes = &bytes[total..];
    }
    out
}

fn decode(body: &[u8], size: usize) -> Reading {
    let mut stream = bedrock::Stream::new(Limits::default());
    let mut deltas = Vec::new();
    for piece in body.chunks(size) {
        stream.push(&Bytes::copy_from_slice(piece));
        loop {
            match stream.next_delta() {
                Ok(Some(delta)) => deltas.push(delta),
                Ok(None) => break,
                Err(error) => return summarise(&deltas, stream.summary(), Some(&error)),
            }
        }
    }
    while let Some(delta) = stream.end().unwrap() {
        deltas.push(delta);
    }
    assert_eq!(stream.summary().malformed, 0);
    summarise(&deltas, stream.summary(), None)
}

pub(crate) fn answer(row: &Value) -> Result<Verdict, String> {
    if let Some(raw) = row["response_b64"].as_str() {
        let body = STANDARD.decode(raw).unwrap();
        let want = read_events(&frames(&body));
        for size in SIZES {
            compare(&decode(&body, size.min(body.len())), &want)?;
        }
        // Without its last frames the answer is not complete.
        if decode_cut(&body) {
            return Err("a cut stream is complete".into());
        }
        let ended = !want.finish.is_empty() || want.error.is_some();
        return Ok(if ended { Verdict::Passed } else { Verdict::Aside("streamed without a stop reason") });
    }
    let body = body(row);
    if body.is_empty() { Ok(Verdict::Aside("recorded without a body")) } else { whole(&body) }
}

/// Whether the stream is complete without the frame that says why it ended, and what follows.
fn decode_cut(body: &[u8]) -> bool {
    let mut stream = bedrock::Stream::new(Limits::default());
    let needle = b"messageStop";
    let end = body.windows(needle.len()).position(|window| window == needle).unwrap_or(body.len() / 2);
    stream.push(&Bytes::copy_from_slice(&body[..end]));
    while let Ok(Some(_)) = stream.next_delta() {}
    while let Ok(Some(_)) = stream.end() {}
    stream.summary().finish_reason.is_some()
}

fn whole(body: &str) -> Result<Verdict, String> {
    let want = read_whole(&serde_json::from_str(body).map_err(|e| e.to_string())?);
    let answer = bedrock::whole(body.as_bytes()).map_err(|e| e.to_string())?;
    compare(&summarise(&answer.deltas, &answer.summary, None), &want)
}

pub(crate) fn embedding(row: &Value, model: &str) -> Result<Verdict, String> {
    let recorded = json(&row["request"]);
    let (texts, size) = if let Some(texts) = recorded["texts"].as_array() {
        (texts.iter().map(|t| t.as_str().unwrap().to_owned()).collect(), &recorded["output_dimension"])
    } else if let Some(text) = recorded["inputText"].as_str() {
        (vec![text.to_owned()], &recorded["dimensions"])
    } else if let Some(text) = recorded["singleEmbeddingParams"]["text"]["value"].as_str() {
        (vec![text.to_owned()], &recorded["singleEmbeddingParams"]["embeddingDimension"])
    } else {
        return Ok(Verdict::Aside("vectors of something other than text"));
    };
    if recorded.get("embedding_types").is_some_and(|types| *types != serde_json::json!(["float"])) {
        return Ok(Verdict::Aside("vectors of another type"));
    }
    // Everything else of the request is the caller's, and so `extra`.
    let mut own = recorded.clone();
    for key in ["texts", "inputText", "output_dimension", "dimensions", "taskType"] {
        own.as_object_mut().unwrap().remove(key);
    }
    let extra = signalbox_wire::json::fields(own.as_object().unwrap().clone()).unwrap();
    let size = size.as_u64().map(|n| u32::try_from(n).unwrap());
    let bytes =
        bedrock::embeddings::encode(model, &texts, size, extra.as_ref()).map_err(|e| e.to_string())?;
    let written: Value = serde_json::from_slice(&bytes).unwrap();
    if !same(&recorded, &written) {
        return Err(format!("written differently at {}", difference(&recorded, &written, "")));
    }
    let body = body(row);
    let got = bedrock::embeddings::decode(body.as_bytes(), texts.len()).map_err(|e| e.to_string())?;
    let parsed: Value = serde_json::from_str(&body).map_err(|e| e.to_string())?;
    let find = |i: usize| -> &Value {
        let all = &parsed["embeddings"];
        [&all["float"][i], &all[i]["embedding"], &all[i], &parsed["embedding"]]
            .into_iter()
            .find(|v| v.is_array())
            .unwrap()
    };
    for (i, vector) in got.vectors.iter().enumerate() {
        let want: Vec<f64> = find(i).as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect();
        let equal = want.iter().zip(vector).all(|(a, b)| (a - f64::from(*b)).abs() < 1e-6);
        if want.len() != vector.len() || !equal {
            return Err("a vector differs".into());
        }
    }
    let tokens = got.usage.map(|u| u.input_tokens);
    if tokens != parsed["inputTextTokenCount"].as_u64() {
        return Err("usage differs".into());
    }
    Ok(Verdict::Passed)
}

/// Events without their frames: framed here, then read like any stream.
pub(crate) fn fixture(row: &Value, name: &str, table: &mut Table) -> bool {
    let ours = ["messageStart", "contentBlockDelta", "messageStop"];
    let verdict = if let Some(chunks) = row["chunks"].as_array() {
        if !chunks.iter().any(|chunk| ours.iter().any(|key| json(chunk).get(key).is_some())) {
            return false;
        }
        let events: Vec<(String, Value)> =
            chunks.iter().flat_map(|chunk| json(chunk).as_object().unwrap().clone()).collect();
        let body: Vec<u8> = events.iter().flat_map(|(kind, event)| frame(kind, event)).collect();
        compare(&decode(&body, 64), &read_events(&events))
    } else {
        let response = json(&row["response"]);
        if response.pointer("/output/message/content").is_none() || response.get("stopReason").is_none() {
            return false;
        }
        whole(&response.to_string())
    };
    table.add("bedrock fixtures", name, verdict);
    true
}

fn frame(kind: &str, event: &Value) -> Vec<u8> {
    use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
    let kind = HeaderValue::String(kind.to_owned().into());
    let message = Message::new(event.to_string().into_bytes())
        .add_header(Header::new(":message-type", HeaderValue::String("event".into())))
        .add_header(Header::new(":event-type", kind));
    let mut out = Vec::new();
    aws_smithy_eventstream::frame::write_message_to(&message, &mut out).unwrap();
    out
}

proptest! {
    #[test]
    fn what_is_taken_in_can_be_written_and_is_then_the_same(a in block(), b in block(), extra in json_text(), tools in json_text()) {
        let body = format!(
            r#"{{"messages":[{{"role":"user","content":[{a}]}},{{"role":"assistant","content":[{b},{a}]}}],"x":{extra},
                "toolConfig":{{"tools":[{{"toolSpec":{{"name":"n","inputSchema":{{"json":{tools}}},"x":{extra}}}}}]}}}}"#
        );
        if let Ok(parsed) = bedrock::parse(body.as_bytes(), "m", Some("p")) {
            let options = Options { model: "m", provider: "p", alternate: parsed.alternate };
            if let Ok(written) = bedrock::encode(&parsed.chat, &options) {
                let again = bedrock::parse(&written, "m", Some("p")).unwrap();
                let again = bedrock::encode(&again.chat, &options).unwrap();
                let [again, written] = [again, written].map(|b| serde_json::from_slice::<Value>(&b).unwrap());
                prop_assert_eq!(again, written);
            }
        }
    }
}

/// Blocks made of the names that the dialect knows, right and wrong.
fn block() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "text",
        "image",
        "document",
        "toolUse",
        "toolResult",
        "reasoningContent",
        "guardContent",
        "cachePoint",
        "json",
    ]);
    let inner = prop_oneof![
        json_text(),
        Just(
            r#"{"toolUseId":"t","name":"n","input":{"a":1},"content":[{"json":{"b":2}},{"text":"x"}]}"#
                .to_owned()
        ),
        Just(r#"{"format":"png","source":{"bytes":"AAAA"},"name":"d_1"}"#.to_owned()),
        Just(r#"{"reasoningText":{"text":"r","signature":"s"},"text":{"text":"g"}}"#.to_owned()),
        Just(r#""""#.to_owned()),
    ];
    (name, inner).prop_map(|(name, inner)| format!(r#"{{"{name}":{inner}}}"#))
}
