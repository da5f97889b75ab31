//! Properties of the dialects.

use std::time::SystemTime;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;
use signalbox_proto::common::v1::{ChatRequest, Delta, Finished, delta::Content, generate_event::Kind};
use signalbox_wire::door::{Door, Head, Writer};
use signalbox_wire::{
    Answer, Dialect, Limits, ProviderError, Summary, Target, anthropic, bedrock, cohere, google, openai, responses,
};

use crate::cuts;

/// Small, so that the fuzzer reaches them.
const LIMITS: Limits = Limits { event_bytes: 4096, malformed_chunks: 3 };

/// How a stream was read: what it gave (printed, because not all of it can be compared), what was said about it, how it ended.
type Read = (Vec<String>, Summary, Option<ProviderError>);

/// Reads an answer of a dialect: as a stream, the same however it is cut, and whole.
pub fn answer(dialect: Dialect, body: &[u8]) {
    let [whole, ways @ ..] = cuts(body).map(|pieces| read(dialect, &pieces));
    for way in ways {
        assert_eq!(whole, way, "cut differently, read differently");
    }
    if let Ok(answer) = dialect.whole(body) {
        assert!(answer.summary.finish_reason.is_some(), "a whole answer without a finish reason");
        written(&answer);
    }
    let _ = dialect.vectors(body, 2);
}

/// Writes an answer for clients of every dialect; what they read is complete and says the same.
fn written(answer: &Answer) {
    let doors =
        [(Door::Chat, Dialect::OpenAi), (Door::Responses, Dialect::Responses), (Door::Messages, Dialect::Anthropic)];
    for (door, own) in doors {
        let (mut writer, mut out) = (Writer::new(door, Head::default()), Vec::new());
        writer.event(Kind::Started(Box::default()), &mut out);
        for delta in answer.deltas.clone() {
            writer.event(Kind::Delta(delta), &mut out);
        }
        let finish_reason = answer.summary.finish_reason.unwrap_or_default().into();
        writer.event(Kind::Finished(Box::new(Finished { finish_reason, ..Finished::default() })), &mut out);
        let mut decoder = own.decoder(Limits::default());
        decoder.push(Bytes::from(out));
        let mut deltas = Vec::new();
        while let Some(delta) = decoder.end().expect("what a door writes can be read") {
            deltas.push(delta);
        }
        assert!(decoder.summary().finish_reason.is_some(), "what a door writes is complete");
        assert_eq!(text(&answer.deltas), text(&deltas), "a door changes the text");
    }
}

fn text(deltas: &[Delta]) -> String {
    let text = |delta: &Delta| match &delta.content {
        Some(Content::Text(text)) => Some(text.clone()),
        _ => None,
    };
    deltas.iter().filter_map(text).collect()
}

fn read(dialect: Dialect, pieces: &[&[u8]]) -> Read {
    let mut decoder = dialect.decoder(LIMITS);
    let mut deltas = Vec::new();
    let mut failed = None;
    for piece in pieces {
        decoder.push(Bytes::copy_from_slice(piece));
        while failed.is_none() {
            match decoder.next_delta() {
                Ok(Some(delta)) => deltas.push(format!("{delta:?}")),
                Ok(None) => break,
                Err(error) => failed = Some(error),
            }
        }
    }
    while failed.is_none() {
        match decoder.end() {
            Ok(Some(delta)) => deltas.push(format!("{delta:?}")),
            Ok(None) => break,
            Err(error) => failed = Some(error),
        }
    }
    let summary = decoder.summary().clone();
    assert!(summary.malformed <= LIMITS.malformed_chunks + 1, "more unreadable pieces than allowed");
    if let Some(error) = &failed {
        bounded(error);
        assert!(!matches!(decoder.next_delta(), Ok(Some(_))), "something follows an error");
    }
    (deltas, summary, failed)
}

/// Reads what a provider says when it refuses.
pub fn refusal(dialect: Dialect, status: u16, body: &[u8]) {
    bounded(&dialect.error(status, &HeaderMap::new(), body, SystemTime::UNIX_EPOCH));
}

fn bounded(error: &ProviderError) {
    assert!(error.message.len() <= 2048, "long words");
    for text in [&error.code, &error.kind, &error.param].into_iter().flatten() {
        assert!(text.len() <= 128, "a long code");
    }
    assert!(error.retry_after.is_none_or(|wait| wait.as_secs() <= 24 * 3600), "a long wait");
}

