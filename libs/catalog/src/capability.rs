//! What a model can do.

use std::fmt;

/// Something that not every model can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    /// Calls tools.
    Tools,
    /// Sees images.
    Vision,
    /// Keeps to a JSON schema.
    JsonSchema,
    /// Thinks before it answers.
    Reasoning,
    /// Hears or speaks.
    Audio,
    /// Goes on from the beginning of its own answer, given as the last message.
    Prefill,
}

impl Capability {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Tools, Self::Vision, Self::JsonSchema, Self::Reasoning, Self::Audio, Self::Prefill];

    /// Returns the name in configuration and contracts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Vision => "vision",
            Self::JsonSchema => "json_schema",
            Self::Reasoning => "reasoning",
            Self::Audio => "audio",
            Self::Prefill => "prefill",
        }
    }

    /// Finds a capability by its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.name() == name)
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is known of a model by its family, from the providers' model pages. A model that is not known here is taken to
/// speak tools and JSON schema, because most servers of open models do; configuration says better.
pub(crate) fn of_model(model: &str) -> Vec<Capability> {
    use Capability::{Audio, JsonSchema, Prefill, Reasoning, Tools, Vision};
    let model = model.rsplit('/').next().unwrap_or(model).to_lowercase();
    let is = |names: &[&str]| names.iter().any(|name| model.starts_with(name));
    if is(&["gpt-4o-audio", "gpt-audio", "gpt-realtime"]) {
        return vec![Tools, Audio];
    }
    if is(&["gpt-5", "o3", "o4"]) {
        return vec![Tools, Vision, JsonSchema, Reasoning];
    }
    if is(&["o1"]) {
        return vec![Tools, JsonSchema, Reasoning];
    }
    // Anthropic's documentation: from Claude 4.6 on a last message of the assistant is refused.
    if is(&["claude-3", "claude-sonnet-4-2", "claude-opus-4-2", "claude-opus-4-1", "claude-haiku-4-5"]) {
        return vec![Tools, Vision, JsonSchema, Prefill];
    }
    if is(&["gpt-4o", "gpt-4.1", "gpt-4-turbo", "claude-", "gemini", "pixtral", "llama-4"]) {
        return vec![Tools, Vision, JsonSchema];
    }
    if is(&["gpt-3.5"]) {
        return vec![Tools];
    }
    vec![Tools, JsonSchema]
}
