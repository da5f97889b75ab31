//! Names of models: one model is called differently by its maker, by clouds and by those who resell it.

use std::collections::HashSet;

/// Regions that Bedrock puts before a model, for inference in several of them.
const REGIONS: [&str; 9] = ["us.", "eu.", "apac.", "jp.", "au.", "ca.", "sa.", "us-gov.", "global."];
/// Makers as they stand before a model's name at clouds.
const MAKERS: [&str; 22] = [
    "anthropic.",
    "amazon.",
    "meta.",
    "mistral.",
    "openai.",
    "qwen.",
    "deepseek.",
    "google.",
    "zai.",
    "moonshot.",
    "moonshotai.",
    "minimax.",
    "nvidia.",
    "cohere.",
    "ai21.",
    "stability.",
    "writer.",
    "twelvelabs.",
    "luma.",
    "openai-",
    "xai.",
    "databricks-",
];

/// Returns the names under which a model may be known, the most exact first: as it was given, then without the path before it
/// (`models/`, `accounts/…/models/`, `openai/`), without region and maker (`us.anthropic.`), without what follows it (`:free`,
/// `-v1:0`, `@20250514`), and a fine-tune's base (`ft:gpt-4o-mini:org::id`). In lower case.
pub(crate) fn candidates(model: &str) -> Vec<String> {
    let mut seen = HashSet::new();
    steps(model).into_iter().filter(|name| seen.insert(name.clone())).collect()
}

/// Returns the shortest of the names: the model without all that is not its own.
pub(crate) fn bare(model: &str) -> String {
    steps(model).pop().unwrap_or_default()
}

/// All names, some twice, the shortest last.
fn steps(model: &str) -> Vec<String> {
    let given = model.trim().to_lowercase();
    let mut names: Vec<String> = vec![given.clone()];
    let mut add = |name: &str| {
        if !name.is_empty() {
            names.push(name.to_owned());
        }
    };
    // An inference profile's ARN ends with the model; an application profile's names none.
    let mut name = given.rsplit('/').next().unwrap_or(&given);
    // Fireworks' and OpenRouter's names keep the maker: `openai/gpt-4o` is tried before `gpt-4o`.
    if let Some((_, last)) = given.split_once("models/") {
        add(last);
    }
    if let Some((_, last)) = given.split_once('/') {
        add(last);
    }
    add(name);
    if let Some(tuned) = name.strip_prefix("ft:") {
        name = tuned.split(':').next().unwrap_or(tuned);
        add(name);
    }
    for before in REGIONS.iter().chain(&MAKERS) {
        if let Some(rest) = name.strip_prefix(before) {
            name = rest;
            add(name);
        }
    }
    if let Some((front, after)) = name.split_once([':', '@']) {
        // Bedrock writes `-v1:0`; elsewhere `-v3` is part of the name.
        let numbered = after.bytes().all(|b| b.is_ascii_digit());
        name = if numbered { version(front).unwrap_or(front) } else { front };
        add(front);
        add(name);
    }
    if let Some(front) = dated(name) {
        add(front);
    }
    names
}

/// Without Bedrock's version, `-v1`.
fn version(name: &str) -> Option<&str> {
    let (front, digits) = name.rsplit_once("-v")?;
    (digits.len() == 1 && digits.bytes().all(|b| b.is_ascii_digit())).then_some(front)
}

/// Without a date or `-latest` at the end: `-20250514`, `-2025-05-14`, `-2508`, `-0613`, `-05-20`.
fn dated(name: &str) -> Option<&str> {
    if let Some(front) = name.strip_suffix("-latest") {
        return Some(front);
    }
    let mut front = name;
    let mut digits = 0;
    while let Some((rest, last)) = front.rsplit_once('-') {
        let number = last.bytes().all(|b| b.is_ascii_digit());
        if !number || !matches!(last.len(), 2 | 4 | 8) || digits + last.len() > 8 {
            break;
        }
        digits += last.len();
        front = rest;
    }
    (matches!(digits, 4 | 6 | 8) && !front.is_empty()).then_some(front)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_model_in_what_others_call_it() {
        for (given, model) in [
            ("gpt-4o-2024-08-06", "gpt-4o"),
            ("claude-3-5-haiku-latest", "claude-3-5-haiku"),
            ("us.anthropic.claude-sonnet-4-20250514-v1:0", "claude-sonnet-4"),
            ("global.anthropic.claude-opus-4-8", "claude-opus-4-8"),
            ("claude-sonnet-4@20250514", "claude-sonnet-4"),
            ("models/gemini-2.5-pro-preview-05-06", "gemini-2.5-pro-preview"),
            ("accounts/fireworks/models/deepseek-v3", "deepseek-v3"),
            ("ft:gpt-4o-mini-2024-07-18:acme::abc123", "gpt-4o-mini"),
            ("minimax/minimax-m2:free", "minimax-m2"),
            ("arn:aws:bedrock:us-east-1:1:inference-profile/us.amazon.nova-pro-v1:0", "nova-pro"),
            ("openai-gpt-4.1", "gpt-4.1"),
            ("Meta-Llama/Llama-3.3-70B-Instruct", "llama-3.3-70b-instruct"),
            ("mistral-small-2506", "mistral-small"),
            ("gpt-4-0613", "gpt-4"),
            ("o3", "o3"),
            ("claude-haiku-4-5", "claude-haiku-4-5"),
            ("command-r7b-12-2024", "command-r7b"),
            ("", ""),
        ] {
            assert_eq!(bare(given), model, "{given}");
        }
        assert_eq!(
            candidates("openrouter/openai/GPT-4o:free"),
            ["openrouter/openai/gpt-4o:free", "openai/gpt-4o:free", "gpt-4o:free", "gpt-4o"]
        );
    }
}