/// A dialect's way in and out: bytes to a request and back, `None` where either refuses.
type RoundTrip = fn(&[u8]) -> Option<(ChatRequest, Option<Bytes>)>;

/// The model for which requests are read and written; it stands in the path of some dialects.
const MODEL: &str = "m";
const PROVIDER: &str = "p";

/// Reads a request in every dialect. What can be written back is read again, is then the same, and can be offered to all others.
pub fn request(body: &[u8]) {
    if let Ok(asked) = openai::embeddings::parse(body) {
        let _ = openai::embeddings::encode(&asked.model, &asked.inputs, asked.dimensions, asked.extra.as_ref());
    }
    let _ = responses::Echo::of(body);
    let ways: [RoundTrip; 6] = [by_openai, by_responses, by_anthropic, by_google, by_bedrock, by_cohere];
    for way in ways {
        let Some((chat, written)) = way(body) else { continue };
        if let Some(written) = written {
            let again = way(&written).map(|(_, again)| again);
            let again = again.flatten().expect("what was written can be read and written");
            assert!(same(&value(&written), &value(&again)), "a second time around it differs");
        }
        let target = Target { provider: PROVIDER, model: MODEL, streams: true };
        for dialect in [
            Dialect::OpenAi,
            Dialect::Responses,
            Dialect::Anthropic,
            Dialect::Gemini,
            Dialect::Bedrock,
            Dialect::Cohere,
        ] {
            let _ = dialect.chat(&chat, target);
        }
    }
}

fn by_openai(body: &[u8]) -> Option<(ChatRequest, Option<Bytes>)> {
    let openai::Parsed { chat, stream, include_usage, style } = openai::parse(body, Some(PROVIDER)).ok()?;
    let model = chat.model.clone();
    let options = openai::Options { model: &model, provider: PROVIDER, style, stream, include_usage };
    let written = openai::encode(&chat, &options).ok();
    Some((chat, written))
}

fn by_responses(body: &[u8]) -> Option<(ChatRequest, Option<Bytes>)> {
    let responses::Parsed { chat, stream, style } = responses::parse(body, Some(PROVIDER)).ok()?;
    let model = chat.model.clone();
    let options = responses::Options { model: &model, provider: PROVIDER, style, stream };
    let written = responses::encode(&chat, &options).ok();
    Some((chat, written))
}

fn by_anthropic(body: &[u8]) -> Option<(ChatRequest, Option<Bytes>)> {
    let anthropic::Parsed { chat, stream } = anthropic::parse(body, Some(PROVIDER)).ok()?;
    let model = chat.model.clone();
    let options = anthropic::Options { model: &model, provider: PROVIDER, stream, max_tokens: None };
    let written = anthropic::encode(&chat, &options).ok();
    Some((chat, written))
}

fn by_google(body: &[u8]) -> Option<(ChatRequest, Option<Bytes>)> {
    let google::Parsed { chat, alternate } = google::parse(body, MODEL, Some(PROVIDER)).ok()?;
    let options = google::Options { model: MODEL, provider: PROVIDER, alternate };
    let written = google::encode(&chat, &options).ok();
    Some((chat, written))
}

fn by_bedrock(body: &[u8]) -> Option<(ChatRequest, Option<Bytes>)> {
    let bedrock::Parsed { chat, alternate } = bedrock::parse(body, MODEL, Some(PROVIDER)).ok()?;
    let options = bedrock::Options { model: MODEL, provider: PROVIDER, alternate };
    let written = bedrock::encode(&chat, &options).ok();
    Some((chat, written))
}

fn by_cohere(body: &[u8]) -> Option<(ChatRequest, Option<Bytes>)> {
    let cohere::Parsed { chat, stream } = cohere::parse(body, Some(PROVIDER)).ok()?;
    let model = chat.model.clone();
    let options = cohere::Options { model: &model, provider: PROVIDER, stream };
    let written = cohere::encode(&chat, &options).ok();
    Some((chat, written))
}

fn value(body: &[u8]) -> Value {
    serde_json::from_slice(body).expect("what was written is JSON")
}

/// Equality of JSON, but for the last digits of numbers: a `Struct` holds doubles.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => (a - b).abs() <= f64::EPSILON * 4.0 * a.abs().max(b.abs()),
            _ => a == b,
        },
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}
