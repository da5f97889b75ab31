//! Token counts, in the spellings of the servers.

use serde::{Deserialize, Serialize};
use signalbox_proto::common::v1::{Usage, UsageSource};

/// A count that may be absent, `null`, or written as a float.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(from = "Option<f64>")]
pub(crate) struct Count(pub(crate) u64);

impl From<Option<f64>> for Count {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and counts are small"
    )]
    fn from(value: Option<f64>) -> Self {
        Self(value.unwrap_or_default().max(0.0) as u64)
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct PromptDetails {
    cached_tokens: Count,
    cache_write_tokens: Count,
    audio_tokens: Count,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct CompletionDetails {
    reasoning_tokens: Count,
    audio_tokens: Count,
}

/// Is a `usage` object.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Reported {
    prompt_tokens: Count,
    completion_tokens: Count,
    total_tokens: Count,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
    /// Moonshot.
    cached_tokens: Count,
    /// Mistral.
    num_cached_tokens: Count,
    /// DeepSeek.
    prompt_cache_hit_tokens: Count,
}

impl Reported {
    /// Converts to our counts.
    ///
    /// xAI and Gemini count reasoning in the total but not in `completion_tokens`: what the total has beyond the two is output.
    pub(super) fn usage(self) -> Usage {
        let prompt = self.prompt_tokens_details.unwrap_or_default();
        let completion = self.completion_tokens_details.unwrap_or_default();
        let counted = self.prompt_tokens.0.saturating_add(self.completion_tokens.0);
        let uncounted = self.total_tokens.0.saturating_sub(counted);
        let cached =
            [prompt.cached_tokens, self.cached_tokens, self.num_cached_tokens, self.prompt_cache_hit_tokens];
        Usage {
            input_tokens: self.prompt_tokens.0,
            output_tokens: self.completion_tokens.0.saturating_add(uncounted),
            cached_input_tokens: cached.iter().map(|c| c.0).max().unwrap_or_default(),
            cache_write_tokens: prompt.cache_write_tokens.0,
            reasoning_tokens: completion.reasoning_tokens.0.max(uncounted),
            audio_input_tokens: prompt.audio_tokens.0,
            audio_output_tokens: completion.audio_tokens.0,
            source: UsageSource::Reported.into(),
            ..Usage::default()
        }
    }
}

/// Is our counts as clients of the dialect read them.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Written {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptWritten,
    completion_tokens_details: CompletionWritten,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct PromptWritten {
    cached_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write_tokens: Option<u64>,
    audio_tokens: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct CompletionWritten {
    reasoning_tokens: u64,
    audio_tokens: u64,
    accepted_prediction_tokens: u64,
    rejected_prediction_tokens: u64,
}

impl From<Usage> for Written {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.input_tokens,
            completion_tokens: usage.output_tokens,
            total_tokens: usage.input_tokens.saturating_add(usage.output_tokens),
            prompt_tokens_details: PromptWritten {
                cached_tokens: usage.cached_input_tokens,
                cache_write_tokens: Some(usage.cache_write_tokens).filter(|tokens| *tokens > 0),
                audio_tokens: usage.audio_input_tokens,
            },
            completion_tokens_details: CompletionWritten {
                reasoning_tokens: usage.reasoning_tokens,
                audio_tokens: usage.audio_output_tokens,
                accepted_prediction_tokens: 0,
                rejected_prediction_tokens: 0,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Usage {
        serde_json::from_str::<Reported>(json).unwrap().usage()
    }

    #[test]
    fn details_may_be_absent_null_or_beside() {
        assert_eq!(
            read(r#"{"prompt_tokens":3,"completion_tokens":2,"prompt_tokens_details":null}"#).output_tokens,
            2
        );
        assert_eq!(
            read(r#"{"prompt_tokens":9,"completion_tokens":1,"prompt_cache_hit_tokens":8}"#)
                .cached_input_tokens,
            8
        );
        assert_eq!(
            read(r#"{"prompt_tokens":9,"completion_tokens":1.0,"total_tokens":null}"#).input_tokens,
            9
        );
    }

    #[test]
    fn reasoning_outside_the_completion_is_output() {
        let usage = read(
            r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":35,"completion_tokens_details":{"reasoning_tokens":20}}"#,
        );
        assert_eq!((usage.output_tokens, usage.reasoning_tokens), (25, 20));
        let inside = read(
            r#"{"prompt_tokens":10,"completion_tokens":25,"total_tokens":35,"completion_tokens_details":{"reasoning_tokens":20}}"#,
        );
        assert_eq!((inside.output_tokens, inside.reasoning_tokens), (25, 20));
    }
}
