//! Which fields are Google's, and how a caller spelled them.
//!
//! Google takes `camelCase` and `snake_case`, mixed as one likes, and a single object where a list is wanted. What is said goes
//! into our messages; how it was spelled stays in `extra`, as the fields of the object with an empty text for what was taken out
//! ([`remains`]), and is laid over what is written again ([`lay_over`]).

use prost_types::Struct;
use serde_json::{Map, Value};

use crate::json::Object;
use crate::{RequestError, json};

/// Holds fields of Google's that look like nobody's in particular.
const ASIDE: &str = "google";

/// Words of Google's that have no capital in `camelCase`.
const WORDS: [&str; 8] =
    ["google", "labels", "store", "role", "thought", "behavior", "response", "parameters"];

/// Spelled alike, and Bedrock's.
const BEDROCKS: [&str; 16] = [
    "additionalModelRequestFields",
    "additionalModelResponseFieldPaths",
    "cachePoint",
    "citationsContent",
    "guardContent",
    "guardrailConfig",
    "inferenceConfig",
    "outputConfig",
    "performanceConfig",
    "promptVariables",
    "reasoningContent",
    "requestMetadata",
    "searchResult",
    "toolResult",
    "toolSpec",
    "toolUse",
];

/// Words of Google's that a caller may have spelled with underscores. Others spell all of theirs so.
const SNAKES: [&str; 30] = [
    "cached_content",
    "code_execution",
    "computer_use",
    "enterprise_web_search",
    "file_data",
    "file_search",
    "function_call",
    "function_declarations",
    "function_response",
    "generation_config",
    "google_maps",
    "google_search",
    "google_search_retrieval",
    "inline_data",
    "media_resolution",
    "model_armor_config",
    "parameters_json_schema",
    "part_metadata",
    "response_json_schema",
    "safety_settings",
    "service_tier",
    "system_instruction",
    "thought_signature",
    "tool_call",
    "tool_config",
    "tool_response",
    "url_context",
    "video_metadata",
    "executable_code",
    "code_execution_result",
];

/// Spells a name in `camelCase`.
pub(super) fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut raise = false;
    for c in name.chars() {
        if c == '_' && !out.is_empty() {
            raise = true;
        } else if raise {
            out.push(c.to_ascii_uppercase());
            raise = false;
        } else {
            out.push(c);
        }
    }
    out
}

/// Tells a field of Google's from one of another dialect.
fn is_own(key: &str) -> bool {
    let mut letters = key.bytes();
    let camels = letters.clone().any(|b| b.is_ascii_uppercase())
        && letters.next().is_some_and(|b| b.is_ascii_lowercase())
        && letters.all(|b| b.is_ascii_alphanumeric());
    WORDS.contains(&key) || SNAKES.contains(&key) || (camels && !BEDROCKS.contains(&key))
}

/// Returns the key under which `name`, in `camelCase`, stands in an object.
pub(super) fn key_of<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a String> {
    map.get_key_value(name).map(|(key, _)| key).or_else(|| map.keys().find(|key| camel(key) == name))
}

/// Returns a field, however it is spelled.
pub(super) fn get<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    map.get(key_of(map, name)?)
}

/// Returns the fields of `extra` that are Google's.
pub(super) fn fields(extra: Option<&Struct>) -> Result<Map<String, Value>, RequestError> {
    let Some(extra) = extra else { return Ok(Map::new()) };
    let mut out = object(extra)?;
    out.retain(|key, _| is_own(key));
    if let Some(Value::Object(aside)) = out.remove(ASIDE) {
        for (key, value) in aside {
            out.entry(key).or_insert(value);
        }
    }
    Ok(out)
}

/// Makes an `extra` from which [`fields`] gives the same again.
pub(super) fn extra(map: Map<String, Value>, at: &str) -> Result<Option<Struct>, RequestError> {
    let (mut own, aside): (Map<_, _>, Map<_, _>) =
        map.into_iter().partition(|(key, _)| is_own(key) && key != ASIDE);
    if !aside.is_empty() {
        own.insert(ASIDE.to_owned(), Value::Object(aside));
    }
    json::fields(own).map_err(|e| RequestError::new(at, e.to_string()))
}

/// Turns a `Struct` into JSON.
pub(super) fn object(fields: &Struct) -> Result<Map<String, Value>, RequestError> {
    match serde_json::to_value(Object(fields)) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Ok(Map::new()),
        Err(e) => Err(RequestError::new("extra", e.to_string())),
    }
}

/// Lays the spelling and the other fields of `over` over what is written. Never changes a value that is there.
pub(super) fn lay_over(mut own: Map<String, Value>, over: Map<String, Value>) -> Map<String, Value> {
    let mut laid = Map::new();
    for (key, over) in over {
        let written = key_of(&own, &camel(&key)).cloned().and_then(|written| own.remove(&written));
        let value = match (written, over) {
            (None, over) => over,
            (Some(Value::Object(value)), Value::Object(over)) => Value::Object(lay_over(value, over)),
            (Some(value), _) => value,
        };
        laid.insert(key, value);
    }
    own.extend(laid);
    own
}

/// Returns what must be laid over `own` to get `raw` again; `None` if nothing does that.
pub(super) fn remains(raw: &Map<String, Value>, own: &Map<String, Value>) -> Option<Map<String, Value>> {
    let mut out = Map::new();
    let mut met = 0;
    for (key, value) in raw {
        let Some(found) = key_of(own, &camel(key)) else {
            out.insert(key.clone(), value.clone());
            continue;
        };
        met += 1;
        match (value, own.get(found)?) {
            (Value::Object(value), Value::Object(own)) => {
                let inner = remains(value, own)?;
                if key != found || !inner.is_empty() {
                    out.insert(key.clone(), Value::Object(inner));
                }
            }
            (value, own) if same(value, own) => {
                if key != found {
                    out.insert(key.clone(), Value::from(""));
                }
            }
            _ => return None,
        }
    }
    // Each of ours must stand there once, and nothing may get lost on the way through a `Struct`.
    (met == own.len()).then_some(out)
}

/// Equality of JSON in which `1` and `1.0` are one number.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }

    #[test]
    fn spelling_and_other_fields_come_back() {
        let own = map(json!({"inlineData": {"mimeType": "a", "data": "b"}, "text": "t"}));
        let raw =
            map(json!({"inline_data": {"mime_type": "a", "data": "b", "displayName": "d"}, "text": "t"}));
        let over = remains(&raw, &own).unwrap();
        assert_eq!(over, map(json!({"inline_data": {"mime_type": "", "displayName": "d"}})));
        assert_eq!(lay_over(own.clone(), over), raw);
        assert_eq!(remains(&map(json!({"text": "t"})), &own), None, "something of ours is missing");
        assert_eq!(remains(&map(json!({"inlineData": [], "text": "t"})), &own), None);
    }

    #[test]
    fn fields_of_other_dialects_are_left_out_and_nothing_of_googles_is() {
        let given = json!({"cache_control": {}, "cachePoint": {}, "user": "u", "videoMetadata": {}, "new_one": 1, "newOne": 2});
        let kept = fields(json::fields(map(given.clone())).unwrap().as_ref()).unwrap();
        assert_eq!(kept.keys().collect::<Vec<_>>(), ["newOne", "videoMetadata"]);
        let round = fields(extra(map(given.clone()), "").unwrap().as_ref()).unwrap();
        assert!(same(&Value::Object(round), &given));
    }
}
