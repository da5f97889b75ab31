//! Token counts before the call: exact where the vocabulary is known, an estimate elsewhere.

use tiktoken_rs::{CoreBPE, cl100k_base_singleton, o200k_base_singleton};

/// Tokens that the chat format adds to each message, and to the whole for the answer's beginning.
/// Source: OpenAI's cookbook, "How to count tokens with tiktoken".
const PER_MESSAGE: u64 = 3;
const FOR_ANSWER: u64 = 3;

/// A count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Tokens.
    pub tokens: u64,
    /// Whether the model's own vocabulary was used.
    pub exact: bool,
}

/// The vocabulary of a model, and whether it is really its own.
fn vocabulary(model: &str) -> (&'static CoreBPE, bool) {
    let model = model.rsplit('/').next().unwrap_or(model).to_lowercase();
    let is = |names: &[&str]| names.iter().any(|name| model.starts_with(name));
    if is(&["gpt-4o", "gpt-4.1", "gpt-4.5", "gpt-5", "chatgpt-4o", "o1", "o3", "o4"]) {
        return (o200k_base_singleton(), true);
    }
    if is(&["gpt-4", "gpt-3.5", "text-embedding-"]) {
        return (cl100k_base_singleton(), true);
    }
    // Newer vocabularies of other makers are of about the same size and efficiency.
    (o200k_base_singleton(), false)
}

/// Counts a text. Takes time in proportion to its length, about 1 µs for ten bytes: long texts do not belong on
/// asynchronous threads.
#[must_use]
pub fn count_text(model: &str, text: &str) -> Count {
    let (vocabulary, exact) = vocabulary(model);
    Count { tokens: vocabulary.count_ordinary(text) as u64, exact }
}

/// Counts a chat: the texts of its messages and what the format adds.
#[must_use]
pub fn count_chat<'a>(model: &str, messages: impl IntoIterator<Item = &'a str>) -> Count {
    let (vocabulary, exact) = vocabulary(model);
    let messages = messages.into_iter().map(|text| vocabulary.count_ordinary(text) as u64 + PER_MESSAGE + 1);
    Count { tokens: messages.sum::<u64>() + FOR_ANSWER, exact }
}

/// Loads the vocabularies, which takes about a tenth of a second, so that no request waits for it.
pub fn warm() {
    let _loaded = (o200k_base_singleton(), cl100k_base_singleton());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_a_chat_as_the_provider_does() {
        // The recorded count of a real call: "What is the capital of France?" alone is 14 prompt tokens.
        assert_eq!(
            count_chat("gpt-4o", ["What is the capital of France?"]),
            Count { tokens: 14, exact: true }
        );
        assert!(!count_chat("smollm2", ["Hi"]).exact);
    }

    #[test]
    fn agrees_with_published_vectors() {
        let data = std::env::var("SIGNALBOX_DATA")
            .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data").into());
        let Ok(lines) = std::fs::read_to_string(format!("{data}/tokens/bpe_exact_vectors.jsonl")) else {
            println!(
                "SKIPPED: tokens vectors: set SIGNALBOX_DATA to the folder with tokens/bpe_exact_vectors.jsonl"
            );
            return;
        };
        let mut checked = 0;
        for line in lines.lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let model = match row["encoding"].as_str() {
                Some("o200k_base") => "gpt-4o",
                Some("cl100k_base") => "gpt-4",
                _ => continue,
            };
            let text = row["text"].as_str().unwrap();
            let expected = row["tokens"].as_array().unwrap().len() as u64;
            // Special tokens are text like any other here: a prompt must not smuggle them in.
            if !text.contains("<|") {
                assert_eq!(count_text(model, text).tokens, expected, "{text:?}");
                checked += 1;
            }
        }
        assert!(checked > 50, "{checked} vectors");
    }
}
