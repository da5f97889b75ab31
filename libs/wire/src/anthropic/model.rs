//! What a model takes, told by its name.

/// Is a Claude model's place in the line of models, or that of a model which is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Model {
    /// Major and minor version. `None`: not a Claude model.
    version: Option<(u32, u32)>,
    opus: bool,
}

impl Model {
    /// Reads a name such as `claude-3-5-haiku-20241022`, `us.anthropic.claude-sonnet-4-5-20250929-v1:0` or
    /// `claude-opus-4-1@20250805`. A Claude model without a version is taken for the newest.
    pub(super) fn of(name: &str) -> Self {
        let Some(at) = name.find("claude") else { return Self { version: None, opus: false } };
        let words = || name[at..].split(|c: char| !c.is_ascii_alphanumeric());
        let mut numbers = words()
            .filter(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit()))
            .take_while(|word| word.len() <= 2)
            .filter_map(|word| word.parse().ok());
        let major = numbers.next().unwrap_or(u32::MAX);
        Self { version: Some((major, numbers.next().unwrap_or(0))), opus: words().any(|word| word == "opus") }
    }

    fn is_claude_from(self, version: (u32, u32)) -> bool {
        self.version.is_some_and(|own| own >= version)
    }

    /// Tells whether a conversation may hold instructions after its beginning.
    pub(super) fn takes_late_instructions(self) -> bool {
        self.is_claude_from((4, 8))
    }

    /// Tells whether `output_config.effort` is understood; older models take a budget of thinking tokens instead.
    pub(super) fn takes_effort(self) -> bool {
        self.version.is_none_or(|version| version >= if self.opus { (4, 5) } else { (4, 6) })
    }

    /// Tells whether `thinking` is understood.
    pub(super) fn thinks(self) -> bool {
        self.version.is_none_or(|version| version >= (3, 7))
    }

    /// Tells whether only one of `temperature` and `top_p` may be given.
    pub(super) fn takes_one_of_temperature_and_top_p(self) -> bool {
        self.is_claude_from((4, 1))
    }

    fn default_max_tokens(self) -> u32 {
        match self.version {
            Some(version) if version < (3, 5) => 4096,
            Some(version) if version >= (3, 7) => 32_000,
            _ => 8192,
        }
    }
}

/// Returns the `max_tokens` of a request that sets no limit, which this dialect requires: what every model of that generation
/// takes, after Anthropic's table of models.
#[must_use]
pub fn default_max_tokens(model: &str) -> u32 {
    Model::of(model).default_max_tokens()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_every_cloud_s_spelling() {
        for (name, version) in [
            ("claude-3-5-haiku-20241022", (3, 5)),
            ("claude-3-opus-20240229", (3, 0)),
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", (4, 5)),
            ("anthropic.claude-sonnet-4-20250514-v1:0", (4, 0)),
            ("claude-opus-4-1@20250805", (4, 1)),
            ("anthropic/claude-opus-4.6", (4, 6)),
            ("claude-sonnet-5", (5, 0)),
            ("claude-instant-1.2", (1, 2)),
            ("claude-opus-latest", (u32::MAX, 0)),
        ] {
            assert_eq!(Model::of(name).version, Some(version), "{name}");
        }
        assert_eq!(Model::of("deepseek-chat").version, None);
        assert!(
            Model::of("claude-opus-4-5").takes_effort() && !Model::of("claude-sonnet-4-5").takes_effort()
        );
    }
}
