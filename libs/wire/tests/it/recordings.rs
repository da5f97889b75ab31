//! Every recorded exchange of a supported dialect, in every JSON-lines file of the data folder.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::Value;
use signalbox_proto::common::v1::delta::Content;
use signalbox_proto::common::v1::{Delta, FinishReason, UsageSource};
use signalbox_wire::openai::{self, Options, embeddings};
use signalbox_wire::{Dialect, ErrorClass, Limits, ProviderError, Summary};

use super::again::again;
use super::detect::{self, Kind};
use super::reading::{Reading, read};
use super::{anthropic, bedrock, cohere, errors, google, responses};

fn data_folder() -> Option<PathBuf> {
    let root = match std::env::var_os("SIGNALBOX_DATA") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
    };
    Some(root.join("wire")).filter(|folder| folder.is_dir())
}

/// Into pieces of how many bytes a recorded stream is cut; the first leaves it whole.
pub(crate) const SIZES: [usize; 4] = [usize::MAX, 1, 7, 1000];

/// What is counted per dialect.
#[derive(Default)]
struct Row {
    recordings: u32,
    passed: u32,
    aside: BTreeMap<&'static str, u32>,
}

#[derive(Default)]
pub(crate) struct Table {
    rows: BTreeMap<String, Row>,
    failures: Vec<String>,
}

pub(crate) enum Verdict {
    Passed,
    Aside(&'static str),
}

impl Table {
    pub(crate) fn add(&mut self, dialect: &str, name: &str, verdict: Result<Verdict, String>) {
        let row = self.rows.entry(dialect.to_owned()).or_default();
        row.recordings += 1;
        match verdict {
            Ok(Verdict::Passed) => row.passed += 1,
            Ok(Verdict::Aside(why)) => *row.aside.entry(why).or_default() += 1,
            Err(why) => self.failures.push(format!("{dialect} {name}: {why}")),
        }
    }

    fn print(&self) {
        let mut out = format!("{:<34}{:>11}{:>8}  set aside\n", "dialect", "recordings", "passed");
        for (dialect, row) in &self.rows {
            let aside: Vec<String> = row.aside.iter().map(|(why, n)| format!("{n} {why}")).collect();
            let _ =
                writeln!(out, "{dialect:<34}{:>11}{:>8}  {}", row.recordings, row.passed, aside.join("; "));
        }
        println!("{out}");
    }
}

#[test]
fn recordings_read_and_write_as_they_were() {
    let Some(folder) = data_folder() else {
        println!("SKIPPED: recordings: no folder `wire` in $SIGNALBOX_DATA");
        return;
    };
    let mut table = Table::default();
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "jsonl"));
    files.sort();
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        for (number, line) in std::fs::read_to_string(&file).unwrap().lines().enumerate() {
            let name = format!("{name}:{}", number + 1);
            match serde_json::from_str::<Value>(line) {
                _ if line.trim().is_empty() => {}
                // A recording that one of the two readings cannot bear fails alone.
                Ok(row) => {
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| exchange(&row, &name, &mut table))) {
                        let words = panic.downcast_ref::<String>().cloned();
                        let words = words.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
                        table.add("panics", &name, Err(words.unwrap_or_default()));
                    }
                }
                Err(error) => table.add("panics", &name, Err(format!("the line is no JSON: {error}"))),
            }
        }
    }
    table.print();
    assert!(table.failures.is_empty(), "{} failed:\n{}", table.failures.len(), table.failures.join("\n"));
    let answers = table.rows.iter().filter(|(name, _)| name.contains("answers") || name.contains("fixtures"));
    let passed: u32 = answers.map(|(_, row)| row.passed).sum();
    assert!(passed > 0, "the folder holds no answer of a supported dialect");
}

