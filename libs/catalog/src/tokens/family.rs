//! Families of models: whose vocabulary, which chat format.

use super::vocabulary::Vocabulary;
use crate::name;

/// A family of models that cut and frame their prompts alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// OpenAI's older completion models.
    OpenAiOld,
    /// GPT-3.5 and GPT-4.
    Gpt4,
    /// GPT-4o, 4.1, 4.5.
    Gpt4o,
    /// GPT-4o with search, which bills no format.
    GptSearch,
    /// o1 and later, GPT-5 and later.
    GptReasoning,
    /// gpt-oss.
    GptOss,
    /// OpenAI's embedding models.
    Embedding,
    /// Llama 3.
    Llama3,
    /// Llama 3.1 to 3.3, whose format tells the date.
    Llama31,
    /// Mistral's models since Nemo.
    Mistral,
    /// Gemma.
    Gemma,
    /// Gemini before 2.5.
    Gemini2,
    /// Gemini 2.5 and later.
    Gemini,
    /// Qwen 2.5, and Qwen 3's models that do not think.
    Qwen,
    /// Qwen 3, which thinks or says that it does not.
    Qwen3,
    /// Qwen 3.5 and later.
    Qwen35,
    /// DeepSeek's chat models.
    DeepSeek,
    /// DeepSeek R1 as its maker serves it.
    DeepSeekR1,
    /// DeepSeek R1's first format, and Llama trained on it.
    DeepSeekPlain,
    /// R1 distilled into Llama.
    DistilledLlama,
    /// GLM 4.
    Glm4,
    /// GLM 5 and later.
    Glm5,
    /// Kimi K2.
    Kimi,
    /// Claude to 4.6.
    Claude,
    /// Claude 4.7 and later, with another vocabulary.
    ClaudeNew,
    /// Amazon Nova.
    Nova,
    /// Cohere's Command.
    Command,
    /// Llama 4.
    Llama4,
    /// All others.
    Unknown,
}

impl Family {
    /// Finds a model's family by its name, whoever serves it.
    #[must_use]
    pub fn of(model: &str) -> Self {
        let bare = name::bare(model);
        let repository = model.to_lowercase();
        let has = |part: &str| bare.contains(part);
        let begins = |names: &[&str]| names.iter().any(|name| bare.starts_with(name));
        if has("gpt-oss") {
            return Self::GptOss;
        }
        if let Some(family) = openai(&bare) {
            return family;
        }
        if has("claude") {
            return claude(&bare);
        }
        if has("gemini") {
            return if ["1.0", "1.5", "2.0"].into_iter().any(has) { Self::Gemini2 } else { Self::Gemini };
        }
        if has("gemma") {
            return Self::Gemma;
        }
        if has("deepseek") {
            return match () {
                () if has("distill-llama") => Self::DistilledLlama,
                // The weights as first published, which others serve, do not open the thinking.
                () if repository.contains("deepseek-ai/") && has("r1") => Self::DeepSeekPlain,
                () if has("reasoner") || has("r1") => Self::DeepSeekR1,
                () => Self::DeepSeek,
            };
        }
        if has("llama") {
            return llama(&bare);
        }
        if begins(&[
            "mistral",
            "ministral",
            "magistral",
            "devstral",
            "codestral",
            "pixtral",
            "open-mistral-nemo",
        ]) || has("mistral")
        {
            return Self::Mistral;
        }
        if has("qwen") || begins(&["qwq", "qvq"]) {
            return qwen(&bare);
        }
        match () {
            () if has("glm-4") || has("glm4") => Self::Glm4,
            () if has("glm") => Self::Glm5,
            () if has("kimi") => Self::Kimi,
            () if begins(&["nova"]) => Self::Nova,
            () if begins(&["command", "c4ai-command"]) => Self::Command,
            () => Self::Unknown,
        }
    }

    /// Returns the family's own vocabulary, if that is known.
    #[must_use]
    pub const fn vocabulary(self) -> Option<Vocabulary> {
        Some(match self {
            Self::OpenAiOld => Vocabulary::P50k,
            Self::Gpt4 | Self::Embedding => Vocabulary::Cl100k,
            Self::Gpt4o | Self::GptSearch | Self::GptReasoning => Vocabulary::O200k,
            Self::GptOss => Vocabulary::Harmony,
            Self::Llama3 | Self::Llama31 | Self::DistilledLlama => Vocabulary::Llama3,
            Self::Mistral => Vocabulary::Mistral,
            Self::Gemma | Self::Gemini2 | Self::Gemini => Vocabulary::Gemma,
            Self::Qwen | Self::Qwen3 | Self::Qwen35 => Vocabulary::Qwen,
            Self::DeepSeek | Self::DeepSeekR1 | Self::DeepSeekPlain => Vocabulary::DeepSeek,
            Self::Glm4 | Self::Glm5 => Vocabulary::Glm,
            Self::Kimi => Vocabulary::Kimi,
            Self::Claude | Self::ClaudeNew | Self::Nova | Self::Command | Self::Llama4 | Self::Unknown => {
                return None;
            }
        })
    }

