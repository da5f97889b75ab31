//! Reading the data.

use std::{fs, path::Path};

use serde_json::Value;

use super::{EvalError, values::Span};
use crate::injection::Channel;

/// A file's rows.
pub(super) struct Rows {
    /// Folder and file, for example `guard/bastioncorpus.jsonl`.
    pub(super) name: String,
    pub(super) rows: Vec<Row>,
    pub(super) odd: Odd,
}

/// Rows that cannot be judged.
#[derive(Debug, Default)]
pub(super) struct Odd {
    pub(super) count: usize,
    /// What is wrong with the first few, with their lines.
    pub(super) reasons: Vec<String>,
}

/// Reasons that are told; the others are only counted.
const TOLD: usize = 3;

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
        let Ok(listed) = fs::read_dir(data.join(folder)) else { continue };
        let mut paths: Vec<_> = listed.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.retain(|path| path.extension().is_some_and(|ending| ending == "jsonl" || ending == "ndjson"));
        paths.sort();
        for path in paths {
            let failed = |error| EvalError::File { path: path.display().to_string(), error };
            let bytes = fs::read(&path).map_err(failed)?;
            let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let (rows, odd) = rows(&String::from_utf8_lossy(&bytes), folder == "guard");
            files.push(Rows { name: format!("{folder}/{file}"), rows, odd });
        }
    }
    if files.iter().all(|file| file.rows.is_empty()) {
        let told =
            files.iter().flat_map(|file| file.odd.reasons.iter().map(|r| format!("\n{}: {r}", file.name)));
        return Err(EvalError::Empty(data.display().to_string(), told.take(TOLD).collect()));
    }
    Ok(files)
}

fn rows(text: &str, attacks: bool) -> (Vec<Row>, Odd) {
    let (mut rows, mut odd) = (Vec::new(), Odd::default());
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match row(line.trim_start_matches('\u{feff}'), number + 1, attacks) {
            Ok(row) => rows.push(row),
            Err(reason) => {
                odd.count += 1;
                if odd.reasons.len() < TOLD {
                    odd.reasons.push(format!("line {}: {reason}", number + 1));
                }
            }
        }
    }
    (rows, odd)
}

/// One row; what is not named here is not needed, and all but `text` and one of `label` and `spans` may be left out.
fn row(line: &str, number: usize, attacks: bool) -> Result<Row, String> {
    let written: Value = serde_json::from_str(line).map_err(|error| format!("no JSON: {error}"))?;
    let field = |name: &str| written.get(name).filter(|value| !value.is_null());
    let said = |name: &str| field(name).and_then(Value::as_str).map(str::to_owned);
    let text = said("text").ok_or("`text` is missing or no string")?;
    let truth = match (field("spans"), field("label")) {
        (Some(listed), _) if !attacks => Truth::Spans(spans(listed, text.chars().count())?),
        (_, Some(value)) if attacks => Truth::Attack(label(value)?),
        (_, Some(value)) => Truth::Secret(label(value)?),
        _ if attacks => return Err("`label` is missing (1 attack, 0 harmless)".into()),
        _ => return Err("neither `spans` nor `label` (1 secret, 0 none) is there".into()),
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

fn label(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(label) => Ok(*label),
        Value::Number(number) if number.as_f64() == Some(0.0) => Ok(false),
        Value::Number(number) if number.as_f64() == Some(1.0) => Ok(true),
        Value::String(text) if text == "0" => Ok(false),
        Value::String(text) if text == "1" => Ok(true),
        other => Err(format!("`label` is {other}; it must be 0 or 1")),
    }
}

fn spans(listed: &Value, characters: usize) -> Result<Vec<Span>, String> {
    let listed = listed.as_array().ok_or("`spans` is no list")?;
    let read = |span: &Value| {
        let place = |name: &str| usize::try_from(span.get(name)?.as_u64()?).ok();
        let (start, end) = (place("start")?, place("end")?);
        let kind = span.get("type").and_then(Value::as_str)?.to_owned();
        (start < end && end <= characters).then_some(Span { kind, start, end })
    };
    let wrong = |span: &Value| {
        // Where, but not what stands there: it may be personal data.
        let (start, end) = (span.get("start"), span.get("end"));
        format!(
            "a span needs `type` and 0 <= start < end <= {characters} (characters); got {start:?} to {end:?}"
        )
    };
    listed.iter().map(|span| read(span).ok_or_else(|| wrong(span))).collect()
}

/// The byte at which each character begins: a byte's place in it is the character's number.
pub(super) fn character_offsets(text: &str) -> Vec<usize> {
    text.char_indices().map(|(at, _)| at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_rows_are_counted_and_the_first_named() {
        let text = "\u{feff}{\"text\":\"a\",\"label\":1}\n\n{\"rule\":\"x\"}\nnonsense\n{\"text\":\"b\"}\n{\"text\":\"c\",\"label\":\"no\"}\n{\"id\":7,\"text\":\"d\",\"label\":false,\"lang\":null}";
        let (rows, odd) = rows(text, true);
        assert_eq!(rows.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(), ["1", "7"]);
        assert_eq!((odd.count, odd.reasons.len()), (4, TOLD));
        assert!(odd.reasons[0].starts_with("line 3: `text` is missing"), "{:?}", odd.reasons);
        assert!(odd.reasons[2].contains("line 5") && odd.reasons[2].contains("`label` is missing"));
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
