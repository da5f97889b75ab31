//! Vectors by InvokeModel, in the forms of Titan, Cohere and Nova.

use bytes::Bytes;
use prost_types::Struct;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use signalbox_proto::common::v1::{Usage, UsageSource};

use super::encode::object;
use crate::openai::embeddings::Vectors;
use crate::{ErrorClass, ProviderError, RequestError};

/// Is a family of models, by what it wants to be asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Titan,
    Cohere,
    Nova,
}

impl Family {
    fn of(model: &str) -> Result<Self, RequestError> {
        if model.contains("cohere.embed") {
            Ok(Self::Cohere)
        } else if model.contains("titan-embed") {
            Ok(Self::Titan)
        } else if model.contains("nova") && model.contains("embed") {
            Ok(Self::Nova)
        } else {
            Err(RequestError::new("model", "vectors come from Titan, Cohere and Nova models here"))
        }
    }
}

/// Writes a request for vectors. Cohere's `input_type`, which it requires, is `search_document` unless `extra` says otherwise.
///
/// # Errors
///
/// There are no texts, more than one for a model that takes one at a time, or the model's family is unknown.
pub fn encode(
    model: &str,
    inputs: &[String],
    dimensions: Option<u32>,
    extra: Option<&Struct>,
) -> Result<Bytes, RequestError> {
    let family = Family::of(model)?;
    let Some(first) = inputs.first() else {
        return Err(RequestError::new("inputs", "give at least one text"));
    };
    if inputs.len() > 1 && family != Family::Cohere {
        return Err(RequestError::new("inputs", "this model takes one text at a time"));
    }
    let mut body = match (family, dimensions) {
        (Family::Titan, None) => json!({ "inputText": first }),
        (Family::Titan, Some(n)) => json!({ "inputText": first, "dimensions": n }),
        (Family::Cohere, None) => json!({ "texts": inputs }),
        (Family::Cohere, Some(n)) => json!({ "texts": inputs, "output_dimension": n }),
        (Family::Nova, n) => {
            let text = json!({ "value": first });
            let mut params = json!({ "text": text });
            if let Some(n) = n {
                params["embeddingDimension"] = Value::from(n);
            }
            json!({ "taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": params })
        }
    };
    if let Value::Object(map) = &mut body {
        add(map, extra.map(object).transpose()?.unwrap_or_default(), family);
        match family {
            Family::Cohere => drop(map.entry("input_type").or_insert_with(|| Value::from("search_document"))),
            Family::Nova => nova_defaults(map),
            Family::Titan => {}
        }
    }
    serde_json::to_vec(&body).map(Bytes::from).map_err(|e| RequestError::new("inputs", e.to_string()))
}

/// Adds the family's own fields of `extra`.
fn add(map: &mut Map<String, Value>, extra: Map<String, Value>, family: Family) {
    const TITAN: [&str; 2] = ["normalize", "embeddingTypes"];
    const COHERE: [&str; 4] = ["input_type", "truncate", "embedding_types", "max_tokens"];
    for (key, value) in extra {
        match (family, &value) {
            (Family::Titan, _) if TITAN.contains(&key.as_str()) => drop(map.insert(key, value)),
            (Family::Cohere, _) if COHERE.contains(&key.as_str()) => drop(map.insert(key, value)),
            (Family::Nova, Value::Object(own)) if key == "singleEmbeddingParams" => {
                let Some(Value::Object(params)) = map.get_mut(&key) else { continue };
                for (key, value) in own {
                    match (params.get_mut(key), value) {
                        (Some(Value::Object(text)), Value::Object(more)) => {
                            text.extend(more.clone().into_iter().filter(|(key, _)| key != "value"));
                        }
                        (None, value) => drop(params.insert(key.clone(), value.clone())),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

/// Nova requires both.
fn nova_defaults(map: &mut Map<String, Value>) {
    if let Some(Value::Object(params)) = map.get_mut("singleEmbeddingParams") {
        params.entry("embeddingPurpose").or_insert_with(|| Value::from("GENERIC_INDEX"));
        if let Some(Value::Object(text)) = params.get_mut("text") {
            text.entry("truncationMode").or_insert_with(|| Value::from("END"));
        }
    }
}

/// Reads the answer to a request with `count` texts. Only Titan counts tokens in the body.
///
/// # Errors
///
/// The body is no such answer, or does not hold one vector for every text.
pub fn decode(body: &[u8], count: usize) -> Result<Vectors, ProviderError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Titan {
            embedding: Vec<f32>,
            #[serde(rename = "inputTextTokenCount")]
            tokens: Option<u64>,
        },
        Plain {
            embeddings: Vec<Vec<f32>>,
        },
        Typed {
            embeddings: Typed,
        },
        Nova {
            embeddings: Vec<One>,
        },
    }
    #[derive(Deserialize)]
    struct Typed {
        float: Vec<Vec<f32>>,
    }
    #[derive(Deserialize)]
    struct One {
        embedding: Vec<f32>,
    }
    let form: Form = serde_json::from_slice(body).map_err(|_| ProviderError::from_success(body))?;
    let (vectors, tokens) = match form {
        Form::Titan { embedding, tokens } => (vec![embedding], tokens),
        Form::Plain { embeddings } => (embeddings, None),
        Form::Typed { embeddings } => (embeddings.float, None),
        Form::Nova { embeddings } => (embeddings.into_iter().map(|one| one.embedding).collect(), None),
    };
    if vectors.len() != count || vectors.iter().any(Vec::is_empty) {
        let message = format!("{} vectors for {count} texts", vectors.len());
        return Err(ProviderError::new(ErrorClass::Protocol, &message));
    }
    let usage =
        |tokens| Usage { input_tokens: tokens, source: UsageSource::Reported.into(), ..Usage::default() };
    Ok(Vectors { vectors, usage: tokens.map(usage), model: None })
}
