//! What servers of this dialect want differently, and what a caller wrote in one of two ways.

/// Is how a request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether a leading system message of one plain text stands in `instructions` instead of `input`.
    pub instructions: bool,
    /// Whether a single user's text is `input` itself instead of a list of one message.
    pub input_as_text: bool,
    /// Whether a request that does not mention it is sent with `store: false`, and with a wish for encrypted reasoning where the model
    /// reasons: without it, reasoning that is not stored could not be handed back.
    pub private: bool,
    /// Whether the server refuses what OpenAI's reference does not name.
    pub strict: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self { instructions: true, input_as_text: false, private: false, strict: false }
    }
}

impl Style {
    /// Returns the style that a provider, by its name in a target's id, is known to want.
    #[must_use]
    pub fn of_provider(provider: &str) -> Self {
        let base = Self::default();
        match provider {
            "openai" | "azure" => Self { private: true, strict: true, ..base },
            "xai" | "openrouter" => Self { private: true, ..base },
            _ => base,
        }
    }
}
