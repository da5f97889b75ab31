//! JSON to and from `google.protobuf.Struct`.
//!
//! A `Struct` holds numbers as doubles: integers beyond 2⁵³ lose their last digits, and the order of keys is that of
//! the alphabet. Whole numbers are written without a fraction, because providers refuse `5.0` where they want `5`.

use std::fmt;

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::RequestError;

/// The deepest nesting that is taken over into a `Struct`.
///
/// prost refuses messages nested more than 100 deep, and one level of JSON takes up to three of them.
pub const MAX_DEPTH: usize = 28;

/// 2⁶³: whole numbers below it are written as such.
const WHOLE: f64 = 9_223_372_036_854_775_808.0;

/// Writes a `Struct` as a JSON object.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a>(pub &'a Struct);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.fields.len()))?;
        for (key, value) in &self.0.fields {
            map.serialize_entry(key, &Any(value))?;
        }
        map.end()
    }
}

/// Writes a `Value` as JSON. A value without a kind is `null`.
#[derive(Clone, Copy, Debug)]
pub struct Any<'a>(pub &'a Value);

impl Serialize for Any<'_> {
    #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^63, checked in the condition")]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0.kind {
            None | Some(Kind::NullValue(_)) => serializer.serialize_unit(),
            Some(Kind::NumberValue(n)) if n.fract() == 0.0 && n.abs() < WHOLE => {
                serializer.serialize_i64(*n as i64)
            }
            Some(Kind::NumberValue(n)) => serializer.serialize_f64(*n),
            Some(Kind::StringValue(s)) => serializer.serialize_str(s),
            Some(Kind::BoolValue(b)) => serializer.serialize_bool(*b),
            Some(Kind::StructValue(s)) => Object(s).serialize(serializer),
            Some(Kind::ListValue(l)) => {
                let mut seq = serializer.serialize_seq(Some(l.values.len()))?;
                for value in &l.values {
                    seq.serialize_element(&Any(value))?;
                }
                seq.end()
            }
        }
    }
}

/// Reads any JSON into a `Value`.
#[derive(Clone, Debug, PartialEq)]
pub struct Owned(pub Value);

impl<'de> Deserialize<'de> for Owned {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Depth(0).deserialize(deserializer).map(Owned)
    }
}

/// Reads JSON at a known depth, to end in an error before prost does.
struct Depth(usize);

impl<'de> DeserializeSeed<'de> for Depth {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Depth {
    fn deeper<E: de::Error>(&self) -> Result<Depth, E> {
        if self.0 >= MAX_DEPTH {
            return Err(E::custom(format_args!("nested more than {MAX_DEPTH} deep")));
        }
        Ok(Depth(self.0 + 1))
    }
}

impl<'de> Visitor<'de> for Depth {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(null())
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value { kind: Some(Kind::BoolValue(v)) })
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a Struct holds doubles; the module's documentation says so"
    )]
    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(number(v as f64))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a Struct holds doubles; the module's documentation says so"
    )]
    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(number(v as f64))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(number(v))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(string(v))
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(string(v))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(self.deeper()?)? {
            values.push(value);
        }
        Ok(Value { kind: Some(Kind::ListValue(ListValue { values })) })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Struct::default();
        while let Some(key) = map.next_key::<String>()? {
            fields.fields.insert(key, map.next_value_seed(self.deeper()?)?);
        }
        Ok(Value { kind: Some(Kind::StructValue(fields)) })
    }
}

/// Makes a `null`.
#[must_use]
pub fn null() -> Value {
    Value { kind: Some(Kind::NullValue(0)) }
}

/// Makes a number.
#[must_use]
pub fn number(n: f64) -> Value {
    Value { kind: Some(Kind::NumberValue(n)) }
}

/// Makes a string.
#[must_use]
pub fn string(s: impl Into<String>) -> Value {
    Value { kind: Some(Kind::StringValue(s.into())) }
}

/// Makes an object's value.
#[must_use]
pub fn object(s: Struct) -> Value {
    Value { kind: Some(Kind::StructValue(s)) }
}

/// Takes over a JSON value.
///
/// # Errors
///
/// The value is nested more than [`MAX_DEPTH`] deep.
pub fn value(json: serde_json::Value) -> Result<Value, serde_json::Error> {
    serde_json::from_value::<Owned>(json).map(|owned| owned.0)
}

/// Takes over a JSON object; an empty one becomes `None`.
///
/// # Errors
///
/// The object is nested more than [`MAX_DEPTH`] deep.
pub fn fields(map: serde_json::Map<String, serde_json::Value>) -> Result<Option<Struct>, serde_json::Error> {
    if map.is_empty() {
        return Ok(None);
    }
    let mut out = Struct::default();
    for (key, json) in map {
        out.fields.insert(key, value(json)?);
    }
    Ok(Some(out))
}

/// Reads a request's body.
///
/// # Errors
///
/// It is no JSON object.
pub(crate) fn root(body: &[u8]) -> Result<serde_json::Map<String, serde_json::Value>, RequestError> {
    let root =
        serde_json::from_slice(body).map_err(|e| RequestError::new("body", format!("not JSON: {e}")))?;
    let serde_json::Value::Object(root) = root else {
        return Err(RequestError::new("body", "give a JSON object"));
    };
    Ok(root)
}

/// Returns a field as text, if it is there and is text.
#[must_use]
pub fn text<'a>(object: Option<&'a Struct>, key: &str) -> Option<&'a str> {
    match &object?.fields.get(key)?.kind {
        Some(Kind::StringValue(s)) => Some(s),
        _ => None,
    }
}

/// Returns a field as an object, if it is there and is one.
#[must_use]
pub fn nested<'a>(object: Option<&'a Struct>, key: &str) -> Option<&'a Struct> {
    match &object?.fields.get(key)?.kind {
        Some(Kind::StructValue(s)) => Some(s),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_survives_the_way_through_a_struct() {
        let text = r#"{"a":[1,2.5,null,true,"x",{"b":{}}],"big":9007199254740992,"neg":-3}"#;
        let owned: Owned = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&Any(&owned.0)).unwrap(), text);
    }

    #[test]
    fn deep_nesting_is_an_error_and_the_limit_fits_prost() {
        let deep = |n: usize| format!("{}1{}", "{\"a\":".repeat(n), "}".repeat(n));
        assert!(serde_json::from_str::<Owned>(&deep(MAX_DEPTH + 1)).is_err());
        let owned: Owned = serde_json::from_str(&deep(MAX_DEPTH)).unwrap();
        let bytes = prost::Message::encode_to_vec(&owned.0);
        assert_eq!(<Value as prost::Message>::decode(&bytes[..]).unwrap(), owned.0);
    }
}
