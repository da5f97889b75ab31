//! Spellings of the same thing on which servers of this dialect disagree.

use std::borrow::Cow;

/// Is the field that carries the output limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputLimit {
    /// `max_tokens`: what nearly every server knows.
    #[default]
    MaxTokens,
    /// `max_completion_tokens`: what OpenAI's own reasoning models require.
    MaxCompletionTokens,
}

/// Is the message field that carries earlier reasoning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReasoningField {
    /// `reasoning_content` (DeepSeek, vLLM, llama.cpp, and most).
    #[default]
    ReasoningContent,
    /// `reasoning` (OpenRouter, Groq, Cerebras).
    Reasoning,
    /// No field, but a part of the content of type `thinking` (Mistral).
    Thinking,
}

/// Is how one server wants the dialect written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// The output limit's field.
    pub output_limit: OutputLimit,
    /// The earlier reasoning's field.
    pub reasoning: ReasoningField,
    /// Whether "some tool must be called" is `any` (Mistral) instead of `required`.
    pub any_for_required: bool,
    /// Whether tools carry `"type": "function"`.
    pub tool_type: bool,
    /// Whether the choice of one tool carries `"type": "function"`.
    pub choice_type: bool,
    /// Whether a single stop text is written as text instead of a list.
    pub stop_as_text: bool,
    /// Whether the seed is `random_seed` (Mistral) instead of `seed`.
    pub random_seed: bool,
    /// Whether `stream_options` may be sent. Mistral reports usage unasked, and refuses fields that it does not know.
    pub stream_options: bool,
    /// Whether ids of calls must be nine letters and digits (Mistral); others are replaced, the same one by the same one.
    pub short_ids: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            output_limit: OutputLimit::default(),
            reasoning: ReasoningField::default(),
            any_for_required: false,
            tool_type: true,
            choice_type: true,
            stop_as_text: false,
            random_seed: false,
            stream_options: true,
            short_ids: false,
        }
    }
}

impl Style {
    /// Returns the style that a provider, by its name in a target's id, is known to want.
    #[must_use]
    pub fn of_provider(provider: &str) -> Self {
        let base = Self::default();
        match provider {
            "openai" | "azure" => Self { output_limit: OutputLimit::MaxCompletionTokens, ..base },
            "mistral" => Self {
                any_for_required: true,
                reasoning: ReasoningField::Thinking,
                random_seed: true,
                stream_options: false,
                short_ids: true,
                ..base
            },
            "openrouter" | "groq" | "cerebras" => Self { reasoning: ReasoningField::Reasoning, ..base },
            _ => base,
        }
    }

    /// Returns a call's id as the server wants it.
    pub(super) fn call_id(self, id: &str) -> Cow<'_, str> {
        const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let fits = id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !self.short_ids || fits || id.is_empty() {
            return Cow::Borrowed(id);
        }
        let mut hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let letter = |_| {
            let letter = LETTERS[(hash % 62) as usize];
            hash /= 62;
            char::from(letter)
        };
        Cow::Owned((0..9).map(letter).collect())
    }
}
