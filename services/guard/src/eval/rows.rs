//! Reading the data.

use std::{fs, path::Path};

use serde::Deserialize;

use super::{EvalError, values::Span};
use crate::injection::Channel;

/// A file's rows.
pub(super) struct Rows {
    /// Folder and file, for example `guard/bastioncorpus.jsonl`.
    pub(super) name: String,
    pub(super) rows: Vec<Row>,
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

pub(super) enum Truth {
    /// Whether it is an attack.
    Attack(bool),
    /// Whether it holds a secret.
    Secret(bool),
    /// The personal data in it, by characters.
    Spans(Vec<Span>),
}

/// A row as written; what is not named here is not needed.
#[derive(Deserialize)]
struct Written {
    id: Option<String>,
    text: Option<String>,
    label: Option<u8>,
    spans: Option<Vec<Span>>,
    source: Option<String>,
    channel: Option<String>,
    lang: Option<String>,
    locale: Option<String>,
}

/// Reads every JSON-lines file of `guard` and `pii`, by name. Files without texts (rules, for example) are left out.
pub(super) fn read(data: &Path) -> Result<Vec<Rows>, EvalError> {
    let mut files = Vec::new();
    for folder in ["guard", "pii"] {
        let Ok(listed) = fs::read_dir(data.join(folder)) else { continue };
        let mut paths: Vec<_> = listed.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.retain(|path| path.extension().is_some_and(|ending| ending == "jsonl"));
        paths.sort();
        for path in paths {
            let failed = |error| EvalError::File { path: path.display().to_string(), error };
            let text = fs::read_to_string(&path).map_err(failed)?;
            let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let rows = rows(&text, folder == "guard").map_err(|(line, reason)| EvalError::Row {
                path: path.display().to_string(),
                line,
                reason,
            })?;
            if !rows.is_empty() {
                files.push(Rows { name: format!("{folder}/{file}"), rows });
            }
        }
    }
    if files.is_empty() { Err(EvalError::Empty(data.display().to_string())) } else { Ok(files) }
}

fn rows(text: &str, attacks: bool) -> Result<Vec<Row>, (usize, String)> {
    let mut rows = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let written: Written = serde_json::from_str(line).map_err(|error| (number + 1, error.to_string()))?;
        let Some(text) = written.text else { continue };
        let truth = match (written.spans, written.label) {
            (Some(spans), _) if !attacks => Truth::Spans(spans),
            (_, Some(label)) if attacks => Truth::Attack(label != 0),
            (_, Some(label)) => Truth::Secret(label != 0),
            _ => continue,
        };
        rows.push(Row {
            id: written.id.unwrap_or_else(|| (number + 1).to_string()),
            channel: Channel::named(written.channel.as_deref().unwrap_or_default()),
            source: written.source.unwrap_or_else(|| "unknown".into()),
            lang: written.lang.or(written.locale).unwrap_or_else(|| "unknown".into()),
            text,
            truth,
        });
    }
    Ok(rows)
}

/// The byte at which each character begins: a byte's place in it is the character's number.
pub(super) fn character_offsets(text: &str) -> Vec<usize> {
    text.char_indices().map(|(at, _)| at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_without_text_or_label_are_left_out_and_broken_ones_named() {
        let read = rows("{\"text\":\"a\",\"label\":1}\n\n{\"rule\":\"x\"}\n", true);
        assert_eq!(read.ok().map(|rows| rows.len()), Some(1));
        let broken = rows("{\"text\":\"a\",\"label\":1}\nnonsense", true);
        assert_eq!(broken.err().map(|(line, _)| line), Some(2));
    }

    #[test]
    fn bytes_become_characters() {
        let starts = character_offsets("größe");
        assert_eq!(starts.partition_point(|start| *start < 4), 3);
        assert_eq!(starts.partition_point(|start| *start < 7), 5);
    }
}
