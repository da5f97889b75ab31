//! The Responses dialect against its recordings, with a second reading that shares nothing with the crate under test.

use bytes::Bytes;
use serde_json::Value;
use signalbox_proto::common::v1::delta::Content;
use signalbox_proto::common::v1::{Delta, FinishReason};
use signalbox_wire::responses::{self, Options};
use signalbox_wire::{ErrorClass, Limits, ProviderError, Summary};

use super::reading::Reading;
use super::recordings::{
    SIZES, Table, Verdict, body, compare, difference, events, is_stream, json, same, summarise,
};

pub(crate) fn request(row: &Value) -> Result<Verdict, String> {
    let recorded = json(&row["request"]);
    if !recorded.is_object() {
        return Ok(Verdict::Aside("no request recorded"));
    }
    let provider = row["provider"].as_str().unwrap_or_default();
    let parsed =
        responses::parse(recorded.to_string().as_bytes(), Some(provider)).map_err(|e| e.to_string())?;
    let options = Options { model: &parsed.chat.model, provider, style: parsed.style, stream: parsed.stream };
    let bytes = responses::encode(&parsed.chat, &options).map_err(|e| e.to_string())?;
    if bytes != responses::encode(&parsed.chat.clone(), &options).unwrap() {
        return Err("two encodings differ".into());
    }
    let written: Value = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
    if !same(&recorded, &written) {
        return Err(format!("written back differently at {}", difference(&recorded, &written, "")));
    }
    // No text is hidden from the parts of the mesh that look at messages.
    let mut shown = String::new();
    let all = parsed.chat.messages.iter().flat_map(|m| &m.parts);
    all.for_each(|part| shown.push_str(&format!("{:?}", part.kind)));
    for item in recorded["input"].as_array().into_iter().flatten() {
        let spoken =
            [&item["content"], &item["output"], &item["arguments"]].into_iter().find_map(Value::as_str);
        if let Some(text) = spoken.filter(|_| item["type"] != "mcp_call")
            && !shown.contains(&format!("{text:?}"))
        {
            return Err("a text is not in the messages".into());
        }
    }
    Ok(Verdict::Passed)
}

/// What stands beside the text.
#[derive(Debug, Default, PartialEq)]
struct Beside {
    /// Address and title of each citation.
    citations: Vec<(String, String)>,
    /// Types of items without a place of their own.
    items: Vec<String>,
    signatures: Vec<String>,
    images: usize,
}

fn str_at<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Some fixtures were shortened in the middle of an image.
fn is_base64(text: &str) -> bool {
    let inner = text.trim_end_matches('=');
    let known = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
    !text.is_empty() && text.len().is_multiple_of(4) && inner.bytes().all(known)
}

fn paragraphs<'a>(out: &mut Vec<&'a str>, list: &'a Value) {
    out.extend(list.as_array().into_iter().flatten().map(|p| str_at(p, "text")).filter(|t| !t.is_empty()));
}

fn read_item(item: &Value, out: &mut Reading, beside: &mut Beside) {
    match str_at(item, "type") {
        "message" => {
            for part in item["content"].as_array().into_iter().flatten() {
                out.text.push_str(if part["type"] == "output_text" { str_at(part, "text") } else { "" });
                out.refusal.push_str(str_at(part, "refusal"));
                for note in part["annotations"].as_array().into_iter().flatten() {
                    let title = Some(str_at(note, "title")).filter(|t| !t.is_empty());
                    let title = title.unwrap_or(str_at(note, "filename")).to_owned();
                    beside.citations.push((str_at(note, "url").to_owned(), title));
                }
            }
        }
        "function_call" => out.tools.push((
            str_at(item, "call_id").to_owned(),
            str_at(item, "name").to_owned(),
            str_at(item, "arguments").to_owned(),
        )),
        "custom_tool_call" => out.tools.push((
            str_at(item, "call_id").to_owned(),
            str_at(item, "name").to_owned(),
            str_at(item, "input").to_owned(),
        )),
        "reasoning" => {
            let mut texts = Vec::new();
            paragraphs(&mut texts, &item["summary"]);
            paragraphs(&mut texts, &item["content"]);
            out.reasoning.push_str(&texts.join("\n\n"));
            if let Some(signature) = item["encrypted_content"].as_str() {
                beside.signatures.push(signature.to_owned());
            }
        }
        "image_generation_call" if is_base64(str_at(item, "result")) => beside.images += 1,
        other => beside.items.push(other.to_owned()),
    }
}

