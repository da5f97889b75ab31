//! Google's dialect against recordings, with a second reading straight from the JSON.

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;
use signalbox_proto::common::v1::delta::Content;
use signalbox_proto::common::v1::{Delta, FinishReason};
use signalbox_wire::{ErrorClass, Limits, ProviderError, Summary, google};

use super::recordings::{Table, Verdict, json};

/// What an answer says, in its simplest form.
#[derive(Debug, Default, PartialEq, Clone)]
struct Reading {
    text: String,
    thoughts: String,
    /// Name, arguments, signature.
    calls: Vec<(String, Value, String)>,
    /// Parts without a place of their own, and media.
    others: usize,
    finish: String,
    /// Input, output, cached, thoughts.
    usage: Option<[u64; 4]>,
    model: String,
    id: String,
}

fn read(documents: &[Value]) -> Reading {
    let mut out = Reading::default();
    for document in documents {
        let word = |key: &str| document[key].as_str().unwrap_or_default().to_owned();
        if out.id.is_empty() {
            out.id = word("responseId");
        }
        if out.model.is_empty() {
            out.model = word("modelVersion");
        }
        if let Some(counts) = document.get("usageMetadata") {
            let n = |key: &str| counts[key].as_u64().unwrap_or(0);
            let thoughts = n("thoughtsTokenCount");
            out.usage = Some([
                n("promptTokenCount") + n("toolUsePromptTokenCount"),
                n("candidatesTokenCount") + thoughts,
                n("cachedContentTokenCount"),
                thoughts,
            ]);
        }
        let candidate = &document["candidates"][0];
        for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
            if let Some(text) = part["text"].as_str() {
                if part["thought"] == true { &mut out.thoughts } else { &mut out.text }.push_str(text);
            } else if part["functionCall"]["name"].is_string()
                && part["functionCall"]["partialArgs"].is_null()
            {
                let call = &part["functionCall"];
                let args = call.get("args").cloned().unwrap_or_else(|| Value::Object(Default::default()));
                let signature = part["thoughtSignature"].as_str().unwrap_or_default().to_owned();
                out.calls.push((call["name"].as_str().unwrap_or_default().to_owned(), args, signature));
            } else {
                out.others += 1;
            }
        }
        if let Some(finish) = candidate["finishReason"].as_str() {
            out.finish = finish.to_owned();
        }
    }
    out
}

fn summarise(deltas: &[Delta], summary: &Summary) -> Reading {
    let mut out = Reading {
        finish: summary.provider_finish_reason.clone().unwrap_or_default(),
        usage: summary
            .usage
            .as_ref()
            .map(|u| [u.input_tokens, u.output_tokens, u.cached_input_tokens, u.reasoning_tokens]),
        model: summary.model.clone().unwrap_or_default(),
        id: summary.response_id.clone().unwrap_or_default(),
        ..Reading::default()
    };
    let mut ids = BTreeMap::new();
    for delta in deltas {
        let extra = |key: &str| delta.extra.as_ref().and_then(|extra| extra.fields.get(key));
        match delta.content.as_ref().unwrap() {
            Content::Text(_) if extra("part").is_some() => out.others += 1,
            Content::Text(text) => out.text.push_str(text),
            Content::Reasoning(reasoning) => out.thoughts.push_str(&reasoning.text),
            Content::ToolCall(call) => {
                assert!(ids.insert(call.id.clone().unwrap(), ()).is_none(), "each call has its own id");
                let signature = signalbox_wire::json::text(delta.extra.as_ref(), "thoughtSignature");
                let args = serde_json::from_str(&call.arguments).unwrap();
                out.calls.push((call.name.clone().unwrap(), args, signature.unwrap_or_default().to_owned()));
            }
            Content::Media(_) => out.others += 1,
            Content::Citation(_) | Content::Refusal(_) => {}
        }
    }
    out
}

fn decode(body: &[u8], size: usize) -> Result<(Reading, Option<FinishReason>), ProviderError> {
    let mut stream = google::Stream::new(Limits::default());
    let mut deltas = Vec::new();
    for piece in body.chunks(size) {
        stream.push(Bytes::copy_from_slice(piece));
        while let Some(delta) = stream.next_delta()? {
            deltas.push(delta);
        }
    }
    while let Some(delta) = stream.end()? {
        deltas.push(delta);
    }
    if stream.summary().malformed > 0 && body.ends_with(b"\n") {
        return Err(ProviderError::new(ErrorClass::Protocol, "an event was not understood"));
    }
    Ok((summarise(&deltas, stream.summary()), stream.summary().finish_reason))
}

fn compare(got: &Reading, want: &Reading) -> Result<Verdict, String> {
    if got == want { Ok(Verdict::Passed) } else { Err(format!("read\n  {got:?}\ninstead of\n  {want:?}")) }
}

