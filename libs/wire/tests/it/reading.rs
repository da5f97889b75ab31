//! A second reading of Chat Completions, straight from the JSON, that shares nothing with the crate under test.

use serde_json::Value;

/// What an answer says, in its simplest form.
#[derive(Debug, Default, PartialEq, Clone)]
pub(crate) struct Reading {
    pub(crate) text: String,
    pub(crate) reasoning: String,
    pub(crate) refusal: String,
    /// Id, name, arguments.
    pub(crate) tools: Vec<(String, String, String)>,
    pub(crate) finish: String,
    /// Input, output, cached, reasoning.
    pub(crate) usage: Option<[u64; 4]>,
    pub(crate) id: String,
    pub(crate) model: String,
    /// The message of an error inside the answer.
    pub(crate) error: Option<String>,
}

fn str_at<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn num_at(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}

fn usage(value: &Value) -> [u64; 4] {
    let input = num_at(value, "/prompt_tokens");
    let completion = num_at(value, "/completion_tokens");
    let total = num_at(value, "/total_tokens");
    let output = if total > input + completion { total - input } else { completion };
    let mut cached = 0;
    for pointer in [
        "/prompt_tokens_details/cached_tokens",
        "/cached_tokens",
        "/num_cached_tokens",
        "/prompt_cache_hit_tokens",
    ] {
        cached = cached.max(num_at(value, pointer));
    }
    let reasoning = num_at(value, "/completion_tokens_details/reasoning_tokens").max(output - completion);
    [input, output, cached, reasoning]
}

/// Reads payloads in order: the chunks of a stream, or one whole answer.
pub(crate) fn read(payloads: &[Value], whole: bool) -> Reading {
    let mut out = Reading::default();
    let mut last_key = None;
    let mut keys: Vec<(Option<u64>, String)> = Vec::new();
    for payload in payloads {
        if let Some(error) = payload.get("error").filter(|e| !e.is_null()) {
            out.error = Some(str_at(error, "/message").to_owned());
            break;
        }
        if out.id.is_empty() {
            out.id = str_at(payload, "/id").to_owned();
        }
        if out.model.is_empty() {
            out.model = str_at(payload, "/model").to_owned();
        }
        let counts =
            payload.get("usage").or_else(|| payload.pointer("/x_groq/usage")).filter(|u| u.is_object());
        if let Some(counts) = counts {
            out.usage = Some(usage(counts));
        }
        let choices = payload["choices"].as_array().into_iter().flatten();
        let Some(choice) = choices.into_iter().find(|choice| num_at(choice, "/index") == 0) else { continue };
        let [first, second] = if whole { ["message", "delta"] } else { ["delta", "message"] };
        let body = choice.get(first).or_else(|| choice.get(second)).unwrap_or(&Value::Null);
        match &body["content"] {
            Value::String(text) => out.text.push_str(text),
            Value::Array(parts) => {
                for part in parts {
                    out.text.push_str(str_at(part, "/text"));
                    for thought in part["thinking"].as_array().into_iter().flatten() {
                        out.reasoning.push_str(str_at(thought, "/text"));
                    }
                }
            }
            _ => {}
        }
        let thought = Some(str_at(body, "/reasoning_content")).filter(|t| !t.is_empty());
        out.reasoning.push_str(thought.unwrap_or_else(|| str_at(body, "/reasoning")));
        out.refusal.push_str(str_at(body, "/refusal"));
        for call in body["tool_calls"].as_array().into_iter().flatten() {
            let index = call["index"].as_u64();
            let id = str_at(call, "/id").to_owned();
            let found = keys
                .iter()
                .position(|(i, k)| (index.is_some() && *i == index) || (!id.is_empty() && *k == id));
            let at = match (found, index, id.is_empty(), last_key) {
                (Some(at), ..) => at,
                (None, None, true, Some(last)) => last,
                _ => {
                    keys.push((index, id.clone()));
                    out.tools.push((id, str_at(call, "/function/name").to_owned(), String::new()));
                    keys.len() - 1
                }
            };
            last_key = Some(at);
            out.tools[at].2.push_str(str_at(call, "/function/arguments"));
        }
        let finish = str_at(choice, "/finish_reason");
        if !finish.is_empty() {
            out.finish = finish.to_owned();
        }
    }
    out
}