    /// Returns the name under which the family's figures are told.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenAiOld | Self::Gpt4 | Self::Gpt4o | Self::GptSearch | Self::GptReasoning => "openai",
            Self::Embedding => "openai-embedding",
            Self::GptOss => "gpt-oss",
            Self::Llama3 | Self::Llama31 | Self::DistilledLlama => "llama3",
            Self::Llama4 => "llama4",
            Self::Mistral => "mistral",
            Self::Gemma => "gemma",
            Self::Gemini2 | Self::Gemini => "gemini",
            Self::Qwen | Self::Qwen3 | Self::Qwen35 => "qwen",
            Self::DeepSeek | Self::DeepSeekR1 | Self::DeepSeekPlain => "deepseek",
            Self::Glm4 | Self::Glm5 => "glm",
            Self::Kimi => "kimi",
            Self::Claude => "claude",
            Self::ClaudeNew => "claude-4.7",
            Self::Nova => "nova",
            Self::Command => "command",
            Self::Unknown => "unknown",
        }
    }
}

fn openai(bare: &str) -> Option<Family> {
    let begins = |names: &[&str]| names.iter().any(|name| bare.starts_with(name));
    if bare.contains("search-preview") {
        return Some(Family::GptSearch);
    }
    if begins(&["gpt-4o", "chatgpt-4o", "gpt-4.1", "gpt-4.5", "gpt-audio", "gpt-realtime", "computer-use"]) {
        return Some(Family::Gpt4o);
    }
    if begins(&["gpt-4", "gpt-3.5", "gpt-35"]) {
        return Some(Family::Gpt4);
    }
    if begins(&["text-embedding", "embedding-ada"]) {
        return Some(Family::Embedding);
    }
    if begins(&["text-davinci", "davinci", "babbage", "curie", "ada", "gpt-2", "gpt2"]) {
        return Some(Family::OpenAiOld);
    }
    let thinks = bare.strip_prefix('o').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    (thinks || begins(&["gpt-", "codex-mini"])).then_some(Family::GptReasoning)
}

/// Claude has had another vocabulary since 4.7.
fn claude(bare: &str) -> Family {
    let digits: Vec<u32> = bare.split(['-', '.']).filter_map(|part| part.parse().ok()).take(2).collect();
    match digits[..] {
        // A date is no version.
        [major, minor] if minor < 100 => {
            if (major, minor) >= (4, 7) {
                Family::ClaudeNew
            } else {
                Family::Claude
            }
        }
        [major, ..] if (5..100).contains(&major) => Family::ClaudeNew,
        _ => Family::Claude,
    }
}

fn llama(bare: &str) -> Family {
    let has = |parts: &[&str]| parts.iter().any(|part| bare.contains(part));
    match () {
        () if has(&["llama-4", "llama4"]) => Family::Llama4,
        () if has(&[
            "llama-3.",
            "llama3.",
            "llama-3-1",
            "llama3-1",
            "llama-3-2",
            "llama3-2",
            "llama3-3",
            "llama-3-3",
        ]) =>
        {
            Family::Llama31
        }
        () if has(&["llama-3", "llama3"]) => Family::Llama3,
        // Llama 2 had a vocabulary of its own.
        () => Family::Unknown,
    }
}

fn qwen(bare: &str) -> Family {
    let has = |parts: &[&str]| parts.iter().any(|part| bare.contains(part));
    match () {
        () if has(&["instruct", "coder", "qwen2", "qwen-2", "qwen1", "thinking"]) => Family::Qwen,
        () if has(&["qwen3.", "qwen-3."]) => Family::Qwen35,
        () if has(&["qwen3", "qwen-3"]) => Family::Qwen3,
        () => Family::Qwen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_of_all_makers_and_resellers_are_known() {
        for (model, family) in [
            ("gpt-4o-mini-2024-07-18", Family::Gpt4o),
            ("ft:gpt-3.5-turbo:acme::x", Family::Gpt4),
            ("openai/gpt-5.4-mini", Family::GptReasoning),
            ("o3-mini", Family::GptReasoning),
            ("openai.gpt-oss-120b-1:0", Family::GptOss),
            ("gpt-6", Family::GptReasoning),
            ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", Family::Claude),
            ("claude-3-opus-latest", Family::Claude),
            ("anthropic/claude-sonnet-4.6", Family::Claude),
            ("claude-sonnet-4-20250514", Family::Claude),
            ("claude-opus-4-7", Family::ClaudeNew),
            ("claude-sonnet-5", Family::ClaudeNew),
            ("claude-fable-5", Family::ClaudeNew),
            ("models/gemini-2.0-flash", Family::Gemini2),
            ("google/gemini-3-pro-preview", Family::Gemini),
            ("google.gemma-3-27b-it", Family::Gemma),
            ("meta-llama/Llama-4-Scout-17B-16E-Instruct", Family::Llama4),
            ("us.meta.llama3-3-70b-instruct-v1:0", Family::Llama31),
            ("llama3-8b-8192", Family::Llama3),
            ("codellama", Family::Unknown),
            ("deepseek-r1-distill-llama-70b", Family::DistilledLlama),
            ("deepseek-reasoner", Family::DeepSeekR1),
            ("mistralai/mistral-small", Family::Mistral),
            ("qwen/qwen3-32b", Family::Qwen3),
            ("qwen3.6:latest", Family::Qwen35),
            ("Qwen/Qwen2.5-72B-Instruct", Family::Qwen),
            ("z-ai/glm-4.6", Family::Glm4),
            ("glm-5.3", Family::Glm5),
            ("moonshot.kimi-k2-thinking", Family::Kimi),
            ("us.amazon.nova-2-lite-v1:0", Family::Nova),
            ("command-r7b-12-2024", Family::Command),
            ("grok-4", Family::Unknown),
        ] {
            assert_eq!(Family::of(model), family, "{model}");
        }
    }
}