fn exchange(row: &Value, name: &str, table: &mut Table) {
    if row["status"].is_null() {
        return fixture(row, name, table);
    }
    let answered = (200..300).contains(&status(row));
    let mut check = |what: &'static str, dialect: Dialect, answer: &dyn Fn() -> Result<Verdict, String>| {
        let (failed, row_name) = (format!("{what}: errors"), format!("{what}: answers"));
        if answered {
            table.add(&row_name, name, answer());
            if !what.ends_with("embeddings") {
                table.add(&format!("{what}: written for clients"), name, again(dialect, row));
            }
        } else {
            table.add(&failed, name, errors::check(dialect, row));
        }
    };
    match detect::kind(row) {
        Kind::OpenAi => {
            check("openai chat", Dialect::OpenAi, &|| answer(row));
            let provider = row["provider"].as_str().unwrap_or_default();
            table.add("openai chat: requests", name, request(row, provider));
            table.add("anthropic: requests from openai", name, anthropic::from_openai(row));
        }
        Kind::OpenAiEmbeddings => check("openai embeddings", Dialect::OpenAi, &|| embedding(row)),
        Kind::Responses { fetched } => {
            check("responses", Dialect::Responses, &|| responses::answer(row));
            if !fetched {
                table.add("responses: requests", name, responses::request(row));
            }
        }
        Kind::Anthropic { counts, raw } => {
            check("anthropic", Dialect::Anthropic, &|| anthropic::answer(row, counts));
            table.add("anthropic: requests", name, anthropic::request(row, raw));
        }
        Kind::Google => {
            check("google", Dialect::Gemini, &|| google::answer(row));
            table.add("google: requests", name, google::request(row));
        }
        Kind::GoogleEmbeddings => check("google embeddings", Dialect::Gemini, &|| google::vectors(row)),
        Kind::Bedrock(model) => {
            check("bedrock", Dialect::Bedrock, &|| bedrock::answer(row));
            table.add("bedrock: requests", name, bedrock::request(row, &model));
        }
        Kind::BedrockEmbeddings(model) => {
            check("bedrock embeddings", Dialect::Bedrock, &|| bedrock::embedding(row, &model));
        }
        Kind::Cohere => {
            check("cohere", Dialect::Cohere, &|| cohere::answer(row));
            table.add("cohere: requests", name, cohere::request(row));
        }
        Kind::CohereEmbeddings => check("cohere embeddings", Dialect::Cohere, &|| cohere::embedding(row)),
        Kind::Other(what) => table.add("not of these dialects", name, Ok(Verdict::Aside(what))),
    }
}

/// Chunks or an answer without path and framing: told by their shape.
fn fixture(row: &Value, name: &str, table: &mut Table) {
    let taken = anthropic::fixture(row, name, table)
        || bedrock::fixture(row, name, table)
        || cohere::fixture(row, name, table)
        || responses::fixture(row, name, table);
    if !taken {
        chunks(row, name, table);
    }
}

/// The body of an answer, recorded as text or parsed.
pub(crate) fn body(row: &Value) -> String {
    match &row["response"] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        parsed => parsed.to_string(),
    }
}

pub(crate) fn status(row: &Value) -> u16 {
    let number = row["status"].as_u64().or_else(|| row["status"].as_str()?.parse().ok());
    number.and_then(|n| u16::try_from(n).ok()).unwrap_or_default()
}

/// Whether a body is one of server-sent events, whatever the recording says.
pub(crate) fn is_stream(body: &str) -> bool {
    let body = body.trim_start_matches('\u{feff}').trim_start();
    ["data:", "event:", "id:", "retry:", ":"].iter().any(|start| body.starts_with(start))
}

/// Takes server-sent events apart, by the letter of their specification: the payloads that are JSON, and how many others there are.
pub(crate) fn events(body: &str) -> (Vec<Value>, u32) {
    let normal = body.trim_start_matches('\u{feff}').replace("\r\n", "\n").replace('\r', "\n");
    let (mut out, mut broken, mut data) = (Vec::new(), 0, Vec::new());
    for line in normal.split('\n').chain([""]) {
        if let Some(rest) = line.strip_prefix("data") {
            match rest.strip_prefix(':') {
                Some(value) => data.push(value.strip_prefix(' ').unwrap_or(value)),
                None if rest.is_empty() => data.push(""),
                None => {}
            }
        } else if line.is_empty() {
            let whole = std::mem::take(&mut data).join("\n");
            match whole.trim() {
                "" | "[DONE]" => {}
                text => match serde_json::from_str(text) {
                    Ok(payload) => out.push(payload),
                    Err(_) => broken += 1,
                },
            }
        }
    }
    (out, broken)
}

pub(crate) fn json(value: &Value) -> Value {
    match value {
        Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| value.clone()),
        other => other.clone(),
    }
}

/// Equality of JSON, where `1` and `1.0` are one number.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, a)| b.get(k).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