/// Reads a whole answer; `items` are those that a stream gave one by one, where the answer does not repeat them.
fn read(response: &Value, items: &[Value]) -> (Reading, Beside) {
    let mut out = Reading {
        id: str_at(response, "id").to_owned(),
        model: str_at(response, "model").to_owned(),
        ..Reading::default()
    };
    let mut beside = Beside::default();
    if let Some(error) = response.get("error").filter(|e| !e.is_null()) {
        out.error = Some(str_at(error, "message").to_owned());
        return (out, beside);
    }
    out.finish = match str_at(response, "status") {
        "incomplete" => response["incomplete_details"]["reason"].as_str().unwrap_or("incomplete").to_owned(),
        done @ ("completed" | "complete") => done.to_owned(),
        _ => String::new(),
    };
    let usage = &response["usage"];
    let count = |pointer: &str| usage.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    out.usage = usage.is_object().then(|| {
        [
            count("/input_tokens"),
            count("/output_tokens"),
            count("/input_tokens_details/cached_tokens"),
            count("/output_tokens_details/reasoning_tokens"),
        ]
    });
    let repeated = response["output"].as_array().filter(|list| !list.is_empty());
    for item in repeated.map_or(items, Vec::as_slice) {
        read_item(item, &mut out, &mut beside);
    }
    // The end of a stream repeats reasoning, but encrypts it anew.
    if !items.is_empty() {
        let signed = items.iter().filter(|item| item["type"] == "reasoning");
        beside.signatures =
            signed.filter_map(|i| i["encrypted_content"].as_str().map(str::to_owned)).collect();
    }
    (out, beside)
}

/// What the crate under test read beside the text, in the form of the second reading.
fn beside(deltas: &[Delta]) -> Beside {
    let mut out = Beside::default();
    for delta in deltas {
        match delta.content.as_ref().unwrap() {
            Content::Citation(c) => {
                let owned = |text: &Option<String>| text.clone().unwrap_or_default();
                out.citations.push((owned(&c.url), owned(&c.title)));
            }
            Content::Reasoning(r) => out.signatures.extend(r.signature.clone()),
            Content::Media(_) => out.images += 1,
            Content::Text(text) if text.is_empty() => {
                let kind = signalbox_wire::json::text(delta.extra.as_ref(), "type");
                out.items.push(kind.unwrap_or_default().to_owned());
            }
            _ => {}
        }
    }
    out
}

