//! JSON Schema within bounds: nothing is fetched, expressions run in linear time, and what a schema can cost is known before it is
//! used.

use std::collections::HashMap;

use jsonschema::{PatternOptions, Validator};
use prost_types::{Struct, value::Kind};
use serde_json::{Map, Number, Value};

/// Values in a schema at most, and how deep they may be nested.
const NODES: usize = 20_000;
const DEPTH: usize = 64;
/// Parts of a schema that may apply to one value, and ways through it with its references followed.
const SPREAD: u64 = 1_000;
const WAYS: u64 = 100_000;
/// Comparisons that one branch of an answer may take where the schema refers to itself.
const COMPARISONS: f64 = 4e6;
/// Bytes of one compiled expression.
const EXPRESSION: usize = 1 << 20;

/// A schema that can be used.
pub(crate) struct Schema {
    validator: Validator,
    /// How deep an answer may be nested.
    depth: usize,
}

/// Where a value does not fit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// The place in the schema: the caller's own words.
    pub(crate) schema_path: String,
    /// What is wrong, for the model that wrote it.
    pub(crate) message: String,
}

impl Schema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// Why it cannot be used, with its remedy.
    pub(crate) fn compile(schema: &Value) -> Result<Self, String> {
        let depth = Bounds::of(schema)?;
        let validator = jsonschema::options()
            .offline()
            .with_pattern_options(PatternOptions::regex().size_limit(EXPRESSION).dfa_size_limit(EXPRESSION))
            .build(schema)
            .map_err(|error| {
                let place = error.instance_path().as_str();
                format!("is no JSON Schema that can be checked, at `{place}`; patterns may not look around or back")
            })?;
        Ok(Self { validator, depth })
    }

    /// Compares a value.
    ///
    /// # Errors
    /// The first place where it does not fit.
    pub(crate) fn check(&self, value: &Value) -> Result<(), Misfit> {
        if depth(value) > self.depth {
            let message =
                format!("is nested deeper than {}, which this schema allows to be checked", self.depth);
            return Err(Misfit { schema_path: String::new(), message });
        }
        self.validator.validate(value).map_err(|error| Misfit {
            schema_path: error.schema_path().as_str().to_owned(),
            message: format!("at `{}`: {error}", error.instance_path().as_str()),
        })
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 1,
    }
}

/// A `Struct` as JSON; whole numbers without a fraction.
pub(crate) fn json(fields: &Struct) -> Value {
    Value::Object(fields.fields.iter().map(|(key, value)| (key.clone(), any(value))).collect::<Map<_, _>>())
}

fn any(value: &prost_types::Value) -> Value {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(b)) => Value::Bool(*b),
        Some(Kind::StringValue(text)) => Value::String(text.clone()),
        Some(Kind::NumberValue(number)) => {
            whole(*number).or_else(|| Number::from_f64(*number)).map_or(Value::Null, Value::Number)
        }
        Some(Kind::StructValue(fields)) => json(fields),
        Some(Kind::ListValue(list)) => Value::Array(list.values.iter().map(any).collect()),
    }
}

fn whole(number: f64) -> Option<Number> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53, checked in the condition")]
    (number.fract() == 0.0 && number.abs() < EXACT).then(|| Number::from(number as i64))
}

/// What a schema can cost, found by walking it once with its references followed.
struct Bounds<'a> {
    root: &'a Value,
    /// By node: parts that apply to one value, and ways through it. `None` while it is being walked.
    known: HashMap<*const Value, Option<Cost>>,
    /// Whether it refers to itself.
    recursive: bool,
    /// The most parts that apply to one value.
    spread: u64,
}

#[derive(Clone, Copy)]
struct Cost {
    spread: u64,
    ways: u64,
}

/// Keywords whose parts apply to the same value.
const HERE: [&str; 10] =
    ["allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies", "$ref"];
