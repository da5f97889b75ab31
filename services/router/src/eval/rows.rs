//! Reading the data.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use serde_json::Value;
use signalbox_report::{Lines, Odd, json_lines};

use super::EvalError;

/// One file.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// Folder and file, for example `router/prompts.jsonl`.
    pub(super) name: String,
    pub(super) rows: Vec<Row>,
    pub(super) odd: Vec<Odd>,
}

/// A prompt that both models answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) text: String,
    pub(super) task: String,
    /// How good the small model's answer is, 0 to 1.
    pub(super) small: f64,
    /// How good the large model's.
    pub(super) large: f64,
}

impl Row {
    /// Whether the small model's answer is no worse.
    pub(super) fn suffices(&self) -> bool {
        self.small >= self.large
    }
}

#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    id: Value,
    text: String,
    #[serde(default)]
    task: Option<String>,
    small_correct: Option<Value>,
    large_correct: Option<Value>,
    scores: Option<BTreeMap<String, f64>>,
    label: Option<String>,
    small_model: Option<String>,
    large_model: Option<String>,
}

/// What a line holds; which of two scored models is the small one shows only when all lines are read.
enum Line {
    Row(Row),
    Scored { row: Row, scores: BTreeMap<String, f64>, small: Option<String>, large: Option<String> },
}

/// The best of the scores.
const BEST: f64 = 10.0;

/// Reads every JSON-lines file of `router`, by name. Rows that cannot be measured are told, not fatal.
pub(super) fn read(data: &Path) -> Result<Vec<Read>, EvalError> {
    json_lines(data, "router").map(|file| Ok(rows(file?))).collect()
}

fn rows(file: Lines) -> Read {
    let (mut lines, mut odd) = (Vec::new(), Vec::new());
    for (number, text) in file.iter() {
        match line(text, number) {
            Ok(line) => lines.push((number, line)),
            Err(reason) => odd.push(Odd { line: number, reason }),
        }
    }
    let order = by_average(&lines);
    let mut rows = Vec::new();
    for (number, line) in lines {
        match line {
            Line::Row(row) => rows.push(row),
            Line::Scored { row, scores, small, large } => match sides(&scores, &order, small, large) {
                Some((small, large)) => rows.push(Row { small, large, ..row }),
                None => {
                    odd.push(Odd {
                        line: number,
                        reason: "does not score two models that can be told apart",
                    });
                }
            },
        }
    }
    odd.sort_by_key(|odd| odd.line);
    Read { name: file.name, rows, odd }
}

/// Models from the worst average to the best: the small one is the first.
fn by_average(lines: &[(usize, Line)]) -> Vec<String> {
    let mut sums: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for (_, line) in lines {
        if let Line::Scored { scores, .. } = line {
            for (model, score) in scores {
                let sum = sums.entry(model).or_default();
                *sum = (sum.0 + score, sum.1 + 1.0);
            }
        }
    }
    let mut order: Vec<(&str, f64)> =
        sums.into_iter().map(|(model, (sum, count))| (model, sum / count)).collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    order.into_iter().map(|(model, _)| model.to_owned()).collect()
}

fn sides(
    scores: &BTreeMap<String, f64>,
    order: &[String],
    small: Option<String>,
    large: Option<String>,
) -> Option<(f64, f64)> {
    let mut here = order.iter().filter(|model| scores.contains_key(*model));
    let (small, large) =
        (small.or_else(|| here.next().cloned())?, large.or_else(|| here.next_back().cloned())?);
    let of = |model: &str| scores.get(model).map(|score| score / BEST);
    (small != large).then_some((of(&small)?, of(&large)?))
}

fn line(text: &str, number: usize) -> Result<Line, &'static str> {
    let value: Value = serde_json::from_str(text).map_err(|_| "is not JSON")?;
    let written = Written::deserialize(value)
        .map_err(|_| "needs text, and small_correct and large_correct, or scores by model")?;
    if written.text.trim().is_empty() {
        return Err("has an empty text");
    }
    let id = match &written.id {
        Value::Null => number.to_string(),
        Value::String(id) if id.is_empty() => number.to_string(),
        Value::String(id) => id.clone(),
        other => other.to_string(),
    };
    let task = written.task.unwrap_or_default();
    let row =
        |small, large| Row { id: id.clone(), text: written.text.clone(), task: task.clone(), small, large };
    if let (Some(small), Some(large)) = (&written.small_correct, &written.large_correct) {
        let quality = |value| quality(value).ok_or("has a correctness that is not from 0 to 1");
        return Ok(Line::Row(row(quality(small)?, quality(large)?)));
    }
    if let Some(scores) = written.scores {
        if scores.values().any(|score| !(0.0..=BEST).contains(score)) {
            return Err("has a score that is not from 0 to 10");
        }
        let (small, large) = (written.small_model, written.large_model);
        return Ok(Line::Scored { row: row(0.0, 0.0), scores, small, large });
    }
    match written.label.as_deref() {
        Some("small_ok") => Ok(Line::Row(row(1.0, 1.0))),
        Some("needs_large") => Ok(Line::Row(row(0.0, 1.0))),
        Some("both_fail") => Ok(Line::Row(row(0.0, 0.0))),
        _ => Err("needs small_correct and large_correct, scores by model, or a label"),
    }
}

/// Written as a number, as text or as a truth value.
fn quality(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Bool(right) => f64::from(u8::from(*right)),
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => match text.trim() {
            "true" => 1.0,
            "false" => 0.0,
            number => number.parse().ok()?,
        },
        _ => return None,
    };
    (0.0..=1.0).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Read {
        rows(Lines::of(String::new(), text.into()))
    }

    #[test]
    fn all_documented_forms_are_read() {
        let read = of(
            "\u{feff}{\"id\":\"a\",\"text\":\"t\",\"task\":\"m\",\"small_correct\":0,\"large_correct\":1,\"label\":\"needs_large\"}\r\n\n\
             {\"text\":\"t\",\"label\":\"small_ok\"}\n\
             {\"id\":7,\"text\":\"t\",\"scores\":{\"x\":9,\"y\":4.5}}\n{\"text\":\"t\",\"scores\":{\"x\":8,\"y\":10}}",
        );
        assert!(read.odd.is_empty(), "{:?}", read.odd);
        let found: Vec<_> = read.rows.iter().map(|row| (&*row.id, row.small, row.large)).collect();
        assert_eq!(found, [("a", 0.0, 1.0), ("3", 1.0, 1.0), ("7", 0.45, 0.9), ("5", 1.0, 0.8)]);
    }

    #[test]
    fn odd_rows_are_told_and_the_others_are_read() {
        for odd in [
            "nonsense",
            "7",
            "{\"text\":\"t\"}",
            "{\"text\":\" \",\"label\":\"small_ok\"}",
            "{\"text\":\"t\",\"label\":\"maybe\"}",
            "{\"text\":\"t\",\"small_correct\":2,\"large_correct\":1}",
            "{\"text\":\"t\",\"small_correct\":null,\"large_correct\":[1]}",
            "{\"text\":\"t\",\"scores\":{\"x\":11,\"y\":1}}",
            "{\"text\":\"t\",\"scores\":{\"x\":1}}",
            "{\"text\":3,\"label\":\"small_ok\"}",
        ] {
            let read = of(&format!("{{\"text\":\"t\",\"label\":\"both_fail\"}}\n{odd}\n"));
            assert_eq!((read.rows.len(), read.odd.len()), (1, 1), "{odd}");
            assert_eq!(read.odd[0].line, 2);
        }
    }
}
