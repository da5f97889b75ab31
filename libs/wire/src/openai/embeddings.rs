//! Embeddings: texts in, vectors out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost_types::Struct;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};
use signalbox_proto::common::v1::Usage;
use signalbox_proto::gateway::v1::EmbedResponse;

use super::body::Fields;
use super::encode::{optional, rest};
use super::usage::Reported;
use crate::{ErrorClass, ProviderError, RequestError};

/// Is a provider's answer to a request for vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct Vectors {
    /// One vector per text, in the texts' order.
    pub vectors: Vec<Vec<f32>>,
    /// Token counts. `None`: none came.
    pub usage: Option<Usage>,
    /// The model that the provider says it used.
    pub model: Option<String>,
}

/// Writes a request for vectors.
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
    struct Body<'a>(&'a str, &'a [String], Option<u32>, Option<&'a Struct>);
    impl Serialize for Body<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            map.serialize_entry("model", self.0)?;
            map.serialize_entry("input", self.1)?;
            optional(&mut map, "dimensions", self.2)?;
            rest(&mut map, self.3, |key| key == "dimensions" && self.2.is_some())?;
            map.end()
        }
    }
    if inputs.is_empty() {
        return Err(RequestError::new("inputs", "give at least one text"));
    }
    if let Some(key) =
        ["model", "input"].iter().find(|key| extra.is_some_and(|e| e.fields.contains_key(**key)))
    {
        return Err(RequestError::new(format!("extra.{key}"), "use the request's own field instead"));
    }
    serde_json::to_vec(&Body(model, inputs, dimensions, extra))
        .map(Bytes::from)
        .map_err(|e| RequestError::new("inputs", e.to_string()))
}

/// Reads the answer to a request with `count` texts.
///
/// # Errors
///
/// The body is no such answer, or does not hold one vector for every text.
pub fn decode(body: &[u8], count: usize) -> Result<Vectors, ProviderError> {
    #[derive(Deserialize)]
    struct Answer {
        data: Vec<Item>,
        usage: Option<Reported>,
        model: Option<String>,
    }
    #[derive(Deserialize)]
    struct Item {
        index: Option<usize>,
        embedding: Components,
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|_| ProviderError::from_success(body))?;
    let mut vectors = vec![Vec::new(); count];
    let given = answer.data.len();
    for (position, item) in answer.data.into_iter().enumerate() {
        if let Some(slot) = vectors.get_mut(item.index.unwrap_or(position)) {
            *slot = item.embedding.0;
        }
    }
    if given != count || vectors.iter().any(Vec::is_empty) {
        let message = format!("{given} vectors for {count} texts");
        return Err(ProviderError::new(ErrorClass::Protocol, &message));
    }
    Ok(Vectors { vectors, usage: answer.usage.map(Reported::usage), model: answer.model })
}

/// Is a request for vectors as it came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// As the caller wrote it.
    pub model: String,
    /// The texts.
    pub inputs: Vec<String>,
    /// `dimensions`. `None`: not given.
    pub dimensions: Option<u32>,
    /// Whether the vectors are wanted as base64.
    pub base64: bool,
    /// Fields that are passed through.
    pub extra: Option<Struct>,
}

/// Reads a request.
///
/// # Errors
///
/// The body is no JSON object, or a known field has the wrong form; the error names the field.
pub fn parse(body: &[u8]) -> Result<Asked, RequestError> {
    let root = crate::json::root(body)?;
    let mut fields = Fields::new(root, String::new());
    let model = fields.text("model")?.ok_or_else(|| RequestError::new("model", "name the model"))?;
    let wrong = || {
        let words = "give a text or a list of texts; token numbers cannot be checked and are not taken \
                     (LangChain: check_embedding_ctx_length=False)";
        RequestError::new("input", words)
    };
    let inputs = match fields.take("input") {
        Some(Value::String(text)) => vec![text],
        Some(list @ Value::Array(_)) => serde_json::from_value(list).map_err(|_| wrong())?,
        _ => return Err(wrong()),
    };
    let base64 = match fields.text("encoding_format")?.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(RequestError::new("encoding_format", "use float or base64")),
    };
    let dimensions = fields.small("dimensions")?;
    Ok(Asked { model, inputs, dimensions, base64, extra: fields.rest()? })
}

