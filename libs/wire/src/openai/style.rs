//! Spellings of the same thing on which servers of this dialect disagree.

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
            "mistral" => Self { any_for_required: true, ..base },
            "openrouter" | "groq" | "cerebras" => Self { reasoning: ReasoningField::Reasoning, ..base },
            _ => base,
        }
    }
}
