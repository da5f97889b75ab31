//! Token counts.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use signalbox_proto::common::v1::{Usage, UsageSource};

use crate::openai::usage::Count;

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct InputDetails {
    cached_tokens: Count,
    cache_write_tokens: Count,
    audio_tokens: Count,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    reasoning_tokens: Count,
    audio_tokens: Count,
}

/// Is a `usage` object.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Reported {
    input_tokens: Count,
    output_tokens: Count,
    input_tokens_details: Option<InputDetails>,
    output_tokens_details: Option<OutputDetails>,
}

impl Reported {
    /// Converts to our counts, which are of the same kind: cached tokens are input, reasoning is output.
    pub(super) fn usage(self) -> Usage {
        let input = self.input_tokens_details.unwrap_or_default();
        let output = self.output_tokens_details.unwrap_or_default();
        Usage {
            input_tokens: self.input_tokens.0,
            output_tokens: self.output_tokens.0,
            cached_input_tokens: input.cached_tokens.0,
            cache_write_tokens: input.cache_write_tokens.0,
            reasoning_tokens: output.reasoning_tokens.0,
            audio_input_tokens: input.audio_tokens.0,
            audio_output_tokens: output.audio_tokens.0,
            source: UsageSource::Reported.into(),
            ..Usage::default()
        }
    }
}

/// Writes our counts as clients of the dialect read them.
pub(super) fn written(usage: &Usage) -> Value {
    let mut input = Map::from_iter([("cached_tokens".to_owned(), Value::from(usage.cached_input_tokens))]);
    let mut output = Map::from_iter([("reasoning_tokens".to_owned(), Value::from(usage.reasoning_tokens))]);
    let put = |map: &mut Map<String, Value>, key: &str, count: u64| {
        if count > 0 {
            map.insert(key.to_owned(), count.into());
        }
    };
    put(&mut input, "cache_write_tokens", usage.cache_write_tokens);
    put(&mut input, "audio_tokens", usage.audio_input_tokens);
    put(&mut output, "audio_tokens", usage.audio_output_tokens);
    json!({
        "input_tokens": usage.input_tokens, "input_tokens_details": input,
        "output_tokens": usage.output_tokens, "output_tokens_details": output,
        "total_tokens": usage.input_tokens.saturating_add(usage.output_tokens),
    })
}