/// Names the first place where two JSON texts differ, without showing more than a little of either.
pub(crate) fn difference(a: &Value, b: &Value, at: &str) -> String {
    if let (Value::Object(x), Value::Object(y)) = (a, b) {
        let keys = x.keys().chain(y.keys());
        let differing = keys
            .clone()
            .find(|k| !same(x.get(*k).unwrap_or(&Value::Null), y.get(*k).unwrap_or(&Value::Null)));
        let missing = || keys.clone().find(|k| x.contains_key(*k) != y.contains_key(*k));
        if let Some(key) = differing.or_else(missing) {
            let none = Value::from("<absent>");
            let (x, y) = (x.get(key).unwrap_or(&none), y.get(key).unwrap_or(&none));
            return difference(x, y, &format!("{at}.{key}"));
        }
    }
    if let (Value::Array(x), Value::Array(y)) = (a, b)
        && let Some(i) = x.iter().zip(y).position(|(x, y)| !same(x, y))
    {
        return difference(&x[i], &y[i], &format!("{at}[{i}]"));
    }
    let short = |v: &Value| v.to_string().chars().take(120).collect::<String>();
    format!("{at}: {} became {}", short(a), short(b))
}

/// Requests that have no place in our messages, told without asking the crate under test.
pub(crate) fn unmapped(recorded: &Value) -> Option<&'static str> {
    if !recorded.is_object() {
        return Some("no request recorded");
    }
    if recorded["n"].as_u64().is_some_and(|n| n > 1) {
        return Some("asks for several answers at once");
    }
    None
}

/// Why a request that cannot be read is no failure.
pub(crate) const REFUSED: &str = "malformed, and refused by the provider too";

/// Whether the provider refused the request itself.
pub(crate) fn refused(row: &Value) -> bool {
    matches!(status(row), 400 | 422)
}

fn request(row: &Value, provider: &str) -> Result<Verdict, String> {
    let recorded = json(&row["request"]);
    if let Some(aside) = unmapped(&recorded) {
        return Ok(Verdict::Aside(aside));
    }
    // At Azure the model stands in the path.
    let in_path = recorded.get("model").is_none();
    let bytes = recorded.to_string();
    let parsed = match in_path {
        true => openai::parse_for(bytes.as_bytes(), "deployment", Some(provider)),
        false => openai::parse(bytes.as_bytes(), Some(provider)),
    };
    let parsed = match parsed {
        Err(_) if refused(row) => return Ok(Verdict::Aside(REFUSED)),
        parsed => parsed.map_err(|e| e.to_string())?,
    };
    let options = Options {
        model: if in_path { "" } else { &parsed.chat.model },
        provider,
        style: parsed.style,
        stream: parsed.stream,
        include_usage: parsed.include_usage,
    };
    let bytes = openai::encode(&parsed.chat, &options).map_err(|e| e.to_string())?;
    if bytes != openai::encode(&parsed.chat.clone(), &options).unwrap() {
        return Err("two encodings differ".into());
    }
    let written: Value = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
    if !same(&recorded, &written) {
        return Err(format!("written back differently at {}", difference(&recorded, &written, "")));
    }
    Ok(Verdict::Passed)
}

/// What the crate under test read, in the form of the second reading.
pub(crate) fn summarise(deltas: &[Delta], summary: &Summary, error: Option<&ProviderError>) -> Reading {
    let mut out = Reading {
        finish: summary.provider_finish_reason.clone().unwrap_or_default(),
        id: summary.response_id.clone().unwrap_or_default(),
        model: summary.model.clone().unwrap_or_default(),
        error: error.map(|e| e.message.clone()),
        ..Reading::default()
    };
    out.usage = summary.usage.as_ref().map(|u| {
        assert_eq!(u.source(), UsageSource::Reported);
        [u.input_tokens, u.output_tokens, u.cached_input_tokens, u.reasoning_tokens]
    });
    let mut places = BTreeMap::new();
    for delta in deltas {
        match delta.content.as_ref().unwrap() {
            Content::Text(text) => out.text.push_str(text),
            Content::Reasoning(reasoning) => out.reasoning.push_str(&reasoning.text),
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
            Content::Citation(_) | Content::Media(_) => {}
        }
    }
    out
}

