//! Fields of other dialects: what a request, written for another one, carries along in `extra` and Anthropic would refuse.

use prost_types::Struct;
use serde_json::{Map, Value};

use crate::json::Any;

/// Fields of requests.
const REQUEST: &[&str] = &[
    // OpenAI, Chat Completions.
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "modalities",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "moderation",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "stop",
    "store",
    "stream_options",
    "top_logprobs",
    "user",
    "verbosity",
    "web_search_options",
    // OpenAI, Responses.
    "background",
    "conversation",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "previous_response_id",
    "prompt",
    "reasoning",
    "text",
    "truncation",
    // OpenRouter.
    "include_reasoning",
    "models",
    "plugins",
    "preset",
    "provider",
    "route",
    "top_a",
    "transforms",
    "usage",
    // vLLM, llama.cpp, Ollama, LM Studio, and the like.
    "add_generation_prompt",
    "cache_prompt",
    "chat_template",
    "chat_template_kwargs",
    "clear_thinking",
    "continue_final_message",
    "enable_thinking",
    "format",
    "grammar",
    "guided_choice",
    "guided_grammar",
    "guided_json",
    "guided_regex",
    "ignore_eos",
    "json_schema",
    "keep_alive",
    "length_penalty",
    "min_p",
    "min_tokens",
    "n_predict",
    "options",
    "reasoning_format",
    "repeat_penalty",
    "repetition_penalty",
    "search_settings",
    "skip_special_tokens",
    "stop_token_ids",
    "structured_outputs",
    "think",
    "typical_p",
    // Mistral and Cohere.
    "citation_options",
    "documents",
    "k",
    "p",
    "prompt_mode",
    "random_seed",
    "safe_prompt",
    "safety_mode",
    "strict_tools",
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
    // Ours: headers of this dialect.
    "betas",
];

/// Fields of messages, tools and parts.
const PIECE: &[&str] = &[
    "annotations",
    "audio",
    "cachePoint",
    "content_filter_results",
    "custom",
    "detail",
    "document_url",
    "extra_content",
    "file",
    "function",
    "function_call",
    "functionCall",
    "guardContent",
    "image_url",
    "images",
    "index",
    "inlineData",
    "input_audio",
    "logprobs",
    "mediaResolution",
    "mime_type",
    "name",
    "partial",
    "phase",
    "prefix",
    "provider_specific_fields",
    "reasoning",
    "reasoning_content",
    "reasoning_details",
    "refusal",
    "status",
    "summary",
    "thought",
    "thoughtSignature",
    "thought_signature",
    "tool_call_id",
    "tool_calls",
    "tool_name",
    "tool_plan",
    "videoMetadata",
];

/// Types of parts and tools.
const TYPES: &[&str] = &[
    "audio_url",
    "code_interpreter",
    "computer_call",
    "computer_use_preview",
    "custom_tool_call",
    "document_url",
    "file",
    "file_search",
    "file_url",
    "function_call",
    "function_call_output",
    "image_generation",
    "image_url",
    "input_audio",
    "input_file",
    "input_image",
    "input_text",
    "item_reference",
    "local_shell",
    "output_text",
    "reasoning",
    "refusal",
    "shell",
    "video_url",
    "web_search",
    "web_search_preview",
];

/// Tells whether a part's or a tool's type belongs to another dialect.
pub(super) fn is_foreign_type(kind: &str) -> bool {
    TYPES.contains(&kind)
}

/// Adds the fields of a request's `extra` that are not written yet and are not another dialect's.
pub(super) fn request_rest(map: &mut Map<String, Value>, extra: Option<&Struct>) {
    for (key, value) in extra.iter().flat_map(|e| &e.fields) {
        if map.contains_key(key) || REQUEST.contains(&key.as_str()) {
            continue;
        }
        let value = json(value);
        let foreign = match key.as_str() {
            // OpenAI's takes any keys, this one's `user_id` only.
            "metadata" => value.as_object().is_some_and(|m| m.keys().any(|k| k != "user_id")),
            "service_tier" => {
                value.as_str().is_some_and(|tier| matches!(tier, "default" | "flex" | "priority" | "scale"))
            }
            _ => false,
        };
        if !foreign {
            map.insert(key.clone(), value);
        }
    }
}

/// Adds the fields of a piece's `extra` that are not written yet and are not another dialect's.
pub(super) fn rest(map: &mut Map<String, Value>, extra: Option<&Struct>) {
    for (key, value) in extra.iter().flat_map(|e| &e.fields) {
        if key != "type" && !map.contains_key(key) && !PIECE.contains(&key.as_str()) {
            map.insert(key.clone(), json(value));
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
