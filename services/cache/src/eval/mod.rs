//! The cache's own measurement: labelled pairs of questions are judged as the service would judge them, and logs of requests are
//! run through a cache.
//!
//! A pair is an object with `a`, `b` and `label` (1: the same answer serves both). A log is a file of requests with `ts`,
//! `tenant`, `messages` and `answer_id`. Nothing of a row is kept in the result but its id.

mod measure;
mod replay;
mod report;
mod rows;

use std::{collections::HashMap, fs::File, io::Write as _, path::PathBuf};

use serde_json::json;
use signalbox_embed::{EmbedError, Embedder, MAX_TEXTS, Vector};

pub use self::report::{Metric, Report};
use self::{measure::Judged, rows::Rows};
use crate::{
    config::Config,
    embedding::Embedding,
    error::Failure,
    policy::Terms,
    question,
    second_look::{self, Features},
};

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
    #[error("{path}: {error}")]
    File {
        /// Where.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// A row is not what the documentation says.
    #[error("{path}, line {line}: {reason}")]
    Row {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// There is nothing to measure on.
    #[error("{0} holds no cache/*.jsonl; name the folder with --data or SIGNALBOX_DATA")]
    Empty(String),
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

/// Measures every file with the built-in configuration.
///
/// # Errors
/// Data that cannot be read, predictions that cannot be written, an embedding model that fails.
pub async fn run(options: &Options, embedder: &Embedder) -> Result<Report, EvalError> {
    let failed = |error| EvalError::File {
        path: options.predictions.as_deref().map(|p| p.display().to_string()).unwrap_or_default(),
        error,
    };
    let files = rows::read(&options.data)?;
    let mut predictions = options.predictions.as_deref().map(File::create).transpose().map_err(failed)?;
    let (mut report, mut all) = (Report::default(), Vec::new());
    for file in files {
        match file.rows {
            Rows::Pairs(pairs) => {
                let mut judged = judge(&pairs, embedder).await?;
                if let Some(predictions) = &mut predictions {
                    for one in &judged {
                        writeln!(predictions, "{}", line(one)).map_err(failed)?;
                    }
                }
                report.pairs(&file.name, &judged);
                all.append(&mut judged);
            }
            Rows::Log(log) => {
                let embedding = Embedding::from(Ok(embedder.clone()));
                let replayed = replay::run(&log, embedding).await?;
                report.replay(&file.name, &replayed);
            }
        }
    }
    report.pairs("*", &all);
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
        let (a, b) = (Features::of(&pair.a), Features::of(&pair.b));
        let right = second_look::probability(similarity, &a, &b);
        let (admitted, agreed) = (admitted.is_ok(), second_look::agree(&a, &b).is_ok());
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

/// What the calibrated model sees of a pair, and whether the rules let it pass; what `scripts/train_cache.py` trains on.
#[must_use]
pub fn inputs(a: &str, b: &str, similarity: f32) -> (bool, Vec<f32>) {
    let (a, b) = (Features::of(a), Features::of(b));
    (second_look::agree(&a, &b).is_ok(), second_look::numbers(similarity, &a, &b).to_vec())
}