/// Decodes a stream cut into pieces of `size` bytes.
fn decode(body: &[u8], size: usize, broken: u32) -> Reading {
    let mut stream = openai::Stream::new(Limits::default());
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

pub(crate) fn compare(got: &Reading, want: &Reading) -> Result<Verdict, String> {
    let mut want = want.clone();
    if got.error.is_some() {
        // The words are bounded and masked, and may have the upstream's appended; what came before counts too.
        let words = want.error.clone().unwrap_or_default();
        if !got.error.as_deref().unwrap_or_default().starts_with(&words[..words.len().min(40)]) {
            return Err(format!("error {:?} instead of {words:?}", got.error));
        }
        want.error.clone_from(&got.error);
    }
    if *got != want {
        return Err(format!("read\n  {got:?}\ninstead of\n  {want:?}"));
    }
    Ok(Verdict::Passed)
}

fn answer(row: &Value) -> Result<Verdict, String> {
    let body = body(row);
    if is_stream(&body) {
        let (payloads, broken) = events(&body);
        let want = read(&payloads, false);
        for size in SIZES {
            compare(&decode(body.as_bytes(), size.min(body.len()), broken), &want)?;
        }
        let complete = !want.finish.is_empty();
        return if complete || want.error.is_some() {
            Ok(Verdict::Passed)
        } else {
            Ok(Verdict::Aside("streamed without a finish reason"))
        };
    }
    if body.is_empty() {
        return match openai::whole(b"") {
            Err(e) if e.class == ErrorClass::Protocol => Ok(Verdict::Aside("recorded without a body")),
            other => Err(format!("an empty body gives {other:?}")),
        };
    }
    whole(&body)
}

fn whole(body: &str) -> Result<Verdict, String> {
    let want = read(&[serde_json::from_str(body).map_err(|e| e.to_string())?], true);
    match openai::whole(body.as_bytes()) {
        Ok(answer) => {
            let reason = answer.summary.finish_reason;
            if reason.is_none_or(|r| r == FinishReason::Unspecified && !want.finish.is_empty()) {
                return Err(format!("finish reason {reason:?} for {}", want.finish));
            }
            compare(&summarise(&answer.deltas, &answer.summary, None), &want)
        }
        Err(error)
            if want.finish.is_empty() && want.error.is_none() && error.class == ErrorClass::Protocol =>
        {
            Ok(Verdict::Aside("without a finish reason"))
        }
        Err(error) => compare(&summarise(&[], &Summary::default(), Some(&error)), &want),
    }
}

fn embedding(row: &Value) -> Result<Verdict, String> {
    let body = body(row);
    if body.is_empty() {
        return Ok(Verdict::Aside("recorded without a body"));
    }
    let parsed: Value = serde_json::from_str(&body).map_err(|e| e.to_string())?;
    let want = parsed["data"].as_array().ok_or("no list of vectors")?;
    let got = embeddings::decode(body.as_bytes(), want.len()).map_err(|e| e.to_string())?;
    if got.usage.unwrap_or_default().input_tokens
        != parsed["usage"]["prompt_tokens"].as_u64().unwrap_or_default()
    {
        return Err("usage differs".into());
    }
    for (vector, item) in got.vectors.iter().zip(want) {
        if let Some(list) = item["embedding"].as_array() {
            let first = list[0].as_f64().unwrap();
            if vector.len() != list.len() || (f64::from(vector[0]) - first).abs() > 1e-6 {
                return Err("a vector differs".into());
            }
        }
    }
    Ok(Verdict::Passed)
}

/// Chunks without their framing: framed here, then read like any stream.
fn chunks(row: &Value, name: &str, table: &mut Table) {
    let payloads: Vec<Value> = match row["chunks"].as_array() {
        Some(list) => list.iter().map(json).collect(),
        None => vec![json(&row["response"])],
    };
    if google::chunks(&payloads, row, name, table) {
        return;
    }
    let spoken = |p: &Value| p["choices"][0]["delta"].is_object() || p["choices"][0]["message"].is_object();
    let failed = |p: &Value| p["error"]["message"].is_string();
    if payloads[0]["data"][0].get("embedding").is_some() {
        let row = serde_json::json!({"response": payloads[0].to_string()});
        return table.add("openai embeddings: fixtures", name, embedding(&row));
    }
    if !payloads.iter().any(|p| spoken(p) || failed(p)) {
        return table.add("not of these dialects", name, Ok(Verdict::Aside("a fixture of another dialect")));
    }
    let verdict = if row["format"] == "chunks" {
        let body: String = payloads.iter().map(|p| format!("data: {p}\n\n")).collect();
        compare(&decode(body.as_bytes(), 64, 0), &read(&payloads, false))
    } else {
        whole(&payloads[0].to_string())
    };
    table.add("openai chat: fixtures", name, verdict);
}
