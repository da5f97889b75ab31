//! What differs between Google's models.

use serde_json::{Map, Value};
use signalbox_proto::common::v1::Reasoning;

use super::own;
use crate::RequestError;

/// Beginnings of the names of models of other makers, which Vertex AI serves in their makers' dialects.
const OTHERS: [(&str, &str, &str); 12] = [
    ("claude", "Anthropic", "anthropic"),
    ("llama", "Meta", "openai"),
    ("meta/", "Meta", "openai"),
    ("mistral", "Mistral", "openai"),
    ("ministral", "Mistral", "openai"),
    ("codestral", "Mistral", "openai"),
    ("deepseek", "DeepSeek", "openai"),
    ("qwen", "Qwen", "openai"),
    ("gpt-oss", "OpenAI", "openai"),
    ("kimi", "Moonshot", "openai"),
    ("jamba", "AI21", "openai"),
    ("grok", "xAI", "openai"),
];

/// Returns where a model is asked, below the base URL.
#[must_use]
pub fn path(model: &str, method: &str) -> String {
    format!("/models/{}:{method}", bare(model))
}

/// Returns a model's name without the folders that it may stand in.
pub(super) fn bare(model: &str) -> &str {
    let model = model.strip_prefix("publishers/google/").unwrap_or(model);
    model.strip_prefix("models/").unwrap_or(model)
}

/// Refuses a model of another maker, which does not speak this dialect.
pub(super) fn check(model: &str) -> Result<(), RequestError> {
    let name = model.rsplit_once("publishers/").map_or(model, |(_, name)| name);
    let of_google = name == model || name.starts_with("google/");
    let known = OTHERS.iter().find(|(prefix, ..)| bare(model).starts_with(prefix));
    if of_google && known.is_none() {
        return Ok(());
    }
    let short = crate::redact::bounded(model, 64);
    Err(RequestError::new(
        "model",
        match known {
            Some((_, maker, dialect)) => {
                format!(
                    "`{short}` is a model of {maker}'s and does not speak Google's dialect; use dialect `{dialect}` at its own address"
                )
            }
            None => format!(
                "`{short}` is not a model of Google's and does not speak this dialect; use its maker's"
            ),
        },
    ))
}

/// Returns the version in a name like `gemini-2.5-flash`, in tenths.
fn version(model: &str) -> Option<u32> {
    let rest = bare(model).rsplit_once("gemini-").map(|(_, rest)| rest)?;
    let mut digits = rest.split(|c: char| !c.is_ascii_digit() && c != '.').next()?.split('.');
    let (major, minor) = (digits.next()?.parse::<u32>().ok()?, digits.next().and_then(|d| d.parse().ok()));
    Some(major.min(100) * 10 + minor.unwrap_or(0u32).min(9))
}

/// Tells whether a model is of the third generation or later; names without a version mean the newest.
pub(super) fn is_third(model: &str) -> bool {
    let newest = bare(model).starts_with("gemini-") && model.ends_with("-latest");
    version(model).map_or(newest, |version| version >= 30)
}

/// Writes `thinkingConfig`: a budget for 2.5, a level for later models, as Google's own OpenAI-compatible door translates
/// `reasoning_effort`; nothing for models that do not think. Thoughts are shown to who asks for a summary.
pub(super) fn thinking(reasoning: &Reasoning, model: &str) -> Map<String, Value> {
    let mut out = Map::new();
    let thinks = version(model).is_none_or(|version| version >= 25);
    let effort = reasoning.effort.as_deref();
    let wants = reasoning.summary.as_deref().is_some_and(|word| word != "none");
    if wants && thinks && effort != Some("none") {
        out.insert("includeThoughts".to_owned(), Value::Bool(true));
    }
    if let Some(most) = reasoning.max_tokens {
        out.insert("thinkingBudget".to_owned(), Value::from(most));
    } else if let (Some(effort), true) = (effort, thinks) {
        if version(model).is_some_and(|version| version < 30) {
            let least = if bare(model).contains("-pro") { 128 } else { 0 };
            let budget = match effort {
                "none" => least,
                "minimal" | "low" => 1024,
                "medium" => 8192,
                _ => 24_576,
            };
            out.insert("thinkingBudget".to_owned(), Value::from(budget));
        } else {
            let level = match effort {
                // These always think; this is the least.
                "none" | "minimal" if bare(model).contains("-pro") => "low",
                "none" => "minimal",
                "xhigh" | "max" => "high",
                other => other,
            };
            out.insert("thinkingLevel".to_owned(), Value::from(level));
        }
    }
    out
}

