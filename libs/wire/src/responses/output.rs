//! What stands in an answer's items, read from their JSON.

use prost_types::Struct;
use serde_json::{Map, Value};
use signalbox_proto::common::v1::Citation;

use super::error::failed;
use crate::{ErrorClass, ProviderError, json};

/// Fields of an answer that have a place of their own, or repeat the request.
pub(super) const KNOWN: &[&str] = &[
    "background",
    "completed_at",
    "created_at",
    "error",
    "frequency_penalty",
    "id",
    "incomplete_details",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "object",
    "output",
    "output_text",
    "parallel_tool_calls",
    "presence_penalty",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "status",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "usage",
    "user",
];

pub(super) fn text<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    map.get(key)?.as_str()
}

pub(super) fn list<'a>(
    map: &'a Map<String, Value>,
    key: &str,
) -> impl Iterator<Item = &'a Map<String, Value>> {
    map.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object)
}

/// Takes fields over; what is nested too deep for a `Struct` is left out.
pub(super) fn fields(map: Map<String, Value>) -> Option<Struct> {
    let mut out = Struct::default();
    for (key, value) in map {
        if let (false, Ok(value)) = (value.is_null(), json::value(value)) {
            out.fields.insert(key, value);
        }
    }
    (!out.fields.is_empty()).then_some(out)
}

/// Explains an answer that is not complete.
pub(super) fn unfinished(status: &str, error: Option<&Value>) -> ProviderError {
    if let Some(error) = error.filter(|error| !error.is_null()) {
        return failed(&error.to_string());
    }
    let class = match status {
        "failed" | "cancelled" => ErrorClass::Overloaded,
        _ => ErrorClass::Protocol,
    };
    ProviderError::new(class, &format!("the provider ended the answer with the status `{status}`"))
}

/// Tells whether an item other than a function's call waits for the client to do something.
pub(super) fn waits(item: &Map<String, Value>) -> bool {
    match text(item, "type").unwrap_or_default() {
        "computer_call" | "local_shell_call" | "apply_patch_call" => true,
        "tool_search_call" => text(item, "execution") == Some("client"),
        "shell_call" => !item
            .get("environment")
            .and_then(Value::as_object)
            .and_then(|environment| text(environment, "type"))
            .is_some_and(|kind| kind.starts_with("container")),
        _ => false,
    }
}

/// Converts an annotation of `full`, a text that begins at byte `start` of the answer. Offsets count characters.
pub(super) fn citation(annotation: &Map<String, Value>, full: &str, start: Option<u64>) -> Citation {
    let place = |key: &str| {
        let n = usize::try_from(annotation.get(key)?.as_u64()?).ok()?;
        let mut ends = full.char_indices().map(|(at, _)| at).chain(std::iter::once(full.len()));
        Some(start? + ends.nth(n)? as u64)
    };
    let (from, to) = (place("start_index"), place("end_index"));
    let cites = from.zip(to).is_some_and(|(from, to)| from < to);
    let owned = |key: &str| text(annotation, key).filter(|text| !text.is_empty()).map(str::to_owned);
    Citation {
        url: owned("url"),
        title: owned("title").or_else(|| owned("filename")),
        start_byte: from.filter(|_| cites),
        end_byte: to.filter(|_| cites),
        extra: fields(annotation.clone()),
    }
}
