//! Schemas, for which Google has two fields: one for JSON Schema, and an older one for a dialect of it with types in capitals.

use prost_types::Struct;
use serde_json::{Map, Value};

use super::own;
use crate::{RequestError, json};

/// Writes a schema under the field of JSON Schema, or as the caller had said the same; see [`marks`].
pub(super) fn write(
    out: &mut Map<String, Value>,
    over: &mut Map<String, Value>,
    older: &str,
    newer: &str,
    schema: Map<String, Value>,
) {
    let schema = Value::Object(schema);
    let given = [newer, older].iter().find_map(|name| own::key_of(over, name)).cloned();
    let Some(key) = given else {
        out.insert(newer.to_owned(), schema);
        return;
    };
    let own = over.remove(&key).filter(Value::is_object);
    let value = own.filter(|own| own::same(&plain(own), &schema)).unwrap_or(schema);
    out.insert(key, value);
}

/// Reads a schema from either field, in the words of JSON Schema.
pub(super) fn read(
    raw: &Map<String, Value>,
    older: &str,
    newer: &str,
    at: &str,
) -> Result<Option<Struct>, RequestError> {
    let found = own::get(raw, newer).or_else(|| own::get(raw, older));
    let Some(Value::Object(schema)) = found.map(plain) else { return Ok(None) };
    let schema = json::fields(schema).map_err(|e| RequestError::new(at, e.to_string()))?;
    Ok(Some(schema.unwrap_or_default()))
}

/// Returns what tells which field a schema came in, and its own words where they are not those of JSON Schema.
pub(super) fn marks(raw: &Map<String, Value>, older: &str, newer: &str) -> Map<String, Value> {
    let Some(key) = own::key_of(raw, newer).or_else(|| own::key_of(raw, older)) else { return Map::new() };
    let Some(value) = raw.get(key).filter(|value| value.is_object()) else { return Map::new() };
    let mark = if own::same(&plain(value), value) { Value::from("") } else { value.clone() };
    if key == newer && mark == "" { Map::new() } else { Map::from_iter([(key.clone(), mark)]) }
}

/// Says a schema in the words of JSON Schema: types in small letters.
fn plain(schema: &Value) -> Value {
    match schema {
        Value::Object(map) => {
            let field = |(key, value): (&String, &Value)| {
                let value = match (key.as_str(), value) {
                    ("type", Value::String(kind)) => Value::from(small(kind)),
                    // What stands here is the caller's data, not schema.
                    ("enum" | "default" | "example" | "const" | "required", value) => value.clone(),
                    (_, value) => plain(value),
                };
                (key.clone(), value)
            };
            Value::Object(map.iter().map(field).collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(plain).collect()),
        other => other.clone(),
    }
}

fn small(kind: &str) -> String {
    match kind {
        "STRING" | "NUMBER" | "INTEGER" | "BOOLEAN" | "ARRAY" | "OBJECT" | "NULL" => {
            kind.to_ascii_lowercase()
        }
        other => other.to_owned(),
    }
}
