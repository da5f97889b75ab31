//! The guard's own measurement: every row of the data is judged as the service would judge it, and counted.
//!
//! Rows come with what is right about them: a `label` (1 attack or secret, 0 harmless) or `spans` of personal data. Nothing of a
//! row is kept in the result but its id.

mod measure;
mod report;
mod rows;
mod speed;
mod values;

use std::{path::PathBuf, time::Instant};

use serde_json::json;
use signalbox_embed::Embedder;
use signalbox_report::{ALL, FileError, Metrics, Predictions, Report};

use self::{
    measure::Judged,
    rows::{Row, Truth},
    values::Values,
};
use crate::{
    detect,
    injection::{self, Meaning},
};

/// What to measure on.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder with `guard/*.jsonl` and `pii/*.jsonl`.
    pub data: PathBuf,
    /// A file for a line per row: id, score, decision, spans. Absent: none.
    pub predictions: Option<PathBuf>,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is nothing to measure on; the second string tells what is wrong with the rows that are there.
    #[error(
        "{0} holds no row that can be judged, neither in guard/*.jsonl nor in pii/*.jsonl; name the folder with --data or SIGNALBOX_DATA{1}"
    )]
    Empty(String, String),
}

/// Measures every file. With no embedder, the learned tier is off, and the report says so. Rows that cannot be judged are counted,
/// and left out of figures and predictions.
///
/// # Errors
/// Data that cannot be read or has no row to judge, or predictions that cannot be written.
pub async fn run(options: &Options, embedder: Option<&Embedder>) -> Result<Report, EvalError> {
    let files = rows::read(&options.data)?;
    speed::warm();
    let mut predictions = Predictions::create(options.predictions.as_deref())?;
    let mut report = Report::new(report::HEAD, "all files");
    let meaning = match embedder {
        Some(embedder) => Meaning::load(embedder).await,
        None => None,
    };
    if meaning.is_none() {
        report.notice("no embedding model (run `make setup`): word pairs and patterns decide alone".into());
    }
    let mut all = Vec::new();
    let mut everywhere = Values::default();
    let (mut rows, mut odd) = (0, Vec::new());
    for file in files {
        report.rows(&file.name, file.rows.len(), &file.odd);
        let mut judged = Vec::new();
        let mut values = Values::default();
        for row in &file.rows {
            let line = match &row.truth {
                Truth::Attack(label) => {
                    let one = attack(row, *label, meaning.as_ref()).await;
                    let line = json!({ "id": row.id, "score": one.score, "decision": decision(one.flagged), "spans": [] });
                    judged.push(one);
                    line
                }
                Truth::Secret(_) | Truth::Spans(_) => value(row, &mut values),
            };
            predictions.add(line)?;
        }
        report.add(&file.name, report::figures(&judged, &values, false));
        rows += file.rows.len();
        odd.extend(file.odd);
        all.append(&mut judged);
        everywhere.add(&values);
    }
    predictions.finish()?;
    if rows == 0 {
        let told: String = report.notices().map(|notice| format!("; {notice}")).collect();
        return Err(EvalError::Empty(options.data.display().to_string(), told));
    }
    report.rows(ALL, rows, &odd);
    report.add(ALL, report::figures(&all, &everywhere, true));
    let mut speed = Metrics::default();
    for (name, value, n) in speed::measure() {
        speed.put(name, Some((value, n)));
    }
    report.add("speed", speed);
    Ok(report)
}

/// A text's windows and their features; what `scripts/train_guard.py` trains on.
#[must_use]
pub fn grams<'a>(text: &'a str, channel: &str) -> Vec<(&'a str, Vec<u32>)> {
    injection::gram_features(text, injection::Channel::named(channel))
}

const fn decision(flagged: bool) -> &'static str {
    if flagged { "flag" } else { "allow" }
}

async fn attack(row: &Row, label: bool, meaning: Option<&Meaning>) -> Judged {
    let began = Instant::now();
    let verdict = injection::judge(&row.text, row.channel, meaning).await;
    Judged {
        label,
        score: verdict.score,
        flagged: verdict.flagged,
        learned: verdict.embedded,
        trigger: !label && injection::has_trigger(&row.text),
        source: row.source.clone(),
        lang: row.lang.clone(),
        length: row.text.len(),
        micros: began.elapsed().as_secs_f64() * 1e6,
    }
}

fn value(row: &Row, values: &mut Values) -> serde_json::Value {
    let began = Instant::now();
    let found = detect::all(&row.text, detect::Locales::ALL);
    values.cost(row.text.len(), began.elapsed());
    let starts = rows::character_offsets(&row.text);
    let at = |byte: usize| starts.partition_point(|start| *start < byte);
    let spans: Vec<values::Span> = found
        .iter()
        .map(|one| values::Span {
            kind: values::kind_of(one.id()).to_owned(),
            start: at(one.range.start),
            end: at(one.range.end),
        })
        .collect();
    let secret = found.iter().any(|one| one.id().starts_with("secret."));
    match &row.truth {
        Truth::Secret(label) => values.secret(*label, secret),
        Truth::Spans(truth) => values.spans(truth, &spans),
        Truth::Attack(_) => {}
    }
    let listed: Vec<_> = spans
        .iter()
        .zip(&found)
        .map(|(s, one)| json!({ "type": s.kind, "detector": one.id(), "start": s.start, "end": s.end }))
        .collect();
    let flagged = if matches!(row.truth, Truth::Secret(_)) { secret } else { !found.is_empty() };
    let score = found.iter().map(|one| one.score).fold(0.0, f64::max);
    json!({ "id": row.id, "score": if flagged { score } else { 0.0 }, "decision": decision(flagged), "spans": listed })
}
