//! Arguments of a call that come in pieces, each with its place: `{"jsonPath": "$.a[0].b", "stringValue": "…"}`.

use serde_json::{Map, Value};

use crate::{ErrorClass, ProviderError};

/// The deepest place that is followed.
const MAX_DEPTH: usize = 28;

/// Puts arguments together.
#[derive(Debug)]
pub(super) struct Arguments {
    value: Value,
    /// How many more bytes there may be.
    room: usize,
}

#[derive(Debug, PartialEq)]
enum Step<'a> {
    Field(&'a str),
    Item(usize),
}

impl Arguments {
    pub(super) fn new(most: usize) -> Self {
        Self { value: Value::Object(Map::new()), room: most }
    }

    pub(super) fn text(&self) -> String {
        self.value.to_string()
    }

    /// Takes a piece: a text goes on where there is one, anything else is set.
    ///
    /// # Errors
    ///
    /// The arguments become too large, or the piece has no place that can be understood: then the call is wrong.
    pub(super) fn add(&mut self, piece: &Value) -> Result<(), ProviderError> {
        let protocol = |words: &str| ProviderError::new(ErrorClass::Protocol, words);
        let path = piece.get("jsonPath").and_then(Value::as_str).unwrap_or_default();
        let steps = steps(path).ok_or_else(|| protocol("arguments in a place that is not understood"))?;
        let text = piece.get("stringValue").and_then(Value::as_str);
        let cost = text.map_or(16, str::len).saturating_add(path.len());
        self.room =
            self.room.checked_sub(cost).ok_or_else(|| protocol("the arguments of a call are too large"))?;
        let place = steps.iter().try_fold(&mut self.value, |value, step| reach(value, step));
        let place = place.ok_or_else(|| protocol("arguments in two forms at one place"))?;
        match (text, place) {
            (Some(text), Value::String(before)) => before.push_str(text),
            (Some(text), place) => *place = Value::from(text),
            (None, place) => {
                let other = ["numberValue", "boolValue"].iter().find_map(|key| piece.get(key));
                *place = other.cloned().unwrap_or(Value::Null);
            }
        }
        Ok(())
    }
}

/// Reads `$.a.b[0]['c']`.
fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let mut rest = path.strip_prefix('$')?;
    let mut out = Vec::new();
    while !rest.is_empty() {
        if out.len() == MAX_DEPTH {
            return None;
        }
        if let Some(field) = rest.strip_prefix('.') {
            let end = field.find(['.', '[']).unwrap_or(field.len());
            out.push(Step::Field(&field[..end]));
            rest = &field[end..];
        } else {
            let inner = rest.strip_prefix('[')?;
            let quote = inner.chars().next().filter(|c| matches!(c, '\'' | '"'));
            if let Some(quote) = quote {
                let end = inner[1..].find(quote)? + 1;
                out.push(Step::Field(&inner[1..end]));
                rest = inner[end + 1..].strip_prefix(']')?;
            } else {
                let end = inner.find(']')?;
                out.push(Step::Item(inner[..end].parse().ok()?));
                rest = &inner[end + 1..];
            }
        }
    }
    (!out.is_empty()).then_some(out)
}

/// Goes one step down, and makes room there; items of a list come in order.
fn reach<'a>(value: &'a mut Value, step: &Step<'_>) -> Option<&'a mut Value> {
    match step {
        Step::Field(name) => {
            if value.is_null() {
                *value = Value::Object(Map::new());
            }
            Some(value.as_object_mut()?.entry(*name).or_insert(Value::Null))
        }
        Step::Item(at) => {
            if value.is_null() {
                *value = Value::Array(Vec::new());
            }
            let list = value.as_array_mut()?;
            if *at == list.len() {
                list.push(Value::Null);
            }
            list.get_mut(*at)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pieces_find_their_places() {
        let mut arguments = Arguments::new(1000);
        for piece in [
            json!({"jsonPath": "$.a.b", "stringValue": "x", "willContinue": true}),
            json!({"jsonPath": "$.a.b", "stringValue": "y"}),
            json!({"jsonPath": "$.list[0].n", "numberValue": 1.5}),
            json!({"jsonPath": "$.list[1]", "boolValue": true}),
            json!({"jsonPath": "$['odd.name']", "nullValue": null}),
        ] {
            arguments.add(&piece).unwrap();
        }
        let want = json!({"a": {"b": "xy"}, "list": [{"n": 1.5}, true], "odd.name": null});
        assert_eq!(serde_json::from_str::<Value>(&arguments.text()).unwrap(), want);
    }

    #[test]
    fn what_has_no_place_or_is_too_large_is_an_error() {
        for path in ["", "$", "a", "$.a[", "$.a[x]", "$.list[7]", "$[\"é"] {
            let piece = json!({"jsonPath": path, "stringValue": "x"});
            assert!(Arguments::new(1000).add(&piece).is_err(), "{path}");
        }
        let mut arguments = Arguments::new(64);
        let piece = json!({"jsonPath": "$.a", "stringValue": "0123456789"});
        assert!((0..10).any(|_| arguments.add(&piece).is_err()));
    }
}