/// Keywords whose parts apply to what the value holds.
const WITHIN: [&str; 11] = [
    "properties",
    "patternProperties",
    "additionalProperties",
    "propertyNames",
    "items",
    "prefixItems",
    "additionalItems",
    "contains",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contentSchema",
];
const BY_NAME: [&str; 4] = ["properties", "patternProperties", "dependentSchemas", "dependencies"];

impl<'a> Bounds<'a> {
    /// How deep an answer to a schema may be nested.
    fn of(root: &'a Value) -> Result<usize, String> {
        if count(root) > NODES || depth(root) > DEPTH {
            return Err(format!("is too large: at most {NODES} values, nested {DEPTH} deep, are checked"));
        }
        let mut bounds = Self { root, known: HashMap::new(), recursive: false, spread: 1 };
        bounds.walk(root, &mut Vec::new())?;
        if !bounds.recursive || bounds.spread < 2 {
            return Ok(128);
        }
        let levels = COMPARISONS.ln() / (bounds.spread as f64).ln();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 2 and 22")]
        Ok((levels as usize).max(2))
    }

    /// `here`: the nodes on the way that apply to the same value.
    fn walk(&mut self, node: &'a Value, here: &mut Vec<*const Value>) -> Result<Cost, String> {
        let one = Cost { spread: 1, ways: 1 };
        let Value::Object(fields) = node else { return Ok(one) };
        let key: *const Value = node;
        if here.contains(&key) {
            return Err("refers to itself without going deeper; that never ends".into());
        }
        match self.known.get(&key) {
            Some(Some(cost)) => return Ok(*cost),
            Some(None) => {
                self.recursive = true;
                return Ok(one);
            }
            None => {}
        }
        self.known.insert(key, None);
        here.push(key);
        let (mut spread, mut ways) = (0u64, 1u64);
        for keyword in HERE {
            for part in parts(fields, keyword) {
                let part = if keyword == "$ref" { self.resolve(part)? } else { part };
                let cost = self.walk(part, here)?;
                spread = spread.saturating_add(cost.spread);
                ways = ways.saturating_add(cost.ways);
            }
        }
        here.pop();
        for keyword in WITHIN {
            for part in parts(fields, keyword) {
                let cost = self.walk(part, &mut Vec::new())?;
                ways = ways.saturating_add(cost.ways);
            }
        }
        spread = (spread + u64::from(WITHIN.iter().any(|keyword| fields.contains_key(*keyword)))).max(1);
        if fields.contains_key("$dynamicRef") || fields.contains_key("$recursiveRef") {
            return Err("has references that move ($dynamicRef, $recursiveRef); use $ref".into());
        }
        if spread > SPREAD || ways > WAYS {
            return Err("combines too many parts; use fewer of allOf, anyOf, oneOf and $ref".into());
        }
        self.spread = self.spread.max(spread);
        let cost = Cost { spread, ways };
        self.known.insert(key, Some(cost));
        Ok(cost)
    }

    /// The part that a reference names. Only places of the schema itself.
    fn resolve(&self, reference: &Value) -> Result<&'a Value, String> {
        let elsewhere =
            || "refers to what is not in it; only references such as `#/$defs/name` are followed".to_owned();
        let pointer = reference.as_str().and_then(|text| text.strip_prefix('#')).ok_or_else(elsewhere)?;
        let pointer = pointer.replace("%24", "$").replace("%20", " ");
        self.root.pointer(&pointer).ok_or_else(elsewhere)
    }
}

/// The parts of a schema under a keyword.
fn parts<'a>(fields: &'a Map<String, Value>, keyword: &str) -> Vec<&'a Value> {
    match fields.get(keyword) {
        Some(Value::Array(parts)) => parts.iter().collect(),
        Some(Value::Object(parts)) if BY_NAME.contains(&keyword) => parts.values().collect(),
        Some(part) => vec![part],
        None => Vec::new(),
    }
}

