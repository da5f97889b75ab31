//! Cohere's recordings, with a second reading of them that shares nothing with the crate under test.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;
use signalbox_wire::Limits;
use signalbox_wire::cohere::{self, Options};

use super::hostile::json as json_text;
use super::reading::Reading;
use super::recordings::{
    SIZES, Table, Verdict, body, compare, difference, events, is_stream, json, same, summarise,
};

pub(crate) fn request(row: &Value) -> Result<Verdict, String> {
    let recorded = json(&row["request"]);
    if !recorded.is_object() {
        return Ok(Verdict::Aside("recorded request is no JSON"));
    }
    let parsed = cohere::parse(recorded.to_string().as_bytes(), Some("cohere")).map_err(|e| e.to_string())?;
    let options = Options { model: &parsed.chat.model, provider: "cohere", stream: parsed.stream };
    let bytes = cohere::encode(&parsed.chat, &options).map_err(|e| e.to_string())?;
    if bytes != cohere::encode(&parsed.chat.clone(), &options).unwrap() {
        return Err("two encodings differ".into());
    }
    let written: Value = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
    if !same(&recorded, &written) {
        return Err(format!("written back differently at {}", difference(&recorded, &written, "")));
    }
    Ok(Verdict::Passed)
}

fn usage(value: &Value) -> [u64; 4] {
    let counted = if value["tokens"].is_object() { &value["tokens"] } else { &value["billed_units"] };
    let count =
        |value: &Value| value.as_f64().unwrap_or_default().round().max(0.0).to_string().parse().unwrap();
    [count(&counted["input_tokens"]), count(&counted["output_tokens"]), count(&value["cached_tokens"]), 0]
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Reads a whole answer.
fn read_whole(value: &Value) -> Reading {
    let message = &value["message"];
    let mut out = Reading {
        id: word(&value["id"]).to_owned(),
        finish: word(&value["finish_reason"]).to_owned(),
        usage: value.get("usage").map(usage),
        ..Reading::default()
    };
    for block in message["content"].as_array().into_iter().flatten() {
        out.text += word(&block["text"]);
        out.reasoning += word(&block["thinking"]);
    }
    out.reasoning += word(&message["tool_plan"]);
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        let of = |value: &Value| word(value).to_owned();
        out.tools.push((of(&call["id"]), of(&call["function"]["name"]), of(&call["function"]["arguments"])));
    }
    out
}

/// Reads the payloads of a stream.
fn read_events(events: &[Value]) -> Reading {
    let mut out = Reading::default();
    for event in events {
        let message = &event["delta"]["message"];
        match word(&event["type"]) {
            "message-start" => out.id = word(&event["id"]).to_owned(),
            "content-start" | "content-delta" => {
                out.text += word(&message["content"]["text"]);
                out.reasoning += word(&message["content"]["thinking"]);
            }
            "tool-plan-delta" => out.reasoning += word(&message["tool_plan"]),
            kind @ ("tool-call-start" | "tool-call-delta") => {
                let call = &message["tool_calls"];
                if kind == "tool-call-start" {
                    out.tools.push(Default::default());
                }
                let at = usize::try_from(event["index"].as_u64().unwrap()).unwrap();
                out.tools[at].0 += word(&call["id"]);
                out.tools[at].1 += word(&call["function"]["name"]);
                out.tools[at].2 += word(&call["function"]["arguments"]);
            }
            "message-end" => {
                out.finish = word(&event["delta"]["finish_reason"]).to_owned();
                out.usage = event["delta"].get("usage").map(usage);
            }
            _ => {}
        }
    }
    out
}

fn decode(body: &[u8], size: usize) -> Reading {
    let mut stream = cohere::Stream::new(Limits::default());
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
    while let Some(delta) = stream.end().unwrap() {
        deltas.push(delta);
    }
    assert_eq!(stream.summary().malformed, 0);
    summarise(&deltas, stream.summary(), None)
}

pub(crate) fn answer(row: &Value) -> Result<Verdict, String> {
    let body = body(row);
    match body.as_str() {
        "" => Ok(Verdict::Aside("recorded without a body")),
        text if is_stream(text) => {
            let (events, broken) = events(text);
            if broken > 0 { Err("an event is no JSON".into()) } else { streamed(text, &events) }
        }
        text => whole(text),
    }
}

fn streamed(body: &str, events: &[Value]) -> Result<Verdict, String> {
    let want = read_events(events);
    for size in SIZES {
        compare(&decode(body.as_bytes(), size.min(body.len())), &want)?;
    }
    if want.finish.is_empty() {
        Ok(Verdict::Aside("streamed without a finish reason"))
    } else {
        Ok(Verdict::Passed)
    }
}

