//! Reading the data.

use std::path::Path;

use serde_json::Value;
use signalbox_report::{Lines, Odd, json_lines};

use super::{EvalError, values::Span};
use crate::injection::Channel;

/// A file's rows.
pub(super) struct Rows {
    /// Folder and file, for example `guard/bastioncorpus.jsonl`.
    pub(super) name: String,
    pub(super) rows: Vec<Row>,
    pub(super) odd: Vec<Odd>,
}

/// One text and what is right about it.
pub(super) struct Row {
    pub(super) id: String,
    pub(super) text: String,
    pub(super) truth: Truth,
    pub(super) source: String,
    pub(super) channel: Channel,
    pub(super) lang: String,
}

#[derive(Debug)]
pub(super) enum Truth {
    /// Whether it is an attack.
    Attack(bool),
    /// Whether it holds a secret.
    Secret(bool),
    /// The personal data in it, by characters.
    Spans(Vec<Span>),
}

/// Reads every JSON-lines file of `guard` and `pii`, by name.
pub(super) fn read(data: &Path) -> Result<Vec<Rows>, EvalError> {
    let mut files = Vec::new();
    for folder in ["guard", "pii"] {
        for file in json_lines(data, folder) {
            let file = file?;
            let (rows, odd) = rows(&file, folder == "guard");
            files.push(Rows { name: file.name, rows, odd });
        }
    }
    Ok(files)
}

fn rows(file: &Lines, attacks: bool) -> (Vec<Row>, Vec<Odd>) {
    let (mut rows, mut odd) = (Vec::new(), Vec::new());
    for (number, line) in file.iter() {
        match row(line, number, attacks) {
            Ok(row) => rows.push(row),
            Err(reason) => odd.push(Odd { line: number, reason }),
        }
    }
    (rows, odd)
}

/// One row; what is not named here is not needed, and all but `text` and one of `label` and `spans` may be left out.
fn row(line: &str, number: usize, attacks: bool) -> Result<Row, &'static str> {
    let written: Value = serde_json::from_str(line).map_err(|_| "is not JSON")?;
    let field = |name: &str| written.get(name).filter(|value| !value.is_null());
    let said = |name: &str| field(name).and_then(Value::as_str).map(str::to_owned);
    let text = said("text").ok_or("has no `text`, or one that is no string")?;
    let truth = match (field("spans"), field("label")) {
        (Some(listed), _) if !attacks => Truth::Spans(spans(listed, text.chars().count())?),
        (_, Some(value)) if attacks => Truth::Attack(label(value)?),
        (_, Some(value)) => Truth::Secret(label(value)?),
        _ if attacks => return Err("has no `label` (1 attack, 0 harmless)"),
        _ => return Err("has neither `spans` nor `label` (1 secret, 0 none)"),
    };
    let id = match field("id") {
        Some(Value::String(id)) => id.clone(),
        Some(other) => other.to_string(),
        None => number.to_string(),
    };
    Ok(Row {
        id,
        channel: Channel::named(&said("channel").unwrap_or_default()),
        source: said("source").unwrap_or_else(|| "unknown".into()),
        lang: said("lang").or_else(|| said("locale")).unwrap_or_else(|| "unknown".into()),
        text,
        truth,
    })
}

fn label(value: &Value) -> Result<bool, &'static str> {
    match value {
        Value::Bool(label) => Ok(*label),
        Value::Number(number) if number.as_f64() == Some(0.0) => Ok(false),
        Value::Number(number) if number.as_f64() == Some(1.0) => Ok(true),
        Value::String(text) if text == "0" => Ok(false),
        Value::String(text) if text == "1" => Ok(true),
        _ => Err("has a `label` that is neither 0 nor 1"),
    }
}

fn spans(listed: &Value, characters: usize) -> Result<Vec<Span>, &'static str> {
    let read = |span: &Value| {
        let place = |name: &str| usize::try_from(span.get(name)?.as_u64()?).ok();
        let (start, end) = (place("start")?, place("end")?);
        let kind = span.get("type").and_then(Value::as_str)?.to_owned();
        (start < end && end <= characters).then_some(Span { kind, start, end })
    };
    let wrong = "has a span without `type` and 0 <= start < end <= the text's length (characters)";
    listed
        .as_array()
        .ok_or("has `spans` that are no list")?
        .iter()
        .map(|span| read(span).ok_or(wrong))
        .collect()
}

/// The byte at which each character begins: a byte's place in it is the character's number.
pub(super) fn character_offsets(text: &str) -> Vec<usize> {
    text.char_indices().map(|(at, _)| at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_rows_are_told_with_their_lines() {
        let text = "\u{feff}{\"text\":\"a\",\"label\":1}\n\n{\"rule\":\"x\"}\nnonsense\n{\"text\":\"b\"}\n{\"text\":\"c\",\"label\":\"no\"}\n{\"id\":7,\"text\":\"d\",\"label\":false,\"lang\":null}";
        let (rows, odd) = rows(&Lines::of(String::new(), text.into()), true);
        assert_eq!(rows.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(), ["1", "7"]);
        let told: Vec<(usize, &str)> = odd.iter().map(|one| (one.line, one.reason)).collect();
        assert_eq!(
            told,
            [
                (3, "has no `text`, or one that is no string"),
                (4, "is not JSON"),
                (5, "has no `label` (1 attack, 0 harmless)"),
                (6, "has a `label` that is neither 0 nor 1"),
            ]
        );
    }

    #[test]
    fn spans_lie_inside_their_text() {
        let good = r#"{"text":"größe Anna","spans":[{"type":"PERSON","start":6,"end":10,"value":"Anna"}]}"#;
        assert!(
            matches!(row(good, 1, false).map(|r| r.truth), Ok(Truth::Spans(spans)) if spans[0].start == 6)
        );
        for bad in ["6,\"end\":11", "7,\"end\":7", "-1,\"end\":3", "\"6\",\"end\":10"] {
            let line = format!(r#"{{"text":"größe Anna","spans":[{{"type":"PERSON","start":{bad}}}]}}"#);
            assert!(row(&line, 1, false).is_err(), "{bad}");
        }
        assert!(row(r#"{"text":"x","spans":{}}"#, 1, false).is_err());
        assert!(matches!(
            row(r#"{"text":"x","label":0}"#, 1, false).map(|r| r.truth),
            Ok(Truth::Secret(false))
        ));
    }

    #[test]
    fn bytes_become_characters() {
        let starts = character_offsets("größe");
        assert_eq!(starts.partition_point(|start| *start < 4), 3);
        assert_eq!(starts.partition_point(|start| *start < 7), 5);
    }
}