/// Reads a `thinkingConfig`, as far as our message can say it.
pub(super) fn reasoning(config: &Map<String, Value>) -> Option<Reasoning> {
    let level = own::get(config, "thinkingLevel").and_then(Value::as_str);
    let budget = own::get(config, "thinkingBudget").and_then(Value::as_u64);
    let shown = own::get(config, "includeThoughts").and_then(Value::as_bool).unwrap_or(false);
    let reasoning = Reasoning {
        effort: level.filter(|level| budget.is_none() && *level != "none").map(str::to_owned),
        max_tokens: budget.and_then(|n| u32::try_from(n).ok()),
        summary: shown.then(|| "auto".to_owned()),
    };
    (reasoning != Reasoning::default()).then_some(reasoning)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(effort: Option<&str>, max_tokens: Option<u32>, summary: Option<&str>, model: &str) -> Value {
        let [effort, summary] = [effort, summary].map(|word| word.map(str::to_owned));
        Value::Object(thinking(&Reasoning { effort, max_tokens, summary }, model))
    }

    #[test]
    fn each_generation_is_told_in_its_own_way_how_much_to_think() {
        assert_eq!(written(Some("medium"), None, None, "gemini-2.5-flash"), json!({"thinkingBudget": 8192}));
        assert_eq!(
            written(Some("none"), None, Some("auto"), "gemini-2.5-flash"),
            json!({"thinkingBudget": 0})
        );
        assert_eq!(
            written(Some("none"), None, None, "models/gemini-2.5-pro"),
            json!({"thinkingBudget": 128})
        );
        assert_eq!(
            written(Some("high"), None, None, "gemini-3-pro-preview"),
            json!({"thinkingLevel": "high"})
        );
        assert_eq!(
            written(Some("xhigh"), None, None, "gemini-flash-latest"),
            json!({"thinkingLevel": "high"})
        );
        assert_eq!(
            written(Some("none"), None, None, "gemini-3.1-pro-preview"),
            json!({"thinkingLevel": "low"})
        );
        assert_eq!(
            written(Some("high"), None, Some("auto"), "gemini-2.0-flash"),
            json!({}),
            "it does not think"
        );
        assert_eq!(written(None, Some(7), None, "gemini-3-flash"), json!({"thinkingBudget": 7}));
        let shown = json!({"includeThoughts": true, "thinkingLevel": "low"});
        assert_eq!(written(Some("low"), None, Some("concise"), "gemini-3-flash"), shown);
    }

    #[test]
    fn models_of_other_makers_are_refused_by_name() {
        for model in
            ["gemini-2.5-pro", "models/gemini-3-flash", "gemma-3-27b-it", "text-embedding-005", "tuned-7"]
        {
            assert_eq!(check(model), Ok(()), "{model}");
        }
        for (model, word) in [
            ("claude-sonnet-4-5", "dialect `anthropic`"),
            ("publishers/anthropic/models/claude-opus-4", "not a model of Google's"),
            ("meta/llama-4-maverick", "dialect `openai`"),
            ("publishers/qwen/models/qwen3", "not a model of Google's"),
        ] {
            let error = check(model).unwrap_err();
            assert_eq!(error.field, "model");
            assert!(error.message.contains(word), "{error}");
        }
    }
}
