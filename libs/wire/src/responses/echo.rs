//! What an answer of this dialect repeats of its request.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// Is what a request said about itself, as it was written.
#[derive(Clone, Debug, Default)]
pub struct Echo(Map<String, Value>);

/// What is repeated, and how it reads where the request does not say it.
fn defaults() -> [(&'static str, Value); 17] {
    [
        ("instructions", Value::Null),
        ("max_output_tokens", Value::Null),
        ("max_tool_calls", Value::Null),
        ("metadata", json!({})),
        ("parallel_tool_calls", true.into()),
        ("previous_response_id", Value::Null),
        ("prompt_cache_key", Value::Null),
        ("reasoning", json!({ "effort": null, "summary": null })),
        ("safety_identifier", Value::Null),
        ("store", false.into()),
        ("temperature", json!(1.0)),
        ("text", json!({ "format": { "type": "text" } })),
        ("tool_choice", "auto".into()),
        ("tools", json!([])),
        ("top_p", json!(1.0)),
        ("truncation", "disabled".into()),
        ("user", Value::Null),
    ]
}

impl Echo {
    /// Reads what a request's body says of it. A body that is no request has no echo.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Fields<'a>(
            #[serde(borrow)] std::collections::BTreeMap<std::borrow::Cow<'a, str>, &'a RawValue>,
        );
        let said = serde_json::from_slice::<Fields<'_>>(body).map(|fields| fields.0).unwrap_or_default();
        let told = |key: &str| {
            let value = said.get(key).and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
            value.filter(|value| !value.is_null())
        };
        let fields = defaults().map(|(key, default)| (key.to_owned(), told(key).unwrap_or(default)));
        Self(Map::from_iter(fields))
    }

    pub(super) fn fields(&self) -> &Map<String, Value> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_request_said_is_repeated_and_the_rest_has_its_default() {
        let echo =
            Echo::of(br#"{"input":"x","temperature":0.2,"tools":[{"type":"web_search"}],"metadata":null}"#);
        let fields = echo.fields();
        assert_eq!((&fields["temperature"], &fields["metadata"]), (&json!(0.2), &json!({})));
        assert_eq!(fields["tools"][0]["type"], "web_search");
        assert!(!fields.contains_key("input"));
        assert_eq!(Echo::of(b"[").fields()["tool_choice"], "auto");
    }
}
