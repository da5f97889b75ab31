//! The cache's own measurement: labelled pairs of questions are judged as the service would judge them, and logs of requests are
//! run through a cache.
//!
//! A pair is an object with `a`, `b` and `label` (1: the same answer serves both). A log is a file of requests with `ts`,
//! `tenant`, `messages` and `answer_id`. Nothing of a row is kept in the result but its id.

mod measure;
mod replay;
mod report;
mod rows;

use std::{collections::HashMap, path::PathBuf};

use serde_json::json;
use signalbox_embed::{EmbedError, Embedder, MAX_TEXTS, Vector};

use self::measure::Judged;
use crate::{
    config::Config,
    embedding::Embedding,
    error::Failure,
    language,
    policy::Terms,
    question,
    second_look::{self, Features},
};
use signalbox_report::{ALL, FileError, Predictions};
pub use signalbox_report::{Metric, Report};

/// What to measure on.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder with `cache/*.jsonl`.
    pub data: PathBuf,
    /// A file for a line per pair: id, score, decision, similarity. Absent: none.
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
        "{0} holds no row that can be judged in cache/*.jsonl; name the folder with --data or SIGNALBOX_DATA{1}"
    )]
    Empty(String, String),
    /// The embedding model failed.
    #[error(transparent)]
    Embed(#[from] EmbedError),
    /// The cache refused a request of a log.
    #[error("the cache refused a request: {0}")]
    Refused(String),
}

impl From<Failure> for EvalError {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure.to_string())
    }
}

/// Measures every file with the built-in configuration. Rows that cannot be judged are counted, and left out of figures and predictions.
///
/// # Errors
/// Data that cannot be read, predictions that cannot be written, an embedding model that fails.
pub async fn run(options: &Options, embedder: &Embedder) -> Result<Report, EvalError> {
    let files = rows::read(&options.data)?;
    let mut predictions = Predictions::create(options.predictions.as_deref())?;
    let (mut report, mut all) = (Report::new(report::HEAD, "all pairs"), Vec::new());
    let (mut rows, mut odd) = (0, Vec::new());
    for file in files {
        report.rows(&file.name, file.pairs.len() + file.log.len(), &file.odd);
        rows += file.pairs.len() + file.log.len();
        odd.extend(file.odd);
        let mut judged = judge(&file.pairs, embedder).await?;
        judged.iter().try_for_each(|one| predictions.add(line(one)))?;
        report::pairs(&mut report, &file.name, &judged);
        all.append(&mut judged);
        if !file.log.is_empty() {
            let replayed = replay::run(&file.log, Embedding::from(Ok(embedder.clone()))).await?;
            report::replay(&mut report, &file.name, &replayed);
        }
    }
    if rows == 0 {
        let told: String = report.notices().map(|notice| format!("; {notice}")).collect();
        return Err(EvalError::Empty(options.data.display().to_string(), told));
    }
    report.rows(ALL, rows, &odd);
    report::pairs(&mut report, ALL, &all);
    predictions.finish()?;
    Ok(report)
}

fn line(one: &Judged) -> serde_json::Value {
    let decision = if one.hit { "hit" } else { "miss" };
    json!({ "id": one.id, "score": one.score(), "decision": decision, "similarity": one.similarity })
}

/// Judges pairs as a lookup would, the first text being known and the second asked.
async fn judge(pairs: &[rows::Pair], embedder: &Embedder) -> Result<Vec<Judged>, EvalError> {
    let vectors = vectors(pairs, embedder).await?;
    let config = Config::default();
    let terms = Terms::of(&config, "", None)?;
    let most = config.semantic.max_text_bytes;
    let judged = pairs.iter().map(|pair| {
        let similarity = match (vectors.get(&*pair.a), vectors.get(&*pair.b)) {
            (Some(a), Some(b)) => a.cosine(b),
            _ => 0.0,
        };
        let admitted = question::admits(&pair.a, &terms, most).and(question::admits(&pair.b, &terms, most));
        // Answers in two languages lie in two partitions.
        let admitted = admitted.is_ok() && language::of(&pair.a) == language::of(&pair.b);
        let (a, b) = (Features::of(&pair.a), Features::of(&pair.b));
        let right = second_look::probability(similarity, &a, &b);
        let agreed = second_look::agree(&a, &b).is_ok();
        Judged {
            id: pair.id.clone(),
            same: pair.same,
            kind: pair.kind.clone(),
            source: pair.source.clone(),
            similarity,
            admitted,
            agreed,
            right,
            hit: admitted
                && agreed
                && f64::from(similarity) >= terms.min_similarity
                && right >= 1.0 - terms.max_error,
        }
    });
    Ok(judged.collect())
}

/// The vector of each text, computed once.
async fn vectors<'a>(
    pairs: &'a [rows::Pair],
    embedder: &Embedder,
) -> Result<HashMap<&'a str, Vector>, EvalError> {
    let mut texts: Vec<&str> = pairs.iter().flat_map(|pair| [&*pair.a, &*pair.b]).collect();
    texts.sort_unstable();
    texts.dedup();
    let mut vectors = HashMap::with_capacity(texts.len());
    for some in texts.chunks(MAX_TEXTS) {
        let embedded = embedder.embed_all(some.iter().map(|text| cut(text)).collect()).await?;
        vectors.extend(some.iter().copied().zip(embedded));
    }
    Ok(vectors)
}

/// As much of a text as the model takes; it is far beyond what it reads.
fn cut(text: &str) -> String {
    let end = (0..=text.len().min(8_192)).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or(0)].to_owned()
}

/// What the calibrated model sees of a pair beside its cosine, after 1 if the rules let it pass, else minus the number of the rule that
/// refuses it; what `scripts/train_cache.py` trains on.
#[must_use]
pub fn inputs(a: &str, b: &str) -> Vec<f32> {
    let (a, b) = (Features::of(a), Features::of(b));
    let ruled = second_look::agree(&a, &b).map_or_else(|difference| -f32::from(difference as u8), |()| 1.0);
    std::iter::once(ruled).chain(second_look::numbers(&a, &b)).collect()
}
