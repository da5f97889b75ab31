//! Google's dialect against recordings, with a second reading straight from the JSON.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;
use signalbox_proto::common::v1::delta::Content;
use signalbox_proto::common::v1::{Delta, FinishReason};
use signalbox_wire::{ErrorClass, Limits, ProviderError, Summary, google};

use super::recordings::{SIZES, Table, Verdict, body, difference, events, is_stream, json, same};

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

/// Puts a piece of a call's arguments where it belongs.
fn place(into: &mut Value, piece: &Value) {
    let path = piece["jsonPath"].as_str().unwrap().trim_start_matches('$').replace('[', ".").replace(']', "");
    let mut at = into;
    for step in path.split('.').filter(|step| !step.is_empty()) {
        at = match step.parse::<usize>() {
            Ok(n) => {
                if at.is_null() {
                    *at = Value::Array(Vec::new());
                }
                let list = at.as_array_mut().unwrap();
                while list.len() <= n {
                    list.push(Value::Null);
                }
                &mut list[n]
            }
            Err(_) => &mut at[step],
        };
    }
    match piece["stringValue"].as_str() {
        Some(more) => *at = Value::from(format!("{}{more}", at.as_str().unwrap_or_default())),
        None => *at = piece.get("numberValue").or(piece.get("boolValue")).cloned().unwrap_or_default(),
    }
}

