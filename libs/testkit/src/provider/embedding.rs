//! Vectors that depend on nothing but the text and the seed, near each other where texts share words.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;

use super::dice::{Dice, mix};
use super::problem::Problem;
use super::render::push_json;
use super::token::{count_tokens, starts};

/// Length of a vector where none is asked for, that of a small sentence model.
const DIMENSIONS: usize = 384;
/// Most texts in one request, as at the provider.
const MAX_INPUTS: usize = 2_048;

/// What is to be embedded, and how the answer is written.
#[derive(Debug)]
pub(super) struct Embed {
    inputs: Vec<String>,
    dimensions: usize,
    base64: bool,
}

impl Embed {
    /// Reads and checks the body of a request.
    ///
    /// # Errors
    ///
    /// The provider's own answer, which names the parameter at fault.
    pub(super) fn read(body: &Value) -> Result<Self, Problem> {
        let wrong = || Problem::wrong_type("input", "a string, an array of strings, or arrays of tokens");
        let inputs = match body.get("input") {
            None | Some(Value::Null) => return Err(Problem::missing("input")),
            Some(Value::String(text)) => vec![text.clone()],
            Some(Value::Array(list)) if list.iter().all(Value::is_u64) => vec![tokens(list)],
            Some(Value::Array(list)) => list
                .iter()
                .map(|input| match input {
                    Value::String(text) => Ok(text.clone()),
                    Value::Array(list) if list.iter().all(Value::is_u64) => Ok(tokens(list)),
                    _ => Err(wrong()),
                })
                .collect::<Result<_, _>>()?,
            Some(_) => return Err(wrong()),
        };
        if inputs.iter().any(String::is_empty) || inputs.len() > MAX_INPUTS {
            let wanted = format!("expected 1 to {MAX_INPUTS} inputs, none of them empty");
            return Err(Problem::wrong_value("input", &wanted));
        }
        let dimensions = match body.get("dimensions").filter(|value| !value.is_null()) {
            None => DIMENSIONS,
            Some(value) => value
                .as_u64()
                .and_then(|count| usize::try_from(count).ok())
                .filter(|count| (1..=4096).contains(count))
                .ok_or_else(|| Problem::wrong_value("dimensions", "expected an integer from 1 to 4096"))?,
        };
        let base64 = match body.get("encoding_format").and_then(Value::as_str) {
            None | Some("float") => false,
            Some("base64") => true,
            Some(_) => {
                let wanted = "supported values are: 'float' and 'base64'";
                return Err(Problem::wrong_value("encoding_format", wanted));
            }
        };
        Ok(Self { inputs, dimensions, base64 })
    }

    /// Returns the tokens of all inputs.
    pub(super) fn tokens(&self) -> u64 {
        self.inputs.iter().map(|input| count_tokens(input)).sum()
    }

    /// Renders the answer.
    pub(super) fn render(&self, model: &str, seed: u64) -> Bytes {
        let mut out = "{\n  \"object\": \"list\",\n  \"data\": [".to_owned();
        for (index, input) in self.inputs.iter().enumerate() {
            out.push_str(if index == 0 { "\n" } else { ",\n" });
            let _ = write!(
                out,
                "    {{\n      \"object\": \"embedding\",\n      \"index\": {index},\n      \"embedding\": "
            );
            self.push_vector(&mut out, &vector(input, self.dimensions, seed));
            out.push_str("\n    }");
        }
        out.push_str("\n  ],\n  \"model\": ");
        push_json(&mut out, model);
        let tokens = self.tokens();
        let _ = write!(
            out,
            ",\n  \"usage\": {{\n    \"prompt_tokens\": {tokens},\n    \"total_tokens\": {tokens}\n  }}\n}}\n"
        );
        out.into()
    }

    fn push_vector(&self, out: &mut String, vector: &[f32]) {
        if self.base64 {
            let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
            return push_json(out, &STANDARD.encode(bytes));
        }
        for (index, value) in vector.iter().enumerate() {
            let _ = write!(out, "{}        {value}", if index == 0 { "[\n" } else { ",\n" });
        }
        out.push_str("\n      ]");
    }
}

fn tokens(list: &[Value]) -> String {
    list.iter().map(Value::to_string).collect::<Vec<_>>().join(" ")
}

/// Sums a random direction per token, and scales the sum to length one.
fn vector(text: &str, dimensions: usize, seed: u64) -> Vec<f32> {
    let mut sum = vec![0.0_f32; dimensions];
    let lower = text.to_lowercase();
    let bounds: Vec<usize> = starts(&lower).chain([lower.len()]).collect();
    for pair in bounds.windows(2) {
        let word = lower.get(pair[0]..pair[1]).unwrap_or_default().trim_end();
        add_direction(&mut sum, mix(seed, word.as_bytes()));
    }
    let length = |sum: &[f32]| sum.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length(&sum) == 0.0 {
        add_direction(&mut sum, seed);
    }
    let length = length(&sum);
    sum.iter().map(|value| value / length).collect()
}

fn add_direction(sum: &mut [f32], seed: u64) {
    let mut dice = Dice(seed);
    for value in sum {
        // The upper 24 bits fit an f32 exactly.
        *value += (dice.roll() >> 40) as f32 / (1_u32 << 23) as f32 - 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosine(a: &str, b: &str) -> f32 {
        vector(a, DIMENSIONS, 0).iter().zip(vector(b, DIMENSIONS, 0)).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn shared_words_bring_texts_together() {
        assert!(cosine("what is the capital of France", "What is the capital of France?") > 0.9);
        assert!(cosine("what is the capital of France", "bake bread slowly") < 0.3);
        assert!((cosine("  ", "  ") - 1.0).abs() < 1e-5);
    }
}
