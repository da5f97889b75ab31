//! The router's own measurement: prompts that a small and a large model answered are put in the order in which the router would ask
//! the large one.
//!
//! A row has `text`, perhaps `task`, and either `small_correct` and `large_correct` (0 to 1) or `scores`: {model: 0 to 10}; of two
//! scored models the one with the lower average is the small one, unless `small_model` and `large_model` say so. Nothing of a row is
//! kept in the result but its id and task.

mod measure;
mod rows;

use std::{collections::BTreeSet, path::PathBuf};

use serde_json::json;
use signalbox_embed::{EmbedError, Embedder, MAX_TEXTS, Vector};
use signalbox_report::{ALL, FileError, Metrics, Predictions, Report};

use self::{measure::Ranked, rows::Row};
use crate::complexity::MODEL;
pub use crate::complexity::inputs;

/// What to measure on.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder with `router/*.jsonl`.
    pub data: PathBuf,
    /// A file for a line per row: id, score, decision. Absent: none.
    pub predictions: Option<PathBuf>,
    /// The share of the large model's quality to keep, 0 to 1: where `decision` changes.
    pub quality: f64,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is nothing to measure on; the second string tells what is wrong with the rows that are there.
    #[error(
        "{0} holds no row that can be judged in router/*.jsonl; name the folder with --data or SIGNALBOX_DATA{1}"
    )]
    Empty(String, String),
    /// The quality is none.
    #[error("the quality {0} is not from 0 to 1; 0.95 keeps 95 % of the large model's")]
    Quality(f64),
    /// The embedding model failed.
    #[error(transparent)]
    Embed(#[from] EmbedError),
}

const HEAD: &str = "\
area: area under the share of the quality gap recovered over the share of calls to the large model (always small 0, always large 1 at all\n\
calls, a random mix 0.5); auc: prompts where the large model is better stand before the others; calls_at_95: least share of calls to the\n\
large model that keeps 95 % of its quality; brier, reliability: of the probability that the large model is better\n";

/// A task with fewer rows has no figures of its own.
const TASK_ROWS: usize = 30;

/// Measures every file. Without an embedder the features decide alone. Rows that cannot be judged are counted, and left out of
/// figures and predictions.
///
/// # Errors
/// Data that cannot be read, predictions that cannot be written, an embedding model that fails.
pub async fn run(options: &Options, embedder: Option<&Embedder>) -> Result<Report, EvalError> {
    if !(0.0..=1.0).contains(&options.quality) {
        return Err(EvalError::Quality(options.quality));
    }
    let files = rows::read(&options.data)?;
    let mut predictions = Predictions::create(options.predictions.as_deref())?;
    let embedder = embedder.filter(|embedder| MODEL.understands(embedder.model_hash().as_bytes()));
    let mut report = Report::new(HEAD, "all files");
    if embedder.is_none() {
        report.notice(
            "no embedding model that the weights know (run `make setup`): the features decide alone".into(),
        );
    }
    let (mut all, mut odd) = (Vec::new(), Vec::new());
    let from = MODEL.threshold(options.quality);
    for file in files {
        report.rows(&file.name, file.rows.len(), &file.odd);
        odd.extend(file.odd);
        let judged = judge(file.rows, embedder).await?;
        for one in &judged {
            let decision = if one.needs_large >= from { "large" } else { "small" };
            predictions.add(json!({ "id": one.row.id, "score": one.needs_large, "decision": decision }))?;
        }
        figures(&mut report, &file.name, &judged, options.quality);
        all.extend(judged);
    }
    if all.is_empty() {
        let told: String = report.notices().map(|notice| format!("; {notice}")).collect();
        return Err(EvalError::Empty(options.data.display().to_string(), told));
    }
    report.rows(ALL, all.len(), &odd);
    figures(&mut report, ALL, &all, options.quality);
    predictions.finish()?;
    Ok(report)
}

/// What a way to order thinks of a row.
type Score = fn(&Judged) -> f64;

/// A row as each way sees it.
struct Judged {
    row: Row,
    needs_large: f64,
    features_alone: f64,
    length: f64,
    rule: f64,
}

async fn judge(rows: Vec<Row>, embedder: Option<&Embedder>) -> Result<Vec<Judged>, EvalError> {
    let mut judged = Vec::with_capacity(rows.len());
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let some: Vec<Row> = rows.by_ref().take(MAX_TEXTS).collect();
        let vectors: Vec<Vector> = match embedder {
            Some(embedder) => embedder.embed_all(some.iter().map(|row| row.text.clone()).collect()).await?,
            None => Vec::new(),
        };
        judged.extend(some.into_iter().enumerate().map(|(at, row)| {
            let vector = vectors.get(at).map(|vector| &**vector);
            Judged {
                needs_large: MODEL.needs_large(&row.text, vector),
                features_alone: MODEL.needs_large(&row.text, None),
                length: row.text.chars().count() as f64,
                rule: rule(&row.text),
                row,
            }
        }));
    }
    Ok(judged)
}

/// The simple rule that others use: a long prompt, code, or a word that asks for thinking.
fn rule(text: &str) -> f64 {
    const WORDS: [&str; 10] =
        ["why", "how", "explain", "analyze", "compare", "prove", "derive", "calculate", "solve", "design"];
    let words: Vec<String> = text.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase).collect();
    let long = (words.len() as f64 / 100.0).min(2.0);
    let code =
        text.contains("```") || text.contains("def ") || text.contains("function") || text.contains("class ");
    let asks = words.iter().any(|word| WORDS.contains(&&**word));
    long + f64::from(u8::from(code)) + f64::from(u8::from(asks))
}