fn read(documents: &[Value]) -> Reading {
    let mut out = Reading::default();
    let mut open = false;
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
            } else if part["functionCall"].is_object() && (open || part["functionCall"]["name"].is_string()) {
                let call = &part["functionCall"];
                if let Some(name) = call["name"].as_str() {
                    let args = call.get("args").filter(|args| !args.is_null()).cloned();
                    let args = args.unwrap_or_else(|| Value::Object(Default::default()));
                    let signature = part["thoughtSignature"].as_str().unwrap_or_default().to_owned();
                    out.calls.push((name.to_owned(), args, signature));
                }
                for piece in call["partialArgs"].as_array().into_iter().flatten() {
                    place(&mut out.calls.last_mut().unwrap().1, piece);
                }
                open = call["willContinue"] == true;
            } else {
                out.others += 1;
            }
        }
        match &candidate["finishReason"] {
            Value::Null => {}
            Value::String(finish) => out.finish = finish.clone(),
            number => {
                let names = ["", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER"];
                let at = usize::try_from(number.as_u64().unwrap()).unwrap();
                out.finish = names.get(at).map_or_else(|| at.to_string(), |name| (*name).to_owned());
            }
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
    let mut ids = Vec::new();
    let mut pieces: BTreeMap<u32, (String, String, String)> = BTreeMap::new();
    for delta in deltas {
        let extra = |key: &str| delta.extra.as_ref().and_then(|extra| extra.fields.get(key));
        match delta.content.as_ref().unwrap() {
            Content::Text(_) if extra("part").is_some() => out.others += 1,
            Content::Text(text) => out.text.push_str(text),
            Content::Reasoning(reasoning) => out.thoughts.push_str(&reasoning.text),
            Content::ToolCall(call) => {
                let signature = signalbox_wire::json::text(delta.extra.as_ref(), "thoughtSignature");
                let so_far = pieces.entry(delta.index).or_default();
                so_far.0.push_str(call.name.as_deref().unwrap_or_default());
                so_far.1.push_str(&call.arguments);
                so_far.2.push_str(signature.unwrap_or_default());
                ids.extend(call.id.clone());
            }
            Content::Media(_) => out.others += 1,
            Content::Citation(_) | Content::Refusal(_) => {}
        }
    }
    for (name, arguments, signature) in pieces.into_values() {
        // Half a stream may hold a call whose arguments have not come.
        out.calls.push((name, serde_json::from_str(&arguments).unwrap_or_default(), signature));
    }
    let distinct: std::collections::BTreeSet<&String> = ids.iter().collect();
    assert_eq!(distinct.len(), out.calls.len(), "each call has its own id");
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
    let (documents, _) = events(body);
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

/// The model, which stands in the path.
fn model(row: &Value) -> String {
    let path = super::detect::path(row);
    let (before, _) = path.rsplit_once(':').unwrap_or((&path, ""));
    before.rsplit('/').next().unwrap_or_default().to_owned()
}

pub(crate) fn request(row: &Value) -> Result<Verdict, String> {
    let recorded = json(&row["request"]);
    if !recorded.is_object() {
        return Ok(Verdict::Aside("no request recorded"));
    }
    let model = model(row);
    let google::Parsed { chat, alternate } =
        google::parse(recorded.to_string().as_bytes(), &model, Some("google")).map_err(|e| e.to_string())?;
    let options = google::Options { model: &model, provider: "google", alternate };
    let bytes = google::encode(&chat, &options).map_err(|e| e.to_string())?;
    if bytes != google::encode(&chat.clone(), &options).unwrap() {
        return Err("two encodings differ".into());
    }
    let written: Value = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
    if !same(&recorded, &written) {
        return Err(format!("written back differently at {}", difference(&recorded, &written, "")));
    }
    // No text is hidden from the parts of the mesh that look at messages.
    let mut shown = String::new();
    chat.messages.iter().flat_map(|m| &m.parts).for_each(|part| shown.push_str(&format!("{:?}", part.kind)));
    for part in
        recorded["contents"].as_array().into_iter().flatten().flat_map(|c| c["parts"].as_array()).flatten()
    {
        if let Some(text) = part["text"].as_str()
            && !shown.contains(&format!("{text:?}"))
        {
            return Err("a text is not in the messages".into());
        }
    }
    Ok(Verdict::Passed)
}

pub(crate) fn answer(row: &Value) -> Result<Verdict, String> {
    let body = body(row);
    match body.trim_start().chars().next() {
        None => Ok(Verdict::Aside("recorded without a body")),
        Some('[') => list(&body),
        _ if is_stream(&body) => stream(&body),
        _ => whole(&body),
    }
}

/// A stream without `alt=sse`.
fn list(body: &str) -> Result<Verdict, String> {
    let documents: Vec<Value> = serde_json::from_str(body).map_err(|e| e.to_string())?;
    let want = read(&documents);
    for size in SIZES {
        compare(&decode(body.as_bytes(), size.min(body.len())).map_err(|e| e.to_string())?.0, &want)?;
    }
    match google::whole(body.as_bytes()) {
        Ok(answer) => compare(&summarise(&answer.deltas, &answer.summary), &want),
        Err(_) if want.finish.is_empty() => Ok(Verdict::Aside("without a finish reason")),
        Err(error) => Err(error.to_string()),
    }
}

pub(crate) fn vectors(row: &Value) -> Result<Verdict, String> {
    let recorded = json(&row["request"]);
    let body = body(row);
    let parsed: Value = serde_json::from_str(&body).map_err(|e| e.to_string())?;
    let want: Vec<&Value> = match (&parsed["embeddings"], &parsed["predictions"], &parsed["embedding"]) {
        (Value::Array(list), ..) => list.iter().collect(),
        (_, Value::Array(list), _) => list.iter().map(|one| &one["embeddings"]).collect(),
        (.., one) => vec![one],
    };
    let got = google::embeddings::decode(body.as_bytes(), want.len()).map_err(|e| e.to_string())?;
    for (vector, want) in got.vectors.iter().zip(want) {
        let want = want["values"].as_array().unwrap();
        if vector.len() != want.len() || (f64::from(vector[0]) - want[0].as_f64().unwrap()).abs() > 1e-6 {
            return Err("a vector differs".into());
        }
    }
    // What we would ask for the same texts, where each is one part and nothing else is said.
    let path = super::detect::path(row);
    let texts: Option<Vec<String>> = if let Some(list) = recorded["instances"].as_array() {
        list.iter().map(|one| Some(one["content"].as_str()?.to_owned())).collect()
    } else {
        let list = recorded["requests"].as_array().cloned().unwrap_or_else(|| vec![recorded.clone()]);
        let text = |one: &Value| match one["content"]["parts"].as_array().map(Vec::as_slice) {
            Some([part]) if one["content"].get("role").is_none() => Some(part["text"].as_str()?.to_owned()),
            _ => None,
        };
        list.iter().map(text).collect()
    };
    let Some(texts) = texts else { return Ok(Verdict::Passed) };
    let first = recorded["requests"].get(0).or(recorded["instances"].get(0)).unwrap_or(&recorded);
    let task = first.get("taskType").or(first.get("task_type"));
    let size =
        first["outputDimensionality"].as_u64().or(recorded["parameters"]["outputDimensionality"].as_u64());
    let extra = task
        .map(|task| serde_json::Map::from_iter([("taskType".to_owned(), task.clone())]))
        .unwrap_or_default();
    let extra = signalbox_wire::json::fields(extra).unwrap();
    let vertex = path.contains("/publishers/");
    let size = size.map(|n| u32::try_from(n).unwrap());
    let bytes = google::embeddings::encode(&model(row), vertex, &texts, size, extra.as_ref())
        .map_err(|e| e.to_string())?;
    let written: Value = serde_json::from_slice(&bytes).unwrap();
    if !same(&recorded, &written) {
        return Err(format!("asked differently at {}", difference(&recorded, &written, "")));
    }
    if !path.ends_with(&google::embeddings::path(&model(row), vertex)) {
        return Err(format!("asked at {} instead of {path}", google::embeddings::path(&model(row), vertex)));
    }
    Ok(Verdict::Passed)
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
