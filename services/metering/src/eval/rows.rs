//! Reading the data.

use std::{borrow::Cow, collections::HashMap, path::Path};

use serde::Deserialize;
use serde_json::Value;
use signalbox_catalog::tokens::{Prompt, Speaker, Turn};
use signalbox_report::{Lines, Odd, json_lines};

use super::EvalError;

/// One file.
pub(super) struct Read {
    /// Folder and file, for example `tokens/recorded_usage.jsonl`.
    pub(super) name: String,
    pub(super) rows: Vec<Row>,
    /// Lines of another form.
    pub(super) odd: Vec<Odd>,
}

pub(super) enum Row {
    Vector(Vector),
    Recorded(Box<Recorded>),
}

/// A text and its tokens.
pub(super) struct Vector {
    pub(super) id: String,
    pub(super) encoding: String,
    pub(super) text: String,
    pub(super) tokens: Vec<u32>,
}

/// A recorded prompt.
pub(super) struct Recorded {
    pub(super) id: String,
    pub(super) provider: String,
    pub(super) model: String,
    pub(super) kind: String,
    pub(super) turns: Vec<Said>,
    pub(super) has_tools: bool,
    prompt_tokens: u64,
    /// Read from the cache and written to it.
    cached: u64,
    wire_id: Option<String>,
    pub(super) sent: Option<Body>,
}

pub(super) struct Said {
    speaker: Speaker,
    pub(super) text: String,
}

/// A request as it was sent.
pub(super) struct Body {
    pub(super) path: String,
    pub(super) body: Value,
}

#[derive(Deserialize)]
struct VectorLine {
    encoding: String,
    text: String,
    tokens: Vec<u32>,
}

#[derive(Deserialize)]
struct RecordedLine {
    #[serde(default)]
    wire_id: Option<String>,
    #[serde(default)]
    provider: String,
    model: String,
    #[serde(default)]
    kind: String,
    messages: Vec<SaidLine>,
    #[serde(default)]
    has_tools_or_schema: bool,
    prompt_tokens: u64,
    #[serde(default)]
    cache_read: Option<u64>,
    #[serde(default)]
    cache_creation: Option<u64>,
}

#[derive(Deserialize)]
struct SaidLine {
    #[serde(default)]
    role: String,
    #[serde(default)]
    content: Value,
}

#[derive(Deserialize)]
struct WireLine {
    id: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    request: Value,
}

impl Recorded {
    /// Returns the texts as a prompt.
    pub(super) fn prompt(&self) -> Prompt<'_> {
        let turn = |said: &Said| Turn {
            speaker: said.speaker,
            text: Cow::Owned(said.text.clone()),
            ..Turn::default()
        };
        Prompt { turns: self.turns.iter().map(turn).collect(), untold: true, ..Prompt::default() }
    }

    /// Returns all input tokens that were billed. Anthropic's and Bedrock's formats count what the cache held apart.
    pub(super) fn actual(&self) -> u64 {
        let apart = matches!(self.provider.as_str(), "anthropic" | "bedrock")
            || (self.provider == "vertex" && self.model.contains("claude"))
            || self.cached > self.prompt_tokens;
        self.prompt_tokens + if apart { self.cached } else { 0 }
    }
}

/// Reads every file of `tokens/`.
pub(super) fn read(data: &Path) -> Result<Vec<Read>, EvalError> {
    let files: Vec<Read> =
        json_lines(data, "tokens").map(|file| Ok(one(file?))).collect::<Result<_, EvalError>>()?;
    if files.is_empty() { Err(EvalError::Empty(data.display().to_string())) } else { Ok(files) }
}

fn one(file: Lines) -> Read {
    let mut read = Read { name: String::new(), rows: Vec::new(), odd: Vec::new() };
    let short = file.name.rsplit('/').next().unwrap_or_default();
    for (number, line) in file.iter() {
        match row(line, &format!("{short}:{number}")) {
            Ok(row) => read.rows.push(row),
            Err(reason) => read.odd.push(Odd { line: number, reason }),
        }
    }
    Read { name: file.name, ..read }
}

/// Reads a row; else what is wrong with it.
fn row(line: &str, place: &str) -> Result<Row, &'static str> {
    let value: Value = serde_json::from_str(line).map_err(|_| "is not JSON")?;
    if value.get("encoding").is_some() {
        let line = serde_json::from_value(value);
        let VectorLine { encoding, text, tokens } =
            line.map_err(|_| "has an encoding, but not its text and tokens")?;
        return Ok(Row::Vector(Vector { id: place.to_owned(), encoding, text, tokens }));
    }
    let line: RecordedLine =
        serde_json::from_value(value).map_err(|_| "is neither a vector nor a recorded prompt")?;
    // A count of nothing was not made by the provider.
    if line.prompt_tokens == 0 || line.messages.is_empty() {
        return Err("has no count, or no messages");
    }
    Ok(Row::Recorded(Box::new(Recorded {
        id: line.wire_id.clone().unwrap_or_else(|| place.to_owned()),
        provider: line.provider,
        model: line.model,
        kind: line.kind,
        turns: line.messages.iter().map(said).collect(),
        has_tools: line.has_tools_or_schema,
        prompt_tokens: line.prompt_tokens,
        cached: line.cache_read.unwrap_or(0) + line.cache_creation.unwrap_or(0),
        wire_id: line.wire_id,
        sent: None,
    })))
}

fn said(line: &SaidLine) -> Said {
    let speaker = match line.role.as_str() {
        "system" | "developer" => Speaker::System,
        "assistant" | "model" => Speaker::Assistant,
        "tool" | "function" => Speaker::Tool,
        _ => Speaker::User,
    };
    Said { speaker, text: text(&line.content) }
}

/// The text of a content: itself, or that of its pieces.
fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(pieces) => pieces.iter().map(text).collect(),
        Value::Object(piece) => piece.get("text").and_then(Value::as_str).unwrap_or_default().to_owned(),
        _ => String::new(),
    }
}

/// Finds the requests that the rows name among `wire/*.jsonl`.
pub(super) fn attach(data: &Path, files: &mut [Read]) -> Result<(), EvalError> {
    let mut wanted: HashMap<String, Vec<&mut Recorded>> = HashMap::new();
    for row in files.iter_mut().flat_map(|file| &mut file.rows) {
        if let Row::Recorded(recorded) = row
            && let Some(id) = recorded.wire_id.clone()
        {
            wanted.entry(id).or_default().push(recorded);
        }
    }
    for file in json_lines(data, "wire") {
        for (_, line) in file?.iter() {
            let Ok(line) = serde_json::from_str::<WireLine>(line) else { continue };
            for recorded in wanted.get_mut(&line.id).into_iter().flatten() {
                recorded.sent = Some(Body { path: line.path.clone(), body: line.request.clone() });
            }
        }
    }
    Ok(())
}
