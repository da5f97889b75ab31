//! `/v2/embed`: texts in, vectors out.

use bytes::Bytes;
use prost_types::Struct;
use serde::Deserialize;
use serde_json::{Map, Value};
use signalbox_proto::common::v1::{Usage, UsageSource};

use super::encode::object;
use crate::openai::embeddings::Vectors;
use crate::{ErrorClass, ProviderError, RequestError};

/// Writes a request for vectors. `input_type`, which Cohere requires, is `search_document` unless `extra` says otherwise.
///
/// # Errors
///
/// There are no texts, or `extra` brings in a model or texts of its own.
pub fn encode(
    model: &str,
    inputs: &[String],
    dimensions: Option<u32>,
    extra: Option<&Struct>,
) -> Result<Bytes, RequestError> {
    /// OpenAI's fields.
    const FOREIGN: [&str; 3] = ["encoding_format", "user", "dimensions"];
    if inputs.is_empty() {
        return Err(RequestError::new("inputs", "give at least one text"));
    }
    let taken = ["model", "texts", "inputs", "images", "embedding_types"];
    if let Some(key) = taken.iter().find(|key| extra.is_some_and(|e| e.fields.contains_key(**key))) {
        return Err(RequestError::new(format!("extra.{key}"), "use the request's own field instead"));
    }
    let mut out = Map::new();
    out.insert("model".to_owned(), Value::from(model));
    out.insert("texts".to_owned(), Value::from(inputs.to_vec()));
    if let Some(dimensions) = dimensions {
        out.insert("output_dimension".to_owned(), Value::from(dimensions));
    }
    for (key, value) in extra.map(object).transpose()?.unwrap_or_default() {
        if !FOREIGN.contains(&key.as_str()) {
            out.entry(key).or_insert(value);
        }
    }
    out.entry("input_type").or_insert_with(|| Value::from("search_document"));
    out.insert("embedding_types".to_owned(), Value::from(vec!["float"]));
    serde_json::to_vec(&out).map(Bytes::from).map_err(|e| RequestError::new("inputs", e.to_string()))
}

/// Reads the answer to a request with `count` texts.
///
/// # Errors
///
/// The body is no such answer, or does not hold one vector for every text.
pub fn decode(body: &[u8], count: usize) -> Result<Vectors, ProviderError> {
    #[derive(Deserialize)]
    struct Answer {
        embeddings: Typed,
        meta: Option<Value>,
    }
    #[derive(Deserialize)]
    struct Typed {
        float: Vec<Vec<f32>>,
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|_| ProviderError::from_success(body))?;
    let vectors = answer.embeddings.float;
    if vectors.len() != count || vectors.iter().any(Vec::is_empty) {
        let message = format!("{} vectors for {count} texts", vectors.len());
        return Err(ProviderError::new(ErrorClass::Protocol, &message));
    }
    let tokens = answer.meta.as_ref().and_then(|m| m.pointer("/billed_units/input_tokens")?.as_u64());
    let usage =
        |tokens| Usage { input_tokens: tokens, source: UsageSource::Reported.into(), ..Usage::default() };
    Ok(Vectors { vectors, usage: tokens.map(usage), model: None })
}
