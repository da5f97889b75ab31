//! Fields of other dialects: what a request, written for another one, carries along in `extra` and this one would refuse.

use prost_types::Struct;
use serde_json::{Map, Value};

use super::style::Style;
use crate::json::Any;

/// Fields of requests.
const REQUEST: &[&str] = &[
    // Chat Completions, and what its servers add.
    "audio",
    "chat_template",
    "chat_template_kwargs",
    "function_call",
    "functions",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "modalities",
    "n",
    "prediction",
    "reasoning_effort",
    "reasoning_format",
    "response_format",
    "verbosity",
    "web_search_options",
    // Anthropic.
    "anthropic_beta",
    "anthropic_version",
    "betas",
    "cache_control",
    "container",
    "inference_geo",
    "mcp_servers",
    "output_config",
    "output_format",
    "stop_sequences",
    "system",
    // Gemini and Bedrock.
    "additionalModelRequestFields",
    "additionalModelResponseFieldPaths",
    "cachedContent",
    "contents",
    "generationConfig",
    "guardrailConfig",
    "inferenceConfig",
    "labels",
    "modelId",
    "performanceConfig",
    "promptVariables",
    "requestMetadata",
    "safetySettings",
    "serviceTier",
    "systemInstruction",
    "toolConfig",
    // Mistral and Cohere.
    "citation_options",
    "documents",
    "p",
    "prompt_mode",
    "random_seed",
    "safe_prompt",
    "safety_mode",
    "strict_tools",
];

/// Fields of requests that servers other than OpenAI's take.
const LENIENT: &[&str] = &[
    "add_generation_prompt",
    "cache_prompt",
    "enable_thinking",
    "grammar",
    "ignore_eos",
    "include_reasoning",
    "k",
    "keep_alive",
    "length_penalty",
    "min_p",
    "min_tokens",
    "models",
    "options",
    "plugins",
    "provider",
    "repeat_penalty",
    "repetition_penalty",
    "route",
    "skip_special_tokens",
    "stop_token_ids",
    "structured_outputs",
    "think",
    "top_a",
    "transforms",
    "usage",
];

/// Fields of messages.
const MESSAGE: &[&str] = &[
    "annotations",
    "audio",
    "content",
    "function_call",
    "images",
    "partial",
    "prefix",
    "reasoning",
    "reasoning_content",
    "reasoning_details",
    "refusal",
    "role",
    "stop_reason",
    "tool_call_id",
    "tool_calls",
    "tool_plan",
];

/// Fields of parts and tools. Those of them that are `null` are this dialect's, which writes out what is not set.
const PIECE: &[&str] = &[
    "cachePoint",
    "cache_control",
    "citations",
    "continues",
    "document_url",
    "extra_content",
    "file",
    "function",
    "functionCall",
    "image_url",
    "index",
    "inlineData",
    "input_audio",
    "input_schema",
    "mediaResolution",
    "mime_type",
    "phase",
    "provider_specific_fields",
    "reasoning_details",
    "source",
    "thought",
    "thoughtSignature",
    "thought_signature",
    "videoMetadata",
];

/// Types of parts.
const PARTS: &[&str] = &[
    "audio_url",
    "container_upload",
    "document",
    "document_url",
    "file",
    "image",
    "image_url",
    "redacted_thinking",
    "search_result",
    "server_tool_use",
    "thinking",
    "tool_result",
    "tool_use",
    "video_url",
];

/// Tells whether a part's type belongs to another dialect.
pub(super) fn is_foreign_part(kind: &str) -> bool {
    // Anthropic's results of its own tools, one type each.
    PARTS.contains(&kind) || kind.ends_with("_tool_result") || kind == "mcp_tool_use"
}

/// Tells whether a built-in tool's type belongs to another dialect: Anthropic's end with the day they were made.
pub(super) fn is_foreign_tool(kind: &str) -> bool {
    let day = kind.rsplit('_').next().unwrap_or_default();
    kind != day && day.len() == 8 && day.bytes().all(|b| b.is_ascii_digit())
}

/// Adds the fields of a request's `extra` that are not written yet and are not another dialect's.
pub(super) fn request_rest(map: &mut Map<String, Value>, extra: Option<&Struct>, style: Style) {
    for (key, value) in extra.iter().flat_map(|e| &e.fields) {
        let name = key.as_str();
        if map.contains_key(name) || REQUEST.contains(&name) || (style.strict && LENIENT.contains(&name)) {
            continue;
        }
        let mut value = json(value);
        if let ("stream_options", Value::Object(options)) = (name, &mut value) {
            options.remove("include_usage");
            if options.is_empty() {
                continue;
            }
        }
        let foreign = match name {
            // Anthropic's is an object, this one's a list.
            "context_management" => value.is_object(),
            // Some servers have a switch of that name.
            "thinking" => style.strict || value.get("budget_tokens").is_some(),
            _ => false,
        };
        if !foreign {
            map.insert(key.clone(), value);
        }
    }
}

/// Adds the fields of a message's `extra` that are not written yet and are not another dialect's.
pub(super) fn message_rest(map: &mut Map<String, Value>, extra: Option<&Struct>) {
    for (key, value) in extra.iter().flat_map(|e| &e.fields) {
        if !map.contains_key(key) && !MESSAGE.contains(&key.as_str()) {
            let value = json(value);
            if key != "type" || value == "message" {
                map.insert(key.clone(), value);
            }
        }
    }
}

/// Adds the fields of a piece's `extra` that are not written yet and are not another dialect's.
pub(super) fn rest(map: &mut Map<String, Value>, extra: Option<&Struct>) {
    for (key, value) in extra.iter().flat_map(|e| &e.fields) {
        let value = json(value);
        if !map.contains_key(key) && (value.is_null() || !PIECE.contains(&key.as_str())) {
            map.insert(key.clone(), value);
        }
    }
}

/// Takes a value over into JSON.
pub(super) fn json(value: &prost_types::Value) -> Value {
    serde_json::to_value(Any(value)).unwrap_or_default()
}

/// Takes an object over into JSON.
pub(super) fn object(fields: &Struct) -> Map<String, Value> {
    fields.fields.iter().map(|(key, value)| (key.clone(), json(value))).collect()
}