fn figures(report: &mut Report, name: &str, judged: &[Judged], quality: f64) {
    if judged.is_empty() {
        return;
    }
    let mut metrics = Metrics::default();
    let n = judged.len();
    let by = |score: Score| -> Vec<Ranked<'_>> { judged.iter().map(|one| (score(one), &one.row)).collect() };
    let ways: [(&str, Score); 4] = [
        ("complexity", |one| one.needs_large),
        ("features_alone", |one| one.features_alone),
        ("length", |one| one.length),
        ("rule", |one| one.rule),
    ];
    let counted = |value: Option<f64>| value.map(|value| (value, n));
    for (way, score) in ways {
        let mut ranked = by(score);
        metrics.put(format!("{way}.area"), counted(measure::area(&mut ranked)));
        metrics.put(format!("{way}.auc"), counted(measure::auc(&mut ranked)));
        for keep in [80, 90, 95, 99] {
            let calls = measure::calls_for(&mut ranked, f64::from(keep) / 100.0);
            metrics.put(format!("{way}.calls_at_{keep}"), counted(calls));
        }
    }
    let mut random = by(|_| 0.0);
    metrics.put("random_mix.area", counted(measure::area(&mut random)));
    metrics.put("random_mix.calls_at_95", counted(measure::calls_for(&mut random, 0.95)));
    let mean = |value: fn(&Row) -> f64| judged.iter().map(|one| value(&one.row)).sum::<f64>() / n as f64;
    metrics.put("always_small.quality", Some((mean(|row| row.small), n)));
    metrics.put("always_large.quality", Some((mean(|row| row.large), n)));
    metrics.put("small_suffices", Some((mean(|row| f64::from(u8::from(row.suffices()))), n)));
    let ranked = by(|one| one.needs_large);
    if let Some((calls, kept)) = measure::reached(&ranked, MODEL.threshold(quality)) {
        metrics.put("knob.quality_wanted", Some((quality, n)));
        metrics.put("knob.quality_kept", Some((kept, n)));
        metrics.put("knob.calls", Some((calls, n)));
    }
    metrics.put("complexity.brier", Some((measure::brier(&ranked), n)));
    reliability(&mut metrics, &ranked);
    tasks(&mut metrics, judged);
    report.add(name, metrics);
}

/// What came of what was predicted, by tenths.
fn reliability(metrics: &mut Metrics, ranked: &[Ranked<'_>]) {
    for tenth in 0..10_u8 {
        let (low, high) = (f64::from(tenth) / 10.0, f64::from(tenth + 1) / 10.0);
        let some: Vec<&Ranked<'_>> =
            ranked.iter().filter(|(p, _)| *p >= low && (*p < high || tenth == 9)).collect();
        let count = some.len();
        let average = |sum: f64| (count > 0).then(|| (sum / count as f64, count));
        let came = some.iter().filter(|(_, row)| !row.suffices()).count() as f64;
        metrics.put(format!("reliability.0{tenth}.predicted"), average(some.iter().map(|(p, _)| p).sum()));
        metrics.put(format!("reliability.0{tenth}.came"), average(came));
    }
}

/// The figures of each task by itself.
fn tasks(metrics: &mut Metrics, judged: &[Judged]) {
    let names: BTreeSet<&str> =
        judged.iter().map(|one| &*one.row.task).filter(|task| !task.is_empty()).collect();
    for name in names {
        let of = || judged.iter().filter(|one| one.row.task == name);
        let mut ours: Vec<Ranked<'_>> = of().map(|one| (one.needs_large, &one.row)).collect();
        let n = ours.len();
        if n < TASK_ROWS {
            continue;
        }
        metrics.put(format!("task.{name}.gap"), Some((measure::gap(&ours), n)));
        metrics.put(
            format!("task.{name}.needs_large"),
            Some((of().map(|one| one.needs_large).sum::<f64>() / n as f64, n)),
        );
        metrics.put(format!("task.{name}.complexity.area"), measure::area(&mut ours).map(|area| (area, n)));
        let mut rule: Vec<Ranked<'_>> = of().map(|one| (one.rule, &one.row)).collect();
        metrics.put(format!("task.{name}.rule.area"), measure::area(&mut rule).map(|area| (area, n)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_is_measured_and_predicted() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("router")).unwrap();
        let rows = "{\"id\":\"easy\",\"text\":\"Who wrote Faust?\",\"small_correct\":1,\"large_correct\":1}\n\
             {\"id\":\"hard\",\"text\":\"If x + 3 = 7 and y = 2x - 1, calculate the total of x, y and 12 when each is doubled.\",\
             \"small_correct\":0,\"large_correct\":1}\nodd\n";
        std::fs::write(folder.path().join("router/a.jsonl"), rows).unwrap();
        let predictions = folder.path().join("p.jsonl");
        let options =
            Options { data: folder.path().into(), predictions: Some(predictions.clone()), quality: 0.95 };
        let report = run(&options, None).await.unwrap();
        assert_eq!(report.metric("router/a.jsonl", "complexity.area").unwrap().value, 0.75, "the best order");
        assert_eq!(report.metric("*", "random_mix.area").unwrap().value, 0.5);
        assert_eq!(report.metric("*", "rows.left_out").unwrap().value, 1.0);
        let written = std::fs::read_to_string(predictions).unwrap();
        let lines: Vec<serde_json::Value> =
            written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((lines.len(), &lines[1]["id"]), (2, &"hard".into()));
        assert!(lines[0]["score"].as_f64() < lines[1]["score"].as_f64());
    }

    #[tokio::test]
    async fn nothing_to_measure_says_what_to_change() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { data: folder.path().into(), predictions: None, quality: 0.95 };
        assert!(run(&options, None).await.unwrap_err().to_string().contains("--data"));
        let options = Options { quality: 95.0, ..options };
        assert!(run(&options, None).await.unwrap_err().to_string().contains("0.95"));
    }
}