fn whole(body: &str) -> Result<Verdict, String> {
    let document: Value = serde_json::from_str(body).map_err(|e| e.to_string())?;
    let want = read(std::slice::from_ref(&document));
    match google::whole(body.as_bytes()) {
        Ok(answer) => compare(&summarise(&answer.deltas, &answer.summary), &want),
        Err(error) if document["promptFeedback"]["blockReason"].is_string() => {
            assert_eq!(error.class, ErrorClass::ContentFilter);
            Ok(Verdict::Passed)
        }
        Err(_) if want.finish.is_empty() => Ok(Verdict::Aside("without a finish reason")),
        Err(error) => Err(error.to_string()),
    }
}

fn stream(body: &str) -> Result<Verdict, String> {
    let normal = body.replace("\r\n", "\n");
    let documents: Vec<Value> = normal
        .split("\n\n")
        .filter_map(|block| block.lines().find_map(|line| line.strip_prefix("data:")))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let want = read(&documents);
    for size in [body.len().max(1), 1, 7, 1000] {
        let (got, finish) = decode(body.as_bytes(), size).map_err(|e| e.to_string())?;
        compare(&got, &want)?;
        if finish.is_none() != want.finish.is_empty() {
            return Err(format!("finish reason {finish:?} for {}", want.finish));
        }
    }
    // Half of it is never complete.
    let half = decode(&body.as_bytes()[..body.len() / 2], 64);
    if documents.len() > 1 && half.is_ok_and(|(_, finish)| finish.is_some()) {
        return Err("half a stream counts as complete".into());
    }
    let finished = !want.finish.is_empty();
    Ok(if finished { Verdict::Passed } else { Verdict::Aside("streamed without a finish reason") })
}

fn error(row: &Value) -> Result<Verdict, String> {
    let (status, body) = (row["status"].as_u64().unwrap(), row["response"].as_str().unwrap_or_default());
    let parsed: Value = serde_json::from_str(body).map_err(|e| e.to_string())?;
    let want = parsed["error"]["message"].as_str().unwrap_or_default();
    let status = u16::try_from(status).unwrap();
    let got = google::error(status, &HeaderMap::new(), body.as_bytes(), SystemTime::UNIX_EPOCH);
    let class = if status == 404 { ErrorClass::ModelMissing } else { ErrorClass::Rejected };
    if !got.message.starts_with(&want[..want.len().min(40)]) || got.class != class {
        return Err(format!("{got:?} instead of {want}"));
    }
    Ok(Verdict::Passed)
}

fn vectors(row: &Value) -> Result<Verdict, String> {
    let body = row["response"].as_str().unwrap_or_default();
    if row["status"] != 200 {
        return error(row);
    }
    let parsed: Value = serde_json::from_str(body).map_err(|e| e.to_string())?;
    let Some(want) = parsed["embeddings"].as_array() else {
        return Ok(Verdict::Aside("vectors by another method"));
    };
    let got = google::vectors(body.as_bytes(), want.len()).map_err(|e| e.to_string())?;
    for (vector, want) in got.vectors.iter().zip(want) {
        let want = want["values"].as_array().unwrap();
        if vector.len() != want.len() || (f64::from(vector[0]) - want[0].as_f64().unwrap()).abs() > 1e-6 {
            return Err("a vector differs".into());
        }
    }
    Ok(Verdict::Passed)
}

/// False: the row is of another dialect.
pub(crate) fn exchange(row: &Value, name: &str, table: &mut Table) -> bool {
    let path = row["path"].as_str().unwrap_or_default().split('?').next().unwrap_or_default();
    let ours = path.contains("/models/") && !path.contains("/publishers/anthropic/");
    match path.rsplit(':').next().filter(|_| ours) {
        Some("generateContent" | "streamGenerateContent") if row["status"] == 200 => {
            let body = row["response"].as_str().unwrap_or_default();
            let verdict = if row["format"] == "sse" { stream(body) } else { whole(body) };
            table.add("google answers", name, verdict);
        }
        Some("generateContent" | "streamGenerateContent") => table.add("google errors", name, error(row)),
        Some("embedContent" | "batchEmbedContents") => table.add("google embeddings", name, vectors(row)),
        _ => return false,
    }
    true
}

/// Answers without their framing; false: they are of another dialect.
pub(crate) fn chunks(payloads: &[Value], row: &Value, name: &str, table: &mut Table) -> bool {
    if !payloads.iter().any(|payload| payload["candidates"].is_array()) {
        return false;
    }
    let verdict = if row["format"] == "chunks" {
        stream(&payloads.iter().map(|payload| format!("data: {payload}\n\n")).collect::<String>())
    } else {
        whole(&json(&payloads[0]).to_string())
    };
    table.add("google fixtures", name, verdict);
    true
}
