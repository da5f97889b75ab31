//! Metering's own measurement: counts of tokens against published vectors and against what providers billed.
//!
//! A vector is an object with `encoding`, `text` and `tokens`. A recorded prompt has `provider`, `model`, `messages` and
//! `prompt_tokens`, with `cache_read` and `cache_creation` where the provider counts those apart; where `wire_id` names a
//! recording among `wire/*.jsonl`, the request as it was sent is counted too, tools and images included. A row of another
//! form is told and left out.

mod counted;
mod rows;

use std::path::PathBuf;

use serde_json::{Value, json};
use signalbox_catalog::tokens::{self, Family, Model, Vocabulary};
use signalbox_proto::common::v1::ChatRequest;

use signalbox_report::{ALL, FileError, Predictions, Report};

use self::{
    counted::{Counted, HEAD, figures},
    rows::{Recorded, Row, Vector},
};
use crate::prompt;

/// What to measure on.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder with `tokens/*.jsonl`, and perhaps `wire/*.jsonl`.
    pub data: PathBuf,
    /// A file for a line per row: id, predicted, actual. Absent: none.
    pub predictions: Option<PathBuf>,
}

/// A request as it was sent.
#[derive(Debug, Clone, Copy)]
pub struct Sent<'a> {
    /// Who was asked.
    pub provider: &'a str,
    /// The model as the provider calls it.
    pub model: &'a str,
    /// What it was for: `chat`, `responses`, `count_tokens`, …
    pub kind: &'a str,
    /// The path of the address.
    pub path: &'a str,
    /// The body.
    pub body: &'a Value,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is nothing to measure on.
    #[error("{0} holds no tokens/*.jsonl; name the folder with --data or SIGNALBOX_DATA")]
    Empty(String),
}

/// Measures every file. `read` turns a recorded request into a chat; `None`: of a form that it does not know. Takes seconds.
///
/// # Errors
/// Data that cannot be read, predictions that cannot be written.
pub fn run(options: &Options, read: &dyn Fn(&Sent<'_>) -> Option<ChatRequest>) -> Result<Report, EvalError> {
    let mut files = rows::read(&options.data)?;
    rows::attach(&options.data, &mut files)?;
    let mut predictions = Predictions::create(options.predictions.as_deref())?;
    let (mut report, mut all) = (Report::new(HEAD, "all files"), Vec::new());
    let (mut judged, mut odd) = (0, Vec::new());
    for file in files {
        let mut counted = Vec::new();
        for row in &file.rows {
            match row {
                Row::Vector(vector) => counted.push(vectored(vector)),
                Row::Recorded(recorded) => {
                    counted.push(from_row(recorded));
                    counted.extend(from_request(recorded, read));
                }
            }
        }
        for one in counted.iter().filter(|one| one.is_first()) {
            predictions.add(json!({ "id": one.id, "predicted": one.predicted, "actual": one.actual }))?;
        }
        report.rows(&file.name, file.rows.len(), &file.odd);
        report.add(&file.name, figures(&counted));
        judged += file.rows.len();
        odd.extend(file.odd);
        all.append(&mut counted);
    }
    report.rows(ALL, judged, &odd);
    report.add(ALL, figures(&all));
    predictions.finish()?;
    Ok(report)
}

/// A vector: right where all tokens are the same.
fn vectored(vector: &Vector) -> Counted {
    let expected = vector.tokens.len() as u64;
    let found = Vocabulary::named(&vector.encoding).map(|vocabulary| {
        let ordinary = vocabulary.encode(&vector.text, false);
        // Whether marks of the format are tokens is the caller's choice; the vector shows which was made.
        if ordinary == vector.tokens { ordinary } else { vocabulary.encode(&vector.text, true) }
    });
    let predicted = match &found {
        Some(tokens) if *tokens == vector.tokens => expected,
        // As many tokens, but others: not the same.
        Some(tokens) if tokens.len() as u64 == expected => expected + 1,
        Some(tokens) => tokens.len() as u64,
        None => expected + 1,
    };
    Counted {
        id: vector.id.clone(),
        way: "vectors",
        family: vector.encoding.clone(),
        source: String::new(),
        predicted,
        actual: expected,
        margin: 0,
    }
}

/// A recorded prompt, counted from its texts alone.
fn from_row(recorded: &Recorded) -> Counted {
    let model = model(recorded);
    let count = if recorded.kind == "embeddings" {
        let texts = recorded.turns.iter().map(|turn| tokens::count_text(model.name, &turn.text));
        texts.reduce(|a, b| tokens::Count {
            tokens: a.tokens + b.tokens,
            exact: a.exact && b.exact,
            margin: a.margin + b.margin,
        })
    } else {
        Some(tokens::count(&model, &recorded.prompt()))
    };
    counted(recorded, if recorded.has_tools { "tools_unseen" } else { "text" }, count.unwrap_or_default())
}

/// The same from the request as it was sent.
fn from_request(recorded: &Recorded, read: &dyn Fn(&Sent<'_>) -> Option<ChatRequest>) -> Option<Counted> {
    let sent = recorded.sent.as_ref()?;
    let chat = read(&Sent {
        provider: &recorded.provider,
        model: &recorded.model,
        kind: &recorded.kind,
        path: &sent.path,
        body: &sent.body,
    })?;
    let count = tokens::count(&model(recorded), &prompt::of(&chat));
    Some(counted(recorded, if recorded.has_tools { "request_tools" } else { "request_text" }, count))
}

fn model(recorded: &Recorded) -> Model<'_> {
    Model {
        provider: &recorded.provider,
        name: &recorded.model,
        responses: recorded.kind == "responses",
        vocabulary: None,
    }
}

fn counted(recorded: &Recorded, way: &'static str, count: tokens::Count) -> Counted {
    Counted {
        id: recorded.id.clone(),
        way,
        family: Family::of(&recorded.model).name().to_owned(),
        source: recorded.provider.clone(),
        predicted: count.tokens,
        actual: recorded.actual(),
        margin: count.margin,
    }
}

#[cfg(test)]
mod tests;
