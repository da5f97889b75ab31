//! Reading the data.

use std::{fs, path::Path};

use prost_types::Timestamp;
use serde::Deserialize;

use super::EvalError;

/// One file.
pub(super) struct Read {
    /// Folder and file, for example `cache/pairs.jsonl`.
    pub(super) name: String,
    pub(super) rows: Rows,
}

pub(super) enum Rows {
    Pairs(Vec<Pair>),
    Log(Vec<Request>),
}

/// Two questions.
pub(super) struct Pair {
    pub(super) id: String,
    pub(super) a: String,
    pub(super) b: String,
    /// Whether one answer serves both.
    pub(super) same: bool,
    pub(super) kind: String,
    pub(super) source: String,
}

/// A request of a log.
#[derive(Debug, Deserialize)]
pub(super) struct Request {
    ts: Time,
    #[serde(default)]
    pub(super) tenant: String,
    pub(super) messages: Vec<Said>,
    /// Requests of one tenant with the same id are served by the same answer.
    #[serde(deserialize_with = "as_text")]
    pub(super) answer_id: String,
    #[serde(default)]
    pub(super) model: String,
    /// What the answer cost. Without any cost in a log the saving is told as a share of requests alone.
    #[serde(default)]
    pub(super) cost_nanousd: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Said {
    pub(super) role: String,
    pub(super) content: Content,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Content {
    Text(String),
    Pieces(Vec<Piece>),
}

#[derive(Debug, Deserialize)]
pub(super) struct Piece {
    #[serde(default)]
    text: String,
}

impl Content {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Pieces(pieces) => pieces.iter().map(|piece| &*piece.text).collect(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Time {
    /// Unix time in seconds, or in milliseconds where it is too large for that.
    Number(f64),
    /// As RFC 3339 writes it.
    Text(String),
}

/// Seconds beyond the year 5138 are milliseconds.
const SECONDS: f64 = 1e11;

impl Request {
    /// When it was asked, in milliseconds of Unix time.
    pub(super) fn unix_ms(&self) -> Result<i64, String> {
        #[expect(clippy::cast_possible_truncation, reason = "saturates")]
        match &self.ts {
            Time::Number(number) if *number >= SECONDS => Ok(*number as i64),
            Time::Number(number) => Ok((number * 1e3) as i64),
            Time::Text(text) => {
                let time: Timestamp = text.parse().map_err(|_| format!("ts `{text}` is not RFC 3339"))?;
                Ok(time.seconds.saturating_mul(1_000).saturating_add(i64::from(time.nanos) / 1_000_000))
            }
        }
    }
}

#[derive(Deserialize)]
struct Written {
    #[serde(default, deserialize_with = "as_text")]
    id: String,
    a: String,
    b: String,
    label: u8,
    kind: Option<String>,
    source: Option<String>,
}

/// Ids are written as text or as numbers.
fn as_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    })
}

/// Reads every JSON-lines file of `cache`, by name. Files of another shape are left out.
pub(super) fn read(data: &Path) -> Result<Vec<Read>, EvalError> {
    let mut paths: Vec<_> = fs::read_dir(data.join("cache"))
        .map(|listed| listed.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default();
    paths.retain(|path: &std::path::PathBuf| path.extension().is_some_and(|ending| ending == "jsonl"));
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        let at = || path.display().to_string();
        let text = fs::read_to_string(&path).map_err(|error| EvalError::File { path: at(), error })?;
        let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let rows = rows(&text).map_err(|(line, reason)| EvalError::Row { path: at(), line, reason })?;
        files.extend(rows.map(|rows| Read { name: format!("cache/{file}"), rows }));
    }
    if files.is_empty() { Err(EvalError::Empty(data.display().to_string())) } else { Ok(files) }
}

/// The first line says what a file is. `None` if it is neither pairs nor a log.
fn rows(text: &str) -> Result<Option<Rows>, (usize, String)> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).peekable();
    let Some((number, first)) = lines.peek().copied() else { return Ok(None) };
    let broken = |number: usize| move |error: serde_json::Error| (number + 1, error.to_string());
    let first: serde_json::Value = serde_json::from_str(first).map_err(broken(number))?;
    if first.get("messages").is_some() {
        let request = |(number, line)| {
            let request: Request = serde_json::from_str(line).map_err(broken(number))?;
            request.unix_ms().map_err(|reason| (number + 1, reason))?;
            Ok(request)
        };
        return Ok(Some(Rows::Log(lines.map(request).collect::<Result<_, _>>()?)));
    }
    if first.get("a").is_none() || first.get("b").is_none() {
        return Ok(None);
    }
    let pair = |(number, line)| {
        let written: Written = serde_json::from_str(line).map_err(broken(number))?;
        let id = if written.id.is_empty() { (number + 1).to_string() } else { written.id };
        let (kind, source) = (written.kind.unwrap_or_default(), written.source.unwrap_or_default());
        Ok(Pair { id, a: written.a, b: written.b, same: written.label != 0, kind, source })
    };
    Ok(Some(Rows::Pairs(lines.map(pair).collect::<Result<_, _>>()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_says_what_a_file_is() {
        let pairs =
            rows("{\"a\":\"x\",\"b\":\"y\",\"label\":1}\n\n{\"id\":7,\"a\":\"x\",\"b\":\"z\",\"label\":0}");
        let Ok(Some(Rows::Pairs(pairs))) = pairs else { panic!("no pairs") };
        assert_eq!(
            pairs.iter().map(|pair| (&*pair.id, pair.same)).collect::<Vec<_>>(),
            [("1", true), ("7", false)]
        );
        let said = r#""messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],"answer_id":3"#;
        let log = format!(
            "{{\"ts\":1700000000.5,{said}}}\n{{\"ts\":\"2023-11-14T22:13:20.5Z\",\"tenant\":\"t\",{said}}}"
        );
        let Ok(Some(Rows::Log(log))) = rows(&log) else { panic!("no log") };
        assert!(log.iter().all(|request| request.unix_ms() == Ok(1_700_000_000_500)));
        assert_eq!((&*log[0].answer_id, &*log[0].messages[0].content.text()), ("3", "hi"));
        assert!(matches!(rows("{\"text\":1}"), Ok(None)));
        assert!(matches!(rows("{\"a\":\"x\",\"b\":\"y\",\"label\":1}\nnonsense"), Err((2, _))));
    }
}