/// What the text under each citation says, by the provider's offsets and by ours.
fn cited(deltas: &[Delta]) -> Result<(), String> {
    let text: String = deltas
        .iter()
        .filter_map(|d| match d.content.as_ref()? {
            Content::Text(text) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    for delta in deltas {
        if let Some(Content::Citation(c)) = &delta.content
            && let (Some(start), Some(end)) = (c.start_byte, c.end_byte)
        {
            let (start, end) = (usize::try_from(start).unwrap(), usize::try_from(end).unwrap());
            if text.get(start..end).is_none() {
                return Err(format!("a citation of {start}..{end} in {} bytes", text.len()));
            }
        }
    }
    Ok(())
}

type Decoded = (Vec<Delta>, Summary, Option<ProviderError>);

fn decode(body: &[u8], size: usize) -> Decoded {
    let mut stream = responses::Stream::new(Limits { event_bytes: 4 << 20, malformed_chunks: 2 });
    let mut deltas = Vec::new();
    for piece in body.chunks(size) {
        stream.push(Bytes::copy_from_slice(piece));
        loop {
            match stream.next_delta() {
                Ok(Some(delta)) => deltas.push(delta),
                Ok(None) => break,
                Err(error) => return (deltas, stream.into_summary(), Some(error)),
            }
        }
    }
    loop {
        match stream.end() {
            Ok(Some(delta)) => deltas.push(delta),
            Ok(None) => return (deltas, stream.into_summary(), None),
            Err(error) => return (deltas, stream.into_summary(), Some(error)),
        }
    }
}

/// Compares what was read of a stream with what its last event, or its complete items, say.
fn streamed(payloads: &[Value], got: &Decoded) -> Result<Verdict, String> {
    let (deltas, summary, error) = got;
    let last = payloads.iter().rfind(|p| {
        matches!(str_at(p, "type"), "response.completed" | "response.incomplete" | "response.failed")
    });
    let items: Vec<Value> = payloads
        .iter()
        .filter(|p| p["type"] == "response.output_item.done")
        .map(|p| p["item"].clone())
        .collect();
    let first = payloads.iter().find(|p| p["response"].is_object()).map(|p| &p["response"]);
    let cut = last.is_none();
    let response = last.map_or(first, |last| Some(&last["response"])).cloned().unwrap_or_default();
    let (mut want, besides) = read(&response, &items);
    if payloads.iter().filter(|p| p["type"] == "response.created").count() > 1 {
        return Ok(Verdict::Aside("several answers in one fixture"));
    }
    let deltas_say: String = payloads
        .iter()
        .filter(|p| p["type"] == "response.output_text.delta")
        .map(|p| str_at(p, "delta"))
        .collect();
    if !deltas_say.is_empty() && !cut && deltas_say != want.text {
        return Ok(Verdict::Aside("the pieces are not those of the whole"));
    }
    // Some proxies give every event an id of its own.
    want.id = first.map(|first| str_at(first, "id").to_owned()).unwrap_or_default();
    if cut {
        if summary.finish_reason.is_some() {
            return Err("a stream without an end is complete".into());
        }
        want.finish = String::new();
    }
    let mut read = summarise(deltas, summary, error.as_ref());
    if read.error.is_some() {
        // The first words may come with an event of their own; what was handed out before stands.
        read = Reading { error: read.error, id: read.id, model: read.model, ..Reading::default() };
    }
    compare(&read, &want)?;
    if error.is_none() && beside(deltas) != besides {
        return Err(format!("beside the text {:?} instead of {besides:?}", beside(deltas)));
    }
    cited(deltas)?;
    finish(summary, &want)?;
    Ok(if cut && error.is_none() { Verdict::Aside("streamed without an end") } else { Verdict::Passed })
}

fn finish(summary: &Summary, want: &Reading) -> Result<(), String> {
    let reason = match want.finish.as_str() {
        "completed" | "complete" if !want.tools.is_empty() => Some(FinishReason::ToolCalls),
        "completed" | "complete" if !want.refusal.is_empty() => Some(FinishReason::Refusal),
        "completed" | "complete" => Some(FinishReason::Stop),
        "max_output_tokens" => Some(FinishReason::Length),
        "content_filter" => Some(FinishReason::ContentFilter),
        "" => None,
        _ => Some(FinishReason::Unspecified),
    };
    // Items that wait for the client are calls too.
    let calls = summary.finish_reason == Some(FinishReason::ToolCalls) && reason == Some(FinishReason::Stop);
    if summary.finish_reason != reason && !calls {
        return Err(format!("finish reason {:?} for `{}`", summary.finish_reason, want.finish));
    }
    Ok(())
}

pub(crate) fn answer(row: &Value) -> Result<Verdict, String> {
    let body = body(row);
    if body.is_empty() {
        return Ok(Verdict::Aside("recorded without a body"));
    }
    if is_stream(&body) {
        let (payloads, _) = events(&body);
        let mut verdict = Err("nothing was read".to_owned());
        for size in SIZES {
            let size = size.min(body.len());
            verdict = streamed(&payloads, &decode(body.as_bytes(), size));
            verdict.as_ref().map_err(|e| format!("in pieces of {size}: {e}"))?;
        }
        return verdict;
    }
    whole(&body)
}

fn whole(body: &str) -> Result<Verdict, String> {
    let parsed: Value = serde_json::from_str(body).map_err(|e| e.to_string())?;
    let (want, besides) = read(&parsed, &[]);
    match responses::whole(body.as_bytes()) {
        Ok(answer) => {
            compare(&summarise(&answer.deltas, &answer.summary, None), &want)?;
            finish(&answer.summary, &want)?;
            cited(&answer.deltas)?;
            if beside(&answer.deltas) != besides {
                return Err(format!("beside the text {:?} instead of {besides:?}", beside(&answer.deltas)));
            }
            Ok(Verdict::Passed)
        }
        Err(error) if want.finish.is_empty() && want.error.is_none() => match error.class {
            ErrorClass::Protocol => Ok(Verdict::Aside("accepted, to be answered in the background")),
            _ => Err(error.to_string()),
        },
        Err(error) => {
            let words = want.error.unwrap_or_default();
            if words.is_empty() || !error.message.starts_with(&words[..words.len().min(40)]) {
                return Err(format!("{error} instead of {words:?}"));
            }
            Ok(Verdict::Passed)
        }
    }
}

/// Events without their framing: framed here, then read like any stream.
pub(crate) fn fixture(row: &Value, name: &str, table: &mut Table) -> bool {
    let verdict = if let Some(list) = row["chunks"].as_array() {
        let events: Vec<Value> = list.iter().map(json).collect();
        let ours = |event: &Value| str_at(event, "type").starts_with("response.");
        if !events.iter().any(ours) {
            return false;
        }
        let line = |event: &Value| match event {
            Value::String(broken) => format!("data: {broken}\n\n"),
            whole => format!("data: {whole}\n\n"),
        };
        let body: String = events.iter().map(line).collect();
        let broken = events.iter().filter(|event| event.is_string()).count();
        let readable: Vec<Value> = events.into_iter().filter(Value::is_object).collect();
        let got = decode(body.as_bytes(), 64);
        if got.1.malformed as usize == broken {
            streamed(&readable, &got)
        } else {
            Err(format!("{} unreadable events instead of {broken}", got.1.malformed))
        }
    } else {
        let response = json(&row["response"]);
        if response["object"] != "response" {
            return false;
        }
        whole(&response.to_string())
    };
    table.add("responses: fixtures", name, verdict);
    true
}
