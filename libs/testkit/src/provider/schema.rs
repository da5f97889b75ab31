//! The smallest JSON value that a schema allows.

use serde_json::{Map, Number, Value};

/// How deep references and nestings are followed before optional parts are left out.
const COMFORTABLE_DEPTH: u32 = 4;
/// How deep they are followed at all: a schema that requires itself ends in `null`.
const MAX_DEPTH: u32 = 16;

/// Builds an instance of `schema`; strings without other demands say `word`.
///
/// Heeds `type`, `enum`, `const`, `default`, `properties`, `required`, `items`, `minItems`, `maxItems`,
/// `minimum`, `maximum` (also exclusive), `minLength`, `maxLength`, `format`, `anyOf`, `oneOf`, `allOf` and
/// local `$ref`. `pattern` is not heeded.
pub(super) fn instance(schema: &Value, word: &str) -> Value {
    Builder { root: schema, word }.build(schema, 0)
}

struct Builder<'a> {
    root: &'a Value,
    word: &'a str,
}

impl Builder<'_> {
    fn build(&self, schema: &Value, depth: u32) -> Value {
        let Some(schema) = schema.as_object() else { return Value::String(self.word.to_owned()) };
        if depth > MAX_DEPTH {
            return Value::Null;
        }
        if let Some(value) = schema.get("const").or_else(|| schema.get("default")) {
            return value.clone();
        }
        if let Some(first) = schema.get("enum").and_then(|list| list.get(0)) {
            return first.clone();
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let target = target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            return target.map_or(Value::Null, |target| self.build(target, depth + 1));
        }
        for union in ["anyOf", "oneOf"] {
            if let Some(list) = schema.get(union).and_then(Value::as_array) {
                // A recursive alternative ends as soon as `null` is allowed.
                let null = list.iter().find(|option| option.get("type") == Some(&Value::from("null")));
                let chosen =
                    if depth >= COMFORTABLE_DEPTH { null.or_else(|| list.first()) } else { list.first() };
                return chosen.map_or(Value::Null, |option| self.build(option, depth + 1));
            }
        }
        if let Some(list) = schema.get("allOf").and_then(Value::as_array) {
            return self.merged(schema, list, depth);
        }
        match type_of(schema) {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, depth),
            "integer" => Value::from(whole_within(schema)),
            "number" => Number::from_f64(within(schema)).map_or(Value::Null, Value::Number),
            "boolean" => Value::Bool(true),
            "null" => Value::Null,
            _ => Value::String(self.string(schema)),
        }
    }

    /// Joins the properties of all parts into one object, or builds the first part where none is an object.
    fn merged(&self, schema: &Map<String, Value>, parts: &[Value], depth: u32) -> Value {
        let mut joined = self.object(schema, depth);
        for part in parts {
            match (&mut joined, self.build(part, depth + 1)) {
                (Value::Object(all), Value::Object(more)) => all.extend(more),
                (_, other) => return other,
            }
        }
        joined
    }

    fn object(&self, schema: &Map<String, Value>, depth: u32) -> Value {
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let properties = schema.get("properties").and_then(Value::as_object);
        let wanted = |name: &str| depth < COMFORTABLE_DEPTH || required.contains(&name);
        let built = properties
            .into_iter()
            .flatten()
            .filter(|(name, _)| wanted(name))
            .map(|(name, schema)| (name.clone(), self.build(schema, depth + 1)));
        let mut object: Map<String, Value> = built.collect();
        for name in required {
            object.entry(name).or_insert_with(|| Value::String(self.word.to_owned()));
        }
        Value::Object(object)
    }

    fn array(&self, schema: &Map<String, Value>, depth: u32) -> Value {
        let bound = |name| schema.get(name).and_then(Value::as_u64);
        let comfortable = u64::from(depth < COMFORTABLE_DEPTH);
        let count = bound("minItems").unwrap_or(comfortable).min(bound("maxItems").unwrap_or(64)).min(64);
        let free = Value::Bool(true);
        let items = schema.get("items").unwrap_or(&free);
        (0..count).map(|_| self.build(items, depth + 1)).collect()
    }

    fn string(&self, schema: &Map<String, Value>) -> String {
        let fixed = match schema.get("format").and_then(Value::as_str) {
            Some("date-time") => Some("2025-01-01T00:00:00Z"),
            Some("date") => Some("2025-01-01"),
            Some("time") => Some("00:00:00Z"),
            Some("email") => Some("simulated@example.com"),
            Some("uri") => Some("https://example.com/"),
            Some("uuid") => Some("00000000-0000-4000-8000-000000000000"),
            Some("ipv4") => Some("192.0.2.1"),
            _ => None,
        };
        if let Some(fixed) = fixed {
            return fixed.to_owned();
        }
        let bound = |name| schema.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        let least = bound("minLength").unwrap_or(0).min(10_000);
        let most = bound("maxLength").unwrap_or(usize::MAX);
        let length = self.word.chars().count().max(least).min(most);
        self.word.chars().chain(std::iter::repeat('x')).take(length).collect()
    }
}

