//! JSON in canonical form: members sorted, white space gone, numbers as they were written.

use std::borrow::Cow;

use prost_types::{Struct, Value, value::Kind};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Writer;

/// Deepest nesting that is looked into; below it JSON text counts as it stands.
const DEPTH: usize = 32;

pub(super) fn object(out: &mut Writer, object: &Struct) {
    // A BTreeMap: sorted by name, whatever the order on the wire was.
    out.list(object.fields.iter(), |out, (name, member)| {
        out.text(name);
        value(out, member);
    });
}

fn value(out: &mut Writer, json: &Value) {
    match &json.kind {
        None => out.tag(0),
        Some(Kind::NullValue(_)) => out.tag(1),
        Some(Kind::NumberValue(number)) => {
            out.tag(2);
            out.float(*number);
        }
        Some(Kind::StringValue(text)) => {
            out.tag(3);
            out.text(text);
        }
        Some(Kind::BoolValue(flag)) => {
            out.tag(4);
            out.flag(*flag);
        }
        Some(Kind::StructValue(members)) => {
            out.tag(5);
            object(out, members);
        }
        Some(Kind::ListValue(list)) => {
            out.tag(6);
            out.list(list.values.iter(), value);
        }
    }
}

/// Writes JSON text; what is not JSON, or has a member twice, counts byte by byte.
pub(super) fn text(out: &mut Writer, json: &str) {
    nested(out, json, DEPTH);
}

fn nested(out: &mut Writer, json: &str, depth: usize) {
    let parsed = if depth == 0 { None } else { parse(json) };
    match parsed {
        None => {
            out.tag(0);
            out.text(json);
        }
        Some(Json::Scalar(scalar)) => {
            out.tag(1);
            out.text(scalar);
        }
        Some(Json::Text(text)) => {
            out.tag(2);
            out.text(&text);
        }
        Some(Json::List(list)) => {
            out.tag(3);
            out.list(list.into_iter(), |out, item| nested(out, item.get(), depth - 1));
        }
        Some(Json::Object(members)) => {
            out.tag(4);
            out.list(members.into_iter(), |out, (name, member)| {
                out.text(&name);
                nested(out, member.get(), depth - 1);
            });
        }
    }
}

/// One level of a JSON text.
enum Json<'a> {
    /// A number, `true`, `false` or `null`, as written: parsing would make large numbers equal.
    Scalar(&'a str),
    Text(Cow<'a, str>),
    List(Vec<&'a RawValue>),
    /// Sorted by name.
    Object(Vec<(Cow<'a, str>, &'a RawValue)>),
}

fn parse(json: &str) -> Option<Json<'_>> {
    let json = json.trim_matches([' ', '\t', '\n', '\r']);
    match json.bytes().next()? {
        b'{' => {
            let Members(mut members) = serde_json::from_str(json).ok()?;
            members.sort_by(|(a, _), (b, _)| a.cmp(b));
            let twice = members.windows(2).any(|pair| pair[0].0 == pair[1].0);
            (!twice).then_some(Json::Object(members))
        }
        b'[' => serde_json::from_str(json).ok().map(Json::List),
        b'"' => serde_json::from_str(json).ok().map(|Characters(text)| Json::Text(text)),
        _ => serde_json::from_str::<&RawValue>(json).ok().map(|scalar| Json::Scalar(scalar.get())),
    }
}

#[derive(serde::Deserialize)]
struct Characters<'a>(#[serde(borrow)] Cow<'a, str>);

struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Characters(name), member)) = map.next_entry()? {
                    members.push((name, member));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Digest, *};

    fn digest(json: &str) -> Digest {
        let mut out = Writer::new();
        text(&mut out, json);
        out.digest("test")
    }

    #[test]
    fn order_and_white_space_do_not_count() {
        let same = [
            r#"{"a":1,"b":[true,{"c":"x y","d":null}]}"#,
            r#" { "b" : [ true, { "d":null,"c":"x y" } ],"a": 1 } "#,
            "{\n\t\"\\u0061\": 1, \"b\": [true, {\"c\": \"x\\u0020y\", \"d\": null}]\r\n}",
        ];
        for json in same {
            assert_eq!(digest(json), digest(same[0]), "{json}");
        }
    }

    #[test]
    fn everything_else_counts() {
        let all = [
            r#"{"a":1}"#,
            r#"{"a":2}"#,
            r#"{"a":"1"}"#,
            r#"{"a":[1]}"#,
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"a":1"#,
            r#"{"a":"x y"}"#,
            r#"{"a":"x  y"}"#,
            r#"{"a":12345678901234567890123}"#,
            r#"{"a":12345678901234567890124}"#,
            "[1,2]",
            "[2,1]",
            "[[1],2]",
            "",
            "null",
            "\"null\"",
        ];
        for (i, a) in all.iter().enumerate() {
            for b in &all[i + 1..] {
                assert_ne!(digest(a), digest(b), "{a} {b}");
            }
        }
    }

    #[test]
    fn deep_nesting_ends_well() {
        let deep = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
        assert_ne!(digest(&deep(100_000)), digest(&deep(99_999)));
        assert_ne!(digest(&"[".repeat(1_000_000)), digest(&"[".repeat(999_999)));
    }
}
