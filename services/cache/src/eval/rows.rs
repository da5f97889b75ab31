//! Reading the data.

use std::path::Path;

use prost_types::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use signalbox_report::{Lines, Odd, json_lines};

use super::EvalError;

/// One file: whatever of pairs, requests and odd rows it holds.
#[derive(Default)]
pub(super) struct Read {
    /// Folder and file, for example `cache/pairs.jsonl`.
    pub(super) name: String,
    pub(super) pairs: Vec<Pair>,
    pub(super) log: Vec<Request>,
    pub(super) odd: Vec<Odd>,
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
    label: Value,
    kind: Option<String>,
    source: Option<String>,
}

/// Ids are written as text or as numbers.
fn as_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        other => other.to_string(),
    })
}

/// Reads every JSON-lines file of `cache`, by name. Rows that cannot be measured are told, not fatal: a file from elsewhere has some.
pub(super) fn read(data: &Path) -> Result<Vec<Read>, EvalError> {
    json_lines(data, "cache").map(|file| Ok(rows(file?))).collect()
}

/// Each line says by its own fields what it is.
fn rows(file: Lines) -> Read {
    let mut read = Read::default();
    for (number, line) in file.iter() {
        let judged = serde_json::from_str(line).map_err(|_| "is not JSON");
        let judged = judged.and_then(|row: Value| match &row {
            row if row.get("messages").is_some() => request(row).map(|request| read.log.push(request)),
            row if row.get("a").is_some() => pair(row, number).map(|pair| read.pairs.push(pair)),
            _ => Err("is neither a pair (a, b, label) nor a request (ts, messages, answer_id)"),
        });
        if let Err(reason) = judged {
            read.odd.push(Odd { line: number, reason });
        }
    }
    Read { name: file.name, ..read }
}

fn request(row: &Value) -> Result<Request, &'static str> {
    let request =
        Request::deserialize(row).map_err(|_| "needs ts, messages (role, content) and answer_id")?;
    request.unix_ms().map_err(|_| "has a ts that is neither Unix time nor RFC 3339")?;
    Ok(request)
}

fn pair(row: &Value, line: usize) -> Result<Pair, &'static str> {
    let written = Written::deserialize(row).map_err(|_| "needs a and b as text, and a label")?;
    let same = truth(&written.label).ok_or("has a label that is neither 0 nor 1")?;
    if written.a.trim().is_empty() || written.b.trim().is_empty() {
        return Err("has an empty text");
    }
    let id = if matches!(&*written.id, "" | "null") { line.to_string() } else { written.id };
    let (kind, source) = (written.kind.unwrap_or_default(), written.source.unwrap_or_default());
    Ok(Pair { id, a: written.a, b: written.b, same, kind, source })
}

/// Labels are written as numbers, as text or as truth values.
fn truth(label: &Value) -> Option<bool> {
    match label {
        Value::Bool(same) => Some(*same),
        Value::Number(number) if number.as_f64() == Some(1.0) => Some(true),
        Value::Number(number) if number.as_f64() == Some(0.0) => Some(false),
        Value::String(text) => match text.trim() {
            "1" | "true" => Some(true),
            "0" | "false" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_says_what_it_is() {
        let said = r#""messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],"answer_id":3"#;
        let read = rows(Lines::of(String::new(), format!(
            "\u{feff}{{\"a\":\"x\",\"b\":\"y\",\"label\":1}}\n\n{{\"id\":7,\"a\":\"x\",\"b\":\"z\",\"label\":\"0\"}}\r\n\
             {{\"ts\":1700000000.5,{said}}}\n{{\"ts\":\"2023-11-14T22:13:20.5Z\",\"tenant\":\"t\",{said}}}"
        ).into_bytes()));
        let pairs: Vec<_> = read.pairs.iter().map(|pair| (&*pair.id, pair.same)).collect();
        assert_eq!(pairs, [("1", true), ("7", false)]);
        assert!(read.log.iter().all(|request| request.unix_ms() == Ok(1_700_000_000_500)));
        let first = &read.log[0];
        assert_eq!((&*first.answer_id, &*first.messages[0].content.text()), ("3", "hi"));
        assert!(read.odd.is_empty());
    }

    #[test]
    fn odd_rows_are_told_and_the_others_are_read() {
        let odd = [
            "nonsense",
            "7",
            "{\"text\":1}",
            "{\"a\":\"x\",\"label\":1}",
            "{\"a\":\"x\",\"b\":2,\"label\":1}",
            "{\"a\":\"x\",\"b\":\"y\",\"label\":0.5}",
            "{\"a\":\"x\",\"b\":\"y\",\"label\":null}",
            "{\"a\":\"x\",\"b\":\" \",\"label\":1}",
            "{\"ts\":\"soon\",\"messages\":[],\"answer_id\":1}",
            "{\"messages\":{},\"answer_id\":1}",
        ];
        for (at, line) in odd.iter().enumerate() {
            let read = rows(Lines::of(
                String::new(),
                format!("{{\"a\":\"x\",\"b\":\"y\",\"label\":true}}\n{line}\n").into_bytes(),
            ));
            assert_eq!((read.pairs.len(), read.odd.len()), (1, 1), "{at}: {line}");
            assert_eq!(read.odd[0].line, 2);
        }
    }
}