/// Writes vectors as clients read them.
#[must_use]
pub fn reply(answer: &EmbedResponse, base64: bool) -> Value {
    let vector = |values: &[f32]| -> Value {
        if base64 {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            STANDARD.encode(bytes).into()
        } else {
            values.to_vec().into()
        }
    };
    let data: Vec<Value> = answer
        .embeddings
        .iter()
        .enumerate()
        .map(|(i, one)| json!({ "object": "embedding", "index": i, "embedding": vector(&one.values) }))
        .collect();
    let tokens = answer.usage.as_ref().map_or(0, |usage| usage.input_tokens);
    json!({
        "object": "list", "data": data, "model": answer.model,
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
        crate::door::FIELD: { "request_id": answer.request_id, "cost_nanousd": answer.cost_nanousd },
    })
}

/// Is a vector: a list of numbers, or little-endian 32-bit floats as base64.
struct Components(Vec<f32>);

impl<'de> Deserialize<'de> for Components {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ComponentsVisitor;
        impl<'de> Visitor<'de> for ComponentsVisitor {
            type Value = Components;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of numbers or base64")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Components, E> {
                let bytes = STANDARD.decode(text).map_err(E::custom)?;
                let (chunks, rest) = bytes.as_chunks::<4>();
                if !rest.is_empty() {
                    return Err(E::custom("not a whole number of floats"));
                }
                Ok(Components(chunks.iter().map(|b| f32::from_le_bytes(*b)).collect()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Components, A::Error> {
                let mut out = Vec::with_capacity(seq.size_hint().unwrap_or(1536).min(1 << 16));
                while let Some(n) = seq.next_element::<f32>()? {
                    out.push(n);
                }
                Ok(Components(out))
            }
        }
        deserializer.deserialize_any(ComponentsVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_and_its_answer_is_read_again_in_both_forms() {
        let asked =
            parse(br#"{"model":"m","input":["a","b"],"encoding_format":"base64","user":"u"}"#).unwrap();
        assert_eq!((asked.inputs.len(), asked.base64, asked.dimensions), (2, true, None));
        assert_eq!(crate::json::text(asked.extra.as_ref(), "user"), Some("u"));
        for (body, field) in [
            (&br#"{"input":"a"}"#[..], "model"),
            (br#"{"model":"m","input":[[1,2]]}"#, "input"),
            (br#"{"model":"m","input":"a","encoding_format":"int8"}"#, "encoding_format"),
            (b"[]", "body"),
        ] {
            assert_eq!(parse(body).unwrap_err().field, field);
        }
        let embedding = |values: &[f32]| signalbox_proto::gateway::v1::Embedding { values: values.to_vec() };
        let answer = EmbedResponse {
            embeddings: vec![embedding(&[0.25, -1.0e-7]), embedding(&[3.0])],
            model: "p/m".into(),
            usage: Some(Usage { input_tokens: 5, ..Usage::default() }),
            ..EmbedResponse::default()
        };
        for base64 in [false, true] {
            let got = decode(reply(&answer, base64).to_string().as_bytes(), 2).unwrap();
            assert_eq!(got.vectors, [vec![0.25, -1.0e-7], vec![3.0]]);
            assert_eq!((got.usage.unwrap().input_tokens, got.model.as_deref()), (5, Some("p/m")));
        }
    }

    #[test]
    fn vectors_come_back_in_the_order_of_the_texts() {
        let body = br#"{"data":[{"index":1,"embedding":[0.5]},{"index":0,"embedding":"AACAPw=="}],"usage":{"prompt_tokens":4}}"#;
        let got = decode(body, 2).unwrap();
        assert_eq!(got.vectors, [vec![1.0], vec![0.5]]);
        assert_eq!(got.usage.unwrap().input_tokens, 4);
        assert_eq!(decode(body, 3).unwrap_err().class, ErrorClass::Protocol);
        assert_eq!(decode(b"{}", 1).unwrap_err().class, ErrorClass::Protocol);
    }
}