/// Returns the type asked for; where several are allowed, the first that is not `null`.
fn type_of(schema: &Map<String, Value>) -> &str {
    match schema.get("type") {
        Some(Value::String(name)) => name,
        Some(Value::Array(names)) => {
            let names = || names.iter().filter_map(Value::as_str);
            names().find(|name| *name != "null").or_else(|| names().next()).unwrap_or("string")
        }
        _ if schema.contains_key("properties") || schema.contains_key("required") => "object",
        _ if schema.contains_key("items") => "array",
        _ => "string",
    }
}

/// Returns the number nearest to 1 within the bounds.
fn within(schema: &Map<String, Value>) -> f64 {
    let bound = |name| schema.get(name).and_then(Value::as_f64);
    let low = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|low| low + 1.0));
    let high = bound("maximum").or_else(|| bound("exclusiveMaximum").map(|high| high - 1.0));
    1.0_f64.min(high.unwrap_or(1.0)).max(low.unwrap_or(f64::MIN))
}

/// Returns the whole number nearest to 1 within the bounds.
fn whole_within(schema: &Map<String, Value>) -> i64 {
    let bound = |name| schema.get(name).and_then(Value::as_i64);
    let low = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|low| low.saturating_add(1)));
    let high = bound("maximum").or_else(|| bound("exclusiveMaximum").map(|high| high.saturating_sub(1)));
    1.min(high.unwrap_or(1)).max(low.unwrap_or(i64::MIN))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_demand_is_met() {
        let schema = json!({
            "type": "object",
            "required": ["city", "unit", "days", "tags", "near", "extra"],
            "properties": {
                "city": {"type": "string", "minLength": 12},
                "unit": {"enum": ["celsius", "fahrenheit"]},
                "days": {"type": "integer", "minimum": 3, "maximum": 7},
                "tags": {"type": "array", "items": {"type": ["null", "boolean"]}, "minItems": 2},
                "near": {"$ref": "#/$defs/place"},
                "when": {"type": "string", "format": "date"},
                "either": {"anyOf": [{"type": "number", "maximum": 0.5}, {"type": "null"}]},
                "both": {"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]}
            },
            "$defs": {"place": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 3}}}}
        });
        let expected = json!({
            "city": "simulatedxxx", "unit": "celsius", "days": 3, "tags": [true, true],
            "near": {"name": "sim"}, "when": "2025-01-01", "either": 0.5, "both": {"a": 1, "b": 2},
            "extra": "simulated"
        });
        assert_eq!(instance(&schema, "simulated"), expected);
    }

    #[test]
    fn a_schema_that_contains_itself_ends() {
        let tree = json!({
            "type": "object", "required": ["value"],
            "properties": {"value": {"type": "integer"}, "children": {"type": "array", "items": {"$ref": "#"}}}
        });
        let value = instance(&tree, "w");
        assert_eq!(value["value"], 1);
        let endless = json!({"type": "object", "required": ["next"], "properties": {"next": {"$ref": "#"}}});
        assert!(instance(&endless, "w").is_object());
    }
}