fn count(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(count).sum::<usize>(),
        Value::Object(fields) => 1 + fields.values().map(count).sum::<usize>(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(schema: &Value) -> String {
        Schema::compile(schema).err().unwrap_or_default()
    }

    #[test]
    fn what_does_not_fit_is_named_by_its_place() {
        let schema = json!({
            "type": "object",
            "properties": { "age": { "type": "integer", "minimum": 0 }, "name": { "$ref": "#/$defs/name" } },
            "required": ["age"],
            "$defs": { "name": { "type": "string", "pattern": "^[A-Z]" } },
        });
        let schema = Schema::compile(&schema).unwrap();
        assert_eq!(schema.check(&json!({ "age": 3, "name": "Ada" })), Ok(()));
        let misfit = schema.check(&json!({ "age": -1 })).unwrap_err();
        assert_eq!(misfit.schema_path, "/properties/age/minimum");
        assert!(misfit.message.contains("/age"), "{}", misfit.message);
        assert!(schema.check(&json!({ "age": 3, "name": "ada" })).is_err());
        assert!(schema.check(&json!({})).is_err());
    }

    #[test]
    fn nothing_is_fetched_and_no_expression_runs_away() {
        for (schema, words) in [
            (json!({ "$ref": "https://example.com/x.json" }), "not in it"),
            (json!({ "properties": { "a": { "$ref": "file:///etc/passwd" } } }), "not in it"),
            (json!({ "$ref": "#/nowhere" }), "not in it"),
            (json!({ "type": "string", "pattern": "(?=a)b" }), "look around"),
            (json!({ "type": "string", "pattern": "(a{1000}){1000}" }), "checked"),
            (json!({ "type": "nonsense" }), "checked"),
            (json!({ "allOf": [{ "$ref": "#" }] }), "never ends"),
            (json!({ "$dynamicRef": "#x" }), "$dynamicRef"),
        ] {
            assert!(refused(&schema).contains(words), "{schema}: {}", refused(&schema));
        }
    }

    #[test]
    fn a_small_schema_that_costs_much_is_refused() {
        let mut defs = Map::new();
        for level in 0..40 {
            let next = format!("#/$defs/d{}", level + 1);
            defs.insert(format!("d{level}"), json!({ "allOf": [{ "$ref": next }, { "$ref": next }] }));
        }
        defs.insert("d40".into(), json!({ "type": "string" }));
        assert!(refused(&json!({ "$ref": "#/$defs/d0", "$defs": defs })).contains("too many parts"));
        let mut deep = json!({ "type": "string" });
        for _ in 0..100 {
            deep = json!({ "items": deep });
        }
        assert!(refused(&deep).contains("too large"));
        let many: Vec<Value> = (0..NODES).map(|n| json!(n)).collect();
        assert!(refused(&json!({ "enum": many })).contains("too large"));
    }

    #[test]
    fn schemas_that_refer_to_themselves_are_used_as_deep_as_they_can_be() {
        let tree = json!({ "properties": { "left": { "$ref": "#" }, "right": { "$ref": "#" } } });
        assert_eq!(Schema::compile(&tree).unwrap().depth, 128);
        let branch = |name: &str| json!({ "properties": { name: { "$ref": "#/$defs/e" }, "x": { "$ref": "#/$defs/e" } } });
        let either = json!({ "$ref": "#/$defs/e", "$defs": { "e": { "anyOf": [branch("a"), branch("b"), branch("c")] } } });
        let schema = Schema::compile(&either).unwrap();
        assert!((8..20).contains(&schema.depth), "{}", schema.depth);
        let nested = |levels: usize| (0..levels).fold(json!({}), |inner, _| json!({ "x": inner }));
        assert_eq!(schema.check(&nested(5)), Ok(()));
        assert!(schema.check(&nested(100)).is_err());
    }

    #[test]
    fn whole_numbers_stay_whole() {
        let number = |n: f64| prost_types::Value { kind: Some(Kind::NumberValue(n)) };
        let fields = Struct { fields: [("a".into(), number(5.0)), ("b".into(), number(0.5))].into() };
        assert_eq!(json(&fields), json!({ "a": 5, "b": 0.5 }));
    }
}
