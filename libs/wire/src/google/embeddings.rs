//! Vectors: `batchEmbedContents` of the Gemini API, `predict` and `embedContent` of Vertex AI.

use bytes::Bytes;
use prost_types::Struct;
use serde_json::{Map, Value, json};
use signalbox_proto::common::v1::{Usage, UsageSource};

use super::stream::usage;
use super::{model, own};
use crate::openai::embeddings::Vectors;
use crate::{ErrorClass, ProviderError, RequestError};

/// Tells whether a model at Vertex AI is asked by `embedContent`, one text at a time: those after `gemini-embedding-001`.
fn by_content(model: &str) -> bool {
    let version = model::bare(model).strip_prefix("gemini-embedding-");
    version.is_some_and(|version| version != "001" && !version.starts_with("exp"))
}

/// Returns the path at which a model is asked for vectors.
#[must_use]
pub fn path(model: &str, vertex: bool) -> String {
    let method = match (vertex, by_content(model)) {
        (false, _) => "batchEmbedContents",
        (true, true) => "embedContent",
        (true, false) => "predict",
    };
    model::path(model, method)
}

/// Writes a request for vectors. Of `extra`, what Google knows goes to each text: `taskType`, `title`, `autoTruncate`.
///
/// # Errors
///
/// There are no texts, or several where the model takes one; the model is another maker's.
pub fn encode(
    model: &str,
    vertex: bool,
    inputs: &[String],
    dimensions: Option<u32>,
    extra: Option<&Struct>,
) -> Result<Bytes, RequestError> {
    model::check(model)?;
    if inputs.is_empty() {
        return Err(RequestError::new("inputs", "give at least one text"));
    }
    let mut beside = own::fields(extra)?;
    if let Some(title) = extra.and_then(|extra| crate::json::text(Some(extra), "title")) {
        beside.insert("title".to_owned(), Value::from(title));
    }
    for key in ["content", "contents", "requests", "instances", "model"] {
        beside.remove(key);
    }
    let body = match (vertex, by_content(model)) {
        (true, false) => predict(inputs, dimensions, beside),
        (true, true) => match inputs {
            [text] => Value::Object(content(text, dimensions, &beside)),
            _ => return Err(RequestError::new("inputs", "this model takes one text at a time")),
        },
        (false, _) => {
            let name = format!("models/{}", model::bare(model));
            let each = inputs.iter().map(|text| {
                let mut one = content(text, dimensions, &beside);
                one.insert("model".to_owned(), Value::from(name.as_str()));
                Value::Object(one)
            });
            json!({ "requests": each.collect::<Vec<_>>() })
        }
    };
    serde_json::to_vec(&body).map(Bytes::from).map_err(|e| RequestError::new("inputs", e.to_string()))
}

fn content(text: &str, dimensions: Option<u32>, beside: &Map<String, Value>) -> Map<String, Value> {
    let mut out = Map::from_iter([("content".to_owned(), json!({ "parts": [{ "text": text }] }))]);
    if let Some(dimensions) = dimensions {
        out.insert("outputDimensionality".to_owned(), Value::from(dimensions));
    }
    own::lay_over(out, beside.clone())
}

fn predict(inputs: &[String], dimensions: Option<u32>, beside: Map<String, Value>) -> Value {
    // What belongs to each text has other names here.
    let (mut of_text, mut parameters) = (Map::new(), Map::new());
    if let Some(dimensions) = dimensions {
        parameters.insert("outputDimensionality".to_owned(), Value::from(dimensions));
    }
    for (key, value) in beside {
        match own::camel(&key).as_str() {
            "taskType" => of_text.insert("task_type".to_owned(), value),
            "title" => of_text.insert(key, value),
            _ => parameters.insert(key, value),
        };
    }
    let instance = |text: &String| {
        let mut one = Map::from_iter([("content".to_owned(), Value::from(text.as_str()))]);
        one.extend(of_text.clone());
        Value::Object(one)
    };
    let mut out = json!({ "instances": inputs.iter().map(instance).collect::<Vec<_>>() });
    if let (false, Some(out)) = (parameters.is_empty(), out.as_object_mut()) {
        out.insert("parameters".to_owned(), Value::Object(parameters));
    }
    out
}

/// Reads vectors, whichever method was asked.
///
/// # Errors
///
/// The body holds another number of vectors than was asked for, or none.
pub fn decode(body: &[u8], count: usize) -> Result<Vectors, ProviderError> {
    let root = serde_json::from_slice::<Value>(body).map_err(|_| ProviderError::from_success(body))?;
    let list = |key: &str| root.get(key).and_then(Value::as_array);
    let found: Vec<&Value> = if let Some(list) = list("embeddings") {
        list.iter().collect()
    } else if let Some(list) = list("predictions") {
        list.iter().map(|one| one.get("embeddings").unwrap_or(one)).collect()
    } else if let Some(one) = root.get("embedding") {
        vec![one]
    } else {
        return Err(ProviderError::from_success(body));
    };
    let vectors: Option<Vec<Vec<f32>>> = found.iter().map(|one| numbers(one)).collect();
    match vectors {
        Some(vectors) if vectors.len() == count => {
            Ok(Vectors { vectors, usage: counts(&root, &found), model: None })
        }
        _ => {
            let words = format!("{} vectors for {count} texts", found.len());
            Err(ProviderError::new(ErrorClass::Protocol, &words))
        }
    }
}

fn counts(root: &Value, found: &[&Value]) -> Option<Usage> {
    if let Some(counts) = root.get("usageMetadata") {
        return Some(usage(counts));
    }
    let tokens = |one: &&Value| one.pointer("/statistics/token_count")?.as_f64();
    let each: Option<Vec<f64>> = found.iter().map(tokens).collect();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and counts are small"
    )]
    let input_tokens = each?.iter().sum::<f64>().max(0.0) as u64;
    Some(Usage { input_tokens, source: UsageSource::Reported.into(), ..Usage::default() })
}

fn numbers(embedding: &Value) -> Option<Vec<f32>> {
    #[expect(clippy::cast_possible_truncation, reason = "vectors are of single precision")]
    let number = |value: &Value| value.as_f64().map(|n| n as f32);
    embedding.get("values")?.as_array()?.iter().map(number).collect()
}