fn whole(body: &str) -> Result<Verdict, String> {
    let value: Value = serde_json::from_str(body).map_err(|e| e.to_string())?;
    let answer = cohere::whole(body.as_bytes()).map_err(|e| e.to_string())?;
    let cited = |d: &signalbox_proto::common::v1::Delta| {
        matches!(d.content, Some(signalbox_proto::common::v1::delta::Content::Citation(_)))
    };
    let citations = value["message"]["citations"].as_array().map_or(0, Vec::len);
    if answer.deltas.iter().filter(|d| cited(d)).count() != citations {
        return Err(format!("not {citations} citations"));
    }
    compare(&summarise(&answer.deltas, &answer.summary, None), &read_whole(&value))
}

pub(crate) fn embedding(row: &Value) -> Result<Verdict, String> {
    let recorded = json(&row["request"]);
    let Some(texts) = recorded["texts"].as_array() else {
        return Ok(Verdict::Aside("vectors of something other than text"));
    };
    if recorded.get("embedding_types").is_some_and(|types| *types != serde_json::json!(["float"])) {
        return Ok(Verdict::Aside("vectors of another type"));
    }
    let texts: Vec<String> = texts.iter().map(|t| t.as_str().unwrap().to_owned()).collect();
    let size = recorded["output_dimension"].as_u64().map(|n| u32::try_from(n).unwrap());
    // Everything else of the request is the caller's, and so `extra`.
    let mut own = recorded.clone();
    for key in ["model", "texts", "embedding_types"] {
        own.as_object_mut().unwrap().remove(key);
    }
    let extra = signalbox_wire::json::fields(own.as_object().unwrap().clone()).unwrap();
    let model = recorded["model"].as_str().unwrap();
    let bytes = cohere::embeddings::encode(model, &texts, size, extra.as_ref()).map_err(|e| e.to_string())?;
    let mut written: Value = serde_json::from_slice(&bytes).unwrap();
    if recorded.get("embedding_types").is_none() {
        // Said always, the same as saying nothing.
        written.as_object_mut().unwrap().remove("embedding_types");
    }
    if !same(&recorded, &written) {
        return Err(format!("written differently at {}", difference(&recorded, &written, "")));
    }
    vectors(&body(row), texts.len())
}

fn vectors(body: &str, count: usize) -> Result<Verdict, String> {
    let got = cohere::embeddings::decode(body.as_bytes(), count).map_err(|e| e.to_string())?;
    let parsed: Value = serde_json::from_str(body).map_err(|e| e.to_string())?;
    for (vector, want) in got.vectors.iter().zip(parsed["embeddings"]["float"].as_array().unwrap()) {
        let want: Vec<f64> = want.as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect();
        let equal = want.iter().zip(vector).all(|(a, b)| (a - f64::from(*b)).abs() < 1e-6);
        if want.len() != vector.len() || !equal {
            return Err("a vector differs".into());
        }
    }
    let billed = parsed["meta"]["billed_units"]["input_tokens"].as_u64();
    if got.usage.map(|u| u.input_tokens) != billed {
        return Err("usage differs".into());
    }
    Ok(Verdict::Passed)
}

/// Events without their framing: framed here, then read like any stream.
pub(crate) fn fixture(row: &Value, name: &str, table: &mut Table) -> bool {
    let verdict = if let Some(chunks) = row["chunks"].as_array() {
        let ours = ["message-start", "content-delta", "message-end", "tool-call-start"];
        if !chunks.iter().any(|chunk| ours.contains(&word(&json(chunk)["type"]))) {
            return false;
        }
        let events: Vec<Value> = chunks.iter().map(json).collect();
        let body: String =
            events.iter().map(|e| format!("event: {}\ndata: {e}\n\n", word(&e["type"]))).collect();
        streamed(&body, &events)
    } else {
        let response = json(&row["response"]);
        if let Some(list) = response["embeddings"]["float"].as_array() {
            vectors(&response.to_string(), list.len())
        } else if response["message"].is_object() && response.get("finish_reason").is_some() {
            whole(&response.to_string())
        } else {
            return false;
        }
    };
    table.add("cohere fixtures", name, verdict);
    true
}

proptest! {
    #[test]
    fn what_is_taken_in_can_be_written_and_is_then_the_same(content in json_text(), extra in json_text(), tools in json_text()) {
        let body = format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":{content}}},{{"role":"assistant","tool_plan":{extra},"content":[
                {{"type":"thinking","thinking":{extra}}},{{"type":"text","text":"x"}}]}},{{"role":"tool","tool_call_id":"a","content":[
                {{"type":"document","document":{{"id":"x","data":{content}}}}}]}}],
                "x":{extra},"response_format":{extra},"thinking":{extra},
                "tools":[{{"type":"function","function":{{"name":"n","parameters":{tools}}}}}]}}"#
        );
        if let Ok(parsed) = cohere::parse(body.as_bytes(), Some("p")) {
            let options = Options { model: "m", provider: "p", stream: parsed.stream };
            if let Ok(written) = cohere::encode(&parsed.chat, &options) {
                let again = cohere::parse(&written, Some("p")).unwrap();
                prop_assert_eq!(cohere::encode(&again.chat, &options).unwrap(), written);
            }
        }
    }
}
