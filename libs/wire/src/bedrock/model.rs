//! What is known of models by their ids, because Converse leaves it to each family.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use signalbox_proto::common::v1::Reasoning;

/// Returns an operation's path; the id may be an ARN, and every byte that is not unreserved is percent-encoded.
#[must_use]
pub fn path(model: &str, operation: &str) -> String {
    let mut out = String::with_capacity(model.len() + 32);
    out.push_str("/model/");
    for byte in model.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out.push('/');
    out.push_str(operation);
    out
}

/// Writes `top_k` where the model's family looks for it.
pub(super) fn top_k(model: &str, k: u32) -> Map<String, Value> {
    let value = if model.contains("amazon.nova") {
        json!({ "inferenceConfig": { "topK": k } })
    } else if model.contains("cohere.") {
        json!({ "k": k })
    } else {
        json!({ "top_k": k })
    };
    object(value)
}

/// Writes how much to think where the model's family looks for it.
pub(super) fn reasoning(model: &str, reasoning: &Reasoning) -> Map<String, Value> {
    let effort = reasoning.effort.as_deref();
    let value = if model.contains("anthropic.") {
        match (effort, reasoning.max_tokens) {
            (_, Some(budget)) => json!({ "thinking": { "type": "enabled", "budget_tokens": budget } }),
            (Some("none"), None) => json!({ "thinking": { "type": "disabled" } }),
            (Some(effort), None) if adaptive(model) => {
                json!({ "thinking": { "type": "adaptive" }, "output_config": { "effort": effort } })
            }
            (Some(effort), None) => {
                json!({ "thinking": { "type": "enabled", "budget_tokens": budget(effort) } })
            }
            (None, None) => Value::Null,
        }
    } else if model.contains("amazon.nova") {
        match effort {
            Some("none") => json!({ "reasoningConfig": { "type": "disabled" } }),
            Some(effort) => json!({ "reasoningConfig": { "type": "enabled", "maxReasoningEffort": effort } }),
            None => Value::Null,
        }
    } else if model.contains("openai.") {
        effort.map_or(Value::Null, |effort| json!({ "reasoning_effort": effort }))
    } else {
        effort.map_or(Value::Null, |effort| json!({ "reasoning_config": effort }))
    };
    object(value)
}

/// Tells whether a Claude takes an effort instead of a budget: all but the generations up to 4.5.
fn adaptive(model: &str) -> bool {
    const BUDGETED: [&str; 7] =
        ["claude-3", "claude-v2", "opus-4-1", "opus-4-2", "sonnet-4-2", "-4-5", "claude-instant"];
    !BUDGETED.iter().any(|name| model.contains(name))
}

/// The budgets that stand for an effort; 1,024 is the least that is taken.
fn budget(effort: &str) -> u32 {
    match effort {
        "minimal" | "low" => 1024,
        "medium" => 4096,
        _ => 16_384,
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_arns_become_one_segment() {
        assert_eq!(path("amazon.nova-lite-v1:0", "converse"), "/model/amazon.nova-lite-v1%3A0/converse");
        assert_eq!(
            path("arn:aws:bedrock:us-east-1:1:inference-profile/x", "converse-stream"),
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fx/converse-stream"
        );
        assert_eq!(path("../é", "invoke"), "/model/..%2F%C3%A9/invoke");
    }

    #[test]
    fn every_family_has_its_own_words_for_thinking() {
        let high = Reasoning { effort: Some("high".into()), ..Default::default() };
        let written = |model| Value::Object(reasoning(model, &high)).to_string();
        assert_eq!(
            written("us.anthropic.claude-sonnet-4-6"),
            r#"{"thinking":{"type":"adaptive"},"output_config":{"effort":"high"}}"#
        );
        let old = r#"{"thinking":{"type":"enabled","budget_tokens":16384}}"#;
        assert_eq!(written("us.anthropic.claude-sonnet-4-20250514-v1:0"), old);
        assert_eq!(written("us.anthropic.claude-sonnet-4-5-20250929-v1:0"), old);
        assert_eq!(written("openai.gpt-oss-120b-1:0"), r#"{"reasoning_effort":"high"}"#);
        assert_eq!(written("qwen.qwen3-32b-v1:0"), r#"{"reasoning_config":"high"}"#);
        let nova = r#"{"reasoningConfig":{"type":"enabled","maxReasoningEffort":"high"}}"#;
        assert_eq!(written("us.amazon.nova-2-lite-v1:0"), nova);
    }
}
